"""Alive, and not getting on: what the host does about a turn that makes no progress, one rung after the other.

Progress is anything that the session says, and anything that the loop takes or settles. The rungs are the
multiples of `stall_s`: flagged, told, interrupted, started again. No model decides any of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import IntEnum

from agenthub.errors import StalledError
from agenthub.org.activity import Activity
from agenthub.org.events import Events
from agenthub.rhythm import next_moment
from agenthub.sessions.session import Session

logger = logging.getLogger(__name__)

LOOKS_PER_RUNG = 10
_LONGEST_PAUSE_S = 5.0


class Rung(IntEnum):
    """How far the host goes with a turn that makes no progress."""

    FINE = 0
    STALLED = 1
    """People see it."""
    NUDGED = 2
    """The model is told, at its next tool step."""
    INTERRUPTED = 3
    """The turn is to end at its next step; it goes on later, as a try that failed."""
    RESTARTED = 4
    """The process ends itself and is started again."""


def rung(since_progress_s: float, stall_s: float) -> Rung:
    """The rung that a turn without progress for so long has come to."""
    return Rung(min(Rung.RESTARTED, int(since_progress_s // stall_s)))


class Ladder:
    """Looks after the turn of one role process, and climbs one rung at a time."""

    def __init__(
        self, activity: Activity, session: Session, events: Events, *, stall_s: float, clock: Callable[[], float]
    ) -> None:
        """`clock` gives seconds that do not pass while the machine sleeps."""
        self._activity, self._session, self._events = activity, session, events
        self._stall_s, self._clock = stall_s, clock
        self._at = Rung.FINE
        self._progress = -1
        self._since_s = clock()

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            StalledError: On the last rung.
        """
        while True:
            await next_moment(min(_LONGEST_PAUSE_S, self._stall_s / LOOKS_PER_RUNG))
            await self.look()

    async def look(self) -> None:
        """Climb one rung if it is time, or begin anew if there was progress."""
        activity = self._activity
        if activity.progress != self._progress or activity.message is None:
            self._progress, self._since_s, self._at = activity.progress, self._clock(), Rung.FINE
            return
        silent_s = self._clock() - self._since_s
        if rung(silent_s, max(self._stall_s, activity.patience_s)) > self._at:
            self._at = Rung(self._at + 1)  # one at a time: each gets its chance
            await self._climb(self._at, silent_s)

    async def _climb(self, to: Rung, silent_s: float) -> None:
        what = f"no progress for {silent_s:.0f} s: {self._activity.doing}"
        self._activity.stalls(to.name.lower())
        await self._events.tell(_KINDS[to], what, self._activity.message)
        logger.warning("%s: %s", to.name.lower(), what)
        if to is Rung.NUDGED:
            await self._session.inject(
                f"This turn has made no progress for {silent_s:.0f} s. If what you do cannot succeed, do something "
                "else, or call `finish` and say what blocks you."
            )
        elif to is Rung.INTERRUPTED:
            await self._session.interrupt()
        elif to is Rung.RESTARTED:
            raise StalledError(what)


_KINDS = {
    Rung.STALLED: "stalled", Rung.NUDGED: "nudged", Rung.INTERRUPTED: "interrupted", Rung.RESTARTED: "restarting",
}  # fmt: skip
