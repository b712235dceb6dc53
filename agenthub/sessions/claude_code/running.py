"""A turn of Claude Code while it runs: what it says comes in from one side, the calls that it makes from the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from agenthub.errors import BudgetExhaustedError, FrozenError, SessionError, TraceParkedError
from agenthub.messages import Message
from agenthub.sessions import prompts
from agenthub.sessions.claude_code import endings, place
from agenthub.sessions.claude_code.answers import Answers, as_block
from agenthub.sessions.claude_code.permits import OwnPermits
from agenthub.sessions.claude_code.repeats import OpenCall
from agenthub.sessions.claude_code.store import Store
from agenthub.sessions.journal import Block, Journal
from agenthub.sessions.session import (
    SessionEvent,
    TextDelta,
    ToolCall,
    ToolEnded,
    ToolOutcome,
    ToolStarted,
    TurnEnd,
    TurnResult,
)
from agenthub.sessions.tool_calls import ToolCalls, outcome_to

_STOPPED = "The host ends this turn here; the call was not made."
_LAST_STEP = "This is your last step in this turn. Call `finish` now."
_SHORT = 200


class RunningTurn:
    """See the module. `events` has what happens, and at last the `TurnResult` or the error that ended the turn."""

    def __init__(
        self, turn_id: str, task: Message, *, answers: Answers, journal: Journal, store: Store, tool_calls: ToolCalls,
        open_calls: list[OpenCall], workspace: Path, max_steps: int, before_effect: Callable[[], Awaitable[None]],
        before_call: Callable[[], Awaitable[None]] | None, permits: OwnPermits, refused: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._turn_id, self._task, self.answers = turn_id, task, answers
        self._journal, self._store, self._tool_calls = journal, store, tool_calls
        self._open, self._workspace, self._max_steps = open_calls, workspace, max_steps
        self._before_effect, self._before_call, self._permits = before_effect, before_call, permits
        self._refused = refused
        """Its own tools that are not used here, and why."""
        self.events: asyncio.Queue[SessionEvent | BaseException] = asyncio.Queue()
        self.notices: list[str] = []
        self.in_hand = 0
        """Calls of our own tools that are being made."""
        self.is_over = False
        """True once Claude Code has said so: it waits for the next prompt then."""
        self.window = 0
        self._is_interrupted = False
        self._error: SessionError | None = None
        """Why the turn is to end, as soon as Claude Code has stopped."""
        self._ending: TurnResult | None = None
        self._begun: dict[str, tuple[str, float]] = {}
        """Its own tools that run: name and when it began, by id of the call."""

    def interrupt(self) -> None:
        """Let no further call be made, and end the turn at the next step."""
        self._is_interrupted = True

    @property
    def is_parked(self) -> bool:
        """True if a call waits for a person, so that Claude Code is to stop."""
        return self._ending is not None and self._ending.end is TurnEnd.PARKED

    @property
    def _is_to_stop(self) -> bool:
        return self._is_interrupted or self._error is not None

    # ── what it says ───────────────────────────────────────────────────────────────────────────────
    async def listen(self, messages: AsyncIterator[Any], identity: str) -> None:
        """Take in messages up to the result of the turn that the prompt with this id began."""
        try:
            async for message in messages:
                if getattr(message, "parent_tool_use_id", None) is not None:
                    continue
                if type(message).__name__ == "ResultMessage":
                    if identity in (message.user_message_uuids or [identity]):
                        self._ends(message)
                        return
                else:
                    self._hear(message)
            raise SessionError("Claude Code ended in the middle of the turn.")
        except Exception as error:  # noqa: BLE001 - whoever reads the events raises it
            self.events.put_nowait(error)

    def _hear(self, message: Any) -> None:
        match type(message).__name__:
            case "StreamEvent":
                called = self.answers.hear(message.event)
                delta = message.event.get("delta") or {}
                if called is not None:
                    self.events.put_nowait(called)
                elif message.event.get("type") == "content_block_delta":
                    self.events.put_nowait(TextDelta(str(delta.get("text") or "")))
            case "AssistantMessage" if message.error is None:
                for block in map(as_block, message.content):
                    if block is not None:
                        self.answers.block(block)
            case "UserMessage" if isinstance(message.content, list):
                for block in message.content:
                    if type(block).__name__ == "ToolResultBlock":
                        self._own_tool_ended(block)

    def _ends(self, result: Any) -> None:
        """Take the result: record what is left of the cost, and say how the turn ended."""
        self.is_over = True
        broken_off = self.answers.break_off()
        if broken_off is not None:
            self.events.put_nowait(broken_off)
        counted = (result.model_usage or {}).values()
        self.window = max((int(model.get("contextWindow") or 0) for model in counted), default=0)
        if self._ending is not None:
            self.events.put_nowait(self._ending)
        elif self._error is not None:
            self.events.put_nowait(self._error)
        elif self._is_interrupted:
            self.events.put_nowait(TurnResult(TurnEnd.INTERRUPTED, text=self.answers.said))
        else:
            self.events.put_nowait(endings.end_of(result, max_steps=self._max_steps))

    # ── our tools, which it calls over MCP ─────────────────────────────────────────────────────────
    async def call(self, call_id: str, name: str, arguments: dict[str, Any]) -> ToolOutcome:
        """The outcome of a call of one of our tools; what must end the process ends the turn instead."""
        try:
            number = await self.answers.number_of(call_id)
            first = self._first(number, name, arguments)
            call: Block = {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
            self.events.put_nowait(ToolStarted(name, self._tool_calls.summary(call)))
            started_at_s = time.monotonic()
            self.in_hand += 1
            try:
                outcome = await self._tool_calls.run(call, self._turn_id, first, self._task)
            finally:
                self.in_hand -= 1
            if first != number:
                self._journal.record_step(self._turn_id, number, name, outcome_to(outcome))
        except SessionError as error:
            return ToolOutcome(str(error), is_error=True)
        except Exception as error:  # noqa: BLE001 - whoever reads the events raises it, and this process ends
            self.events.put_nowait(error)
            return ToolOutcome("The host could not make this call.", is_error=True)
        self._ending = self._ending or outcome.ends_turn
        summary = outcome.summary or next(iter(outcome.content.strip().splitlines()), "")[:_SHORT]
        has_changed = self._tool_calls.changes(name) and not outcome.is_error
        took_s = time.monotonic() - started_at_s
        self.events.put_nowait(ToolEnded(name, summary, outcome.is_error, has_changed, took_s))
        return outcome

    def _first(self, number: int, name: str, arguments: dict[str, Any]) -> int:
        """The number under which a call is made: that of an open one which it repeats, else its own."""
        for call in self._open:
            if call.is_same(name, arguments):
                self._open.remove(call)
                self._store.keep_repeat(self._turn_id, number, of=call.number)
                return call.number
        return number

    # ── its own tools, and what it asks before and after each call ─────────────────────────────────
    async def before(self, call_id: str, name: str, arguments: dict[str, Any]) -> str:
        """Why a call may not be made; empty if it may. One of its own tools is recorded as begun."""
        if self._is_to_stop or self.is_parked:
            return _STOPPED
        if name.startswith(place.PREFIX):
            return ""
        try:
            number = await self.answers.number_of(call_id)
            await self._before_effect()
            if reason := self._refused.get(name) or outside(self._workspace, name, arguments):
                return reason
            instead = await self._permits.refusal(
                name, arguments, ToolCall(f"{self._turn_id}~{number + 1}", self._task)
            )
            if instead is not None:
                self._ending = self._ending or instead.ends_turn
                return instead.content
            first = self._first(number, name, arguments)
            step = self._journal.step(self._turn_id, first)
            if step is not None and step.result is not None:
                return f"You made this call before the host was restarted. Its result was: {step.result['content']}"
            if step is not None:
                return (
                    f"The host was restarted while `{name}` ran; it is unknown whether it took effect. "
                    "Look before you call it again."
                )
            self._journal.intend(self._turn_id, first, name)
        except SessionError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - as in `call`
            self.events.put_nowait(error)
            return "The host could not record this call; it was not made."
        self._begun[call_id] = name, time.monotonic()
        self.events.put_nowait(ToolStarted(name, _summary(arguments)))
        return ""

    def _own_tool_ended(self, block: Any) -> None:
        """Record the result of one of its own tools, or that a call was refused."""
        number = self.answers.number_if_known(block.tool_use_id)
        name, began_at_s = self._begun.pop(block.tool_use_id, ("", 0.0))
        if number is None:
            return
        step = self._journal.step(self._turn_id, number)
        text = _text_of(block.content)
        outcome = ToolOutcome(text, bool(block.is_error))
        if name:
            first = self._store.first_of(self._turn_id, number)
            self._journal.record_step(self._turn_id, first, name, outcome_to(outcome))
            has_changed = name in place.CHANGING_TOOLS and not outcome.is_error
            took_s = time.monotonic() - began_at_s
            summary = next(iter(text.splitlines()), "")[:_SHORT]
            self.events.put_nowait(ToolEnded(name, summary, outcome.is_error, has_changed, took_s))
        elif step is None and outcome.is_error and not self.in_hand:  # never made: refused, or stopped before
            self._journal.record_step(self._turn_id, number, "", outcome_to(outcome))

    async def after(self) -> tuple[list[str], bool]:
        """After a call: what the host has to say to the model, and whether Claude Code is to go on."""
        if self._before_call is not None and not self._is_to_stop and self._ending is None:
            try:
                await self._before_call()
            except (BudgetExhaustedError, FrozenError, TraceParkedError) as error:
                self._error = error
            except Exception as error:  # noqa: BLE001 - as in `call`
                self.events.put_nowait(error)
                return [], False
        if self._is_to_stop:
            return [], False
        if self.answers.count == self._max_steps - 1:
            self.notices.append(_LAST_STEP)
        words, self.notices[:] = list(self.notices), []
        self.answers.shown += [prompts.notices(words)] if words else []
        return words, True


def outside(workspace: Path, name: str, arguments: dict[str, Any]) -> str:
    """Why a tool may not touch the file that it names; empty if it lies in the workspace, or it names none."""
    if name not in place.FILE_TOOLS:
        return ""
    named = [str(arguments.get(place.FILE_TOOLS[name]) or "")]
    if name == "Glob":  # its pattern may be a path too
        named.append(str(arguments.get("pattern") or "").partition("*")[0])
    root = workspace.resolve()
    for path in named:
        try:
            inside = (root / path).resolve().is_relative_to(root)
        except (OSError, RuntimeError, ValueError):
            inside = False
        if not inside or ".." in Path(path).parts:
            return f"`{path[:_SHORT]}` is outside of your workspace. Use a path below it, without `..`."
    return ""


def _summary(arguments: dict[str, Any]) -> str:
    """A call of one of its own tools in a few words: what it is about comes first in their inputs."""
    return " ".join(str(next(iter(arguments.values()), "")).split())[:_SHORT]


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
