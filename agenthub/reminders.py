"""Who owes an answer is reminded, then its managers hear of it: one process does it for all, without a model.

A ping goes into the debtor's inbox and is only noted there; an escalation is work for a manager, and in the end
for the person at the top. The answer ends it all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from agenthub import subjects
from agenthub.asks import Ask, Part
from agenthub.bus.buckets import IsTrue
from agenthub.bus.connection import Bus
from agenthub.errors import HubError, HubUnreachableError, MessageError
from agenthub.messages import Message, Payload, Priority, derived_id
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.org.pending import Debt, debts, unanswered
from agenthub.org.registry import Registry
from agenthub.organization import Organization
from agenthub.rhythm import next_moment

logger = logging.getLogger(__name__)

PINGS = 4
FIRST_S = 30.0
EVERY_S = 5.0


class Reminder(NamedTuple):
    """What is to be done about an overdue answer."""

    number: int
    """The first is 1; it goes on across pings and escalations."""
    level: int
    """0: a ping to the debtor. 1: an escalation to its manager, 2: to the manager's manager, and so on."""


def next_reminder(
    due_at: datetime, reminded_at: Sequence[datetime], now: datetime, *, first_s: float = FIRST_S
) -> Reminder | None:
    """What is to be sent now; None if nothing is yet.

    With `first_s` = 30: pings 30, 60, 120 and 240 s after the answer was due, escalations 480, 960, ... s after.
    What was missed while nobody led comes one after the other, with at least half of these intervals between,
    so that nobody is escalated over who was not reminded before, and had time.

    Args:
        due_at: When the answer was due, later by the time for which the clock stood still.
        reminded_at: When reminders were sent, oldest first.
    """
    number = len(reminded_at) + 1
    after_s = first_s * 2 ** (number - 1)
    moment = due_at + timedelta(seconds=after_s)
    if reminded_at:
        moment = max(moment, reminded_at[-1] + timedelta(seconds=after_s / 4))  # half of after_s - after_s / 2
    return Reminder(number, max(0, number - PINGS)) if now >= moment else None


class Reminders:
    """Watches over the answers that are due, for as long as this process leads.

    While the debtor works on what it was asked, or itself waits for others on it, the clock does not run: it
    is not the one that owes. Others may be, and are reminded in its stead.
    """

    def __init__(
        self,
        bus: Bus,
        organization: Organization,
        *,
        clock: Callable[[], datetime],
        first_s: float = FIRST_S,
        every_s: float = EVERY_S,
        entered: IsTrue = lambda *_: True,
    ) -> None:
        """`entered` says whether who may has signed an entry: what is noted there is signed as the leader's."""
        self._bus, self._organization, self._clock = bus, organization, clock
        self._first_s, self._every_s = first_s, every_s
        self._ledger, self._registry = Ledger(bus, entered=entered), Registry(bus)
        self._known: dict[str, Ask | None] = {}
        """Entries as they were when they were first seen: when an answer is due never changes."""

    async def run(self) -> None:
        """Look until cancelled. A broker that does not answer is no reason to stop."""
        while True:
            try:
                await self.look()
            except (HubError, MessageError) as error:
                logger.warning("could not see who owes an answer: %s", error)
            await next_moment(self._every_s)

    async def look(self) -> None:
        """Remind and escalate what must be by now, and close what was answered from outside."""
        moment, within_s = self._clock(), self._organization.defaults.reply_within_s
        asks = await self._asks(moment, within_s)
        if not asks:
            return
        mine = [ask for ask in asks if ask.from_outside or _is_due(ask, moment, within_s)]
        owed = await unanswered(self._bus, self._ledger, mine)
        for debt in debts(owed, asks, await self._registry.all(), reply_within_s=within_s, at=moment):
            if debt.due_at <= moment:
                await self._see_to(debt, moment)

    async def _asks(self, moment: datetime, within_s: float) -> Sequence[Ask]:
        """All asks if any is due, else those from outside. Mostly there is neither: that costs one request."""
        keys = await self._ledger.keys()
        fresh = sorted(keys - self._known.keys())
        read = await asyncio.gather(*(self._ledger.read(key) for key in fresh))
        kept = {key: ask for key, ask in self._known.items() if key in keys}
        self._known = kept | dict(zip(fresh, read, strict=True))
        known = {key: ask for key, ask in self._known.items() if ask is not None}
        if any(_is_due(ask, moment, within_s) for ask in known.values()):
            return await self._ledger.all()
        outside = [self._ledger.read(key) for key, ask in known.items() if ask.from_outside]
        return [ask for ask in await asyncio.gather(*outside) if ask is not None]

    async def _see_to(self, debt: Debt, moment: datetime) -> None:
        """Note that an answer is overdue, keep the debtor's clock, and remind if it is time."""
        is_news = debt.part.overdue_at is None and not debt.is_excused

        def seen(part: Part) -> Part:
            part = part.excuse(debt.is_excused, moment)
            return part.model_copy(update={"overdue_at": part.overdue_at or moment}) if not debt.is_excused else part

        part = await self._ledger.note(debt.ask, debt.part.message_id, seen)
        if part is None or debt.is_excused:
            return
        debt = debt._replace(part=part)
        if is_news:
            await self._tell("overdue", f"owes {debt.creditor} an answer: {debt.subject}", debt)
        due_at = debt.due_at + timedelta(seconds=part.excused_for_s(moment))
        reminder = next_reminder(due_at, part.reminded_at, moment, first_s=self._first_s)
        if reminder is None or reminder.level > len(self._chain(debt.debtor)):
            return
        try:
            await self._send(debt, reminder, moment)
        except HubUnreachableError:
            raise
        except HubError as error:  # an inbox is full, or gone: the others are reminded all the same
            logger.warning("%s cannot be reminded: %s", debt.debtor, error)

    async def _send(self, debt: Debt, reminder: Reminder, moment: datetime) -> None:
        """Publish, then note: who leads next repeats with the same id what was not noted."""
        is_ping = reminder.level == 0
        to = debt.debtor if is_ping else self._chain(debt.debtor)[reminder.level - 1]
        operator = self._organization.operator
        text = ping(debt, reminder, operator) if is_ping else escalation(debt, to, operator, moment)
        task = debt.ask.task
        message = Message(
            id=derived_id(debt.ask.id, debt.part.message_id, "reminder", str(reminder.number)),
            type="reminder" if is_ping else "escalation", from_role=subjects.LEADER,
            from_operator=f"operator-{subjects.LEADER}", timestamp=moment, trace_id=task.trace_id, origin=task.origin,
            causation_id=debt.message_id, correlation_id=debt.ask.id, hop=task.hop + 1,
            org=self._organization.org,
            payload=Payload(
                subject=f"{'Reminder' if is_ping else 'Overdue'}: {debt.subject}"[:200], message=text,
                priority=debt.part.priority if is_ping else Priority.HIGH,
            ),
        )  # fmt: skip
        lane = subjects.lane(to, message.payload.priority, subjects.LEADER)
        stored = await self._bus.publish(lane, message.encode(), message_id=message.id)

        def sent(part: Part) -> Part:
            is_next = len(part.reminded_at) == reminder.number - 1
            return part.model_copy(update={"reminded_at": [*part.reminded_at, moment]}) if is_next else part

        await self._ledger.note(debt.ask, debt.part.message_id, sent)
        if stored.is_new:
            kind, whom = ("reminded", "") if is_ping else ("escalated", f"; {to} is told")
            await self._tell(kind, f"owes {debt.creditor} an answer: {debt.subject}{whom}", debt, reminder, to)

    def _chain(self, role: str) -> tuple[str, ...]:
        known = role in self._organization.roles
        return self._organization.managers_chain(role) if known else (self._organization.operator,)

    async def _tell(self, kind: str, text: str, debt: Debt, reminder: Reminder | None = None, to: str = "") -> None:
        about = debt.ask.task.model_copy(update={"id": debt.message_id})
        more = {"to": to, "number": reminder.number, "level": reminder.level} if reminder else {}
        await Events(self._bus, debt.debtor).tell(
            kind, text, about, creditor=debt.creditor, ask=debt.ask.id, due_at=debt.due_at.isoformat(),
            state=debt.state, **more,
        )  # fmt: skip


