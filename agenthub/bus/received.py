"""What was read or heard on the bus without being taken."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import NamedTuple


class Received(NamedTuple):
    """A message that was read without being taken."""

    subject: str
    data: bytes
    headers: dict[str, str]
    sequence: int
    """Place in its stream; 0 if it was only heard."""
    stored_at: datetime | None = None


class Heard:
    """What is published while somebody listens, one after the other; waiting for the next may be given up."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Received] = asyncio.Queue()
        self.put = self._arrived.put_nowait

    def __aiter__(self) -> Heard:
        return self

    async def __anext__(self) -> Received:
        return await self._arrived.get()
