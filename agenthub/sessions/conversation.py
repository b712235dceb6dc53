"""The tool loop: ask the model, record its answer, run its tools, record each result, ask again.

The history is append-only. An answer is on disk before its tools run, and a result before the next one, so
a turn that a crash cut off goes on from the last record and pays only for the call in flight.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol

from agenthub.errors import SessionError
from agenthub.failpoints import Failpoint, reach
from agenthub.messages import Outcome, Usage
from agenthub.sessions import prompts
from agenthub.sessions.journal import Answered, Block, Journal
from agenthub.sessions.session import (
    ContextInfo,
    ModelCalled,
    Prompt,
    SessionEvent,
    TextDelta,
    Tool,
    ToolEnded,
    ToolStarted,
    TurnEnd,
    TurnResult,
)
from agenthub.sessions.tool_calls import ToolCalls, calls_in, result_block

_CUT = "[your answer was cut off here at the token limit; go on, more briefly]"
_REPEATED = (
    "You began with the next message before and did not come to its end. What you did is above; go on from there."
)
_ENDS = (TurnEnd.FINISHED, TurnEnd.PARKED)
"""Ends after which nothing of a turn is left to do."""
_PROBLEMS = {
    "refusal": "The model refused to answer this.",
    "model_context_window_exceeded": "The conversation is too long: the answer did not fit behind it.",
}
"""Answers that are none, by why the model stopped."""


class Answer(NamedTuple):
    """What one model call gave."""

    blocks: list[Block]
    stop_reason: str
    usage: Usage


class Model(Protocol):
    """A model behind an API; raises the `SessionError` that fits each failure."""

    name: str
    window: int
    """Tokens that fit into a request; 0 if unknown."""

    async def start(self) -> None:
        """Learn about the model; called once."""

    def answer(
        self, *, system: str, tools: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]]
    ) -> AsyncGenerator[TextDelta | Usage | Answer]:
        """Stream an answer; the last item is the `Answer`. A `Usage` is what a try took that brought none."""

    async def close(self) -> None:
        """Let go of connections."""


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
        before_call: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """A conversation that goes on where the journal ends.

        Args:
            before_effect: Awaited before each model call and tool; raises if this process may not act.
            before_call: Awaited before each model call; raises if there is no money for it.
        """
        self._model, self._journal, self._system = model, journal, system
        self._tool_calls = ToolCalls(tools, journal, before_effect)
        self._max_steps = max_steps
        self._before_effect, self._before_call = before_effect, before_call
        self._history: list[dict[str, Any]] = []
        self._notices: list[str] = []
        self._running: object = None
        """The turn that runs, if one does."""
        self._is_interrupted = False
        self._context_tokens = 0

    async def start(self) -> None:
        self._history = [{"role": entry.role, "content": entry.content} for entry in self._journal.history()]
        await self._model.start()

    async def close(self) -> None:
        await self._model.close()

    async def inject(self, notice: str) -> bool:
        if self._running is not None:
            self._notices.append(notice)
        return self._running is not None

    async def interrupt(self) -> None:
        self._is_interrupted = self._running is not None

    async def context(self) -> ContextInfo:
        return ContextInfo(self._context_tokens, self._model.window)

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent]:
        mine = self._running = object()
        self._is_interrupted = False
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
        answers = self._journal.answers(turn_id)
        number = sum(len(calls_in(answer.blocks)) for answer in answers)
        answer: Answer | None = None
        asked: list[Block] = []
        notes: list[tuple[str, str]] = []
        if answers and self._journal.last_turn() == turn_id:  # a crash cut it off: go on behind its last answer
            answer = Answer(answers[-1].blocks, answers[-1].stop_reason, Usage())
            number -= len(calls_in(answer.blocks))
        else:
            repeated: list[str] = []
            if answers:  # another turn came in between
                end, repeated = await self._made_up(answers[-1], turn_id, number, prompt)
                if end is not None:
                    yield end
                    return
            notes = self._journal.unread_notes()
            asked = self._opening(prompt, [text for _, text in notes], repeated=repeated)
        for step in range(len(answers) - (answer is not None), self._max_steps):
            if answer is None:
                asked_at_s = time.monotonic()
                async with aclosing(self._ask(asked, turn_id, prompt, [note for note, _ in notes])) as items:
                    async for item in items:
                        if isinstance(item, TextDelta):
                            yield item
                            continue
                        took_s = time.monotonic() - asked_at_s
                        if isinstance(item, Answer):
                            answer = item
                            yield ModelCalled(item.usage, self._model.name, took_s, _first_line(_said(item.blocks)))
                        else:
                            yield ModelCalled(item, self._model.name, took_s)
            if answer is None:
                raise SessionError("The model's answer never came to its end.")
            calls = calls_in(answer.blocks)
            is_cut = answer.stop_reason == "max_tokens"
            if not calls and not is_cut:
                yield TurnResult(TurnEnd.STOPPED, text=_said(answer.blocks))
                return
            ending: TurnResult | None = None
            asked = []
            for call in calls:
                if self._is_interrupted:
                    break  # what is left of the calls is made when the turn is taken up again
                name = str(call["name"])
                yield ToolStarted(name, self._tool_calls.summary(call))
                started_at_s = time.monotonic()
                outcome = await self._tool_calls.run(call, turn_id, number, prompt.task)
                took_s = time.monotonic() - started_at_s
                number += 1
                ending = ending or outcome.ends_turn
                asked.append(result_block(call, outcome))
                summary = outcome.summary or _first_line(outcome.content)
                has_changed = self._tool_calls.changes(name) and not outcome.is_error
                yield ToolEnded(name, summary, outcome.is_error, has_changed, took_s)
            if ending is not None:
                yield ending
                return
            if self._is_interrupted:
                yield TurnResult(TurnEnd.INTERRUPTED, text=_said(answer.blocks))
                return
            if is_cut:
                asked.append(_text(_CUT))
            if self._notices:
                asked.append(_text(prompts.notices(self._notices)))
                self._notices.clear()
            if step == self._max_steps - 2:
                asked.append(_text(prompts.notices(["This is your last step in this turn. Call `finish` now."])))
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

    def _opening(self, prompt: Prompt, notes: Sequence[str], *, repeated: Sequence[str]) -> list[Block]:
        """The user message that begins a turn, behind the results that the last one still owes."""
        opening = self._tool_calls.results_of_last_turn()
        if repeated:
            opening.append(_text(prompts.notices(repeated)))
        return [*opening, _text(f"{prompts.noted(notes)}\n{prompt.text}" if notes else prompt.text)]

    async def _ask(
        self, asked: list[Block], turn_id: str, prompt: Prompt, notes: Sequence[str]
    ) -> AsyncGenerator[TextDelta | Usage | Answer]:
        await self._before_effect()
        if self._before_call is not None:
            await self._before_call()
        reach(Failpoint.MODEL_ASKED)
        request = [*self._history, {"role": "user", "content": asked}]
        answering = self._model.answer(system=self._system, tools=self._tool_calls.definitions, messages=request)
        async with aclosing(answering) as items:
            async for item in items:
                if isinstance(item, Answer):
                    reach(Failpoint.MODEL_ANSWERED)
                    self._record(item, request, turn_id, prompt, notes)
                elif isinstance(item, Usage):
                    self._record_usage(item, turn_id, prompt)
                yield item

    def _record(
        self, answer: Answer, request: list[dict[str, Any]], turn_id: str, prompt: Prompt, notes: Sequence[str]
    ) -> None:
        """Take an answer into the journal and the history.

        Raises:
            SessionError: If it is none that the conversation could go on from; it is paid all the same.
        """
        problem = _PROBLEMS.get(answer.stop_reason) or ("" if answer.blocks else "The model answered with nothing.")
        if problem:
            self._record_usage(answer.usage, turn_id, prompt)
            raise SessionError(problem)
        self._journal.record_answer(
            turn_id, message_id=prompt.task.id, asked=request[-1]["content"], answered=answer.blocks,
            model=self._model.name, usage=answer.usage, stop_reason=answer.stop_reason, notes=notes,
        )  # fmt: skip
        reach(Failpoint.ANSWER_RECORDED)
        self._history = [*request, {"role": "assistant", "content": answer.blocks}]
        self._context_tokens = answer.usage.tokens

    def _record_usage(self, usage: Usage, turn_id: str, prompt: Prompt) -> None:
        self._journal.record_usage(turn_id, message_id=prompt.task.id, model=self._model.name, usage=usage)


def _said(blocks: Sequence[Block]) -> str:
    return "\n".join(str(block["text"]) for block in blocks if block.get("type") == "text").strip()


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:200]
