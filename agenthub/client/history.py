"""What happened, read from the streams: events, and completions as events among them."""

from __future__ import annotations

from collections.abc import Sequence

from agenthub.bus.received import Received
from agenthub.errors import MessageError
from agenthub.messages import Completion, Event, Outcome


def event_of(received: Received) -> Event | None:
    """What was heard, as an event: a completion is one as well. None if it is neither.

    Of what was buried the completion alone counts: the event beside it is for who hears events only.
    """
    if received.subject.startswith("agent-hub.events.dead."):
        return None
    try:
        if not received.subject.startswith("agent-hub.done."):
            return Event.decode(received.data)
        done = Completion.decode(received.data)
    except MessageError:
        return None
    data = done.model_dump(mode="json", exclude={"role", "message_id", "trace_id"})
    kind = "dead" if done.outcome is Outcome.DEAD else "noted" if done.outcome is Outcome.NOTED else "completed"
    kind = "reassigned" if done.outcome is Outcome.REASSIGNED else kind
    return Event(
        kind=kind, role=done.role, at=done.ended_at, text=done.text or done.subject, message_id=done.message_id,
        trace_id=done.trace_id, data=data,
    )  # fmt: skip


def completions(events: Sequence[Event]) -> list[Completion]:
    """The completions among events."""
    return [
        Completion.model_validate({**event.data, "role": event.role, "message_id": event.message_id})
        for event in events
        if event.kind in ("completed", "dead") and "outcome" in event.data
    ]
