"""What waits at the broker until its time has come: a person's decision may bring it at once."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.received import Received
from agenthub.messages import now

_MOST = 10_000
_MOST_LOOKED_THROUGH = 500
_PUT_OFF = re.compile(r"agent-hub\.sched\.([^.]+)\.[A-Z_]+-\d+")
"""Named after where the message was stored; what else is scheduled, a deadline of an ask, has an id for its name."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_WORDS = {"money": "waits for money", "model": "waits for the model", "decision": "waits for a decision"}


class PutOff(NamedTuple):
    """Why a message is not looked at yet, and until when."""

    waits_for: str
    """`money`, `model`, `decision`; empty: its next try."""
    until: datetime | None
    """None: it has come due, and its role has not fetched it."""

    @property
    def words(self) -> str:
        """For people: `waits for money until 2026-05-18 00:00 UTC`."""
        what = _WORDS.get(self.waits_for, "waits for its next try")
        return what if self.until is None else f"{what} until {self.until:%Y-%m-%d %H:%M} UTC"


def put_off_of(delayed: Received) -> PutOff:
    """What a message waits for, by its headers."""
    until = None
    with contextlib.suppress(ValueError):
        until = datetime.fromisoformat(delayed.headers.get(subjects.SCHEDULE, "").removeprefix("@at "))
    return PutOff(delayed.headers.get(subjects.WAITS_FOR, ""), until)


async def count_put_off(bus: Bus) -> Counter[str]:
    """How many messages are put off, by role."""
    counts = await bus.counts(subjects.SCHEDULES, subjects.ALL_SCHEDULES[0])
    found: Counter[str] = Counter()
    for subject, count in counts.items():
        if match := _PUT_OFF.fullmatch(subject):
            found[match[1]] += count
    return found


async def look_at_put_off(bus: Bus, role: str, *, most: int) -> list[Received]:
    """What a role has put off, what comes due first before the rest; nothing is taken."""
    found = [
        delayed
        for subject in (subjects.due(role), subjects.schedule(role, "*"))
        for delayed in await bus.look(subjects.SCHEDULES, subject, most=_MOST_LOOKED_THROUGH)
        if subjects.ATTEMPTS in delayed.headers
    ]
    return sorted(found, key=lambda delayed: put_off_of(delayed).until or _LONG_AGO)[:most]


async def hasten(bus: Bus, fits: Callable[[Received], bool]) -> int:
    """Have what was put off be looked at now, if it fits; how many messages."""
    number = 0
    for delayed in await bus.look(subjects.SCHEDULES, subjects.ALL_SCHEDULES[0], most=_MOST):
        if subjects.ATTEMPTS not in delayed.headers or not fits(delayed):
            continue
        kept = (subjects.ID, subjects.ATTEMPTS, subjects.DOOR)
        await bus.publish_at(
            now(), delayed.subject, delayed.headers[subjects.SCHEDULE_TARGET], delayed.data,
            message_id=f"hasten-{delayed.sequence}",
            headers={name: delayed.headers[name] for name in kept if name in delayed.headers},
        )  # fmt: skip
        number += 1
    return number


def waits_for(what: str, *, role: str = "") -> Callable[[Received], bool]:
    """True for what waits for `what` (see `errors`): of one role, or of all."""

    def fits(delayed: Received) -> bool:
        return delayed.headers.get(subjects.WAITS_FOR) == what and (
            not role or delayed.headers[subjects.SCHEDULE_TARGET] == subjects.due(role)
        )

    return fits
