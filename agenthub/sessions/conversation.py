"""The tool loop: ask the model, record its answer, run its tools, record each result, ask again.

The history is append-only. An answer is on disk before its tools run, and a result before the next one, so
a turn that a crash cut off goes on from the last record and pays only for the call in flight.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import ValidationError

from agenthub.errors import AgenthubError, HubUnreachableError, LeaseLostError, SessionError
from agenthub.messages import Outcome, Usage
from agenthub.sessions import prompts
from agenthub.sessions.journal import Block, Journal
from agenthub.sessions.session import (
    ContextInfo,
    ModelCalled,
    Prompt,
    Repeat,
    SessionEvent,
    TextDelta,
    Tool,
    ToolCall,
    ToolEnded,
    ToolOutcome,
    ToolStarted,
    TurnEnd,
    TurnResult,
)

logger = logging.getLogger(__name__)

MAX_RESULT_CHARACTERS = 30_000
_CUT = "[your answer was cut off here at the token limit; go on, more briefly]"


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
    ) -> AsyncIterator[TextDelta | Answer]:
        """Stream an answer; the last item is the `Answer`."""

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
    ) -> None:
        """`before_effect` is awaited before each model call and tool; it raises if this process may not act."""
        self._model, self._journal, self._system = model, journal, system
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
        self._definitions = [tool.definition() for tool in self._tools.values()]
        self._max_steps = max_steps
        self._before_effect = before_effect
        self._history: list[dict[str, Any]] = []
        self._open_results: list[Block] = []
        """Results that the last answer's calls still owe: the head of the next user message."""
        self._notices: list[str] = []
        self._is_running = self._is_interrupted = False
        self._context_tokens = 0

    async def start(self) -> None:
        entries = self._journal.history()
        self._history = [{"role": entry.role, "content": entry.content} for entry in entries]
        self._open_results = self._results_of_last_turn()
        await self._model.start()

    async def close(self) -> None:
        await self._model.close()

    async def inject(self, notice: str) -> bool:
        if self._is_running:
            self._notices.append(notice)
        return self._is_running

    async def interrupt(self) -> None:
        self._is_interrupted = self._is_running

    async def context(self) -> ContextInfo:
        return ContextInfo(self._context_tokens, self._model.window)

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncIterator[SessionEvent]:
        self._is_running, self._is_interrupted = True, False
        try:
            async for event in self._turn(prompt, turn_id):
                yield event
        finally:
            self._is_running = False
            self._notices.clear()

    async def _turn(self, prompt: Prompt, turn_id: str) -> AsyncIterator[SessionEvent]:
        answers = self._journal.answers(turn_id)
        number = sum(len(_calls(answer)) for answer in answers)
        if answers and self._journal.last_turn() == turn_id:  # a crash cut it off: go on behind its last answer
            number -= len(_calls(answers[-1]))
            answer, asked, notes = Answer(answers[-1], "", Usage()), [], []
        else:
            notes = self._journal.unread_notes()
            text = prompt.text if not notes else f"{prompts.noted([text for _, text in notes])}\n{prompt.text}"
            asked = [*self._open_results, _text(text)]
        for step in range(self._max_steps):
            if asked:
                answer = Answer([], "", Usage())
                async for item in self._ask(asked, turn_id, prompt, [note for note, _ in notes]):
                    if isinstance(item, Answer):
                        answer = item
                        yield ModelCalled(item.usage)
                    else:
                        yield item
                notes = []
            calls = _calls(answer.blocks)
            if not calls and answer.stop_reason == "max_tokens":
                asked = [_text(_CUT)]
                continue
            if not calls:
                yield TurnResult(TurnEnd.STOPPED, text=_said(answer.blocks))
                return
            ending: TurnResult | None = None
            self._open_results = []
            for call in calls:
                tool = self._tools.get(str(call["name"]))
                yield ToolStarted(str(call["name"]), _summary(tool, call))
                outcome = await self._run(tool, call, turn_id, number, prompt)
                number += 1
                ending = ending or outcome.ends_turn
                self._open_results.append(_result(call, outcome))
                yield ToolEnded(str(call["name"]), outcome.summary or _first_line(outcome.content), outcome.is_error)
            if ending is not None:
                yield ending
                return
            if self._is_interrupted:
                yield TurnResult(TurnEnd.INTERRUPTED, text=_said(answer.blocks))
                return
            asked = list(self._open_results)
            if self._notices:
                asked.append(_text(prompts.notices(self._notices)))
                self._notices.clear()
            if step == self._max_steps - 2:
                asked.append(_text(prompts.notices(["This is your last step in this turn. Call `finish` now."])))
        yield TurnResult(
            TurnEnd.FINISHED, Outcome.FAILED, f"stopped after {self._max_steps} steps in one turn without an end"
        )

    async def _ask(
        self, asked: list[Block], turn_id: str, prompt: Prompt, notes: Sequence[str]
    ) -> AsyncIterator[TextDelta | Answer]:
        await self._before_effect()
        request = [*self._history, {"role": "user", "content": asked}]
        async for item in self._model.answer(system=self._system, tools=self._definitions, messages=request):
            if isinstance(item, TextDelta):
                yield item
                continue
            if not item.blocks:
                raise SessionError("The model answered with nothing.")
            self._journal.record_answer(
                turn_id, message_id=prompt.task.id, asked=asked, answered=item.blocks, model=self._model.name,
                usage=item.usage, notes=notes,
            )  # fmt: skip
            self._history = [*request, {"role": "assistant", "content": item.blocks}]
            self._open_results = []
            self._context_tokens = item.usage.tokens
            yield item

    async def _run(self, tool: Tool | None, call: Block, turn_id: str, number: int, prompt: Prompt) -> ToolOutcome:
        """The outcome of one tool call: from the journal if it is known there, else by running it."""
        known = self._journal.step(turn_id, number)
        if known is not None and known.result is not None:
            return _outcome_from(known.result)
        name = str(call["name"])
        await self._before_effect()
        if tool is None:
            outcome = ToolOutcome(f"There is no tool `{name}`. There are: {', '.join(self._tools)}.", is_error=True)
        elif known is not None:
            outcome = ToolOutcome(
                f"The host was restarted while `{name}` ran; it is unknown whether it took effect. "
                "Look before you call it again.",
                is_error=True,
            )
        else:
            if tool.repeat is Repeat.UNSAFE:
                self._journal.intend(turn_id, number, name)
            outcome = await _run_tool(tool, call, ToolCall(key=f"{turn_id}~{number + 1}", task=prompt.task))
        self._journal.record_step(turn_id, number, name, _outcome_to(outcome))
        return outcome

    def _results_of_last_turn(self) -> list[Block]:
        """Results for the calls at the end of the history. Each must be answered, also what never ran."""
        if not self._history:
            return []
        turn_id = self._journal.last_turn()
        answers = self._journal.answers(turn_id)
        number = sum(len(_calls(answer)) for answer in answers[:-1])
        results = []
        for offset, call in enumerate(_calls(answers[-1])):
            step = self._journal.step(turn_id, number + offset)
            if step is not None and step.result is not None:
                outcome = _outcome_from(step.result)
            else:
                outcome = ToolOutcome("The turn ended before this call; it is unknown whether it ran.", is_error=True)
            results.append(_result(call, outcome))
        return results


