"""The accounts of the organization: what each role and all together spent, kept by the broker for every process.

Each account is one value, changed by comparison: a decision is made on the newest, so however many replicas ask at
the same moment, only as many calls begin as there is money for. A rehearsal has accounts of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.watched import WatchedBucket
from agenthub.guards import budget
from agenthub.guards.budget import Account, Amount, Grant, Level, Limits, LimitSet, Reservation, Short
from agenthub.organization import Organization

ALL = "organization"
"""How people name the account of all roles together, unless a role has this name."""


class AccountName(NamedTuple):
    """One account."""

    role: str
    """Empty: that of all roles together."""
    is_rehearsal: bool

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        ledger = "rehearsal" if self.is_rehearsal else "real"
        return f"{ledger}.role.{self.role}" if self.role else f"{ledger}.all"

    @property
    def shown(self) -> str:
        """As people and commands name it."""
        return self.role or ALL

    def limits(self, organization: Organization) -> dict[str, float]:
        """What the files say that it may spend."""
        if not self.role:
            return organization.budget_of_all(rehearse=self.is_rehearsal)
        return organization.budget_of(self.role, rehearse=self.is_rehearsal)


class _Enough(NamedTuple):
    """That there was enough for a call, and until when nothing changes about that but the account."""

    account: Account | None
    limits: Limits
    until: datetime


class Budgets:
    """All accounts, as one process sees them."""

    def __init__(self, bus: Bus) -> None:
        self._enough: dict[tuple[str, Amount], _Enough] = {}
        self._accounts = WatchedBucket(bus, subjects.BUDGETS, Account)
        self.watched, self.follow = self._accounts.watched, self._accounts.follow

    async def reserve(
        self, name: AccountName, limits: Limits, key: str, held: Reservation, *, at: datetime
    ) -> Short | None:
        """Set something aside for a call of the process `key`; None if it may begin, else what there is too little of.

        One round trip, unless another process changed the account at the same moment.
        """
        call = Amount(usd=held.usd, tokens=held.tokens, turns=held.turns)

        def reserved(account: Account) -> Account | None:
            if budget.short_of(account, limits, call, at, besides=key) is not None:
                return None
            return budget.with_reservation(account, key, held)

        account = await self._accounts.change(name.key, reserved)
        if (found := account.reserved.get(key)) is not None and found.id == held.id:
            return None
        return budget.short_of(account, limits, call, at, besides=key)

    async def settle(self, name: AccountName, key: str, reservation: str, took: Amount, *, at: datetime) -> Account:
        """Put what a call took in the place of what was set aside for it; again changes nothing."""
        return await self._accounts.change(
            name.key, lambda account: budget.settled(account, key, reservation, took, at)
        )

    async def left_open(self, name: AccountName, key: str) -> Reservation | None:
        """What a process set aside and did not settle, since it died."""
        account = await self._accounts.read(name.key)
        return account.reserved.get(key) if account is not None else None

    async def short_of(self, name: AccountName, limits: Limits, call: Amount, *, at: datetime) -> Short | None:
        """What there is too little of for a call; costs nothing while there is enough."""
        account = self._accounts.known(name.key)
        enough = self._enough.get((name.key, call))
        if enough is not None and enough.account is account and enough.limits is limits and at < enough.until:
            return None  # asked twice for each turn: adding all windows up again took a sixth of a turn's time
        short = budget.short_of(account or Account(), limits, call, at)
        if short is None:
            self._enough[name.key, call] = _Enough(account, limits, budget.unchanged_until(account or Account(), at))
        else:  # this decides about waiting: not on what this process happens to know
            account = await self._accounts.read(name.key)
            short = budget.short_of(account or Account(), limits, call, at)
        return short

    def levels(self, name: AccountName, limits: Limits, *, at: datetime) -> list[Level]:
        """How far each limit is used up, as far as this process has heard."""
        return budget.levels(self._accounts.known(name.key) or Account(), limits, at)

    async def told(self, name: AccountName, limit: str, share: float, since: datetime) -> None:
        """Note that a person was told of a limit."""
        await self._accounts.change(name.key, lambda account: budget.with_told(account, limit, share, since))

    # ── persons ────────────────────────────────────────────────────────────────────────────────────
    async def accounts(self) -> Mapping[str, Account]:
        """All accounts, by key."""
        return await self._accounts.items()

    async def allow(self, name: AccountName, grant: Grant) -> Account:
        """Allow an extra amount."""
        return await self._accounts.change(name.key, lambda account: budget.with_grant(account, grant))

    async def set(self, name: AccountName, limit: str, said: LimitSet | None) -> Account:
        """Set a limit above what the files say; None: what they say holds again."""

        def changed(account: Account) -> Account:
            others = {name: found for name, found in account.limits.items() if name != limit}
            return account.model_copy(update={"limits": others if said is None else {**others, limit: said}})

        return await self._accounts.change(name.key, changed)
