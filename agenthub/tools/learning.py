"""Tools to learn from each other: publish a pattern that works, and say how one of others went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.errors import RefusedError, problems
from agenthub.guards.poisoning import holds_secret, suspicion
from agenthub.learning.learner import MOST_OF_ONE, Learner
from agenthub.learnings import LEAST_CONFIDENCE, MAX_EVIDENCE, Learning
from agenthub.masking import mask_of_keys
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome

LEARNING_TOOLS = ("share_learning", "report_learning")


class ShareLearning(BaseModel):
    model_config = ConfigDict(extra="forbid")
    trigger: str = Field(description="When it holds, so that others recognize it.", max_length=600)
    domain: list[str] = Field(description="What it is about, one word each.", min_length=1, max_length=5)
    approach: str = Field(description="What to do then, concretely.", max_length=600)
    outcome: str = Field(description="What came of it, measured if possible.", max_length=600)
    confidence: float = Field(description=f"Yours, 0 to 1; at least {LEAST_CONFIDENCE} to be published.")
    evidence: list[str] = Field(
        default_factory=list, max_length=MAX_EVIDENCE - 1, description="Ids of other messages whose work showed it."
    )
    ask_before: str = Field(
        default="", max_length=200, description="Calls before which a person is to be asked: `Bash(git push:*)`."
    )


class ReportLearning(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: str = Field(description="Of the hint or the policy's entry.", min_length=4, max_length=64)
    result: Literal["helped", "no_difference", "hurt", "not_applied"] = Field(
        description="`hurt` also if following it failed. `not_applied` if you did not follow it."
    )
    note: str = Field(default="", max_length=500, description="What you saw, in a sentence.")


def learning_tools(
    role: str, *, org: str, bus: Bus, learner: Learner, mask: Callable[[str], str] = mask_of_keys
) -> list[Tool]:
    """The tools for learnings. Both may be repeated: the same again changes nothing.

    Args:
        mask: Takes out the secrets that the process knows; what holds one is not published.
    """

    async def share_learning(arguments: ShareLearning, call: ToolCall) -> ToolOutcome:
        values = arguments.model_dump(exclude={"ask_before"})
        try:
            learning = Learning.model_validate(
                values | {"ask": arguments.ask_before, "evidence": [call.task.id, *arguments.evidence]}
            )
        except ValidationError as error:
            raise RefusedError(f"Not published: {problems(error)}.") from error
        if holds_secret(learning, mask):
            raise RefusedError("Not published: it holds what looks like a secret, and all roles would read it.")
        if learner.published_lately() >= MOST_OF_ONE:
            raise RefusedError(f"Not published: {MOST_OF_ONE} an hour are the most. Keep it with `remember`.")
        message = learning.message(role, org=org, trace_id=call.task.trace_id, causation_id=call.task.id)
        await bus.publish(subjects.learning(role), message.encode(), message_id=message.id)
        held = f" A person looks at it first: {why}." if (why := suspicion(learning)) else ""
        return ToolOutcome(f"Published as {learning.id}.{held}", summary=learning.trigger[:80])

    async def report_learning(arguments: ReportLearning, call: ToolCall) -> ToolOutcome:
        held = learner.find(arguments.id)
        if role in held.authors:
            raise RefusedError(f"{held.id} is your own; what counts is what others find.")
        if arguments.result == "not_applied":
            return ToolOutcome("Noted.", summary=f"{held.id}: not applied")
        learner.report(held, call.task.id, arguments.result, arguments.note)
        return ToolOutcome("Noted; it counts when the task has ended.", summary=f"{held.id}: {arguments.result}")

    return [
        Tool(
            "share_learning",
            "Publish a pattern that worked, for all other roles; each of them tries it before it trusts it. For what "
            "will hold in other tasks too, not for results.",
            ShareLearning, share_learning,
            describe=lambda a: a.trigger[:80],
        ),
        Tool(
            "report_learning",
            "Say whether you applied a learning of others, a hint or an entry of your policy, and how that went. "
            "Before you finish the task.",
            ReportLearning, report_learning,
            describe=lambda a: f"{a.id}: {a.result}",
        ),
    ]  # fmt: skip
