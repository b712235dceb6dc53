"""The tool to ask the person at the top for more than one's files allow, for a while."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agenthub.approvals import Approval
from agenthub.coordination import Coordination
from agenthub.errors import RefusedError, problems
from agenthub.grants import Wanted
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome
from agenthub.tools.permits import parked

_MOST_HOURS = 24.0 * 90


class RequestGrant(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["topic", "tool", "memory", "spend"]
    what: str = Field(
        max_length=200,
        description="topic: where you want to publish, `decisions.api`. tool: a rule, `Bash(git push:*)`. "
        "memory: the role whose notes you want to read. spend: an extra amount of a limit, `usd_day=2`.",
    )
    why: str = Field(min_length=3, max_length=1000, description="What for; a person decides by it.")
    hours: float = Field(default=24.0, gt=0, le=_MOST_HOURS, description="For how long.")


def grant_tools(coordination: Coordination, *, within_s: float, is_rehearsal: bool) -> list[Tool]:
    """The tool `request_grant`. It may be repeated: its message has a derived id."""

    async def request_grant(arguments: RequestGrant, call: ToolCall) -> ToolOutcome:
        try:
            wanted = Wanted(
                kind=arguments.kind, what=arguments.what, for_s=arguments.hours * 3600, why=arguments.why,
                is_rehearsal=is_rehearsal,
            )  # fmt: skip
        except ValidationError as error:
            raise RefusedError(problems(error)) from error
        ask = await coordination.ask_person(
            Approval(kind="grant", wanted=wanted), about=call.task, key=call.key, within_s=within_s
        )
        return parked(ask, "What you ask for waits for a person")

    return [
        Tool(
            "request_grant",
            "Ask the person at the top to let you do, for a while, what your files do not: publish on a topic, make a "
            "kind of tool call without being asked each time, read a colleague's notes, spend more. Your task is "
            "parked and goes on with the answer.",
            RequestGrant,
            request_grant,
            describe=lambda a: f"{a.kind} {a.what}"[:80],
        )
    ]
