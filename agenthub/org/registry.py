"""The registry: the heartbeat of each role process, and since when those are gone that should beat and do not.

Who stops beating is gone from the heartbeats by itself, when their time is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from agenthub import subjects
from agenthub.bus.buckets import Bucket
from agenthub.bus.connection import Bus
from agenthub.errors import HubError
from agenthub.presence import Absence, Heartbeat
from agenthub.rhythm import until_next_s

logger = logging.getLogger(__name__)

_LEAST_GAP_S = 0.25


class Registry:
    """Heartbeats of all roles."""

    def __init__(self, bus: Bus) -> None:
        self._beats = Bucket(bus, subjects.REGISTRY, Heartbeat)
        self._absences = Bucket(bus, subjects.HEALTH, Absence)

    async def all(self) -> dict[str, Heartbeat]:
        """The roles that beat, by name."""
        return await self._beats.items()

    async def put(self, key: str, beat: Heartbeat, *, every_s: float) -> None:
        """Enter a heartbeat; it vanishes when three in a row did not come."""
        await self._beats.put(key, beat, ttl_s=beat_ttl_s(every_s))

    async def find(self, key: str) -> Heartbeat | None:
        """The newest heartbeat of one process; None if it gives none."""
        entry = await self._beats.get(key)
        return entry.value if entry else None

    async def remove(self, key: str) -> None:
        """Sign off."""
        await self._beats.delete(key)

    async def absences(self) -> dict[str, Absence]:
        """Who should beat and does not, by key."""
        return await self._absences.items()

    async def absences_version(self) -> int:
        """A number that grows whenever somebody is noted or forgotten; cheap."""
        return await self._absences.version()

    async def note_absence(self, key: str, absence: Absence) -> None:
        """Have everybody see that a process is gone."""
        await self._absences.put(key, absence)

    async def forget_absence(self, key: str) -> None:
        """It is back, or is no longer expected."""
        await self._absences.delete(key)


def beat_ttl_s(every_s: float) -> float:
    """Seconds that a heartbeat stays in the registry: three in a row may be missed."""
    return max(2.0, round(3 * every_s))


class Sightings:
    """When each process was last seen to beat, by the clock of who looks.

    Who could not look for a while (the broker was away, the watcher itself was stopped) knows nothing of that
    time: everybody then counts as just seen.
    """

    def __init__(self, *, longest_gap_s: float) -> None:
        self._longest_gap_s = longest_gap_s
        self._looked_s: float | None = None
        self._begun_s = 0.0
        self._seen: dict[str, tuple[object, float]] = {}

    def look(self, signs: Mapping[str, object], *, at_s: float) -> None:
        """Take note of what is seen at this moment: by key, something that is another with each beat."""
        if self._looked_s is None or at_s - self._looked_s > self._longest_gap_s:
            self._begun_s = at_s
        self._looked_s = at_s
        for key, sign in signs.items():
            if key not in self._seen or self._seen[key][0] != sign:
                self._seen[key] = (sign, at_s)

    def has_seen(self, key: str) -> bool:
        """True if it ever gave a sign."""
        return key in self._seen

    def silent_s(self, key: str, *, at_s: float) -> float:
        """For how long it has certainly given no new sign."""
        return at_s - max(self._begun_s, self._seen[key][1] if key in self._seen else self._begun_s)


class Pulse:
    """Beats for one role: regularly, and soon after each change of what it does."""

    def __init__(self, registry: Registry, key: str, *, every_s: float, look: Callable[[], Heartbeat]) -> None:
        self._registry, self._key, self._every_s, self._look = registry, key, every_s, look
        self._changed = asyncio.Event()
        self.last: Heartbeat | None = None
        """The last one that the broker has stored."""

    def changed(self) -> None:
        """Have the next beat come soon."""
        self._changed.set()

    async def beat(self) -> None:
        """Beat once; when this returns the role is seen."""
        beat = self._look()
        await self._registry.put(self._key, beat, every_s=self._every_s)
        self.last = beat

    async def run(self) -> None:
        """Beat until cancelled. A broker that does not answer is no reason to stop."""
        while True:
            try:
                async with asyncio.timeout(until_next_s(self._every_s)):
                    await self._changed.wait()
                await asyncio.sleep(_LEAST_GAP_S)  # a burst of short turns is one beat
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.beat()
            except HubError as error:
                logger.info("no heartbeat: %s", error)
