"""Tool calls: each is run once, recorded, and answered; also when a crash came in between.

Calls are numbered through a turn. Before a call that must not be made twice its intent is recorded, after each
call its result; from the two follows what is known of it afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from agenthub.auctions import Bid
from agenthub.errors import AgenthubError, HubUnreachableError, LeaseLostError
from agenthub.failpoints import Failpoint, reach
from agenthub.messages import Attachment, Check, Message, Outcome
from agenthub.sessions.blocks import whole
from agenthub.sessions.journal import Block, Journal
from agenthub.sessions.session import Granted, MayCall, Repeat, Tool, ToolCall, ToolOutcome, TurnEnd, TurnResult

MAX_RESULT_CHARACTERS = 30_000
GRANTED = -1
"""Number of the call at the beginning of a turn that a person had to approve; the model's own are from 0 on."""


class ToolCalls:
    """The tools of one session, and what the journal knows of their calls."""

    def __init__(
        self,
        tools: Sequence[Tool],
        journal: Journal,
        before_effect: Callable[[], Awaitable[None]],
        may_call: MayCall | None = None,
    ) -> None:
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}
        self._journal = journal
        self._before_effect, self._may_call = before_effect, may_call
        self.definitions = [tool.definition() for tool in self._tools.values()]
        """As the model gets them: always in the same order, so that the provider's cache keeps them."""
        self.interrupted = asyncio.Event()
        """Set to end a call that takes long."""

    async def run(
        self, call: Block, turn_id: str, number: int, task: Message, granted: Granted | None = None
    ) -> ToolOutcome:
        """The outcome of one call: from the journal if it is known there, else by making it, if that is allowed."""
        known = self._journal.step(turn_id, number)
        if known is not None and known.result is not None:
            return _not_set_aside(outcome_from(known.result))
        name = str(call["name"])
        await self._before_effect()
        tool = self._tools.get(name)
        if tool is None:
            outcome = ToolOutcome(f"There is no tool `{name}`. There are: {', '.join(self._tools)}.", is_error=True)
        elif known is not None:
            outcome = ToolOutcome(
                f"The host was restarted while `{name}` ran; it is unknown whether it took effect. "
                "Look before you call it again.",
                is_error=True,
            )
        else:
            arguments = _read(tool, call)
            circumstances = ToolCall(f"{turn_id}~{number + 1}", task, self.interrupted)
            instead: ToolOutcome | None = None
            if isinstance(arguments, ToolOutcome):
                instead = arguments
            elif self._may_call is not None:
                instead = await self._may_call(name, call["input"], circumstances, granted)
            if instead is None and tool.repeat is Repeat.UNSAFE:
                self._journal.intend(turn_id, number, name)
            reach(Failpoint.TOOL_STARTED)
            outcome = instead or await _made(tool, arguments, circumstances)
        reach(Failpoint.TOOL_FINISHED)
        may_repeat = tool is None or tool.repeat is Repeat.SAFE
        self._journal.record_step(turn_id, number, name, outcome_to(outcome), may_repeat=may_repeat)
        reach(Failpoint.TOOL_RECORDED)
        return outcome

    async def made_up(self, call: Block, turn_id: str, number: int, task: Message) -> tuple[ToolOutcome | None, bool]:
        """The outcome of a call before which its turn was cut off, and whether it was made just now.

        It is made under its old key if that may be repeated: making it anew would be another effect. None if
        nothing is known of it, and it may not.
        """
        known, tool = self._journal.step(turn_id, number), self._tools.get(str(call["name"]))
        if known is None and tool is not None and tool.repeat is Repeat.SAFE:
            return await self.run(call, turn_id, number, task), True
        return (outcome_from(known.result) if known is not None and known.result is not None else None), False

    async def run_granted(self, granted: Granted, turn_id: str, task: Message) -> ToolOutcome:
        """The outcome of the call that a person approved, made once at the beginning of the turn that follows."""
        return await self.run(granted.as_call(), turn_id, GRANTED, task, granted)

    def results_of_last_turn(self) -> list[Block]:
        """Results for the calls at the end of the conversation. Each must be answered, also what was never made."""
        turn_id = self._journal.last_turn()
        answers = self._journal.answers(turn_id)
        if not answers:
            return []
        number = sum(len(calls_in(answer.blocks)) for answer in answers[:-1])
        calls = calls_in(answers[-1].blocks)
        return [result_block(call, self._known(call, turn_id, number + at)) for at, call in enumerate(calls)]

    def _known(self, call: Block, turn_id: str, number: int) -> ToolOutcome:
        step, tool = self._journal.step(turn_id, number), self._tools.get(str(call["name"]))
        if step is not None and step.result is not None:
            return outcome_from(step.result)
        if step is None and tool is not None and tool.repeat is Repeat.UNSAFE:  # else its intent were recorded
            return ToolOutcome("The turn ended before this call; it was not made.", is_error=True)
        return ToolOutcome(
            "The turn ended before this call; it is unknown whether it ran. It is made when the turn goes on.",
            is_error=True,
        )

    def changes(self, name: str) -> bool:
        """True if calls of this tool change something outside of the conversation."""
        return name in self._tools and self._tools[name].changes

    def changes_in(self, history: Sequence[dict[str, Any]], most: int = 40) -> list[str]:
        """What was changed in a conversation, in a few words for each, the newest last."""
        failed = {
            block["tool_use_id"]
            for message in history
            for block in message["content"]
            if block.get("type") == "tool_result" and block.get("is_error")
        }
        made = [
            f"{call['name']} {self.summary(call)}"
            for message in history
            for call in calls_in(message["content"])
            if self.changes(str(call["name"])) and call["id"] not in failed
        ]
        return list(dict.fromkeys(reversed(made)))[:most][::-1]

    def patience_s(self, call: Block) -> float:
        """Seconds that a call may take without a sign of progress."""
        tool = self._tools.get(str(call["name"]))
        try:
            return 0.0 if tool is None else tool.patience_s(tool.arguments.model_validate(call["input"]))
        except ValidationError:
            return 0.0

    def summary(self, call: Block) -> str:
        """A call in a few words, for people."""
        tool = self._tools.get(str(call["name"]))
        if tool is None:
            return "(no such tool)"
        try:
            return tool.describe(tool.arguments.model_validate(call["input"]))
        except ValidationError:
            return "(wrong input)"


