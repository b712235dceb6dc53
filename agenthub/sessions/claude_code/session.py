"""The session that Claude Code holds: its own tool loop, with our tools, our journal and our limits around it.

Claude Code keeps the conversation in files of its own and goes on from them after a crash. What must not happen
twice is kept in the role's journal as for our own tool loop: an answer before its calls, a call before its effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from agenthub.errors import ModelUnavailableError, SessionError
from agenthub.messages import Usage
from agenthub.sessions import prompts
from agenthub.sessions.claude_code import place as places
from agenthub.sessions.claude_code import repeats
from agenthub.sessions.claude_code.answers import Answers
from agenthub.sessions.claude_code.endings import ContextFullError, Totals
from agenthub.sessions.claude_code.permits import OwnPermits
from agenthub.sessions.claude_code.place import Place
from agenthub.sessions.claude_code.running import RunningTurn
from agenthub.sessions.claude_code.server import mcp_server
from agenthub.sessions.claude_code.store import Store
from agenthub.sessions.journal import Block, Journal
from agenthub.sessions.prices import cost_usd
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

logger = logging.getLogger(__name__)

_LOGGED_LINES = 200
"""Of what one process of Claude Code writes to stderr; the rest is dropped."""
_HOOK_TIMEOUT_S = 600.0
_NEW = "Your earlier conversation is gone; what you have written into files is there. Look before you do things again."
_SETTINGS = {"cleanupPeriodDays": 36500, "attribution": {"commit": "", "pr": ""}}


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
            meter: Asked before each turn, and told what it took.
            may_call: Asked before each call, of our tools and of Claude Code's own.
            begins_with: Asked when a conversation begins, for words to begin it with. They stay in it as they were.
        """
        self._place, self._journal, self._begins_with = place, journal, begins_with
        self._store = Store(journal.path)
        self._tool_calls = ToolCalls(tools, journal, before_effect, may_call)
        self._ours, self._may_call = frozenset(tool.name for tool in tools), may_call
        self._before_effect, self._before_call, self._meter = before_effect, before_call, meter
        self._program = ""
        self._client: Any = None
        self._leaving: asyncio.Task[None] | None = None
        """The end of a process that was killed."""
        self._running: RunningTurn | None = None
        self._totals: Totals = {}
        self._context = ContextInfo(0, 0)

    async def start(self) -> None:
        """Find Claude Code, and end what an earlier process of the role left behind.

        Raises:
            ConfigError: If the extra is not installed.
        """
        self._program = places.find_program()
        self._journal.history()  # from now on only this process may add to it
        self._place.workspace.mkdir(parents=True, exist_ok=True)
        self._place.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        await asyncio.to_thread(places.end_leftovers, self._place.home)

    async def close(self) -> None:
        await self._left()
        if self._client is not None:
            client, self._client = self._client, None
            await client.disconnect()
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
                await self._client.interrupt()

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
        if self._meter is not None:
            await self._meter.reserve(turn_id, input_tokens=self._context.tokens)
        took: Usage | None = Usage()
        if prompt.granted is not None:
            prompt, events = await self._granted(prompt, prompt.granted, turn_id)
            for granted_event in events:
                yield granted_event
            if events and isinstance(events[-1], TurnResult):
                return
        opening, notes = self._opening(prompt, turn_id, session_id, open_calls, is_new=is_new)
        await self._connect(session_id, is_new=is_new)
        answers = Answers(
            turn_id, prompt.task.id, journal=self._journal, tool_calls=self._tool_calls, model=self._place.model,
            prices=self._place.prices, opening=[*self._tool_calls.results_of_last_turn(), *opening], notes=notes,
        )  # fmt: skip
        running = self._running = RunningTurn(
            turn_id, prompt.task, answers=answers, journal=self._journal, store=self._store,
            tool_calls=self._tool_calls, open_calls=open_calls, workspace=self._place.workspace,
            max_steps=self._place.max_steps, before_effect=self._before_effect, before_call=self._before_call,
            permits=OwnPermits(self._may_call, prompt.granted),
        )  # fmt: skip
        # A fresh id for each try: one that Claude Code has seen before would be ignored, without an answer.
        identity = str(uuid.uuid4())
        listening: asyncio.Task[None] | None = None
        try:
            listening = asyncio.create_task(
                running.listen(self._client.receive_messages(), identity), name="claude code"
            )
            await self._before_effect()  # Claude Code took its time to start
            took = None
            await self._client.query(_message(opening, identity))
            while True:
                event = await running.events.get()
                if isinstance(event, BaseException):
                    raise self._explained(event)
                if isinstance(event, TurnResult):
                    for extra in self._settle(running, prompt, turn_id):
                        took = (took or Usage()) + extra.usage
                        yield extra
                elif isinstance(event, ModelCalled):
                    took = (took or Usage()) + event.usage
                if isinstance(event, TurnResult):
                    self._running = None  # who has the result may never come back for the end
                yield event
                if isinstance(event, TurnResult):
                    return
        finally:
            if self._running is running:  # else the next turn runs already
                self._running = None
            if self._meter is not None:
                self._meter.settle(took)
            if listening is not None:
                listening.cancel()
            if running.is_over:
                self._settle(running, prompt, turn_id)
            else:  # it would go on by itself
                self._kill()

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
        if is_new and self._journal.last_turn():
            words.append(_NEW)
        notes = self._journal.unread_notes()
        text = f"{prompts.noted([text for _, text in notes])}\n{prompt.text}" if notes else prompt.text
        opening = [begins] if is_new and (begins := self._begins_with()) else []
        # What a tool answered stands in these words too: only frames of the host's own may open here.
        opening += [prompts.notices([prompts.quoted(word) for word in words])] if words else []
        return [{"type": "text", "text": text} for text in (*opening, text)], [note for note, _ in notes]

    def _settle(self, running: RunningTurn, prompt: Prompt, turn_id: str) -> list[ModelCalled]:
        """Record what the process counted beside the answers, once for each turn."""
        if not running.totals:
            return []
        told = []
        for model, usage in running.rest(self._totals).items():
            priced: Usage = usage.model_copy(update={"cost_usd": cost_usd(model, usage, own=self._place.prices)})
            self._journal.record_usage(turn_id, message_id=prompt.task.id, model=model, usage=priced)
            told.append(ModelCalled(priced, model))
        self._totals, running.totals = running.totals, {}
        self._context = ContextInfo(running.answers.context_tokens, running.window)
        return told

    def _explained(self, error: BaseException) -> BaseException:
        """The error for the loop: what is wrong with the process of Claude Code may be mended by another one."""
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
        return session_id, not any(self._place.home.glob(f"projects/*/{session_id}.jsonl"))

    async def _connect(self, session_id: str, *, is_new: bool) -> None:
        """Start a process of Claude Code, if none runs.

        Raises:
            ModelUnavailableError: If it does not start.
        """
        await self._left()
        if self._client is not None and self._client.options.session_id != session_id != self._client.options.resume:
            self._kill()
            await self._left()
        if self._client is not None:
            return
        import claude_agent_sdk as sdk  # imported late: it is an extra

        place = self._place
        client = sdk.ClaudeSDKClient(
            sdk.ClaudeAgentOptions(
                model=place.model,
                system_prompt=place.system,
                cwd=place.workspace,
                cli_path=places.write_launcher(place.home, self._program),
                env=places.environment(place),
                resume=None if is_new else session_id,
                session_id=session_id if is_new else None,
                setting_sources=[],
                settings=json.dumps(_SETTINGS),
                strict_mcp_config=True,
                verbatim_prompts=True,  # else `@/etc/passwd` in a letter would put that file into the prompt
                tools=places.names(place.rules),
                allowed_tools=[f"{places.PREFIX}*", *place.rules],
                permission_mode="dontAsk",
                mcp_servers={places.SERVER: mcp_server(self._tool_calls.definitions, self._called)},
                hooks={
                    "PreToolUse": [sdk.HookMatcher(hooks=[self._before_tool], timeout=_HOOK_TIMEOUT_S)],
                    "PostToolUse": [sdk.HookMatcher(hooks=[self._after_tool], timeout=_HOOK_TIMEOUT_S)],
                    "PostToolUseFailure": [sdk.HookMatcher(hooks=[self._after_tool], timeout=_HOOK_TIMEOUT_S)],
                },
                max_turns=place.max_steps,
                max_budget_usd=place.max_usd,
                include_partial_messages=True,
                max_buffer_size=32 * 1024 * 1024,
                stderr=_Log(),
            )
        )
        self._totals = {}
        self._client = client
        try:
            await client.connect()
        except asyncio.CancelledError:
            self._kill()
            raise
        except Exception as error:
            self._kill()
            raise ModelUnavailableError(f"Claude Code does not start: {error}", retry_after_s=5.0) from error

    def _kill(self) -> None:
        """End the process and all that it started; the next turn goes on with another one."""
        client, self._client = self._client, None
        places.kill_all(self._place.home)
        if client is not None:
            self._leaving = asyncio.create_task(_disconnect(client), name="claude code ends")

    async def _left(self) -> None:
        if self._leaving is not None:
            await self._leaving
            self._leaving = None

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


class _Log:
    """Takes what Claude Code writes to stderr into the role's log, up to a limit."""

    def __init__(self) -> None:
        self._left = _LOGGED_LINES

    def __call__(self, line: str) -> None:
        if self._left > 0:
            logger.info("claude code: %s", line[:500])
        elif self._left == 0:
            logger.info("claude code: more is not logged")
        self._left -= 1


async def _disconnect(client: Any) -> None:
    try:
        await client.disconnect()
    except Exception:
        logger.debug("an ended process of Claude Code could not be left cleanly", exc_info=True)


async def _message(blocks: list[Block], identity: str) -> AsyncIterator[dict[str, Any]]:
    yield {
        "type": "user", "message": {"role": "user", "content": blocks}, "parent_tool_use_id": None, "uuid": identity,
    }  # fmt: skip
