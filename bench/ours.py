"""Our side: a real role by `run_role`, in a process of its own, with a session that costs nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any
from unittest import mock

from pydantic import BaseModel

from agenthub.asks import Request
from agenthub.coordination import Coordination
from agenthub.messages import Outcome, Priority, Usage
from agenthub.organization import Organization
from agenthub.runtime import RolePlace, run_role
from agenthub.sessions.conversation import Conversation
from agenthub.sessions.journal import Journal
from agenthub.sessions.model_calls import Answer
from agenthub.sessions.session import (
    ContextInfo,
    Prompt,
    SessionEvent,
    TextDelta,
    Tool,
    ToolCall,
    ToolOutcome,
    TurnEnd,
    TurnResult,
)
from agenthub.settings import Settings

_DONE = TurnResult(TurnEnd.FINISHED, Outcome.DONE, "done")
_USAGE = Usage(calls=1, input_tokens=10, output_tokens=10)


class NoSession:
    """A session that is done at once."""

    async def start(self) -> None: ...

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent]:
        yield _DONE

    async def inject(self, notice: str) -> bool:
        return False

    async def interrupt(self) -> None: ...

    async def context(self) -> ContextInfo:
        return ContextInfo(0, 0)

    async def close(self) -> None: ...


class SleepingSession(NoSession):
    """A session whose turns all take the same time, and cannot be hurried."""

    def __init__(self, turn_s: float) -> None:
        self._turn_s = turn_s

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent]:
        await asyncio.sleep(self._turn_s)
        yield _DONE


class SteppingSession(NoSession):
    """A session that records a number of steps in the journal, one commit each, and is done."""

    def __init__(self, journal: Journal, steps: int) -> None:
        self._journal, self._steps = journal, steps

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent]:
        for number in range(self._steps):
            self._journal.record_step(turn_id, number, "nothing", {"content": "ok"})
        yield _DONE


class FanningSession(NoSession):
    """A session that delegates each task to all specialists, and is done when they have answered."""

    coordination: Coordination
    """Of the role that it works for; set before the first turn."""

    def __init__(self, specialists: Sequence[str]) -> None:
        self._specialists = specialists

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent]:
        if turn_id != prompt.task.id:  # it goes on, with the answers
            yield _DONE
            return
        payload = prompt.task.payload
        requests = [Request(name, payload.subject, payload.message, Priority.MEDIUM) for name in self._specialists]
        await self.coordination.ask(requests, about=prompt.task, key=f"{turn_id}~1", within_s=600)
        yield TurnResult(TurnEnd.PARKED, text="waits")


class CallingModel:
    """A model that answers at once: a tool call in each answer, a number of times, then `finish`."""

    name = "claude-sonnet-5-5"
    window = 0

    def __init__(self, calls: int) -> None:
        self._calls, self._answered = calls, 0

    async def start(self) -> None: ...

    def interrupt(self) -> None: ...

    async def answer(
        self, *, system: str, tools: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]]
    ) -> AsyncGenerator[TextDelta | Usage | Answer]:
        self._answered += 1
        name = "finish" if self._answered % self._calls == 0 else "nothing"
        block = {"type": "tool_use", "id": f"toolu_{self._answered}", "name": name, "input": {}}
        yield Answer([block], "tool_use", _USAGE)

    async def close(self) -> None: ...


class _Nothing(BaseModel):
    pass


async def _nothing(arguments: _Nothing, call: ToolCall) -> ToolOutcome:
    return ToolOutcome("ok")


async def _finish(arguments: _Nothing, call: ToolCall) -> ToolOutcome:
    return ToolOutcome("done", ends_turn=_DONE)


async def _at_once() -> None: ...


class _SharedPlace(RolePlace):
    """A place whose journal the role and its session share, as they do in `run_role`."""

    _opened: Journal | None = None

    def journal(self) -> Journal:
        self._opened = self._opened or super().journal()
        return self._opened


async def work(stop: asyncio.Event, settings: Settings, organization: Organization, name: str, steps: int = 0) -> None:
    """A role whose turns are done at once, or after recording `steps`."""
    place = _SharedPlace(settings, organization, name)
    session = SteppingSession(place.journal(), steps) if steps else NoSession()
    await run_role(place, stop=stop, session=session)


async def sleep(stop: asyncio.Event, settings: Settings, organization: Organization, name: str, turn_s: float) -> None:
    """A role whose turns all take `turn_s`."""
    await run_role(RolePlace(settings, organization, name), stop=stop, session=SleepingSession(turn_s))


async def converse(stop: asyncio.Event, settings: Settings, organization: Organization, name: str, calls: int) -> None:
    """A role with the real tool loop; each turn makes `calls` model calls with one tool call each."""
    place = _SharedPlace(settings, organization, name)
    tools = [
        Tool("nothing", "Does nothing.", _Nothing, _nothing),
        Tool("finish", "Ends the task.", _Nothing, _finish),
    ]
    session = Conversation(
        CallingModel(calls), place.journal(), system="You are measured.", tools=tools, max_steps=50,
        before_effect=_at_once,
    )  # fmt: skip
    await run_role(place, stop=stop, session=session)


async def coordinate(
    stop: asyncio.Event, settings: Settings, organization: Organization, name: str, specialists: Sequence[str]
) -> None:
    """A role that fans each directive out to the specialists and merges their answers."""
    session = FanningSession(specialists)

    def build(*arguments: Any, **more: Any) -> Coordination:
        session.coordination = Coordination(*arguments, **more)
        return session.coordination

    # A session that is given to `run_role` gets no tools, so it takes the coordination where that is built.
    with mock.patch("agenthub.runtime.Coordination", build):
        await run_role(RolePlace(settings, organization, name), stop=stop, session=session)
