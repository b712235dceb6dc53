"""A model that sets its task aside in the very moment in which the host interrupts it."""

from __future__ import annotations

from typing import Any, cast

from agenthub.sessions.session import Tool, TurnEnd
from agenthub.tools.mesh import mesh_tools
from tests.sessions.conftest import Opens
from tests.sessions.scripted import Toolbox, calls, last_user_blocks, says


class WithMesh(Toolbox):
    """The same with the real `yield_turn`, while nothing critical waits any more."""

    def tools(self) -> list[Tool]:
        mesh = mesh_tools(cast("Any", None), attach=_nobody, ask_within_s=60, judge=_nobody)
        return [*super().tools(), *(tool for tool in mesh if tool.name == "yield_turn")]


async def _nobody(*_: object) -> Any:
    raise AssertionError("this tool asks nobody")


async def test_who_is_interrupted_before_it_sets_its_task_aside_hears_no_more_of_that_when_it_goes_on(
    desk: Opens,
) -> None:
    role = await desk(calls(("write", {"text": "1"}), ("yield_turn", {})), says("B."), says("A."), toolbox=WithMesh())

    async def interrupt(_: str) -> None:
        await role.conversation.interrupt()

    role.toolbox.during = interrupt
    assert (await role.turn("a")).end is TurnEnd.INTERRUPTED
    await role.turn("b")
    assert (await role.turn("a")).text == "A."
    found = [block["content"] for block in last_user_blocks(role.model.requests[1]) if block["type"] == "tool_result"]
    assert found == ["did 1", "The turn ended before this call; it was not made."]
    told = [block["text"] for block in last_user_blocks(role.model.requests[-1])]
    assert not [text for text in told if "yield_turn" in text], "it would set the task aside once more, for nothing"
