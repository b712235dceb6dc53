"""What was spent, added up by role, model, day or trace: from the events of the model calls, kept for a week."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple

from agenthub import subjects
from agenthub.client.history import event_of
from agenthub.client.hub import Client
from agenthub.messages import Event, Usage

By = Literal["role", "model", "day", "trace"]


class Cost(NamedTuple):
    """What the model calls of one role, model, day (UTC) or trace took."""

    key: str
    usage: Usage
    title: str = ""
    """Of a trace: what its directive is about, as far as it is known."""

    @property
    def cached_share(self) -> float:
        """How much of what was read came from the cache, 0 to 1."""
        usage = self.usage
        read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        return usage.cache_read_tokens / read if read else 0.0


async def costs(client: Client, *, by: By, since: datetime) -> list[Cost]:
    """What was spent since a moment, the dearest first; days in their order."""
    calls = await _events(client, "model", since)
    titles = {}
    if by == "trace":
        taken = await _events(client, "taken", since)
        titles = {event.trace_id: event.text for event in [*reversed(taken), *filter(_is_root, taken)]}
    return summed(calls, by=by, titles=titles)


def summed(calls: Iterable[Event], *, by: By, titles: dict[str, str] | None = None) -> list[Cost]:
    """Events of model calls, added up."""
    totals: dict[str, Usage] = {}
    for event in calls:
        key = _key(event, by)
        totals[key] = totals.get(key, Usage()) + _usage(event)
    found = [Cost(key, usage, (titles or {}).get(key, "")) for key, usage in totals.items()]
    if by == "day":
        return sorted(found, key=lambda cost: cost.key)
    return sorted(found, key=lambda cost: (-cost.usage.cost_usd, -cost.usage.tokens, cost.key))


def total(found: Iterable[Cost]) -> Cost:
    """All of it together."""
    return Cost("", sum((cost.usage for cost in found), Usage()))


async def _events(client: Client, kind: str, since: datetime) -> list[Event]:
    found = await client.bus.history(subjects.EVENTS, subjects.event(kind, "*"), since=since)
    return [event for received in found if (event := event_of(received)) is not None]


def _key(event: Event, by: By) -> str:
    match by:
        case "role":
            return event.role
        case "model":
            return str(event.data.get("model") or "unknown")
        case "day":
            return f"{event.at:%Y-%m-%d}"
        case "trace":
            return event.trace_id or "unknown"


def _usage(event: Event) -> Usage:
    """What a call took; numbers that make no sense count nothing."""
    said = {
        name: value
        for name, value in event.data.items()
        if name in Usage.model_fields and isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    }
    try:
        return Usage.model_validate(said)
    except ValueError:
        return Usage()


def _is_root(event: Event) -> bool:
    return bool(event.trace_id) and event.message_id == event.trace_id