def calls_in(blocks: Sequence[Block]) -> list[Block]:
    """The tool calls among the blocks of an answer."""
    return [block for block in blocks if block.get("type") == "tool_use"]


def result_block(call: Block, outcome: ToolOutcome) -> Block:
    """The result of a call as the Messages API takes it."""
    block: Block = {"type": "tool_result", "tool_use_id": call["id"], "content": outcome.content or "ok"}
    if outcome.is_error:
        block["is_error"] = True
    return block


def _not_set_aside(outcome: ToolOutcome) -> ToolOutcome:
    """A turn that was set aside and is taken up again goes on behind the call that set it aside."""
    ends = outcome.ends_turn
    return replace(outcome, ends_turn=None) if ends is not None and ends.end is TurnEnd.INTERRUPTED else outcome


def _read(tool: Tool, call: Block) -> BaseModel | ToolOutcome:
    try:
        return tool.arguments.model_validate(call["input"])
    except ValidationError as error:
        problems = "; ".join(f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}" for e in error.errors(include_url=False))
        return ToolOutcome(f"The input of `{tool.name}` is not right. {problems}.", is_error=True)


async def _made(tool: Tool, arguments: object, circumstances: ToolCall) -> ToolOutcome:
    try:
        outcome = await tool.run(arguments, circumstances)
    except (LeaseLostError, HubUnreachableError):
        raise
    except (AgenthubError, OSError, ValueError) as error:
        outcome = ToolOutcome(str(error) or type(error).__name__, is_error=True)
    content = whole(outcome.content)  # half a character would spoil every request
    if len(content) > MAX_RESULT_CHARACTERS:
        half = MAX_RESULT_CHARACTERS // 2
        content = f"{content[:half]}\n[... {len(content) - 2 * half:,} characters left out ...]\n{content[-half:]}"
    return replace(outcome, content=content)


def outcome_to(outcome: ToolOutcome) -> dict[str, Any]:
    """An outcome as the journal keeps it."""
    ends = outcome.ends_turn
    return {
        "content": outcome.content,
        "is_error": outcome.is_error,
        "summary": outcome.summary,
        "ends": None if ends is None else [ends.end.value, ends.outcome.value, ends.text, list(ends.evidence)],
        "attachments": [] if ends is None else [file.model_dump(mode="json") for file in ends.attachments],
        "check": ends.check.model_dump(mode="json") if ends is not None and ends.check is not None else None,
        "vote": "" if ends is None else ends.vote,
        "bid": ends.bid.model_dump(mode="json") if ends is not None and ends.bid is not None else None,
    }


def outcome_from(record: dict[str, Any]) -> ToolOutcome:
    """An outcome that the journal kept."""
    ends, check = record["ends"], record.get("check")
    checked = None if check is None else Check.model_validate(check)
    files = tuple(Attachment.model_validate(file) for file in record.get("attachments", ()))
    turn_end = None
    if ends is not None:
        turn_end = TurnResult(
            TurnEnd(ends[0]), Outcome(ends[1]), ends[2], tuple(ends[3]), checked, attachments=files,
            vote=record.get("vote", ""), bid=Bid.read(record.get("bid")),
        )  # fmt: skip
    return ToolOutcome(
        record["content"],
        record["is_error"],
        turn_end,
        record["summary"],
    )
