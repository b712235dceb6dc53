"""A call that a person approved, inside a conversation: made once, and the history stays valid and append-only."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agenthub.sessions.conversation import Conversation
from agenthub.sessions.session import Granted, Prompt, ToolCall, ToolOutcome, TurnEnd, TurnResult
from tests.sessions.scripted import Crash, Desk, Request, ScriptedModel, calls, last_user_blocks, says, task

PAY = Granted("pay", {"text": "the bill"})


class AskingDesk(Desk):
    """Of which `pay` is asked about."""

    async def restart(self) -> AskingDesk:
        await super().restart()
        self.conversation = Conversation(
            self.model, self.journal, system="You are a test.", tools=self.toolbox.tools(), max_steps=10,
            before_effect=lambda: self.before_effect(), may_call=self._may_call,
        )  # fmt: skip
        await self.conversation.start()
        return self

    async def _may_call(
        self, tool: str, arguments: dict[str, Any], call: ToolCall, granted: Granted | None
    ) -> ToolOutcome | None:
        if tool != "pay" or granted is not None:
            return None
        return ToolOutcome("It waits for approval.", ends_turn=TurnResult(TurnEnd.PARKED, text="waits"))

    async def goes_on(self, turn_id: str = "ask~r") -> TurnResult:
        prompt = Prompt("approved", task("a"), goes_on=True, granted=PAY)
        self.journal.open_turn(turn_id, message_id="a", ack_subject="x")
        last = [event async for event in self.conversation.turn(prompt, turn_id=turn_id)][-1]
        assert isinstance(last, TurnResult)
        return last


async def parked(path: Path, *replies: Any) -> AskingDesk:
    """A desk where a call waits, and another task was worked on since."""
    wanted = calls(("write", {"text": "first"}), ("pay", dict(PAY.input)), ("write", {"text": "last"}))
    model = ScriptedModel(wanted, says("other work"), *replies)
    desk = await AskingDesk(path / "journal.db", model).restart()
    assert (await desk.turn("a")).end is TurnEnd.PARKED
    assert (await desk.turn("b")).end is TurnEnd.STOPPED
    assert desk.toolbox.texts("pay") == []
    return desk


async def test_the_parked_call_is_answered_at_once_and_its_outcome_comes_with_the_next_prompt(tmp_path: Path) -> None:
    desk = await parked(tmp_path, says("thanks"))
    assert (await desk.goes_on()).text == "thanks"
    results = [block["content"] for block in desk.model.requests[1][-1]["content"] if block["type"] == "tool_result"]
    assert results == ["did first", "It waits for approval.", "did last"]
    (asked,) = last_user_blocks(desk.model.requests[2])
    assert asked["text"].endswith('approved\n<hub:result tool="pay">\ndid the bill\n</hub:result>')
    assert _grows(desk.model.requests)
    assert desk.toolbox.done[-1] == ("pay", "the bill", "ask~r~0")


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_call_that_a_crash_cut_off_is_not_made_again(tmp_path: Path, where: str) -> None:
    desk = await parked(tmp_path, says("I look first"))
    getattr(desk.toolbox, where)["pay"] = [Crash()]
    with pytest.raises(Crash):
        await desk.goes_on()
    await desk.restart()
    assert (await desk.goes_on()).text == "I look first"
    assert len(desk.toolbox.texts("pay")) == (0 if where == "before" else 1)
    assert "unknown whether it took effect" in last_user_blocks(desk.model.requests[-1])[0]["text"]


async def test_a_call_that_was_made_is_not_made_again_when_the_model_was_not_reached(tmp_path: Path) -> None:
    desk = await parked(tmp_path, Crash(), says("thanks"))
    with pytest.raises(Crash):
        await desk.goes_on()
    await desk.restart()
    assert (await desk.goes_on()).text == "thanks"
    assert desk.toolbox.texts("pay") == ["the bill"]
    assert "did the bill" in last_user_blocks(desk.model.requests[-1])[0]["text"]
    assert _grows(desk.model.requests)


def _grows(requests: list[Request]) -> bool:
    """True if each request begins with the one before, unless that was never answered."""
    return all(late[: len(early)] == early for early, late in pairwise(requests) if len(late) > len(early))