def _is_due(ask: Ask, moment: datetime, reply_within_s: float) -> bool:
    """True if answers are owed by now. At its deadline a role goes on without; people wait for ever."""
    if ask.approval is not None:
        return False
    return ask.due_at(reply_within_s) <= moment and (ask.from_outside or moment < ask.deadline)


def ping(debt: Debt, reminder: Reminder, operator: str) -> str:
    """What the debtor reads."""
    waits = _named(debt.creditor, operator, "")
    return (
        f"{waits[0].upper()}{waits[1:]} still waits for your answer to {_quoted(debt.subject)}, asked at "
        f"{_clock(debt.ask.opened_at)} and due at {_clock(debt.due_at)}. Reminder {reminder.number} of {PINGS}; then "
        "your manager hears of it."
    )


def escalation(debt: Debt, to: str, operator: str, moment: datetime) -> str:
    """What a manager, or in the end the operator, reads: who owes what to whom, what keeps it, what can be done."""
    debtor, creditor = debt.debtor, _named(debt.creditor, operator, to)
    minutes = max(1, round(debt.overdue_s(moment) / 60))
    what = (
        f"{debtor} owes {creditor} an answer to {_quoted(debt.subject)}, asked at {_clock(debt.ask.opened_at)}, due at "
        f"{_clock(debt.due_at)}: {minutes} min overdue. It was reminded {min(PINGS, len(debt.part.reminded_at))} times."
        f" Now {debtor} {debt.words}."
    )
    if to == operator:
        can = (
            f"You can see what keeps it (`agenthub ps`, `agenthub inbox ls {debtor}`, `agenthub logs {debtor}`), or "
            "ask somebody else."
        )
        if debt.ask.from_outside:
            can += f" `agenthub pending drop {debt.ask.id[:8]}` ends the reminders."
    else:
        it = "it" if to == debt.creditor else f"it, and send {creditor} the result"
        can = (
            f"You can do it yourself or have another of your people do {it}; or find out what keeps {debtor}"
            f"{'' if to == debt.creditor else f' and tell {creditor}'}. End with what you decided."
        )
    return f"{what}\n\n{can}"


def _named(who: str, operator: str, reader: str) -> str:
    """`who` as the reader would say it; the operator of many an organization is called `you`."""
    return "you" if who == reader else "the operator" if who == operator else who


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return f'"{line if len(line) <= 120 else line[:117] + "..."}"'


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S} UTC"
