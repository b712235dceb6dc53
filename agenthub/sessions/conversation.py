"""The tool loop: ask the model, record its answer, run its tools, record each result, ask again.

The history is append-only until it is handed over to a shorter one. An answer is on disk before its tools run,
and a result before the next one, so a turn that a crash cut off goes on from the last record and pays only for
the call in flight.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from agenthub.errors import ContextOverflowError, ModelRefusedError, SessionError
from agenthub.failpoints import Failpoint, reach
from agenthub.messages import Outcome, Usage
from agenthub.sessions import blocks, compaction, prompts
from agenthub.sessions.compaction import CompactAt, extended
from agenthub.sessions.journal import Answered, Block, Journal
from agenthub.sessions.model_calls import Answer, Model, ModelCalls
from agenthub.sessions.session import (
    ContextInfo,
    MayCall,
    Meter,
    ModelCalled,
    Prompt,
    SessionEvent,
    TextDelta,
    Tool,
    ToolEnded,
    ToolOutcome,
    ToolStarted,
    TurnEnd,
    TurnResult,
)
from agenthub.sessions.tool_calls import ToolCalls, calls_in, result_block

logger = logging.getLogger(__name__)

_UNENDED = {
    "max_tokens": "[your answer was cut off here at the token limit; go on, more briefly]",
    "pause_turn": "[you paused here; go on]",
}
"""What to say to a model that has not come to its end, by why it stopped."""
_REPEATED = (
    "You began with the next message before and did not come to its end. What you did is above; go on from there."
)
_ENDS = (TurnEnd.FINISHED, TurnEnd.PARKED)
"""Ends after which nothing of a turn is left to do."""
_TOO_LONG = "The conversation is too long: the answer did not fit behind it."


class Conversation:
    """A rolling conversation with a model: the `Session` of agenthub's own tool loop."""

    def __init__(
        self,
        model: Model,
        journal: Journal,
        *,
        system: str,
        tools: Sequence[Tool],
        max_steps: int,
        before_effect: Callable[[], Awaitable[None]],
        meter: Meter | None = None,
        compact_at: CompactAt | None = None,
        is_per_task: bool = False,
        may_call: MayCall | None = None,
        begins_with: Callable[[], str] = str,
    ) -> None:
        """A conversation that goes on where the journal ends.

        Args:
            compact_at: When it is handed over to a fresh one. None: not before it is too long.
            is_per_task: Whether each task has a conversation of its own, to which its continuations return.
            before_effect: Awaited before each model call and tool; raises if this process may not act.
            meter: Asked before each model call, and told what it took.
            may_call: Awaited before each tool; says what is the result instead, if it may not be called.
            begins_with: Asked when a conversation begins, for words to begin it with. They stay in it as they were.
        """
        self._model, self._journal, self._system = model, journal, system
        self._tool_calls = ToolCalls(tools, journal, before_effect, may_call)
        self._max_steps = max_steps
        self._model_calls = ModelCalls(
            model, system=system, tools=self._tool_calls.definitions, before_effect=before_effect, meter=meter
        )
        self._compact_at, self._is_per_task, self._begins_with = compact_at, is_per_task, begins_with
        self._place: str | None = None
        """Which conversation of the journal it is; None as long as it is none."""
        self._history: list[dict[str, Any]] = []
        self._notices: list[str] = []
        self._running: object = None
        """The turn that runs, if one does."""
        self._is_interrupted = False
        self._context_tokens = 0

    async def start(self) -> None:
        if not self._is_per_task:
            self._enter("")
        self._journal.prune()
        await self._model.start()

    def _enter(self, place: str) -> None:
        if place == self._place:
            return
        entries = self._journal.enter(place)
        self._history = []
        for entry in entries:
            self._history = extended(self._history, entry.role, entry.content)
        self._place, self._context_tokens = place, self._journal.context_tokens()

    async def close(self) -> None:
        await self._model.close()

    async def inject(self, notice: str) -> bool:
        if self._running is not None:
            self._notices.append(notice)
        return self._running is not None

    async def interrupt(self) -> None:
        self._is_interrupted = self._running is not None
        if self._is_interrupted:
            self._model.interrupt()
            self._tool_calls.interrupted.set()

    async def context(self) -> ContextInfo:
        return ContextInfo(self._context_tokens, self._model.window)

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent]:
        mine = self._running = object()
        self._is_interrupted = False
        self._tool_calls.interrupted.clear()
        self._notices.clear()
        try:
            async with aclosing(self._turn(prompt, turn_id)) as events:
                async for event in events:
                    if isinstance(event, TurnResult):  # who has the result may never come back for the end
                        self._running = None
                    yield event
        finally:
            if self._running is mine:
                self._running = None

    async def _turn(self, prompt: Prompt, turn_id: str) -> AsyncGenerator[SessionEvent]:
        self._enter(prompt.task.id if self._is_per_task else "")
        answers = self._journal.answers(turn_id)
        number = sum(len(calls_in(answer.blocks)) for answer in answers)
        answer: Answer | None = None
        asked: list[Block] = []
        notes: list[tuple[str, str]] = []
        repeated: list[str] = []
        is_opening = has_compacted = False
        if answers and self._journal.last_turn() == turn_id:  # a crash cut it off: go on behind its last answer
            answer = Answer(answers[-1].blocks, answers[-1].stop_reason, Usage())
            number -= len(calls_in(answer.blocks))
        else:
            if answers:  # another turn came in between
                end, repeated = await self._made_up(answers[-1], turn_id, number, prompt)
                if end is not None:
                    yield end
                    return
            if prompt.granted is not None:
                granted, began_at_s = prompt.granted, time.monotonic()
                call = granted.as_call()
                yield ToolStarted(granted.tool, self._tool_calls.summary(call), self._tool_calls.patience_s(call))
                outcome = await self._tool_calls.run_granted(granted, turn_id, prompt.task)
                yield self._ended(granted.tool, outcome, time.monotonic() - began_at_s)
                if outcome.ends_turn is not None:
                    yield outcome.ends_turn
                    return
                result = prompts.result(granted.tool, outcome.content, is_error=outcome.is_error)
                prompt = prompt._replace(text=f"{prompt.text}\n{result}")
            if self._is_long:
                async for event in self._hand_over(self._tool_calls.results_of_last_turn(), turn_id, prompt):
                    yield event
            notes, is_opening = self._journal.unread_notes(), True
            asked = self._opening(prompt, [text for _, text in notes], repeated=repeated)
        for step in range(len(answers) - (answer is not None), self._max_steps):
            while answer is None:
                try:
                    if not self._has_room(asked):
                        raise ContextOverflowError(_TOO_LONG)
                    async with aclosing(self._asking(asked, turn_id, prompt, notes)) as items:
                        async for item in items:
                            if isinstance(item, Answer):
                                answer = item
                            else:
                                yield item
                    if answer is None:
                        raise SessionError("The model's answer never came to its end.")
                except ContextOverflowError as error:
                    if has_compacted or not self._history:
                        raise ModelRefusedError(
                            f"What is to be done here does not fit into the model: {error}"
                        ) from error
                    pending = self._tool_calls.results_of_last_turn() if is_opening else asked
                    async for event in self._hand_over(pending, turn_id, prompt, is_too_long=True):
                        yield event
                    has_compacted = True
                    said = [] if is_opening else [block for block in asked if block.get("type") == "text"]
                    told = repeated if is_opening else [_REPEATED]
                    asked = [*self._opening(prompt, [text for _, text in notes], repeated=told), *said]
            is_opening = has_compacted = False
            calls = calls_in(answer.blocks)
            unended = _UNENDED.get(answer.stop_reason, "")
            if not calls and not unended:
                yield TurnResult(TurnEnd.STOPPED, text=blocks.said(answer.blocks))
                return
            ending: TurnResult | None = None
            asked = []
            for call in calls:
                if self._is_interrupted:
                    break  # what is left of the calls is made when the turn is taken up again
                name = str(call["name"])
                yield ToolStarted(name, self._tool_calls.summary(call), self._tool_calls.patience_s(call))
                started_at_s = time.monotonic()
                outcome = await self._tool_calls.run(call, turn_id, number, prompt.task)
                took_s = time.monotonic() - started_at_s
                number += 1
                ending = ending or outcome.ends_turn
                asked.append(result_block(call, outcome))
                yield self._ended(name, outcome, took_s)
            if ending is not None:
                yield ending
                return
            if self._is_interrupted:
                yield TurnResult(TurnEnd.INTERRUPTED, text=blocks.said(answer.blocks))
                return
            if unended:
                asked.append(blocks.text(unended))
            if self._notices:
                asked.append(blocks.text(prompts.notices(self._notices)))
                self._notices.clear()
            if step == self._max_steps - 2:
                asked.append(blocks.text(prompts.notices(["This is your last step in this turn. Call `finish` now."])))
            answer, notes = None, []
        yield TurnResult(
            TurnEnd.FINISHED, Outcome.FAILED, f"stopped after {self._max_steps} steps in one turn without an end"
        )

    async def _made_up(
        self, answer: Answered, turn_id: str, number: int, prompt: Prompt
    ) -> tuple[TurnResult | None, list[str]]:
        """Make the calls that a turn still owes, of which `answer` was the last; its end if one of them ends it,
        and what the model is to be told."""
        calls, ending, told = calls_in(answer.blocks), None, [_REPEATED]
        for at, call in enumerate(calls, number - len(calls)):
            outcome, is_new = await self._tool_calls.made_up(call, turn_id, at, prompt.task)
            if is_new:
                told.append(f"Your call of `{call['name']}` that was cut off is made now.")
            if outcome is not None and outcome.ends_turn is not None and outcome.ends_turn.end in _ENDS:
                ending = ending or outcome.ends_turn
        return ending, told

    def _ended(self, name: str, outcome: ToolOutcome, took_s: float) -> ToolEnded:
        is_parked = outcome.ends_turn is not None and outcome.ends_turn.end is TurnEnd.PARKED
        has_changed = self._tool_calls.changes(name) and not outcome.is_error and not is_parked
        return ToolEnded(
            name, outcome.summary or blocks.first_line(outcome.content), outcome.is_error, has_changed, took_s
        )

    def _opening(self, prompt: Prompt, notes: Sequence[str], *, repeated: Sequence[str]) -> list[Block]:
        """The user message that begins a turn, behind the results that the last one still owes."""
        opening = self._tool_calls.results_of_last_turn() if self._history else self._beginning()
        if repeated:
            opening.append(blocks.text(prompts.notices(repeated)))
        text = prompt.text
        if prompt.goes_on and not self._journal.shows(prompt.task.id):
            framed = prompts.framed(prompt.task)
            text = text if framed in text else f"{framed}\n{text}"
        return [*opening, blocks.text(f"{prompts.noted(notes)}\n{text}" if notes else text)]

    def _beginning(self) -> list[Block]:
        text = self._begins_with()
        return [blocks.text(text)] if text else []

    async def _asking(
        self, asked: list[Block], turn_id: str, prompt: Prompt, notes: Sequence[tuple[str, str]]
    ) -> AsyncGenerator[SessionEvent | Answer]:
        """Ask and record: what streams, what each try took, and last the answer, which is on disk by then."""
        asked_at_s = time.monotonic()
        async with aclosing(self._call(extended(self._history, "user", asked), turn_id)) as items:
            async for item in items:
                if isinstance(item, TextDelta):
                    yield item
                    continue
                took_s = time.monotonic() - asked_at_s
                if isinstance(item, Answer):
                    reach(Failpoint.MODEL_ANSWERED)
                    self._record(item, asked, turn_id, prompt, [note for note, _ in notes])
                    yield ModelCalled(item.usage, self._model.name, took_s, blocks.first_line(blocks.said(item.blocks)))
                    yield item
                else:
                    self._record_usage(item, turn_id, prompt)
                    yield ModelCalled(item, self._model.name, took_s)

    def _call(self, request: list[dict[str, Any]], turn_id: str) -> AsyncGenerator[TextDelta | Usage | Answer]:
        return self._model_calls.call(request, turn_id, context_tokens=self._context_tokens)

    # ── when it becomes long ───────────────────────────────────────────────────────────────────────
    @property
    def _is_long(self) -> bool:
        limit = self._compact_at.threshold(self._model.window) if self._compact_at else math.inf
        return len(self._history) > 1 and self._context_tokens >= limit

    def _has_room(self, asked: list[Block]) -> bool:
        if self._compact_at is None or not self._history:  # then the provider says so
            return True
        return compaction.fits(self._context_tokens, asked, window=self._model.window)

    async def _hand_over(
        self, pending: list[Block], turn_id: str, prompt: Prompt, *, is_too_long: bool = False
    ) -> AsyncGenerator[SessionEvent]:
        """Let the conversation begin anew with what must be known of it. Until that is recorded nothing has changed.

        Args:
            pending: Results that the end of the conversation still owes.
        """
        whole = extended(self._history, "user", pending) if pending else self._history
        logger.info("the conversation is handed over to a fresh one at %s tokens", f"{self._context_tokens:,}")
        summary, usage = "", Usage()
        requests = compaction.requests(self._history, pending, window=self._model.window, is_too_long=is_too_long)
        for request in requests:
            asked_at_s, answer = time.monotonic(), None
            try:
                async with aclosing(self._call(request, turn_id)) as items:
                    async for item in items:
                        if isinstance(item, Answer):
                            answer = item
                        elif isinstance(item, Usage):
                            self._record_usage(item, turn_id, prompt)
                            yield ModelCalled(item, self._model.name, time.monotonic() - asked_at_s)
                        else:
                            yield TextDelta("")
            except (ContextOverflowError, ModelRefusedError) as error:
                logger.warning("no hand-over: %s", error)
                continue
            if answer is None:
                continue
            said = blocks.said(answer.blocks) if answer.stop_reason != "refusal" else ""
            if said:
                summary, usage = said, answer.usage
            else:
                self._record_usage(answer.usage, turn_id, prompt)
            yield ModelCalled(answer.usage, self._model.name, time.monotonic() - asked_at_s, "hand-over")
            if said:
                break
        hand_over = compaction.hand_over(
            summary,
            last_words=compaction.last_words(whole),
            still_open=compaction.heads(self._journal.unfinished(), besides=prompt.task.id),
            changed=self._tool_calls.changes_in(whole),
        )
        begins_with = [*self._beginning(), *hand_over]
        tokens = compaction.tokens_of([self._system, self._tool_calls.definitions, begins_with])
        reach(Failpoint.HAND_OVER_WRITTEN)
        self._journal.begin_anew(
            turn_id, message_id=prompt.task.id, hand_over=begins_with, tokens=tokens, model=self._model.name,
            usage=usage,
        )  # fmt: skip
        reach(Failpoint.HAND_OVER_RECORDED)
        self._history, self._context_tokens = extended([], "user", begins_with), tokens
        self._journal.prune()

    # ── records ────────────────────────────────────────────────────────────────────────────────────
    def _record(self, answer: Answer, asked: list[Block], turn_id: str, prompt: Prompt, notes: Sequence[str]) -> None:
        """Take an answer into the journal and the history.

        Raises:
            SessionError: If it is none that the conversation could go on from; it is paid all the same.
        """
        problem: SessionError | None = None
        if answer.stop_reason == "model_context_window_exceeded":
            problem = ContextOverflowError(_TOO_LONG)
        elif answer.stop_reason == "refusal":
            problem = SessionError("The model refused to answer this.")
        elif not answer.blocks:
            problem = SessionError("The model answered with nothing.")
        if problem is not None:
            self._record_usage(answer.usage, turn_id, prompt)
            raise problem
        self._journal.record_answer(
            turn_id, message_id=prompt.task.id, asked=asked, answered=answer.blocks,
            model=self._model.name, usage=answer.usage, stop_reason=answer.stop_reason, notes=notes,
        )  # fmt: skip
        reach(Failpoint.ANSWER_RECORDED)
        self._history = extended(extended(self._history, "user", asked), "assistant", answer.blocks)
        self._context_tokens = answer.usage.tokens

    def _record_usage(self, usage: Usage, turn_id: str, prompt: Prompt) -> None:
        self._journal.record_usage(turn_id, message_id=prompt.task.id, model=self._model.name, usage=usage)