async def _run_tool(tool: Tool, call: Block, circumstances: ToolCall) -> ToolOutcome:
    try:
        arguments = tool.arguments.model_validate(call["input"])
    except ValidationError as error:
        problems = "; ".join(f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}" for e in error.errors(include_url=False))
        return ToolOutcome(f"The input of `{tool.name}` is not right. {problems}.", is_error=True)
    try:
        outcome = await tool.run(arguments, circumstances)
    except (LeaseLostError, HubUnreachableError):
        raise
    except (AgenthubError, OSError, ValueError) as error:
        return ToolOutcome(str(error) or type(error).__name__, is_error=True)
    if len(outcome.content) > MAX_RESULT_CHARACTERS:
        half = MAX_RESULT_CHARACTERS // 2
        cut = f"\n[... {len(outcome.content) - 2 * half:,} characters left out ...]\n"
        content = outcome.content[:half] + cut + outcome.content[-half:]
        return ToolOutcome(content, outcome.is_error, outcome.ends_turn, outcome.summary)
    return outcome


def _outcome_to(outcome: ToolOutcome) -> dict[str, Any]:
    ends = outcome.ends_turn
    return {
        "content": outcome.content,
        "is_error": outcome.is_error,
        "summary": outcome.summary,
        "ends": None if ends is None else [ends.end.value, ends.outcome.value, ends.text, list(ends.evidence)],
    }


def _outcome_from(record: dict[str, Any]) -> ToolOutcome:
    ends = record["ends"]
    return ToolOutcome(
        record["content"],
        record["is_error"],
        None if ends is None else TurnResult(TurnEnd(ends[0]), Outcome(ends[1]), ends[2], tuple(ends[3])),
        record["summary"],
    )


def _calls(blocks: Sequence[Block]) -> list[Block]:
    return [block for block in blocks if block.get("type") == "tool_use"]


def _said(blocks: Sequence[Block]) -> str:
    return "\n".join(str(block["text"]) for block in blocks if block.get("type") == "text").strip()


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _result(call: Block, outcome: ToolOutcome) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": call["id"], "content": outcome.content or "ok"}
    if outcome.is_error:
        block["is_error"] = True
    return block


def _summary(tool: Tool | None, call: Block) -> str:
    if tool is not None:
        try:
            return tool.describe(tool.arguments.model_validate(call["input"]))
        except ValidationError:
            return "(wrong input)"
    return "(no such tool)"


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:200]
