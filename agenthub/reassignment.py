"""What a role that is gone, or left alone, had in hand goes to its fallback: exactly once, whoever dies in the middle.

Three steps, each of which may be done again: (a) the message's one end says that it has gone to the fallback, and
under which id; the broker takes a single end, so who loses against the role itself stops here; (b) the message is
put into the fallback's lane under that id, stored once; (c) the old delivery is acknowledged. Who finds (a) done
does (b) and (c): the next leader, or the role when it is back. A role whose breaker is open does all three itself.
"""

from __future__ import annotations

from datetime import datetime

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.in_flight import InFlight, settle
from agenthub.errors import MessageError
from agenthub.failpoints import Failpoint, reach
from agenthub.messages import MAX_MESSAGE_BYTES, Completion, Message, Outcome, derived_id

MOST_MOVES = 8
"""A fallback may be gone as well, and have one of its own."""
_ROOM_FOR_HEADERS = 4096


def is_reassignable(message: Message, role: str) -> bool:
    """True if another role can do what is asked: answers, deadlines and notes are for this one's own journal, and
    nobody votes or bids for another."""
    return message.is_actionable and not message.is_poll and (message.from_role != role or bool(message.on_behalf_of))


def may_have_moved(*, deliveries: int, attempts_before: int, waited_s: float, after_s: float) -> bool:
    """True if a message that comes to its role may have gone to the fallback before: then its end is looked at.

    A role must be gone for `after_s` before anything is moved, so what is younger cannot have been.
    """
    return deliveries > 1 or attempts_before > 0 or waited_s >= after_s


def moved(message: Message, role: str, fallback: str) -> Message:
    """The message as the fallback gets it: whoever asked is answered on behalf of the role that was asked."""
    return message.model_copy(
        update={
            "id": derived_id(role, message.id, "reassigned", fallback),
            "causation_id": message.causation_id if message.on_behalf_of else message.id,
            "on_behalf_of": message.on_behalf_of or role,
        }
    )


async def reassign(bus: Bus, delivery: InFlight, role: str, fallback: str, *, by: str, at: datetime) -> bool:
    """Move one delivery of a role to its fallback. The caller holds the leases of all the role's processes.

    Args:
        by: Role whose process does it.

    Returns:
        True if the fallback has it now; False if it stays: it is nothing to be moved, or has its end.
    """
    try:
        message = Message.read(delivery.received.data, default_id=delivery.default_id)
    except MessageError:
        return False
    if delivery.received.headers.get(subjects.DOOR) == subjects.inbox(role):
        message = message.model_copy(update={"is_stranger": True})  # nobody vouched for it there either
    first = await record_move(bus, message, role, fallback, why=f"`{role}` is gone", at=at)
    if first is None:
        return False
    await pass_on(bus, message, first, by=by)
    reach(Failpoint.REASSIGNED)
    await settle(bus, delivery)
    return True


async def record_move(
    bus: Bus, message: Message, role: str, fallback: str, *, why: str, at: datetime
) -> Completion | None:
    """Step (a): the message's end, which says where it has gone. None: it stays; it cannot be moved, or has its end."""
    if not is_reassignable(message, role):
        return None
    going = moved(message, role, fallback)
    if len(going.encode()) > MAX_MESSAGE_BYTES - _ROOM_FOR_HEADERS:
        return None
    end = Completion(
        message_id=message.id, role=role, outcome=Outcome.REASSIGNED, subject=message.title,
        text=f"{why}; `{fallback}` does it", from_role=message.from_role, trace_id=message.trace_id,
        causation_id=message.causation_id, priority=message.payload.priority, started_at=at, ended_at=at, attempts=0,
        reassigned_to=fallback, reassigned_id=going.id,
    )  # fmt: skip
    stored = await bus.publish(
        subjects.done(role, message.id), end.encode(), only_first=True, message_id=f"{role}.{message.id}.done"
    )
    reach(Failpoint.REASSIGNMENT_RECORDED)
    return end if stored.is_new else await moved_to(bus, role, message.id)


async def moved_to(bus: Bus, role: str, message_id: str) -> Completion | None:
    """The end of a message if that is to have gone to a fallback."""
    found = await bus.last(subjects.DONE, subjects.done(role, message_id))
    end = Completion.decode(found) if found is not None else None
    return end if end is not None and end.outcome is Outcome.REASSIGNED else None


async def pass_on(bus: Bus, message: Message, end: Completion, *, by: str) -> None:
    """Put a message whose end says so into its fallback's lane; again changes nothing."""
    going = moved(message, end.role, end.reassigned_to)
    if await bus.last(subjects.DONE, subjects.done(end.reassigned_to, going.id)) is not None:
        return  # done already, perhaps longer ago than the broker remembers ids
    headers = {
        subjects.DOOR: subjects.inbox(end.role), subjects.ID: going.id, subjects.TRACE_PARENT: going.trace_parent()
    }  # fmt: skip
    lane = subjects.lane(end.reassigned_to, going.payload.priority, by)
    await bus.publish(lane, going.encode(), message_id=going.id, headers=headers)


async def stands_in(bus: Bus, reply: Message) -> bool:
    """True if who sent this reply was given the message by the hub: nobody answers for another by itself."""
    role, message_id = reply.on_behalf_of, reply.causation_id
    for _ in range(MOST_MOVES):
        end = await moved_to(bus, role, message_id)
        if end is None:
            return False
        role, message_id = end.reassigned_to, end.reassigned_id
        if role == reply.from_role:
            return reply.id == reply_id(message_id, role)
    return False


def reply_id(message_id: str, role: str) -> str:
    """Id of the one reply of a role to a message."""
    return derived_id(message_id, role, "reply")
