"""Who owes whom an answer, and what keeps it: read from the ledger, the registry and the completions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from agenthub import subjects
from agenthub.asks import Ask, Part
from agenthub.bus.connection import Bus
from agenthub.errors import MessageError
from agenthub.messages import Completion, Heartbeat
from agenthub.org.ledger import Ledger

State = Literal["waiting", "working", "parked", "down"]


class Debt(NamedTuple):
    """An answer that somebody owes."""

    ask: Ask
    part: Part
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
    def debtor(self) -> str:
        """Who owes the answer."""
        return self.part.role

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


def debts(asks: Sequence[Ask], beats: Mapping[str, Heartbeat], *, reply_within_s: float, at: datetime) -> list[Debt]:
    """What is owed, the longest due first.

    Args:
        asks: All of the ledger: what a debtor waits for itself stands there too.
        beats: The roles that beat, by the key of the process.
        reply_within_s: When an answer among roles is due.
    """
    waits = {
        (ask.role, ask.task.id): tuple(ask.waiting_for)
        for ask in asks
        if not ask.from_outside and not ask.is_over(at)
    }  # fmt: skip
    at_work: dict[str, list[Heartbeat]] = {}
    for key, beat in beats.items():
        at_work.setdefault(key.partition(".")[0], []).append(beat)

    def debt(ask: Ask, part: Part) -> Debt:
        owed = Debt(ask, part, ask.due_at(reply_within_s), "waiting")
        beating = at_work.get(part.role, [])
        if any(beat.message_id == part.message_id for beat in beating):
            return owed._replace(state="working")
        if waits_for := waits.get((part.role, part.message_id)):
            return owed._replace(state="parked", waits_for=waits_for)
        if not beating:
            return owed._replace(state="down")
        return owed._replace(busy_with=next((beat.doing for beat in beating if beat.message_id), ""))

    found = [debt(ask, part) for ask in asks for part in ask.parts if part.answer is None]
    return sorted(found, key=lambda debt: debt.due_at)


def moved_to(done: Completion) -> tuple[str, str] | None:
    """Role and message by which the work goes on, if this end only says that another role has it now."""
    extra = done.model_extra or {}
    role, message_id = extra.get("moved_to"), extra.get("moved_id")
    return (role, message_id) if isinstance(role, str) and isinstance(message_id, str) else None


async def still_owed(bus: Bus, ledger: Ledger, owed: Iterable[Debt], *, at: datetime) -> list[Debt]:
    """Those of the debts that nobody has answered.

    What was asked from outside is closed in the ledger when its completion is there, and follows the work when
    that went on at another role. Among roles an answer may be under way to who asked.
    """

    async def check(debt: Debt) -> Debt | None:
        ended = await bus.last(subjects.DONE, subjects.done(debt.part.role, debt.part.message_id))
        if ended is not None and debt.ask.from_outside:
            await _follow(ledger, debt.ask, debt.part, ended, at=at)
        return debt if ended is None else None

    return [debt for debt in await asyncio.gather(*(check(debt) for debt in owed)) if debt is not None]


async def _follow(ledger: Ledger, ask: Ask, part: Part, ended: bytes, *, at: datetime) -> None:
    """Close an entry of somebody outside whose answer is there, or have it wait for who has the work now."""
    try:
        moved = moved_to(Completion.decode(ended))
    except MessageError:  # of a newer version: it has ended, whatever it says
        moved = None
    if moved is None:
        await ledger.close(ask.role, ask.id)
        return
    role, message_id = moved
    changes: dict[str, object] = {
        "role": role, "message_id": message_id, "reminded_at": [], "overdue_at": None, "excused_since": None,
        "excused_s": max(0.0, (at - ask.deadline).total_seconds()),  # it has its time from now on
    }  # fmt: skip
    await ledger.note(ask, part.message_id, lambda part: part.model_copy(update=changes))
