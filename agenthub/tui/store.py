"""The newest events, as many as a day has, bounded; shared by all that show them."""

from __future__ import annotations

from collections.abc import Sequence

from agenthub.messages import Event

MOST = 50_000
_CHUNK = 5_000


class EventStore:
    """Events, oldest first. When there are too many, the oldest go in chunks."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._chunk = max(1, min(_CHUNK, most // 5))
        self.events: list[Event] = []

    def add(self, new: Sequence[Event]) -> list[Event]:
        """Add events; those that were dropped for them."""
        self.events += new
        over = len(self.events) - self._most
        if over <= 0:
            return []
        over = min(len(self.events), max(over, self._chunk))
        dropped = self.events[:over]
        del self.events[:over]
        return dropped
