"""A bucket of which this process knows the newest values: the broker tells each change to whoever listens.

So looking costs nothing, and a change by comparison mostly succeeds at the first try: one round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Generic

from agenthub import subjects
from agenthub.bus.buckets import Bucket, Entry, Value, is_newer
from agenthub.bus.connection import Bus
from agenthub.bus.received import Heard

_PAUSE_S = 0.002


class WatchedBucket(Generic[Value]):
    """Values of one model that many processes change, each by comparison."""

    def __init__(self, bus: Bus, name: str, model: type[Value]) -> None:
        self._bus, self._name, self._model = bus, name, model
        self._bucket = Bucket(bus, name, model)
        self._known: dict[str, Entry[Value]] = {}
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[Heard]:
        """Changes as they are stored, for `follow`; begins with what is there."""
        async with self._bus.listen(subjects.states(self._name)) as changes:
            self._bus.on_reconnect(self._load)  # what was changed meanwhile was not heard
            await self._load()
            yield changes

    async def follow(self, changes: Heard) -> None:
        """Keep what is known up to date until cancelled."""
        prefix = len(subjects.states(self._name)) - 1
        async for received in changes:
            key, revision = received.subject[prefix:], int(received.headers.get(subjects.COPY_SEQUENCE, 0))
            if is_newer(received.headers):
                self._known.pop(key, None)  # whoever needs it reads it, and hears why that fails
                continue
            try:
                self._learn(key, Entry(self._model.model_validate_json(received.data), revision))
            except ValueError:  # deleted
                self._known.pop(key, None)

    def known(self, key: str) -> Value | None:
        """The newest value that this process has heard of; costs nothing."""
        entry = self._known.get(key)
        return entry.value if entry else None

    async def items(self) -> dict[str, Value]:
        """All values, as the broker has them."""
        return await self._bucket.items()

    async def read(self, key: str) -> Value | None:
        """The value as the broker has it."""
        value, revision = await self._bucket.read(key)
        if value is not None:
            self._learn(key, Entry(value, revision))
        return value

    async def change(self, key: str, to: Callable[[Value], Value | None]) -> Value:
        """Change a value by comparison: `to` gets the newest (or an empty one) and may be called again.

        Returns:
            What is stored then. If `to` gives back None or what it got, nothing is stored; that is decided on
            the newest value, never on what this process happens to know.
        """
        async with self._changing[key]:
            entry = self._known.get(key)
            is_sure = False
            while True:
                if entry is None:
                    value, revision = await self._bucket.read(key)
                    entry, is_sure = Entry(value if value is not None else self._model(), revision), True
                changed = to(entry.value)
                if changed is None or changed == entry.value:
                    if is_sure:
                        return entry.value
                elif (revision := await self._bucket.update(key, changed, entry.revision) or 0) > 0:
                    self._learn(key, Entry(changed, revision))
                    return changed
                elif is_sure:
                    await asyncio.sleep(_PAUSE_S)
                entry = None

    def _learn(self, key: str, entry: Entry[Value]) -> None:
        known = self._known.get(key)
        if known is None or entry.revision > known.revision:
            self._known[key] = entry

    async def _load(self) -> None:
        for key in await self._bucket.keys():
            await self.read(key)
