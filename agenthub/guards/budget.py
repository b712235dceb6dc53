"""Budgets: what an account may spend in an hour, a day and a month, in US dollars, tokens and turns.

Reserve, then settle. Before a model call an estimate is set aside in the account of the role and in that of the
organization; afterwards it gives way to what the call really took. A call may begin while something is left, so an
account goes over its limit by one call at the most, however many processes spend at the same moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agenthub.messages import Moment

UNITS = ("usd", "tokens", "turns")
WINDOWS = ("hour", "day", "month")
LIMITS = tuple(f"{unit}_{window}" for unit in UNITS for window in WINDOWS)
"""Names of all limits: `usd_day` is US dollars a day."""

WARN_AT = 0.8
"""Share of a limit at which a person is warned, once in a window."""
LOOK_AGAIN_S = 900.0
"""How often what waits for money is looked at again at the latest: a file may say another limit now."""
BUSY_S = 5.0
"""How long a call waits if what is left is set aside for calls that run."""
_FORGET_AFTER = timedelta(days=1)

Limits = Mapping[str, float]
"""Name of a limit → amount. One that is not there does not exist."""


class Amount(BaseModel):
    """What calls take."""

    model_config = ConfigDict(frozen=True)

    usd: float = 0.0
    tokens: float = 0.0
    turns: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(usd=self.usd + other.usd, tokens=self.tokens + other.tokens, turns=self.turns + other.turns)


class Spent(Amount):
    """What was spent since a window opened."""

    since: Moment
    told: dict[str, float] = Field(default_factory=dict)
    """Limit → the share of it that a person was told of."""


class Reservation(Amount):
    """What is set aside for a call that runs."""

    id: str
    at: Moment
    until: Moment
    """When it is free again, whatever became of the process."""


class Grant(BaseModel):
    """An extra amount that a person allowed."""

    model_config = ConfigDict(frozen=True)

    limit: str
    amount: float
    until: Moment
    by: str
    at: Moment


class LimitSet(BaseModel):
    """A limit that a person set at run time, above what the files say. None: unlimited."""

    model_config = ConfigDict(frozen=True)

    amount: float | None
    by: str
    at: Moment


class Account(BaseModel):
    """What one role, or the organization, spent and set aside, and what persons decided about it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    spent: dict[str, Spent] = Field(default_factory=dict)
    """By window."""
    reserved: dict[str, Reservation] = Field(default_factory=dict)
    """By process: each makes one call at a time."""
    grants: list[Grant] = Field(default_factory=list)
    limits: dict[str, LimitSet] = Field(default_factory=dict)


class Short(NamedTuple):
    """A limit that a call would have to cross."""

    limit: str
    spent: float
    amount: float
    """What may be spent in this window, grants included."""
    opens_at: datetime
    """When its next window opens."""
    is_busy: bool
    """True if something is left, but set aside for calls that run: it may be free in a moment."""


class Level(NamedTuple):
    """How far an account is with one limit."""

    limit: str
    spent: float
    reserved: float
    amount: float
    opens_at: datetime

    @property
    def share(self) -> float:
        """0 to 1, and above if a call went over."""
        return self.spent / self.amount if self.amount else 1.0


