"""Watch a role: what it said and did lately, and then what it says and does, as it happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.errors import MessageError
from agenthub.transcript import ASKS_PAST, LiveBatch, LiveEvent

ASK_EVERY_S = 5.0
"""How often a watcher says that it is there; also the longest time for which it may miss a process that started."""


class Seen(NamedTuple):
    """How far a watcher has come with one process."""

    process: str
    number: int


async def watch(bus: Bus, role: str, *, watcher: str) -> AsyncGenerator[tuple[str, LiveEvent]]:
    """What a role says and does, each with the name of its process: first the recent past, then for ever what comes.

    It disturbs nobody. Of a role that is not there nothing comes until it is.

    Args:
        watcher: Who watches; a token.
    """
    ask = asyncio.Event()
    async with bus.listen(subjects.live(role)) as heard:
        asking = asyncio.create_task(_ask(bus, subjects.watch(role, watcher), ask), name="watch")
        try:
            seen: dict[str, Seen] = {}
            async for received in heard:
                try:
                    batch = LiveBatch.decode(received.data)
                except MessageError:
                    continue
                last = seen.get(batch.key, Seen("", 0))
                if last.process != batch.process:
                    ask.set()  # it may not know yet that somebody watches
                    if not batch.is_past:
                        continue  # what it holds comes again, with what was before
                    last = Seen(batch.process, 0)
                for event in batch.events:
                    if event.number > last.number:
                        last = last._replace(number=event.number)
                        yield batch.key, event
                seen[batch.key] = last
        finally:
            asking.cancel()
            await asyncio.wait([asking])


async def _ask(bus: Bus, subject: str, at_once: asyncio.Event) -> None:
    at_once.set()
    while True:
        await bus.tell(subject, ASKS_PAST if at_once.is_set() else b"")
        at_once.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_EVERY_S):
                await at_once.wait()
