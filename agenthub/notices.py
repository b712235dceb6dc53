"""What plain code tells a person: once, in the operator's inbox, with the commands that decide."""

from __future__ import annotations

from agenthub import subjects
from agenthub.bus.connection import Bus, StreamFullError
from agenthub.messages import Message, Payload, Priority, now
from agenthub.org.events import Events


class Notices:
    """Tells the operator what happened at one role."""

    def __init__(self, role: str, *, operator: str, org: str, bus: Bus, events: Events) -> None:
        self._role, self._operator, self._org, self._bus, self._events = role, operator, org, bus, events

    async def tell(self, identity: str, subject: str, text: str, *, is_question: bool) -> None:
        """Put a message into the operator's inbox; the same `identity` again within an hour changes nothing."""
        message = Message(
            id=identity, type="question" if is_question else "announcement", from_operator=f"operator-{self._role}",
            from_role=self._role, timestamp=now(), trace_id=identity, origin=self._role, org=self._org,
            payload=Payload(subject=subject, message=text, priority=Priority.HIGH if is_question else Priority.MEDIUM),
        )  # fmt: skip
        lane = subjects.lane(self._operator, message.payload.priority, self._role)
        try:
            await self._bus.publish(lane, message.encode(), message_id=identity)
        except StreamFullError:  # nobody empties a person's inbox by force; the commands show it all the same
            await self._events.tell("undelivered", f"the inbox of {self._operator} is full")
