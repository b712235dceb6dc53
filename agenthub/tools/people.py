"""The tool to ask the person at the top, and go on with the answer."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from agenthub.approvals import Approval
from agenthub.coordination import Coordination
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome
from agenthub.tools.permits import parked


class AskHuman(BaseModel):
    model_config = ConfigDict(extra="forbid")

    question: str = Field(description="One question, with all that is needed to answer it.", max_length=4000)
    choices: list[str] = Field(
        default_factory=list, max_length=20, description="Answers to choose from; leave it out for a free answer."
    )


def people_tools(coordination: Coordination, *, within_s: float) -> list[Tool]:
    """The tool `ask_human`. It may be repeated: its message has a derived id."""

    async def ask_human(arguments: AskHuman, call: ToolCall) -> ToolOutcome:
        approval = Approval(kind="question", question=arguments.question, choices=arguments.choices)
        ask = await coordination.ask_person(approval, about=call.task, key=call.key, within_s=within_s)
        return parked(ask, "Your question waits for a person's answer")

    return [
        Tool(
            "ask_human",
            "Ask the person at the top what only a person can decide or knows. Your task is parked and this turn "
            "ends; you get the answer and go on from there. It may take a day.",
            AskHuman,
            ask_human,
            describe=lambda a: a.question[:80],
        )
    ]
