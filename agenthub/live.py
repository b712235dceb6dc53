"""A role tells what it says and does while it happens, to whoever watches; the recent past to who comes late.

Nothing is stored, and nothing is published while nobody watches: who watches says so every few seconds. What
streams is gathered, so that it makes some ten small publications a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any, NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.received import Heard
from agenthub.messages import new_id
from agenthub.sessions.blocks import whole
from agenthub.sessions.session import (
    ModelCalled,
    Prompt,
    Session,
    SessionEvent,
    TextDelta,
    ToolEnded,
    ToolStarted,
    TurnEnd,
    TurnResult,
)
from agenthub.together import run_together
from agenthub.transcript import ASKS_PAST, Kind, LiveBatch, LiveEvent

EVERY_S = 0.1
"""How often what streams is published."""
WATCHED_S = 15.0
"""So long a role tells after it was last asked to."""
MOST_EVENTS = 400
MOST_CHARACTERS = 60_000
"""What is kept of the past for who comes late."""
_LONGEST_TEXT = 4000


class _Heard(NamedTuple):
    """What may be told. Made into an event only when it is: mostly nobody watches."""

    number: int
    kind: Kind
    at: datetime
    text: str
    message_id: str
    more: dict[str, Any]

    def shown(self, mask: Callable[[str], str]) -> LiveEvent:
        return LiveEvent(
            number=self.number,
            kind=self.kind,
            at=self.at,
            text=whole(mask(self.text)),
            message_id=self.message_id,
            **self.more,
        )


class Live:
    """The live transcript of one role process."""

    def __init__(
        self, bus: Bus, role: str, key: str, *, clock: Callable[[], datetime], mask: Callable[[str], str]
    ) -> None:
        """The transcript of the process `key` of a role.

        Args:
            clock: Gives the moment that people see.
            mask: Takes secrets out of what is told.
        """
        self._bus, self._role, self._key, self._clock, self._mask = bus, role, key, clock, mask
        self._process = new_id()[:8]
        self._number = 0
        self._past: deque[_Heard] = deque()
        self._past_characters = 0
        self._fresh: list[_Heard] = []
        self._words: list[str] = []
        self._is_anew = False
        self._message_id = ""
        self._watched_until_s = 0.0
        self._told = asyncio.Event()
        self._is_asked = False
        """True if somebody wants to know the recent past."""
        self.tell("started")

    async def run(self) -> None:
        """Publish, and answer who begins to watch, until cancelled."""
        async with self._bus.listen(subjects.watch(self._role, "*")) as asked:
            await self._publish([*self._past], is_past=True)  # who watched the process before this one asks it at once
            await run_together([("publish live", self._flush()), ("who watches", self._hear_watchers(asked))])

    async def _hear_watchers(self, asked: Heard) -> None:
        async for received in asked:
            self._watched_until_s = asyncio.get_running_loop().time() + WATCHED_S
            self._is_asked = self._is_asked or received.data == ASKS_PAST
            self._told.set()

    def begin(self, prompt: Prompt) -> None:
        """A turn begins, or goes on."""
        self._message_id = prompt.task.id
        self.tell("turn", prompt.task.title, from_role=prompt.task.from_role)

    def hear(self, event: SessionEvent) -> None:
        """Tell what the session said."""
        match event:
            case TextDelta(text, is_anew):
                self._hear_words(text, is_anew=is_anew)
            case ToolStarted(name, summary):
                self.tell("tool", summary, tool=name)
            case ToolEnded(name, summary, is_error, _, duration_s):
                self.tell("tool_ended", summary, tool=name, is_error=is_error, duration_s=round(duration_s, 3))
            case ModelCalled(_, _, duration_s, _):
                self.tell("model", duration_s=round(duration_s, 3))
            case TurnResult(end, outcome, text):
                is_over = end in (TurnEnd.FINISHED, TurnEnd.STOPPED)
                self.end(str(outcome) if is_over else end.value, text)

    def end(self, outcome: str, text: str = "") -> None:
        """The turn ended."""
        self.tell("ended", text, outcome=outcome)
        self._message_id = ""

    def tell(self, kind: Kind, text: str = "", **more: Any) -> None:
        """Tell one thing; costs next to nothing while nobody watches."""
        self._gather_words()
        self._add(kind, text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…", **more)

    def _hear_words(self, text: str, *, is_anew: bool) -> None:
        if is_anew:
            self._gather_words()
            self._is_anew = True
        if text:
            self._words.append(text)
            if self._is_watched:
                self._told.set()
            elif len(self._words) >= _LONGEST_TEXT:
                self._gather_words()

    @property
    def _is_watched(self) -> bool:
        return asyncio.get_running_loop().time() < self._watched_until_s

    def _gather_words(self) -> None:
        if self._words or self._is_anew:
            words, is_anew, self._is_anew = "".join(self._words), self._is_anew, False
            self._words.clear()
            for start in range(0, len(words) or 1, _LONGEST_TEXT):
                self._add("text", words[start : start + _LONGEST_TEXT], is_anew=is_anew and not start)

    def _add(self, kind: Kind, text: str, **more: Any) -> None:
        self._number += 1
        event = _Heard(self._number, kind, self._clock(), text, self._message_id, more)
        self._keep(event)
        if self._is_watched:
            self._fresh.append(event)
            self._told.set()

    def _keep(self, event: _Heard) -> None:
        """Add to the past; words that follow words become one piece of it."""
        last = self._past[-1] if self._past else None
        if (
            event.kind == "text" and not event.more["is_anew"] and last is not None and last.kind == "text"
            and len(last.text) + len(event.text) <= _LONGEST_TEXT
        ):  # fmt: skip
            self._past[-1] = event._replace(text=last.text + event.text, more=last.more, at=last.at)
        else:
            self._past.append(event)
        self._past_characters += len(event.text)
        while len(self._past) > MOST_EVENTS or self._past_characters > MOST_CHARACTERS:
            self._past_characters -= len(self._past.popleft().text)

    async def _flush(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            self._gather_words()
            fresh, self._fresh = self._fresh, []
            await self._publish(fresh)
            if self._is_asked:  # everybody hears it; who knows it already skips it by its numbers
                self._is_asked = False
                await self._publish([*self._past], is_past=True)
            await asyncio.sleep(EVERY_S)

    async def _publish(self, heard: list[_Heard], *, is_past: bool = False) -> None:
        if heard:
            events = [one.shown(self._mask) for one in heard]
            batch = LiveBatch(key=self._key, process=self._process, is_past=is_past, events=events)
            await self._bus.tell(subjects.live(self._role), batch.encode())


class LiveSession:
    """A session whose turns are told live."""

    def __init__(self, session: Session, live: Live) -> None:
        self._session, self._live = session, live
        self.start, self.interrupt = session.start, session.interrupt
        self.context, self.close = session.context, session.close

    async def inject(self, notice: str) -> bool:
        """Show words of the host to the model at its next tool step. False if no turn runs."""
        is_heard = await self._session.inject(notice)
        if is_heard:
            self._live.tell("notice", notice)
        return is_heard

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent, None]:
        """Work on a prompt; the last event is the `TurnResult`."""
        self._live.begin(prompt)
        has_ended = False
        try:
            async with aclosing(self._session.turn(prompt, turn_id=turn_id)) as events:
                async for event in events:
                    self._live.hear(event)
                    has_ended = has_ended or isinstance(event, TurnResult)
                    yield event
        except Exception as error:
            self._live.end("broken_off", str(error))
            has_ended = True
            raise
        finally:
            if not has_ended:
                self._live.end("broken_off")
