"""What one role process spends: set aside before each model call, settled after it, told to a person in time.

What a call took is settled beside the work that follows it, so a call waits for one round trip: its reservation, in
the accounts of the role and of the organization at once. What a dead process left open is settled from its journal.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from agenthub.budgets import AccountName, Budgets
from agenthub.errors import BudgetExhaustedError
from agenthub.guards import budget
from agenthub.guards.budget import Account, Amount, Level, Limits, Reservation, Short
from agenthub.messages import Usage, new_id
from agenthub.notices import Notices
from agenthub.org.events import Events
from agenthub.organization import Organization
from agenthub.sessions.prices import cost_usd

logger = logging.getLogger(__name__)

_ANY_CALL = Amount(usd=1e-6, tokens=1, turns=1)


class _Settlement(NamedTuple):
    reservation: str
    took: Amount


class Spending:
    """The money of one role process; the `Meter` of its session."""

    def __init__(
        self, role: str, key: str, organization: Organization, budgets: Budgets, *, is_rehearsal: bool,
        notices: Notices, events: Events, clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        """Spending of the process `key` of a role."""
        terms = organization.terms(role)
        self._key, self._budgets, self._notices, self._events, self._clock = key, budgets, notices, events, clock
        self._model, self._max_output_tokens = terms.model, terms.max_output_tokens
        # A turn that takes longer is ended, so that no call outlives what is set aside for it.
        self._held = timedelta(seconds=terms.turn_timeout_s + 60)
        names = AccountName(role, is_rehearsal), AccountName("", is_rehearsal)
        self._accounts: list[tuple[AccountName, Limits]] = [(name, name.limits(organization)) for name in names]
        self._turn = ""
        self._open: Reservation | None = None
        self._reservation_input = Amount()
        self._settlements: list[_Settlement] = []
        self._arrived = asyncio.Event()
        self._settling = asyncio.Lock()

    async def recover(self, usage_since: Callable[[datetime], Usage]) -> None:
        """Settle what this process set aside before it died, by what its journal says that it took."""
        for name, _ in self._accounts:
            held = await self._budgets.left_open(name, self._key)
            if held is not None:
                took = _amount(usage_since(held.at), turns=held.turns)
                await self._budgets.settle(name, self._key, held.id, took, at=self._clock())

    async def check(self) -> None:
        """Return if a turn may be begun; costs nothing while there is enough.

        Raises:
            BudgetExhaustedError: Says when to look again.
        """
        for name, limits in self._accounts:
            short = await self._budgets.short_of(name, limits, _ANY_CALL, at=self._clock())
            if short is not None and not short.is_busy:
                raise await self._exhausted(name, limits, short)

    def shares(self) -> dict[tuple[str, ...], float]:
        """How far each limit is used up: account and limit → 1 at the limit; not those that are unlimited."""
        at = self._clock()
        return {
            (name.shown, level.limit): level.share
            for name, limits in self._accounts
            for level in self._budgets.levels(name, limits, at=at)
            if math.isfinite(level.amount)
        }

    # ── the meter of the session ───────────────────────────────────────────────────────────────────
    async def reserve(self, turn_id: str, *, input_tokens: int) -> None:
        """Set aside what the next call may take at the most: all its input written to the cache, all its output.

        Raises:
            BudgetExhaustedError: If there is nothing left of a limit; nothing is set aside then.
        """
        await self.flush()  # a process has one call at a time, and one reservation
        at = self._clock()
        asked = Usage(cache_write_tokens=input_tokens)
        most = asked + Usage(output_tokens=self._max_output_tokens)
        turns = 0.0 if turn_id == self._turn else 1.0
        expected = Amount(usd=cost_usd(self._model, most), tokens=most.tokens, turns=turns)
        held = Reservation(**expected.model_dump(), id=new_id(), at=at, until=at + self._held)
        shorts = await asyncio.gather(
            *(self._budgets.reserve(name, limits, self._key, held, at=at) for name, limits in self._accounts)
        )
        for (name, limits), short in zip(self._accounts, shorts, strict=True):
            if short is not None:
                self._settle(held.id, Amount())
                await self.flush()
                raise await self._exhausted(name, limits, short)
        self._turn, self._open = turn_id, held
        self._reservation_input = Amount(usd=cost_usd(self._model, asked), tokens=asked.tokens)

    def settle(self, usage: Usage | None) -> None:
        """Note what the call took; None: it was cut off, and counts with what it was asked."""
        held, self._open = self._open, None
        if held is not None:
            took = self._reservation_input if usage is None else _amount(usage)
            self._settle(held.id, took.model_copy(update={"turns": held.turns}))

    def _settle(self, reservation: str, took: Amount) -> None:
        self._settlements.append(_Settlement(reservation, took))
        self._arrived.set()

    async def run(self) -> None:
        """Settle what calls took, beside the work, until cancelled."""
        while True:
            await self._arrived.wait()
            await self.flush()

    async def flush(self) -> None:
        """Return when everything is settled that was noted."""
        async with self._settling:
            while self._settlements:
                done = self._settlements[0]
                accounts = await asyncio.gather(
                    *(
                        self._budgets.settle(name, self._key, done.reservation, done.took, at=self._clock())
                        for name, _ in self._accounts
                    )
                )
                del self._settlements[0]
                for (name, limits), account in zip(self._accounts, accounts, strict=True):
                    await self._tell(name, limits, account)
            self._arrived.clear()

    # ── telling ────────────────────────────────────────────────────────────────────────────────────
    async def _exhausted(self, name: AccountName, limits: Limits, short: Short) -> BudgetExhaustedError:
        at = self._clock()
        if not short.is_busy and short.amount == 0:  # nobody spends here, so nobody else tells
            await self._tell(name, limits, Account())
        spent = budget.spoken(short.limit, short.spent, short.amount)
        if short.is_busy:
            spent += "; the rest is set aside for calls that run"
        return BudgetExhaustedError(
            name.shown, short.limit, spent=spent, opens=f"{short.opens_at:%Y-%m-%d %H:%M} UTC",
            retry_after_s=budget.retry_after_s(short, at),
        )  # fmt: skip

    async def _tell(self, name: AccountName, limits: Limits, account: Account) -> None:
        """Tell a person what must be told, each once in a window: first that, so that a crash cannot forget it."""
        at = self._clock()
        for level, share in budget.untold(account, limits, at):
            since = budget.rolled(account, at).spent[level.limit.partition("_")[2]].since
            number = sum(grant.limit == level.limit for grant in account.grants)
            identity = f"budget~{name.key.replace('.', '~')}~{level.limit}~{since:%Y%m%d%H}~{100 * share:.0f}~{number}"
            text = _spent(name, level)
            if share < 1:
                await self._events.tell("budget", f"{text}; at 100 % its messages wait", **_data(name, level))
                await self._notices.tell(identity, f"Budget: {text}", _warning(name, level), is_question=False)
            else:
                await self._events.tell("budget", f"{text}: messages wait", **_data(name, level))
                subject = f"Budget of {name.shown} is used up: allow more?"
                await self._notices.tell(identity, subject, _question(name, level), is_question=True)
            logger.warning("%s", text)
            await self._budgets.told(name, level.limit, share, since)


def _amount(usage: Usage, *, turns: float = 0.0) -> Amount:
    return Amount(usd=usage.cost_usd, tokens=usage.tokens, turns=turns)


def _spent(name: AccountName, level: Level) -> str:
    return f"{name.shown} has spent {budget.spoken(level.limit, level.spent, level.amount)} (`{level.limit}`)"


def _data(name: AccountName, level: Level) -> dict[str, Any]:
    return {"account": name.shown, "limit": level.limit, "spent": round(level.spent, 6), "amount": level.amount}


def _warning(name: AccountName, level: Level) -> str:
    return (
        f"{_spent(name, level)}.\nAt 100 % its messages wait until the next window opens, "
        f"{level.opens_at:%Y-%m-%d %H:%M} UTC; nothing fails. More for this window:\n\n{_commands(name, level)}"
    )


def _question(name: AccountName, level: Level) -> str:
    return (
        f"{_spent(name, level)}. Its messages wait; nothing is lost, and nothing more is spent.\n"
        f"If nobody decides, work goes on by itself when the next window opens, {level.opens_at:%Y-%m-%d %H:%M} UTC.\n"
        f"To go on before that:\n\n{_commands(name, level)}"
    )


def _commands(name: AccountName, level: Level) -> str:
    more = f"{level.amount or 1:g}"
    return (
        f"agenthub budget allow {name.shown} {level.limit}={more}   # so much more, in this window only\n"
        f"agenthub budget set {name.shown} {level.limit}={level.amount * 2 or 1:g}     # another limit from now on\n"
        f"agenthub budget ls"
    )
