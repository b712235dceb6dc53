"""The session that Claude Code holds: its own tool loop, with our tools, our journal and our limits around it.

Claude Code keeps the conversation in files of its own and goes on from them after a crash. What must not happen
twice is kept in the role's journal as for our own tool loop: an answer before its calls, a call before its effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from agenthub.errors import SessionError
from agenthub.sessions import prompts
from agenthub.sessions.claude_code import place as places
from agenthub.sessions.claude_code import repeats
from agenthub.sessions.claude_code.answers import Answers, priced
from agenthub.sessions.claude_code.endings import ContextFullError
from agenthub.sessions.claude_code.gate import Gate, OpenTurn
from agenthub.sessions.claude_code.permits import OwnPermits
from agenthub.sessions.claude_code.place import Place
from agenthub.sessions.claude_code.program import Program
from agenthub.sessions.claude_code.running import RunningTurn
from agenthub.sessions.claude_code.store import Store
from agenthub.sessions.journal import Block, Journal
from agenthub.sessions.session import (
    ContextInfo,
    Granted,
    MayCall,
    Meter,
    ModelCalled,
    Prompt,
    SessionEvent,
    Tool,
    ToolEnded,
    ToolStarted,
    TurnResult,
)
from agenthub.sessions.tool_calls import ToolCalls

_NEW = "Your earlier conversation is gone; what you have written into files is there. Look before you do things again."


class ClaudeCodeSession:
    """A conversation that Claude Code holds: one process of it, started for the first turn and after each crash."""

    def __init__(
        self,
        place: Place,
        journal: Journal,
        *,
        tools: Sequence[Tool],
        before_effect: Callable[[], Awaitable[None]],
        before_call: Callable[[], Awaitable[None]] | None = None,
        meter: Meter | None = None,
        may_call: MayCall | None = None,
        begins_with: Callable[[], str] = str,
    ) -> None:
        """A conversation that goes on where the role's journal and Claude Code's record end.

        Args:
            before_effect: Awaited before each turn and each call of a tool; raises if this process may not act.
            before_call: Awaited before each turn and after each call of a tool; raises if there is no money.
            meter: Asked before each turn and before each question to the model, and told what that took.
            may_call: Asked before each call, of our tools and of Claude Code's own.
            begins_with: Asked when a conversation begins, for words to begin it with. They stay in it as they were.
        """
        self._place = place._replace(workspace=place.workspace.resolve(), home=place.home.resolve())
        self._journal, self._begins_with = journal, begins_with
        self._store = Store(journal.path)
        self._tool_calls = ToolCalls(tools, journal, before_effect, may_call)
        self._ours, self._may_call = frozenset(tool.name for tool in tools), may_call
        self._before_effect, self._before_call = before_effect, before_call
        self._gate = Gate(before_effect=before_effect, meter=meter)
        self._program = Program(
            self._place, definitions=self._tool_calls.definitions, called=self._called,
            before_tool=self._before_tool, after_tool=self._after_tool, gate=self._gate,
            is_at_work=lambda: self._running is not None,
        )  # fmt: skip
        self._running: RunningTurn | None = None
        self._heard: set[str] = set()
        """Ids of answers that were recorded as they came."""
        self._context = ContextInfo(0, 0)

    async def start(self) -> None:
        """Find Claude Code and its walls, and end what an earlier process of the role left behind.

        Raises:
            ConfigError: If the extra is not installed.
        """
        self._journal.history()  # from now on only this process may add to it
        await self._program.start()

    async def close(self) -> None:
        await self._program.close()
        self._store.close()

    async def inject(self, notice: str) -> bool:
        if self._running is not None:
            self._running.notices.append(notice)
        return self._running is not None

    async def interrupt(self) -> None:
        if self._running is None:
            return
        self._running.interrupt()
        if not self._running.in_hand:  # else the call in hand is made, and the turn ends behind it
            with contextlib.suppress(Exception):  # a process that has ended needs no interruption
                await self._program.client.interrupt()

    async def context(self) -> ContextInfo:
        return self._context

    # ── a turn ─────────────────────────────────────────────────────────────────────────────────────
    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent]:
        session_id, is_new = self._session_id()
        known = places.known_results(self._place.home, session_id)
        open_calls = repeats.open_calls(turn_id, journal=self._journal, store=self._store, known=known)
        await repeats.make_up(turn_id, open_calls, self._tool_calls, prompt.task)
        ended = repeats.recorded_end(turn_id, self._journal)
        if ended is not None:  # a crash came before anybody was told
            yield ended
            return
        await self._before_effect()
        if self._before_call is not None:
            await self._before_call()
        asking = await self._gate.open(turn_id, input_tokens=self._context.tokens)
        try:
            if prompt.granted is not None:
                prompt, events = await self._granted(prompt, prompt.granted, turn_id)
                for granted_event in events:
                    yield granted_event
                if events and isinstance(events[-1], TurnResult):
                    return
            opening, notes = self._opening(prompt, turn_id, session_id, open_calls, is_new=is_new)
            await self._program.connect(session_id, is_new=is_new)
            answers = Answers(
                turn_id, prompt.task.id, journal=self._journal, tool_calls=self._tool_calls, model=self._place.model,
                prices=self._place.prices, opening=[*self._tool_calls.results_of_last_turn(), *opening], notes=notes,
                heard=self._heard,
            )  # fmt: skip
            running = self._running = RunningTurn(
                turn_id, prompt.task, answers=answers, journal=self._journal, store=self._store,
                tool_calls=self._tool_calls, open_calls=open_calls, workspace=self._place.workspace,
                max_steps=self._place.max_steps, before_effect=self._before_effect, before_call=self._before_call,
                permits=OwnPermits(self._may_call, prompt.granted), refused=self._program.refused,
            )  # fmt: skip
            async with contextlib.aclosing(self._run(running, asking, opening, prompt)) as happening:
                async for event in happening:
                    yield event
        finally:
            await self._gate.close(asking)

    async def _run(
        self, running: RunningTurn, asking: OpenTurn, opening: list[Block], prompt: Prompt
    ) -> AsyncGenerator[SessionEvent]:
        """What happens in a turn from its first words on."""
        # A fresh id for each try: one that Claude Code has seen before would be ignored, without an answer.
        identity = str(uuid.uuid4())
        listening: asyncio.Task[None] | None = None
        try:
            listening = asyncio.create_task(
                running.listen(self._program.client.receive_messages(), identity), name="claude code"
            )
            await self._before_effect()  # Claude Code took its time to start
            await self._program.client.query(_message(opening, identity))
            while True:
                event = await running.events.get()
                if isinstance(event, BaseException):
                    raise self._explained(event, asking)
                if isinstance(event, TurnResult):
                    await self._gate.close(asking)  # who has the result may never come back for the end
                    for extra in self._record_rest(running, prompt, asking.turn_id):
                        yield extra
                    self._running = None
                yield event
                if isinstance(event, TurnResult):
                    return
        finally:
            if self._running is running:  # else the next turn runs already
                self._running = None
            if listening is not None:
                listening.cancel()
            if running.is_over:
                await self._gate.close(asking)
                self._record_rest(running, prompt, asking.turn_id)
            else:  # it would go on by itself
                self._program.kill()

    async def _granted(self, prompt: Prompt, granted: Granted, turn_id: str) -> tuple[Prompt, list[SessionEvent]]:
        """What comes of a call that a person approved: one of ours is made now, its result stands behind the prompt.

        Claude Code makes those of its own tools itself, and is told so. The last event is the `TurnResult` if the
        call ends the turn.
        """
        if granted.tool not in self._ours:
            call = json.dumps(granted.input, ensure_ascii=False)
            word = f"You may call `{granted.tool}` with this input now, once: {prompts.quoted(call)}"
            return prompt._replace(text=f"{prompt.text}\n{prompts.notices([word])}"), []
        block, began_at_s = granted.as_call(), time.monotonic()
        outcome = await self._tool_calls.run_granted(granted, turn_id, prompt.task)
        summary = outcome.summary or next(iter(outcome.content.strip().splitlines()), "")[:200]
        has_changed = self._tool_calls.changes(granted.tool) and not outcome.is_error
        took_s = time.monotonic() - began_at_s
        events: list[SessionEvent] = [
            ToolStarted(granted.tool, self._tool_calls.summary(block)),
            ToolEnded(granted.tool, summary, outcome.is_error, has_changed, took_s),
        ]
        if outcome.ends_turn is not None:
            events.append(outcome.ends_turn)
        result = prompts.result(granted.tool, outcome.content, is_error=outcome.is_error)
        return prompt._replace(text=f"{prompt.text}\n{result}", granted=None), events

    def _opening(
        self, prompt: Prompt, turn_id: str, session_id: str, open_calls: list[repeats.OpenCall], *, is_new: bool
    ) -> tuple[list[Block], list[str]]:
        """What the turn is begun with, and the ids of the notes in it."""
        is_begun = places.has_heard(self._place.home, session_id, prompt.text)
        words = [repeats.BEGUN_BEFORE] if is_begun or self._journal.answers(turn_id) else []
        words += repeats.told(turn_id, open_calls, self._journal)
        if self._program.ended_for:
            words.append(
                f"All that you had started was ended: {self._program.ended_for}. Take less, or do it elsewhere."
            )
            self._program.ended_for = ""
        if is_new and self._journal.last_turn():
            words.append(_NEW)
        notes = self._journal.unread_notes()
        text = f"{prompts.noted([text for _, text in notes])}\n{prompt.text}" if notes else prompt.text
        opening = [begins] if is_new and (begins := self._begins_with()) else []
        # What a tool answered stands in these words too: only frames of the host's own may open here.
        opening += [prompts.notices([prompts.quoted(word) for word in words])] if words else []
        return [{"type": "text", "text": text} for text in (*opening, text)], [note for note, _ in notes]

    def _record_rest(self, running: RunningTurn, prompt: Prompt, turn_id: str) -> list[ModelCalled]:
        """Record what was asked of models beside the answers, by Claude Code or by its shell, once for each."""
        told = []
        for answer in self._program.take_answered():
            if answer.id in self._heard:
                self._heard.discard(answer.id)
                continue
            usage = priced(answer.model, answer.usage, self._place.prices)
            self._journal.record_usage(turn_id, message_id=prompt.task.id, model=answer.model, usage=usage)
            told.append(ModelCalled(usage, answer.model))
        if running.window:  # else no answer came
            self._context = ContextInfo(running.answers.context_tokens, running.window)
        return told

    def _explained(self, error: BaseException, asking: OpenTurn) -> BaseException:
        """The error for the loop: why its model was not asked, if it is that of which Claude Code speaks.

        What is wrong with its process may be mended by another one.
        """
        if (cause := asking.cause_of(error)) is not None:
            return cause
        if why := self._program.ended_for:
            return SessionError(f"Claude Code was ended: {why}")
        if isinstance(error, ContextFullError):
            self._store.forget_session()
        if not type(error).__module__.startswith("claude_agent_sdk"):
            return error
        if "No conversation found" in str(error):
            self._store.forget_session()
        return SessionError(f"Claude Code ended: {error}")

    # ── its process ────────────────────────────────────────────────────────────────────────────────
    def _session_id(self) -> tuple[str, bool]:
        """Id of the conversation, and whether it is to be begun: Claude Code refuses to begin one twice."""
        session_id = self._store.session_id()
        if session_id is None:
            session_id = str(uuid.uuid4())
            self._store.keep_session(session_id)
        return session_id, not places.records(self._place.home, session_id)

    # ── what Claude Code asks of us ────────────────────────────────────────────────────────────────
    async def _called(self, call_id: str, name: str, arguments: dict[str, Any]) -> tuple[str, bool, bool]:
        """What a call of one of our tools gives, whether that is an error, and whether it ends the turn."""
        if self._running is None:
            return "No turn runs; the call was not made.", True, False
        outcome = await self._running.call(call_id, name, arguments)
        return outcome.content or "ok", outcome.is_error, outcome.ends_turn is not None

    async def _before_tool(self, asked: Any, call_id: str | None, _context: object) -> dict[str, Any]:
        running, refusal = self._running, "No turn runs; the call was not made."
        if running is not None:
            refusal = await running.before(call_id or "", str(asked["tool_name"]), dict(asked["tool_input"]))
        if not refusal:
            return {}
        told = {
            "hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": refusal,
        }  # fmt: skip
        answer: dict[str, Any] = {"hookSpecificOutput": told}
        if running is not None and running.is_parked:
            answer |= {"continue_": False, "stopReason": "the host ends the turn: a person decides first"}
        return answer

    async def _after_tool(self, asked: Any, _call_id: str | None, _context: object) -> dict[str, Any]:
        words, goes_on = await self._running.after() if self._running is not None else ([], False)
        if not goes_on:
            return {"continue_": False, "stopReason": "the host ends the turn"}
        if not words:
            return {}
        told = {"hookEventName": asked["hook_event_name"], "additionalContext": prompts.notices(words)}
        return {"hookSpecificOutput": told}


async def _message(blocks: list[Block], identity: str) -> AsyncIterator[dict[str, Any]]:
    yield {
        "type": "user", "message": {"role": "user", "content": blocks}, "parent_tool_use_id": None, "uuid": identity,
    }  # fmt: skip
