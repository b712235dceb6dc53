"""Tools to have others decide: a vote, and an auction of a task. Plain code counts and chooses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agenthub.asks import Tender
from agenthub.errors import RefusedError, unknown
from agenthub.organization import Organization
from agenthub.polls import Polls
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome, TurnEnd, TurnResult
from agenthub.votes import Ballot

CLOSE_MINUTES = 5.0
"""How long bids are taken, if nobody says."""
_MOST_MINUTES = 7 * 24 * 60


class CallVote(BaseModel):
    model_config = ConfigDict(extra="forbid")

    question: str = Field(description="What is to be decided, with all that a voter must know.", max_length=4000)
    options: list[str] = Field(description="What may be voted for, a few words each.", min_length=2, max_length=20)
    voters: list[str] = Field(description="Roles that vote, each once.", min_length=1, max_length=50)
    quorum: str = Field(default="1/2", description="Share of them that must vote for a decision: `2/3`, `60%`.")
    within_minutes: float | None = Field(
        default=None, gt=0, le=_MOST_MINUTES, description="When it ends without the votes that are missing."
    )


class CallAuction(BaseModel):
    model_config = ConfigDict(extra="forbid")

    subject: str = Field(description="The task in a few words.", max_length=180)
    message: str = Field(
        description="All that who does it must know: goal, context, what counts as done.", max_length=100_000
    )
    skill: str = Field(default="", description="Who has this skill may bid.", max_length=100)
    bidders: list[str] = Field(
        default_factory=list, max_length=50, description="Roles that may bid. Default: all that have the skill."
    )
    close_within_minutes: float = Field(
        default=CLOSE_MINUTES, gt=0, le=_MOST_MINUTES, description="When the best of the bids so far wins."
    )
    within_minutes: float | None = Field(
        default=None, gt=0, le=_MOST_MINUTES, description="When to go on without the winner's answer."
    )


def poll_tools(polls: Polls, organization: Organization, role: str, *, ask_within_s: float) -> list[Tool]:
    """The tools by which a role has others decide. Both may be repeated: their messages have derived ids."""

    async def call_vote(arguments: CallVote, call: ToolCall) -> ToolOutcome:
        try:
            ballot = Ballot(options=arguments.options, quorum=arguments.quorum)
        except ValidationError as error:
            raise RefusedError("; ".join(one["msg"] for one in error.errors(include_url=False))) from error
        within_s = ask_within_s if arguments.within_minutes is None else arguments.within_minutes * 60
        ask = await polls.call_vote(
            arguments.question, ballot, arguments.voters, about=call.task, key=call.key, within_s=within_s
        )
        who = ", ".join(part.role for part in ask.parts)
        text = f"{who} vote. Your task is parked; the result will reach you by {ask.deadline:%H:%M} UTC."
        parked = TurnResult(TurnEnd.PARKED, text=f"waits for the votes of {who}")
        return ToolOutcome(text, ends_turn=parked, summary=f"asked {who}")

    async def auction(arguments: CallAuction, call: ToolCall) -> ToolOutcome:
        within_s = ask_within_s if arguments.within_minutes is None else arguments.within_minutes * 60
        tender = Tender(
            subject=arguments.subject, text=arguments.message, priority=call.task.payload.priority,
            skill=arguments.skill, within_s=within_s,
        )  # fmt: skip
        ask = await polls.auction(
            tender, arguments.bidders or _skilled(organization, role, arguments.skill), about=call.task, key=call.key,
            close_within_s=arguments.close_within_minutes * 60,
        )  # fmt: skip
        who = ", ".join(part.role for part in ask.parts)
        text = (
            f"{who} may bid until {ask.deadline:%H:%M} UTC; who wins does it at once. Your task is parked: you get the "
            "winner's answer with the bids, or hear that nobody bid."
        )
        parked = TurnResult(TurnEnd.PARKED, text=f"waits for the bids of {who}")
        return ToolOutcome(text, ends_turn=parked, summary=f"asked {who}")

    return [
        Tool(
            "call_vote",
            "Have roles vote on a question. Your task is parked and this turn ends; you get the result, counted by the "
            "host, in one message. Without a quorum, or with a tie, nothing is decided.",
            CallVote, call_vote,
            describe=lambda a: a.question[:80],
        ),
        Tool(
            "auction",
            "Have roles bid for a task. The host gives it to the best bid, by cost, time and confidence and by how "
            "well such work of the bidder ended before. Your task is parked and this turn ends; you get the winner's "
            "answer in one message.",
            CallAuction, auction,
            describe=lambda a: a.subject,
        ),
    ]  # fmt: skip


def _skilled(organization: Organization, role: str, skill: str) -> list[str]:
    if not skill:
        raise RefusedError("Nobody may bid: give `skill` or `bidders`.")
    found = [name for name, other in organization.roles.items() if skill in other.settings.skills and name != role]
    if not found:
        skills = {one for other in organization.roles.values() for one in other.settings.skills}
        raise RefusedError(unknown("other role with the skill", skill, skills))
    return found
