"""What waits at the broker until its time has come: a person's decision may bring it at once."""

from __future__ import annotations

from collections.abc import Callable

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.received import Received
from agenthub.messages import now

_MOST = 10_000


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
