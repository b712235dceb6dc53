"""Who owes whom an answer, and what keeps it: read from the ledger, the registry and the completions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from agenthub import subjects
from agenthub.asks import Ask, Part
from agenthub.bus.connection import Bus
from agenthub.errors import MessageError
from agenthub.messages import Completion, Outcome
from agenthub.org.ledger import Ledger
from agenthub.presence import Heartbeat

_MOST_MOVES = 10
"""A fallback may be gone too; a circle ends here."""

State = Literal["waiting", "working", "parked", "down"]


class Owed(NamedTuple):
    """A part of an ask that nobody has answered, and who has it now."""

    ask: Ask
    part: Part
    debtor: str
    """Who was asked; its fallback, if the message has gone there."""
    message_id: str
    """Of the message that the debtor has."""


class Debt(NamedTuple):
    """An answer that somebody owes."""

    ask: Ask
    part: Part
    debtor: str
    """Who owes the answer."""
    message_id: str
    """By which it was asked."""
    due_at: datetime
    state: State
    """What the debtor does about it: it waits in its inbox, or is worked on, or waits for others; or it is down."""
    waits_for: tuple[str, ...] = ()
    """Roles whose answers the debtor itself waits for."""
    busy_with: str = ""
    """What the debtor works on instead."""

    @property
    def creditor(self) -> str:
        """Who waits."""
        return self.ask.role

    @property
    def subject(self) -> str:
        """What was asked, in a line."""
        return self.part.subject or self.ask.task.title

    @property
    def is_excused(self) -> bool:
        """True if the debtor works on it, or itself waits for others on it: then it is not the one that owes."""
        return self.state in ("working", "parked")

    @property
    def words(self) -> str:
        """What the debtor does about it, for people."""
        if self.state == "working":
            return "works on it"
        if self.state == "parked":
            return f"is parked, waits for {', '.join(self.waits_for)}"
        if self.state == "down":
            return "is down"
        return "has it in its inbox" + (f", and works on: {self.busy_with}" if self.busy_with else "")

    def overdue_s(self, moment: datetime) -> float:
        """Seconds since it was due; negative before."""
        return (moment - self.due_at).total_seconds()


def debts(
    owed: Iterable[Owed], asks: Iterable[Ask], beats: Mapping[str, Heartbeat], *, reply_within_s: float, at: datetime
) -> list[Debt]:
    """What is owed, the longest due first.

    Args:
        asks: All of the ledger: what a debtor waits for itself stands there too.
        beats: The roles that beat, by the key of the process.
        reply_within_s: When an answer among roles is due.
    """
    waits = {
        (ask.role, ask.task.id): tuple(ask.waiting_for) for ask in asks if not ask.from_outside and not ask.is_over(at)
    }
    at_work: dict[str, list[Heartbeat]] = {}
    for key, beat in beats.items():
        at_work.setdefault(key.partition(".")[0], []).append(beat)

    def debt(one: Owed) -> Debt:
        found = Debt(*one, one.ask.due_at(reply_within_s), "waiting")
        beating = at_work.get(one.debtor, [])
        if any(beat.message_id == one.message_id for beat in beating):
            return found._replace(state="working")
        if waits_for := waits.get((one.debtor, one.message_id)):
            return found._replace(state="parked", waits_for=waits_for)
        if not beating:
            return found._replace(state="down")
        return found._replace(busy_with=next((beat.doing for beat in beating if beat.message_id), ""))

    # A person who is asked to decide is not pressed: the deadline decides.
    roles = (debt(one) for one in owed if one.ask.approval is None)
    return sorted(roles, key=lambda debt: debt.due_at)


async def unanswered(bus: Bus, ledger: Ledger, asks: Iterable[Ask]) -> list[Owed]:
    """The parts of these asks that have no end, with who has them now.

    What was asked from outside and has its end is closed in the ledger. Among roles the answer may be under way
    to who asked, which closes the ask itself.
    """

    async def look(ask: Ask, part: Part) -> Owed | None:
        role, message_id = part.role, part.message_id
        for _ in range(_MOST_MOVES):
            ended = await bus.last(subjects.DONE, subjects.done(role, message_id))
            if ended is None:
                return Owed(ask, part, role, message_id)
            moved = _moved_to(ended)
            if moved is None:
                break
            role, message_id = moved
        if ask.from_outside:
            await ledger.close(ask.role, ask.id)
        return None

    looking = [look(ask, part) for ask in asks for part in ask.parts if part.answer is None]
    return [owed for owed in await asyncio.gather(*looking) if owed is not None]


def _moved_to(ended: bytes) -> tuple[str, str] | None:
    """Role and message by which the work goes on, if this end only says that a fallback has it now."""
    try:
        done = Completion.decode(ended)
    except MessageError:  # of a newer version: it has ended, whatever it says
        return None
    return (done.reassigned_to, done.reassigned_id) if done.outcome is Outcome.REASSIGNED else None
