"""Circuit breakers: who fails again and again is left alone for a while, then tried with one message.

Names and states after M. Nygard, Release It!, 2nd ed.: closed lets all pass, open nothing, half-open one probe.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agenthub.messages import Moment

_PROBE_S = 1860.0
"""A probe that says nothing for so long died; longer than a turn may take."""
_LONGEST_OPEN_S = 1800.0
RAMP_S = 8.0
_LEAST_FOR_RAMP_S = 10.0


class Rules(NamedTuple):
    """When a breaker trips, and for how long."""

    failure_rate: float = 0.5
    least: int = 5
    """Results that make a rate."""
    window_s: float = 600.0
    open_s: float = 60.0
    """Doubled each time that the probe fails, up to half an hour."""
    repeats: int = 5
    """The same tool call failing so often in a row is no progress; so are two that fail in turns twice as often."""
    usd: float = math.inf
    """US dollars that one process may spend within `window_s`: more is a role that runs away."""


class Result(NamedTuple):
    """How one thing went."""

    at: Moment
    ok: bool


class Action(NamedTuple):
    """One tool call of a turn."""

    what: str
    """Tool and arguments in a few words."""
    is_error: bool


class Cost(NamedTuple):
    """What one model call cost."""

    at: datetime
    usd: float


class Breaker(BaseModel):
    """One breaker, as all processes see it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    state: Literal["closed", "open", "half_open"] = "closed"
    shown: str = ""
    """What it is of, for people."""
    reason: str = ""
    since: Moment | None = None
    retry_at: Moment | None = None
    """When a probe may pass; of a probe under way, when it counts as dead."""
    trips: int = 0
    """How often it opened without having closed."""
    probe: str = ""
    """Process that tries."""
    results: list[Result] = Field(default_factory=list)


def trip(breaker: Breaker, reason: str, *, open_s: float, at: datetime) -> Breaker:
    """The breaker open, each time without success for twice as long; an earlier, longer wait stays."""
    wait_s = min(open_s * 2**breaker.trips, max(open_s, _LONGEST_OPEN_S))
    retry_at = at + timedelta(seconds=wait_s)
    if breaker.state == "open" and breaker.retry_at is not None and at < breaker.retry_at:
        if breaker.retry_at >= retry_at:
            return breaker
        return breaker.model_copy(update={"reason": reason, "retry_at": retry_at})
    return breaker.model_copy(
        update={
            "state": "open", "reason": reason, "since": at, "retry_at": retry_at, "trips": breaker.trips + 1,
            "probe": "", "results": [],
        }
    )  # fmt: skip


def close(breaker: Breaker) -> Breaker:
    """The breaker closed, and nothing held against anybody."""
    return Breaker(shown=breaker.shown)


def wait_s(breaker: Breaker, by: str, at: datetime) -> float | None:
    """Seconds until `by` may try; 0: it may try as the probe; None: it may pass."""
    if breaker.state == "closed" or (breaker.state == "half_open" and breaker.probe == by):
        return None
    left_s = (breaker.retry_at - at).total_seconds() if breaker.retry_at else 0.0
    return max(0.0, left_s)


def whole_wait_s(breaker: Breaker) -> float:
    """Seconds for which an open breaker is open in all."""
    return (breaker.retry_at - breaker.since).total_seconds() if breaker.retry_at and breaker.since else 0.0


def probing(breaker: Breaker, by: str, at: datetime) -> Breaker | None:
    """The breaker with `by` trying; None if it may not."""
    if wait_s(breaker, by, at) != 0:
        return None
    until = at + timedelta(seconds=_PROBE_S)
    return breaker.model_copy(update={"state": "half_open", "probe": by, "retry_at": until})


def released(breaker: Breaker, by: str, at: datetime) -> Breaker | None:
    """The breaker as `by` leaves it, whose probe told nothing: the next may try; None if it was no probe."""
    if breaker.state != "half_open" or breaker.probe != by:
        return None
    return breaker.model_copy(update={"state": "open", "probe": "", "retry_at": at})


def recorded(breaker: Breaker, *, ok: bool, reason: str, by: str, at: datetime, rules: Rules) -> Breaker:
    """The breaker after something went well or not; it may trip, or close if `by` was the probe."""
    if breaker.state == "half_open" and breaker.probe == by:
        return close(breaker) if ok else trip(breaker, reason, open_s=rules.open_s, at=at)
    if breaker.state != "closed":
        return breaker
    begin = at - timedelta(seconds=rules.window_s)
    results = [result for result in breaker.results if result.at > begin]
    if ok and not results:
        return breaker.model_copy(update={"results": []})
    results = [*results, Result(at, ok)][-4 * rules.least :]
    failed = sum(not result.ok for result in results)
    if not ok and len(results) >= rules.least and failed >= rules.failure_rate * len(results):
        said = f"{failed} of the last {len(results)} failed, the last: {reason}"
        return trip(breaker, said, open_s=rules.open_s, at=at)
    return breaker.model_copy(update={"results": results})


def no_progress(actions: Sequence[Action], *, repeats: int) -> str:
    """Why the last tool calls of a turn are no progress; empty if they may be.

    The same call failing `repeats` times in a row, or no more than two calls failing in turns twice as often.
    """
    failing = list(itertools.takewhile(lambda action: action.is_error, reversed(actions)))
    same = list(itertools.takewhile(lambda action: action.what == failing[0].what, failing))
    if len(same) >= repeats:
        return f"`{same[0].what[:100]}` failed {len(same)} times in a row"
    between = {action.what for action in failing[: 2 * repeats]}
    if len(failing) >= 2 * repeats and len(between) <= 2:
        return f"{' and '.join(f'`{what[:100]}`' for what in sorted(between))} failed in turns {2 * repeats} times"
    return ""


def spent_within(costs: Iterable[Cost], at: datetime, *, window_s: float) -> list[Cost]:
    """What was spent within the last `window_s` seconds."""
    begin = at - timedelta(seconds=window_s)
    return [cost for cost in costs if cost.at > begin]


def ramp_s(whole_wait_s: float, *, rank: int, who: str) -> float:
    """Seconds more that a long wait gets, so that not all begin in the same second: the urgent first.

    Args:
        whole_wait_s: From when the wait began, for whomever: who comes when little of it is left has to queue, too.
        rank: Of the priority, 0 to 3.
    """
    if whole_wait_s < _LEAST_FOR_RAMP_S:
        return 0.0
    share = int.from_bytes(hashlib.sha256(who.encode()).digest()[:4], "big") / 2**32
    return RAMP_S / 4 * (rank + share)


def account_of(base_url: str, api_key: str) -> str:
    """Short name of who pays where: the same for all roles that share a key at a provider. It tells no key."""
    return hashlib.sha256(f"{base_url}\n{api_key}".encode()).hexdigest()[:16]
