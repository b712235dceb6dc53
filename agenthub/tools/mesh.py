"""Tools to work with others: delegate, send, report a status, finish."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agenthub import subjects
from agenthub.acceptance import Rework
from agenthub.asks import Request
from agenthub.auctions import TENDER, Bid
from agenthub.coordination import Coordination
from agenthub.errors import RefusedError
from agenthub.messages import Message, Outcome, Priority
from agenthub.sessions.session import Repeat, Tool, ToolCall, ToolOutcome, TurnEnd, TurnResult
from agenthub.tools.attachments import Attach

_Priority = Annotated[Literal["critical", "high", "medium", "low"], BeforeValidator(lambda v: str(v).lower())]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


_Attach = Annotated[
    list[str], Field(default_factory=list, max_length=20, description="Files of your workspace that go with it.")
]


class Assignment(_Arguments):
    to: str = Field(description="Role that shall do it, as in your list of colleagues.")
    subject: str = Field(description="What it is, in a few words.", max_length=200)
    message: str = Field(description="All that the role must know: goal, context, what counts as done.")
    priority: _Priority | None = Field(default=None, description="Default: that of your own task.")
    check: str | None = Field(
        default=None, max_length=4000,
        description="Shell command that must succeed in their workspace when they say `done`, for example `pytest -q`. "
        "It is run only for your reports.",
    )  # fmt: skip
    verify: str | None = Field(default=None, description="Another role that must approve of what they did.")
    attach: _Attach


class Delegate(_Arguments):
    tasks: list[Assignment] = Field(description="One for each role that shall do a part.", min_length=1, max_length=50)
    within_minutes: float | None = Field(
        default=None, gt=0, le=7 * 24 * 60, description="When to go on without the answers that are missing."
    )


class Send(_Arguments):
    to: str = Field(description="A role, or the operator.")
    subject: str = Field(default="", max_length=200)
    message: str
    priority: _Priority = "medium"
    attach: _Attach


class ReportStatus(_Arguments):
    type: str = Field(description="Topic of the status, one word, for example `deploy` or `progress`.")
    text: str


class Finish(_Arguments):
    outcome: Literal["done", "blocked", "needs_human", "failed"]
    summary: str = Field(description="What was done, or what is missing, for the one who asked.")
    evidence: list[str] = Field(
        default_factory=list, description="What shows it: paths, commands, ids of messages.", max_length=50
    )
    attach: _Attach
    vote: str | None = Field(default=None, max_length=200, description="Only on a ballot: the option you are for.")
    bid: Bid | None = Field(default=None, description="Only on a tender: your bid. Leave it out if you do not want it.")


class YieldTurn(_Arguments):
    pass


def mesh_tools(
    coordination: Coordination,
    *,
    attach: Attach,
    ask_within_s: float,
    judge: Callable[[TurnResult, ToolCall], Awaitable[TurnResult | Rework]],
    check_s: float = 0.0,
    is_urgent: Callable[[], bool] = lambda: False,
) -> list[Tool]:
    """The tools by which a role works with others. What sends may be repeated: its messages have derived ids.

    Args:
        attach: Stores files that go with a message.
        judge: Says how a task ends that the model calls done, or that it is not done yet.
        check_s: How long that may take.
        is_urgent: True while a critical message waits, for which the task in hand may be set aside.
    """

    async def delegate(arguments: Delegate, call: ToolCall) -> ToolOutcome:
        usual = call.task.payload.priority
        files = iter(await attach([path for task in arguments.tasks for path in task.attach], call))
        requests = [
            Request(
                task.to, task.subject, task.message, Priority(task.priority) if task.priority else usual,
                tuple(itertools.islice(files, len(task.attach))), task.check or None, task.verify or None,
            )
            for task in arguments.tasks
        ]  # fmt: skip
        within_s = ask_within_s if arguments.within_minutes is None else arguments.within_minutes * 60
        ask = await coordination.ask(requests, about=call.task, key=call.key, within_s=within_s)
        who = ", ".join(part.role for part in ask.parts)
        text = f"Asked {who}. Your task is parked; their answers will reach you together, by {ask.deadline:%H:%M} UTC."
        return ToolOutcome(text, ends_turn=TurnResult(TurnEnd.PARKED, text=f"waits for {who}"), summary=f"asked {who}")

    async def send(arguments: Send, call: ToolCall) -> ToolOutcome:
        files = await attach(arguments.attach, call)
        request = Request(arguments.to, arguments.subject, arguments.message, Priority(arguments.priority), files)
        message = await coordination.tell(request, about=call.task, key=call.key)
        return ToolOutcome(f"Stored in the inbox of {arguments.to} as {message.id[:8]}.")

    async def report_status(arguments: ReportStatus, call: ToolCall) -> ToolOutcome:
        if not subjects.token(arguments.type):
            raise RefusedError(f"`type` is one word of letters, digits, `_` and `-`; found {arguments.type!r}")
        await coordination.publish(subjects.status_topic(arguments.type), arguments.text, about=call.task, key=call.key)
        return ToolOutcome(f"Published on {subjects.status_topic(arguments.type)}.")

    async def finish(arguments: Finish, call: ToolCall) -> ToolOutcome:
        vote, bid = _polled(arguments, call.task)
        end = TurnResult(
            TurnEnd.FINISHED, Outcome(arguments.outcome), arguments.summary, tuple(arguments.evidence),
            attachments=await attach(arguments.attach, call) if arguments.attach else (), vote=vote, bid=bid,
        )  # fmt: skip
        judged = await judge(end, call)
        if isinstance(judged, Rework):
            return ToolOutcome(judged.text, is_error=True, summary=judged.check.words)
        if judged.end is TurnEnd.PARKED:
            return ToolOutcome(f"Your task is parked: it {judged.text}.", ends_turn=judged, summary=judged.text)
        return ToolOutcome("Recorded.", ends_turn=judged, summary=judged.outcome)

    async def yield_turn(arguments: YieldTurn, call: ToolCall) -> ToolOutcome:
        if not is_urgent():
            raise RefusedError("Nothing critical waits for you. Go on with your task.")
        text = "Set aside; you go on with it after the critical message."
        return ToolOutcome(text, ends_turn=TurnResult(TurnEnd.INTERRUPTED), summary="makes way")

    return [
        Tool(
            "delegate",
            "Hand parts of your task to other roles. Your task is parked and this turn ends; you get all answers "
            "in one message and go on from there.",
            Delegate, delegate,
            describe=lambda a: ", ".join(task.to for task in a.tasks),
        ),
        Tool(
            "send", "Tell a role something that needs no answer.", Send, send,
            describe=lambda a: f"to {a.to}: {a.subject or a.message[:60]}",
        ),
        Tool(
            "report_status", "Publish a status for all who follow its topic.", ReportStatus, report_status,
            describe=lambda a: f"{a.type}: {a.text[:80]}",
        ),
        Tool(
            "finish", "End the task: say how it ended, what was done, and what shows it.", Finish, finish,
            describe=lambda a: a.outcome, patience_s=lambda a: check_s if a.outcome == "done" else 0.0,
        ),
        Tool(
            "yield_turn",
            "Set your task aside for a critical message, when the host has said that one waits. You get it back "
            "right after and go on where you were.",
            YieldTurn, yield_turn,
            repeat=Repeat.UNSAFE,  # made later it would set aside what the role has just got back
        ),
    ]  # fmt: skip


def _polled(arguments: Finish, task: Message) -> tuple[str, Bid | None]:
    """The vote or the bid that a task asks for.

    Raises:
        RefusedError: If `done` comes without one that counts.
    """
    ballot, is_done = task.payload.ballot, arguments.outcome == "done"
    if ballot is not None:
        vote = ballot.option(arguments.vote or "")
        if vote is None and is_done:
            raise RefusedError(
                f"`vote` must be one of: {' | '.join(ballot.options)}. Finish again; with `blocked` you abstain."
            )
        return (vote or "") if is_done else "", None
    if task.type == TENDER:
        if arguments.bid is None and is_done:
            raise RefusedError("A `done` tender needs a `bid`. Finish again; with `blocked` you do not bid.")
        return "", arguments.bid if is_done else None
    return "", None
