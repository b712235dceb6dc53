"""What one role takes in, and from whom: plain code says no before a model is asked, and before money is spent.

Signatures say who published a message. Here it is looked at whether they may have come by it, and may ask it.
"""

from __future__ import annotations

from agenthub import subjects
from agenthub.auctions import TENDER
from agenthub.bus.connection import Bus
from agenthub.bus.deliveries import Delivery
from agenthub.errors import ForgedError, RefusedError
from agenthub.guards.assignments import ASSIGNMENT, check_assignment
from agenthub.guards.rate_gate import Arrivals
from agenthub.guards.senders import Senders
from agenthub.messages import Completion, Message, Outcome
from agenthub.org.events import Events
from agenthub.organization import Organization
from agenthub.reassignment import MOST_MOVES


class Intake:
    """What stands between the inbox of one role and its work."""

    def __init__(self, role: str, organization: Organization, bus: Bus, *, senders: Senders, events: Events) -> None:
        self._role, self._organization, self._bus = role, organization, bus
        self._senders, self._events = senders, events
        limits = organization.defaults
        self._arrivals = Arrivals(rate=limits.pair_rate, window_s=limits.pair_window_s)
        self._told: dict[str, int] = {}
        """By sender, the window in which it was said last that it sends too much."""

    async def check(self, message: Message, delivery: Delivery) -> None:
        """Return if the role may be asked this.

        Raises:
            ForgedError: If somebody says of a message of theirs that it came by another door.
            RefusedError: If the org chart does not let the sender give the role tasks, or it sends too many messages.
        """
        lane = subjects.lane_of(delivery.subject)
        by, door = lane.sender if lane else self._role, delivery.headers.get(subjects.DOOR, "")
        may_move = by in (self._role, self._organization.operator, subjects.LEADER)
        if door and not may_move and not await self._was_handed_over(message, by):
            raise ForgedError(f"`{by}` put it here as if it had come by another door, and nobody had it moved here")
        if not door and not message.is_answer:
            await self._check_rate(message, delivery, by)
        if message.is_stranger or door.startswith(subjects.EVERY_TOPIC):
            return  # nobody is asked by name: what is done for a stranger, or for a topic, is the role's own business
        asked = message.on_behalf_of if door and message.on_behalf_of in self._organization.roles else self._role
        if message.type == ASSIGNMENT and message.payload.tender and await self._has_bid(message):
            return
        check_assignment(message, asked, self._organization)

    async def _check_rate(self, message: Message, delivery: Delivery, by: str) -> None:
        limits, role = self._organization.defaults, self._organization.roles.get(by)
        if limits.rate_gate == "off" or role is None or by == self._role:
            return
        stored_at_s, processes = delivery.stored_at.timestamp(), role.settings.replicas
        if self._arrivals.takes(by, delivery.sequence, stored_at_s=stored_at_s, processes=processes):
            return
        is_refused, window = limits.rate_gate == "enforce", int(stored_at_s // limits.pair_window_s)
        text = f"`{by}` sent `{self._role}` more than {limits.pair_rate:.0f} messages within {limits.pair_window_s:g} s"
        if self._told.get(by) != window:  # once: what is told must not become a flood, too
            self._told[by] = window
            await self._events.record("flooded", text, message, sender=by, is_refused=is_refused)
        if is_refused:
            raise RefusedError(f"{text} (`defaults.pair_rate`), whatever its own gate says. Send this again later.")

    async def _was_handed_over(self, message: Message, by: str) -> bool:
        """True if the end that `by` gave to what it had says that this very message goes to this role."""
        holder, identity = message.on_behalf_of, message.causation_id
        for _ in range(MOST_MOVES):
            end = await self._end(holder, identity)
            if end is None or end.outcome is not Outcome.REASSIGNED:
                return False
            if end.reassigned_to == self._role:
                return holder == by and end.reassigned_id == message.id
            holder, identity = end.reassigned_to, end.reassigned_id
        return False

    async def _has_bid(self, message: Message) -> bool:
        """True if this role bid for the task: who calls an auction may give it to the winner, whoever that is."""
        end = await self._end(self._role, message.payload.tender or "")
        return end is not None and end.type == TENDER and end.bid is not None and end.from_role == message.from_role

    async def _end(self, role: str, identity: str) -> Completion | None:
        """How a message ended, if somebody who may has signed that."""
        if not subjects.token(role) or not subjects.message_id(identity):
            return None
        subject = subjects.done(role, identity)
        found = await self._bus.last_with_revision(subjects.DONE, subject)
        if found is None or not self._senders.ended(subject, found[2], found[0]):
            return None
        return Completion.decode(found[0])
