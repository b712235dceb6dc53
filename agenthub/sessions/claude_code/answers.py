"""What Claude Code's model says, recorded answer by answer, so that each is on disk before its calls are made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from agenthub.errors import SessionError
from agenthub.messages import Usage
from agenthub.organization_file import Price
from agenthub.sessions.claude_code.endings import usage_of
from agenthub.sessions.claude_code.place import PREFIX
from agenthub.sessions.journal import Block, Journal
from agenthub.sessions.prices import cost_usd
from agenthub.sessions.session import ModelCalled
from agenthub.sessions.tool_calls import ToolCalls, calls_in

RECORDED_WITHIN_S = 60.0
"""Claude Code begins with a call while its answer still streams; so long the call waits for the end of the answer."""

_GOES_ON: Block = {"type": "text", "text": "[Claude Code went on by itself]"}


class Answers:
    """The answers of one turn, and the numbers of their calls: by the order in which they were asked for."""

    def __init__(
        self, turn_id: str, message_id: str, *, journal: Journal, tool_calls: ToolCalls, model: str,
        prices: Mapping[str, Price], opening: Sequence[Block], notes: Sequence[str], heard: set[str],
    ) -> None:  # fmt: skip
        """
        Args:
            opening: What is asked first.
            notes: The ids of what it shows.
            heard: Gets the ids of answers that are recorded here.
        """
        self._turn_id, self._message_id, self._journal, self._model = turn_id, message_id, journal, model
        self._tool_calls, self._prices = tool_calls, prices
        self._opening: list[Block] | None = list(opening)
        self._notes, self._heard = list(notes), heard
        self._made = sum(len(calls_in(answer.blocks)) for answer in journal.answers(turn_id))
        self._numbers: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._blocks: list[Block] = []
        self._usage: dict[str, Any] | None = None
        """Of the answer that streams; None between two."""
        self._stop_reason = ""
        self._began_at_s = 0.0
        self.shown: list[str] = []
        """Words of the host that were shown since the last answer."""
        self.said = ""
        """The words of the last answer."""
        self.count = 0
        self.context_tokens = 0

    async def number_of(self, call_id: str) -> int:
        """Number of a call, as soon as the answer that asks for it is recorded.

        Raises:
            SessionError: If that answer never comes to its end.
        """
        try:
            async with asyncio.timeout(RECORDED_WITHIN_S):
                while call_id not in self._numbers:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise SessionError("The answer that asks for this call never came to its end; it was not made.") from error
        return self._numbers[call_id]

    def number_if_known(self, call_id: str) -> int | None:
        return self._numbers.get(call_id)

    def hear(self, event: dict[str, Any]) -> ModelCalled | None:
        """Take an event of the stream; at the end of an answer what it took, when it is recorded."""
        kind = event.get("type")
        if kind == "message_start":
            self._begin(event["message"])
        elif kind == "message_delta" and self._usage is not None:
            self._usage |= {name: value for name, value in event.get("usage", {}).items() if value is not None}
            self._stop_reason = str(event.get("delta", {}).get("stop_reason") or "")
        elif kind == "message_stop" and self._usage is not None:
            return self._end()
        return None

    def block(self, block: Block) -> None:
        """Take a whole block of the answer that streams."""
        if self._usage is not None:
            self._blocks.append(block)

    def break_off(self) -> ModelCalled | None:
        """Take note that an answer will not come to its end. It is paid all the same."""
        if self._usage is None:
            return None
        usage, self._usage, self._blocks = self._priced(self._usage), None, []
        self._journal.record_usage(self._turn_id, message_id=self._message_id, model=self._model, usage=usage)
        return ModelCalled(usage, self._model, time.monotonic() - self._began_at_s)

    def _begin(self, message: dict[str, Any]) -> None:
        self.break_off()
        self._heard.add(str(message.get("id")))
        self._usage, self._blocks, self._stop_reason = dict(message.get("usage") or {}), [], ""
        self._began_at_s = time.monotonic()

    def _end(self) -> ModelCalled:
        assert self._usage is not None
        usage, blocks = self._priced(self._usage), self._blocks
        self._usage, self._blocks = None, []
        if not blocks:
            self._journal.record_usage(self._turn_id, message_id=self._message_id, model=self._model, usage=usage)
            return ModelCalled(usage, self._model, time.monotonic() - self._began_at_s)
        asked = self._opening if self._opening is not None else self._tool_calls.results_of_last_turn()
        asked = [*asked, *({"type": "text", "text": text} for text in self.shown)]
        self._journal.record_answer(
            self._turn_id, message_id=self._message_id, asked=asked or [_GOES_ON], answered=blocks,
            model=self._model, usage=usage, stop_reason=self._stop_reason, notes=self._notes,
        )  # fmt: skip
        self._opening, self._notes = None, []
        self.shown.clear()
        self.count += 1
        for call in calls_in(blocks):
            self._numbers[str(call["id"])] = self._made
            self._made += 1
        self._changed.set()
        self.said = "\n".join(str(block["text"]) for block in blocks if block["type"] == "text").strip()
        self.context_tokens = usage.tokens
        first_line = next(iter(self.said.splitlines()), "")[:200]
        return ModelCalled(usage, self._model, time.monotonic() - self._began_at_s, first_line)

    def _priced(self, counted: dict[str, Any]) -> Usage:
        return priced(self._model, counted, self._prices)


def priced(model: str, counted: Mapping[str, Any], prices: Mapping[str, Price]) -> Usage:
    """At list price, as for every other session; what Claude Code itself says is cumulative, and guesses."""
    usage = usage_of(counted)
    written_1h = int((counted.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0)
    return usage.model_copy(update={"cost_usd": cost_usd(model, usage, own=prices, written_1h_tokens=written_1h)})


def as_block(block: Any) -> Block | None:
    """A block of the SDK as the Messages API has it, tools under their plain names; None for what is not kept."""
    kind = type(block).__name__
    if kind == "TextBlock":
        return {"type": "text", "text": block.text} if block.text.strip() else None
    if kind == "ToolUseBlock":
        return {"type": "tool_use", "id": block.id, "name": block.name.removeprefix(PREFIX), "input": block.input}
    return None  # thoughts are signed for a conversation that only Claude Code can send
