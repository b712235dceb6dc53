"""The registry: the heartbeat of each role process. Who stops beating is gone from it by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from agenthub import subjects
from agenthub.bus.buckets import Bucket
from agenthub.bus.connection import Bus
from agenthub.errors import HubError
from agenthub.messages import Heartbeat

logger = logging.getLogger(__name__)

_LEAST_GAP_S = 0.25


class Registry:
    """Heartbeats of all roles."""

    def __init__(self, bus: Bus) -> None:
        self._beats = Bucket(bus, subjects.REGISTRY, Heartbeat)

    async def all(self) -> dict[str, Heartbeat]:
        """The roles that beat, by name."""
        return await self._beats.items()

    async def put(self, key: str, beat: Heartbeat, *, every_s: float) -> None:
        """Enter a heartbeat; it vanishes when three in a row did not come."""
        await self._beats.put(key, beat, ttl_s=max(2.0, round(3 * every_s)))

    async def remove(self, key: str) -> None:
        """Sign off."""
        await self._beats.delete(key)


class Pulse:
    """Beats for one role: regularly, and soon after each change of what it does."""

    def __init__(self, registry: Registry, key: str, *, every_s: float, look: Callable[[], Heartbeat]) -> None:
        self._registry, self._key, self._every_s, self._look = registry, key, every_s, look
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Have the next beat come soon."""
        self._changed.set()

    async def first(self) -> None:
        """Beat once; when this returns the role is seen."""
        await self._registry.put(self._key, self._look(), every_s=self._every_s)

    async def run(self) -> None:
        """Beat until cancelled. A broker that does not answer is no reason to stop."""
        while True:
            await asyncio.sleep(_LEAST_GAP_S)  # a burst of short turns is one beat
            try:
                async with asyncio.timeout(self._every_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self._registry.put(self._key, self._look(), every_s=self._every_s)
            except HubError as error:
                logger.info("no heartbeat: %s", error)