def opened_at(window: str, at: datetime) -> datetime:
    """When the window began that `at` lies in; UTC."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    if window == "hour":
        return hour
    return hour.replace(hour=0) if window == "day" else hour.replace(hour=0, day=1)


def opens_at(window: str, at: datetime) -> datetime:
    """When the window after the one begins that `at` lies in."""
    begun = opened_at(window, at)
    if window == "month":
        return opened_at("month", begun + timedelta(days=32))
    return begun + timedelta(hours=1 if window == "hour" else 24)


def unchanged_until(account: Account, at: datetime) -> datetime:
    """Until when time alone takes nothing away that may be spent: the end of the hour, or of a grant."""
    return min([opens_at("hour", at), *(grant.until for grant in account.grants if grant.until > at)])


def rolled(account: Account, at: datetime) -> Account:
    """The account as it stands at `at`: windows that are over begin anew, what has run out is dropped.

    The clock of another machine may be ahead: a window never goes back.
    """
    spent = {}
    for window in WINDOWS:
        begun, found = opened_at(window, at), account.spent.get(window)
        spent[window] = found if found is not None and found.since >= begun else Spent(since=begun)
    # Longer than they count, so that a call that comes to its end late is settled, and only once.
    reserved = {key: held for key, held in account.reserved.items() if held.until + _FORGET_AFTER > at}
    grants = [grant for grant in account.grants if grant.until > at]
    return account.model_copy(update={"spent": spent, "reserved": reserved, "grants": grants})


def effective(account: Account, limits: Limits, at: datetime) -> dict[str, float]:
    """The limits that hold at `at`: of the files, then what persons set, then what they granted on top."""
    found = {name: amount for name, amount in limits.items() if name in LIMITS}
    for name, said in account.limits.items():
        found.pop(name, None)
        if said.amount is not None:
            found[name] = said.amount
    for grant in account.grants:
        if grant.limit in found and grant.until > at:
            found[grant.limit] += grant.amount
    return found


def levels(account: Account, limits: Limits, at: datetime) -> list[Level]:
    """How far the account is with each of its limits."""
    account = rolled(account, at)
    result = []
    for name, amount in effective(account, limits, at).items():
        unit, _, window = name.partition("_")
        reserved = sum(getattr(held, unit) for held in account.reserved.values() if held.until > at)
        spent = account.spent[window]
        opens = max(opens_at(window, at), opens_at(window, spent.since))
        result.append(Level(name, getattr(spent, unit), reserved, amount, opens))
    return result


def short_of(account: Account, limits: Limits, call: Amount, at: datetime, *, besides: str = "") -> Short | None:
    """The limit that keeps a call from being made; None if it may be. Of several the one that lasts longest.

    Args:
        call: What it is expected to take; a limit on what it takes nothing of does not concern it.
        besides: Process whose own reservation does not count.
    """
    others = {key: held for key, held in account.reserved.items() if key != besides}
    found = [
        Short(level.limit, level.spent, level.amount, level.opens_at, is_busy=level.spent < level.amount)
        for level in levels(account.model_copy(update={"reserved": others}), limits, at)
        if getattr(call, level.limit.partition("_")[0]) > 0 and level.spent + level.reserved >= level.amount
    ]
    return max(found, key=lambda short: (not short.is_busy, short.opens_at), default=None)


def with_reservation(account: Account, key: str, held: Reservation) -> Account:
    """The account with something set aside for one process."""
    account = rolled(account, held.at)
    return account.model_copy(update={"reserved": {**account.reserved, key: held}})


def settled(account: Account, key: str, reservation: str, took: Amount, at: datetime) -> Account:
    """The account after a call; settling it again changes nothing."""
    held = account.reserved.get(key)
    if held is None or held.id != reservation:
        return account
    account = rolled(account, at)
    spent = {
        window: now.model_copy(update=(Amount(usd=now.usd, tokens=now.tokens, turns=now.turns) + took).model_dump())
        for window, now in account.spent.items()
    }
    reserved = {name: other for name, other in account.reserved.items() if name != key}
    return account.model_copy(update={"spent": spent, "reserved": reserved})


def untold(account: Account, limits: Limits, at: datetime) -> list[tuple[Level, float]]:
    """Limits of which a person must be told, and the share to tell of: `WARN_AT`, or 1 once it is reached."""
    result = []
    account = rolled(account, at)
    for level in levels(account, limits, at):
        share = 1.0 if level.spent >= level.amount else WARN_AT if level.share >= WARN_AT else 0.0
        told = account.spent[level.limit.partition("_")[2]].told.get(level.limit, 0.0)
        if share > told and not (share < 1 and level.amount == 0):
            result.append((level, share))
    return result


def with_told(account: Account, limit: str, share: float, since: datetime) -> Account:
    """The account with a note that a person was told."""
    window = limit.partition("_")[2]
    now = account.spent.get(window)
    if now is None or now.since != since or now.told.get(limit, 0.0) >= share:
        return account
    told = now.model_copy(update={"told": {**now.told, limit: share}})
    return account.model_copy(update={"spent": {**account.spent, window: told}})


def with_grant(account: Account, grant: Grant) -> Account:
    """The account with an extra amount; a person is told anew when that is used up as well."""
    account = rolled(account, grant.at)
    window = grant.limit.partition("_")[2]
    now = account.spent[window]
    told = {limit: share for limit, share in now.told.items() if limit != grant.limit}
    spent = {**account.spent, window: now.model_copy(update={"told": told})}
    return account.model_copy(update={"spent": spent, "grants": [*account.grants, grant]})


def retry_after_s(short: Short, at: datetime) -> float:
    """Seconds until what is short is looked at again: when its window opens, a quarter of an hour at the most."""
    if short.is_busy:
        return BUSY_S
    return min(LOOK_AGAIN_S, max(1.0, (short.opens_at - at).total_seconds()))


def spoken(limit: str, spent: float, amount: float) -> str:
    """How far somebody is, as people read it: `4.20 of 5.00 USD`, `900 of 2,000,000 tokens`."""
    unit = limit.partition("_")[0]
    return f"{spent:.2f} of {amount:.2f} USD" if unit == "usd" else f"{spent:,.0f} of {amount:,.0f} {unit}"
