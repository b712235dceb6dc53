"""Counters that the broker keeps: whole numbers to which many processes add, each addition once."""

from __future__ import annotations

import json

from agenthub import subjects
from agenthub.bus.connection import Bus


class Counters:
    """The counters of one stream; each subject is one."""

    def __init__(self, bus: Bus, stream: str) -> None:
        self._bus, self._stream = bus, stream

    async def add(self, subject: str, amount: int, *, message_id: str) -> int:
        """Add to a counter; what it stands at then.

        The same `message_id` again within the stream's window adds nothing: a repeat after a crash is harmless.
        """
        increment = {subjects.INCREMENT: str(amount)}
        stored = await self._bus.publish(subject, b"", message_id=message_id, headers=increment)
        return await self.read(subject) if stored.value is None else stored.value

    async def read(self, subject: str) -> int:
        """What a counter stands at; 0 if nothing was added yet."""
        data = await self._bus.last(self._stream, subject)
        return int(json.loads(data)["val"]) if data else 0
