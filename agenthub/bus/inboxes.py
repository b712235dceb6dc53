"""Which inboxes the broker has: also those of roles that no file tells of any more."""

from __future__ import annotations

from nats.js.errors import NotFoundError as StreamMissing

from agenthub import subjects
from agenthub.bus.connection import Bus


async def inboxes(bus: Bus) -> set[str]:
    """Names of all whose inbox the broker stores messages for; none if it was never provisioned."""
    try:
        info = await bus.patiently(lambda: bus.js.stream_info(subjects.AGENTS), subjects.AGENTS)
    except StreamMissing:
        return set()
    places = map(subjects.place_of, info.config.subjects or [])
    return {place.role for place in places if place is not None}
