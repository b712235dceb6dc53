"""What happens at a hub, as messages to the app: a burst is one message, so that it is one repaint."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from textual.message import Message

from agenthub.client import LiveEvent
from agenthub.errors import AgenthubError
from agenthub.messages import Event
from agenthub.together import run_together
from agenthub.tui.facts import Picture
from agenthub.tui.source import Source

logger = logging.getLogger(__name__)

EVENTS_FRAME_S = 0.25
"""Events of this long come at once: nobody reads faster, and each time the whole list is drawn anew."""
WORDS_FRAME_S = 0.1
"""Words of a role that is watched: they are read while they are written."""
LOOK_EVERY_S = 1.0
_SOONEST_S = 0.5
_PASSING_S = 0.25
"""Whom the cursor leaves sooner is not watched."""

Item = TypeVar("Item")
_TELLING = {"parked", "taken", "completed", "resumed", "dead", "quarantined", "unhealthy", "healthy", "ready"}
"""After these the picture is another one: look at once."""


class Seen(Message):
    """The hub as it is now."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        super().__init__()


class Lost(Message):
    """The hub does not answer."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__()


class Heard(Message):
    """What happened."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        super().__init__()


class Said(Message):
    """What a role that is watched says and does."""

    def __init__(self, role: str, events: Sequence[LiveEvent]) -> None:
        self.role, self.events = role, events
        super().__init__()


class Listener(Protocol):
    """Who is told."""

    def post_message(self, message: Message) -> bool: ...


class Feed:
    """Reads a source for as long as it runs and tells a listener."""

    def __init__(self, source: Source, listener: Listener, *, last: int, since: datetime | None) -> None:
        self._source, self._listener = source, listener
        self._last, self._since = (None if since else last), since
        self._soon = asyncio.Event()
        self._wanted = asyncio.Event()
        self._role = ""

    def look_soon(self) -> None:
        """Have the next picture come at once."""
        self._source.forget()
        self._soon.set()

    def watch(self, role: str) -> None:
        """Tell what another role says and does from now on; empty: nobody's."""
        self._role = role
        self._wanted.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        await run_together([("pictures", self._pictures()), ("events", self._events()), ("words", self._words())])

    async def _pictures(self) -> None:
        while True:
            self._soon.clear()
            try:
                self._listener.post_message(Seen(await self._source.picture()))
            except (AgenthubError, TimeoutError) as error:
                self._listener.post_message(Lost(str(error)))
            await asyncio.sleep(_SOONEST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S - _SOONEST_S):
                    await self._soon.wait()

    async def _events(self) -> None:
        batch: list[Event] = []

        def tell() -> None:
            if any(event.kind in _TELLING for event in batch):
                self.look_soon()
            self._listener.post_message(Heard(tuple(batch)))
            batch.clear()

        while True:
            try:
                events = self._source.events(last=self._last, since=self._since)
                await _batched(events, batch, tell, frame_s=EVENTS_FRAME_S)
            except (AgenthubError, TimeoutError) as error:
                logger.info("events: %s", error)
                self._last, self._since = 0, None  # what was read already is on the screen
            await asyncio.sleep(LOOK_EVERY_S)

    async def _words(self) -> None:
        while True:
            self._wanted.clear()
            role = self._role
            watching = asyncio.create_task(self._watch(role), name=f"watch {role}") if role else None
            try:
                await self._wanted.wait()
            finally:
                if watching is not None:
                    watching.cancel()
                    await asyncio.wait([watching])

    async def _watch(self, role: str) -> None:
        batch: list[tuple[str, LiveEvent]] = []

        def tell() -> None:
            self._listener.post_message(Said(role, [event for _, event in batch]))
            batch.clear()

        with contextlib.suppress(AgenthubError, TimeoutError):
            await asyncio.sleep(_PASSING_S)
            await _batched(self._source.live(role), batch, tell, frame_s=WORDS_FRAME_S)


async def _batched(items: AsyncGenerator[Item], batch: list[Item], tell: Callable[[], None], *, frame_s: float) -> None:
    """Put what comes into a batch, and tell of it when a frame is over."""
    loop = asyncio.get_running_loop()
    telling: asyncio.TimerHandle | None = None
    told_s = float("-inf")

    def now() -> None:
        nonlocal telling, told_s
        telling, told_s = None, loop.time()
        tell()

    async with contextlib.aclosing(items):
        try:
            async for item in items:
                batch.append(item)
                if telling is None:
                    telling = loop.call_at(max(loop.time() + 0.01, told_s + frame_s), now)
        finally:
            if telling is not None:
                telling.cancel()
                now()
