"""An ask: one task waits for the answers of others. Values and rules; no I/O.

Delegation, fan-out, vote and auction are the same: ask N roles, gather until complete or the deadline, decide, go on.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agenthub.approvals import Approval
from agenthub.auctions import Award, Bid
from agenthub.messages import Attachment, Check, Message, Moment, Outcome, Priority
from agenthub.verification import Verification
from agenthub.votes import Ballot, Tally

MAX_ANSWERS_CHARACTERS = 120_000
"""Of all answers to one ask together; a ledger entry holds the task as well and has at most 1 MB."""


class Request(NamedTuple):
    """One thing that is asked of one role."""

    to: str
    subject: str
    text: str
    priority: Priority
    attachments: tuple[Attachment, ...] = ()
    """Files that go with it."""
    check: str | None = None
    """Command that must succeed when it is done."""
    verify: str | None = None
    """Role that must approve of what was done."""
    verifies: str | None = None
    """Id of the task whose result is to be verified."""
    type: str = "task_assignment"
    ballot: Ballot | None = None
    """What may be voted for."""
    tender: str | None = None
    """Of what was auctioned: id of the message that asked the recipient for its bid."""


class Answer(BaseModel):
    """What one of the asked said."""

    model_config = ConfigDict(frozen=True, extra="allow")

    outcome: Outcome
    text: str = ""
    evidence: list[str] = Field(default_factory=list)
    attachments: list[Attachment] = Field(default_factory=list)
    checked: Check | None = None
    """What came of the check of what was asked."""
    verified_by: str = ""
    """Who approved of it; empty: nobody."""
    always: bool = False
    """Of an approval: whatever is like this call is approved too."""
    vote: str = ""
    """Of a vote: an option, or words that are none and do not count."""
    bid: Bid | None = None
    """Of an auction. None: who was asked does not want it."""


class Part(BaseModel):
    """What was asked of one role."""

    model_config = ConfigDict(frozen=True, extra="allow")

    message_id: str
    role: str
    subject: str = ""
    priority: Priority = Priority.MEDIUM
    answer: Answer | None = None

    overdue_at: Moment | None = None
    """When it was first seen that the answer is overdue. None: it was not."""
    reminded_at: list[Moment] = Field(default_factory=list)
    """When who was asked, and later its managers, were reminded; oldest first."""
    excused_since: Moment | None = None
    """Since when an overdue answer is not for want of starting: the role works on it or waits for others."""
    excused_s: float = 0.0
    """Seconds for which that was so before."""
    decided: str = ""
    """Of what a person was asked: what they decided, while that is under way to the role."""

    def excused_for_s(self, moment: datetime) -> float:
        """Seconds for which the clock of reminders has stood still."""
        now_s = (moment - self.excused_since).total_seconds() if self.excused_since else 0.0
        return self.excused_s + max(0.0, now_s)

    def excuse(self, is_excused: bool, moment: datetime) -> Part:
        """This part with the clock of reminders stopped, or going on."""
        if is_excused == (self.excused_since is not None):
            return self
        if is_excused:
            return self.model_copy(update={"excused_since": moment})
        return self.model_copy(update={"excused_since": None, "excused_s": self.excused_for_s(moment)})


class Tender(BaseModel):
    """A task that goes to whoever bids best."""

    model_config = ConfigDict(frozen=True, extra="allow")

    subject: str
    text: str
    priority: Priority
    skill: str = ""
    """For which bidders are trusted as far as their work with it ended well. Empty: all their work."""
    within_s: float
    """Seconds that the winner gets."""


class Ask(BaseModel):
    """A parked task and what it waits for."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    """Derives from the tool call that opened it, so opening it again is the same ask."""
    role: str
    """Who asks: a role, or a person or program outside."""
    task: Message
    """What it was working on, and will go on with. From outside: the message that was sent."""
    turn_id: str = ""
    """The turn that asked; it is over once the answers are there, also if a crash took the record of that."""
    parts: list[Part]
    opened_at: Moment
    deadline: Moment
    from_outside: bool = False
    """True if a person or a program waits: no task is parked, and the entry ends with the completion."""
    approval: Approval | None = None
    """What the operator is asked to decide; None: roles are asked."""
    verification: Verification | None = None
    """What is claimed to be done and waits for somebody else's word: a verifier's, or after rejections a person's."""
    ballot: Ballot | None = None
    """What is voted on."""
    tally: Tally | None = None
    """What the vote came to. Once entered it stays: votes that come later do not count."""
    tender: Tender | None = None
    """What is auctioned."""
    award: Award | None = None
    """What the auction came to; likewise. With `auction_id`: by which auction this task was handed out."""
    auction_id: str = ""
    """Ask by which bids were collected for what is asked here."""

    @property
    def is_poll(self) -> bool:
        """True if votes or bids are collected."""
        return self.ballot is not None or self.tender is not None

    @property
    def is_decided(self) -> bool:
        """True if a vote or an auction is over, and what came of it stays."""
        return self.tally is not None or (self.tender is not None and self.award is not None)

    @property
    def votes(self) -> list[tuple[str, str]]:
        """Who said what in a vote."""
        return [(part.role, part.answer.vote) for part in self.parts if part.answer is not None]

    @property
    def bids(self) -> list[tuple[str, Bid]]:
        """Who made which bid."""
        return [(part.role, part.answer.bid) for part in self.parts if part.answer and part.answer.bid]

    @property
    def is_answered(self) -> bool:
        """True if every part has its answer."""
        return all(part.answer is not None for part in self.parts)

    @property
    def waiting_for(self) -> list[str]:
        """Roles that have not answered."""
        return [part.role for part in self.parts if part.answer is None]

    @property
    def is_approved(self) -> bool:
        """True if a person said yes to the tool call that waits."""
        answer = self.parts[0].answer
        is_call = self.approval is not None and self.approval.kind == "tool"
        return is_call and answer is not None and answer.outcome is Outcome.DONE

    def is_over(self, moment: datetime) -> bool:
        """True if the task can go on: all answers are there, or the deadline has passed."""
        return self.is_answered or moment >= self.deadline

    def due_at(self, reply_within_s: float) -> datetime:
        """When answers are due: people said when; roles owe each other one within `reply_within_s`."""
        if self.from_outside:
            return self.deadline
        return min(self.opened_at + timedelta(seconds=reply_within_s), self.deadline)

    def part(self, message_id: str) -> Part | None:
        """What was asked by this message."""
        return next((part for part in self.parts if part.message_id == message_id), None)

    def with_part(self, message_id: str, part: Part) -> Ask:
        """This ask with another state of what was asked by this message."""
        parts = [part if old.message_id == message_id else old for old in self.parts]
        return self.model_copy(update={"parts": parts})

    def has_part(self, message_id: str, role: str) -> bool:
        """True if `role` was asked by this message."""
        return any(part.message_id == message_id and part.role == role for part in self.parts)

    def with_answer(self, message_id: str, answer: Answer) -> Ask:
        """This ask with the answer to one part. The first answer counts; a repeat changes nothing, nor does one that
        comes when it is decided.

        A very long answer is cut, so that all of them fit into one message; its files hold the rest.
        """
        if self.is_decided:
            return self
        room = MAX_ANSWERS_CHARACTERS // len(self.parts)
        if len(answer.text) > room:
            answer = answer.model_copy(update={"text": answer.text[:room] + "\n[cut: the answer was longer]"})

        def filled(part: Part) -> Part:
            is_meant = part.message_id == message_id and part.answer is None
            return part.model_copy(update={"answer": answer}) if is_meant else part

        parts = [filled(part) for part in self.parts]
        return self.model_copy(update={"parts": parts})
