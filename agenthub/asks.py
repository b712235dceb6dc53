"""An ask: one task waits for the answers of others. Values and rules; no I/O.

Delegation and fan-out are the same: ask N roles, gather until complete or the deadline, go on.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from agenthub.messages import Message, Moment, Outcome

MAX_ANSWERS_CHARACTERS = 120_000
"""Of all answers to one ask together; a ledger entry holds the task as well and has at most 1 MB."""


class Answer(BaseModel):
    """What one of the asked said."""

    model_config = ConfigDict(frozen=True, extra="allow")

    outcome: Outcome
    text: str = ""
    evidence: list[str] = Field(default_factory=list)


class Part(BaseModel):
    """What was asked of one role."""

    model_config = ConfigDict(frozen=True, extra="allow")

    message_id: str
    role: str
    subject: str = ""
    answer: Answer | None = None


class Ask(BaseModel):
    """A parked task and what it waits for."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    """Derives from the tool call that opened it, so opening it again is the same ask."""
    role: str
    """Who asks."""
    task: Message
    """What it was working on, and will go on with."""
    parts: list[Part]
    opened_at: Moment
    deadline: Moment

    @property
    def is_answered(self) -> bool:
        """True if every part has its answer."""
        return all(part.answer is not None for part in self.parts)

    @property
    def waiting_for(self) -> list[str]:
        """Roles that have not answered."""
        return [part.role for part in self.parts if part.answer is None]

    def is_over(self, moment: datetime) -> bool:
        """True if the task can go on: all answers are there, or the deadline has passed."""
        return self.is_answered or moment >= self.deadline

    def has_part(self, message_id: str, role: str) -> bool:
        """True if `role` was asked by this message."""
        return any(part.message_id == message_id and part.role == role for part in self.parts)

    def with_answer(self, message_id: str, answer: Answer) -> Ask:
        """This ask with the answer to one part. The first answer counts; a repeat changes nothing.

        A very long answer is cut, so that all of them fit into one message; its files hold the rest.
        """
        room = MAX_ANSWERS_CHARACTERS // len(self.parts)
        if len(answer.text) > room:
            answer = answer.model_copy(update={"text": answer.text[:room] + "\n[cut: the answer was longer]"})

        def filled(part: Part) -> Part:
            is_meant = part.message_id == message_id and part.answer is None
            return part.model_copy(update={"answer": answer}) if is_meant else part

        parts = [filled(part) for part in self.parts]
        return self.model_copy(update={"parts": parts})
