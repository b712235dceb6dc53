"""Traces: how many messages and how much money each took, and which ones are parked until a person decides.

All roles add to the same counters, which the broker keeps. What is parked, released or ended stands in a bucket;
every role process hears of a change there and looks it up, so asking costs nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import AsyncIterator, Callable
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from agenthub import subjects
from agenthub.bus.buckets import Bucket
from agenthub.bus.connection import Bus
from agenthub.bus.counters import Counters
from agenthub.bus.received import Heard
from agenthub.errors import MessageError, NotFoundError, RefusedError
from agenthub.messages import Message, Moment, now
from agenthub.org.delayed import hasten


class TraceCounts(NamedTuple):
    """What a trace took so far."""

    messages: int
    """That asked a role for work, the root not counted."""
    cost_usd: float
    """Of the turns that have ended, at list prices."""


class TraceState(BaseModel):
    """A trace that was parked, and what became of it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    trace_id: str
    state: Literal["parked", "released", "ended"]
    reason: str
    """Why it was parked, or what the person said who ended it."""
    role: str
    """Who parked it."""
    at: Moment
    """When it came into this state."""
    messages: int = 0
    cost_usd: float = 0.0
    """What it had taken then."""
    max_messages: int = 0
    max_usd: float = 0.0
    """Limits to which a person has raised it; 0: the organization's."""
    parks: int = 0
    """How often it was parked."""


class Traces:
    """The traces of the organization, as one process or command sees them."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._states = Bucket(bus, subjects.TRACES, TraceState)
        self._counters = Counters(bus, subjects.TRACE_COUNTS)
        self._known: dict[str, TraceState] = {}

    # ── counters ───────────────────────────────────────────────────────────────────────────────────
    async def count_message(self, trace_id: str, *, by: str) -> int:
        """Count a message; how many there are then. The same `by` twice within an hour counts once."""
        key = _key(trace_id)
        return await self._counters.add(subjects.trace_count("messages", key), 1, message_id=f"messages.{key}.{by}")

    async def add_cost(self, trace_id: str, micro_usd: int, *, by: str) -> float:
        """Add to what a trace cost; US dollars then. The same `by` twice within an hour adds once."""
        key = _key(trace_id)
        subject = subjects.trace_count("micro_usd", key)
        return await self._counters.add(subject, micro_usd, message_id=f"micro_usd.{key}.{by}") / 1e6

    async def counts(self, trace_id: str) -> TraceCounts:
        """What a trace took so far."""
        key = _key(trace_id)
        messages = await self._counters.read(subjects.trace_count("messages", key))
        return TraceCounts(messages, await self._counters.read(subjects.trace_count("micro_usd", key)) / 1e6)

    # ── states ─────────────────────────────────────────────────────────────────────────────────────
    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[Heard]:
        """Decisions as they are made, for `follow`; begins with what was decided before."""
        async with self._bus.listen(subjects.ALL_TRACE_STATES) as decisions:
            self._bus.on_reconnect(self._load)  # what was decided meanwhile was not heard
            await self._load()
            yield decisions

    async def follow(self, decisions: Heard) -> None:
        """Keep what `known` says up to date until cancelled."""
        async for received in decisions:
            key = received.subject.rpartition(".")[2]
            try:
                self._known[key] = TraceState.model_validate_json(received.data)
            except ValueError:  # deleted, or of a newer version
                self._known.pop(key, None)

    async def known(self, trace_id: str) -> TraceState | None:
        """What was decided about a trace; costs nothing unless it stands still."""
        key = _key(trace_id)
        state = self._known.get(key)
        if state is not None and state.state != "released":
            return await self._learn(key)
        return state

    async def all(self) -> list[TraceState]:
        """Everything that was parked in the last week, oldest first."""
        return sorted((await self._states.items()).values(), key=lambda state: state.at)

    async def resolve(self, prefix: str) -> str:
        """The whole id of the one trace that begins with `prefix`, among those of the last week.

        Raises:
            NotFoundError: If there is none, or more than one.
        """
        counted = await self._bus.counts(subjects.TRACE_COUNTS, subjects.ALL_TRACE_COUNTS)
        ids = {state.trace_id for state in await self.all()} | {name.rpartition(".")[2] for name in counted}
        found = [prefix] if prefix in ids else [identity for identity in ids if identity.startswith(prefix)]
        if len(found) != 1:
            many = f"{len(found)} traces" if found else "no trace"
            raise NotFoundError(f"There is {many} whose id begins with `{prefix}`. See `agenthub traces ls`.")
        return found[0]

    async def park(self, trace_id: str, reason: str, *, role: str, counts: TraceCounts) -> tuple[TraceState, bool]:
        """Have a trace stand still; its state then, and True if it was this call that parked it."""
        key = _key(trace_id)
        while True:
            found, revision = await self._states.read(key)
            if found is not None and found.state != "released":
                self._known[key] = found
                return found, False
            before = found.model_dump(include={"max_messages", "max_usd"}) if found else {}
            state = TraceState(
                trace_id=trace_id, state="parked", reason=reason, role=role, at=now(), messages=counts.messages,
                cost_usd=counts.cost_usd, parks=found.parks + 1 if found else 1, **before,
            )  # fmt: skip
            if await self._states.update(key, state, revision) is not None:
                self._known[key] = state
                return state, True

    async def release(self, trace_id: str, *, max_messages: float, max_usd: float) -> TraceState:
        """Let a parked trace go on: it may take as much again as the organization's limits say.

        Raises:
            NotFoundError: If it never was parked.
            RefusedError: If it is not parked any more.
        """
        counts = await self.counts(trace_id)

        def released(state: TraceState | None) -> TraceState:
            if state is None:
                raise NotFoundError(f"The trace {trace_id} is not parked. See `agenthub traces ls`.")
            if state.state != "parked":
                raise RefusedError(
                    f"The trace {trace_id} is not parked, it is {state.state} since {state.at:%H:%M} UTC."
                )
            more = {
                "max_messages": 0 if max_messages == math.inf
                else int(max(counts.messages, state.max_messages, max_messages) + max_messages),
                "max_usd": 0.0 if max_usd == math.inf
                else max(counts.cost_usd, state.max_usd, max_usd) + max_usd,
            }  # fmt: skip
            return state.model_copy(update={"state": "released", "at": now(), **more})

        return await self._change(trace_id, released)

    async def end(self, trace_id: str, reason: str) -> TraceState:
        """End a trace, parked or not: whatever waits or comes is refused. Ending it again changes nothing."""
        counts = await self.counts(trace_id)

        def ended(state: TraceState | None) -> TraceState:
            if state is None:
                state = TraceState(trace_id=trace_id, state="ended", reason=reason, role="", at=now())
            elif state.state == "ended":
                return state
            taken = {"messages": counts.messages, "cost_usd": counts.cost_usd}
            return state.model_copy(update={"state": "ended", "at": now(), "reason": reason, **taken})

        return await self._change(trace_id, ended)

    async def hasten(self, trace_id: str) -> int:
        """Have what was put off be looked at now; how many messages."""
        return await hasten(self._bus, lambda delayed: _belongs(delayed.data, trace_id))

    async def _change(self, trace_id: str, to: Callable[[TraceState | None], TraceState]) -> TraceState:
        key = _key(trace_id)
        while True:
            found, revision = await self._states.read(key)
            changed = to(found)
            if changed == found or await self._states.update(key, changed, revision) is not None:
                self._known[key] = changed
                return changed

    async def _load(self) -> None:
        self._known = await self._states.items()

    async def _learn(self, key: str) -> TraceState | None:
        entry = await self._states.get(key)
        if entry is None:
            self._known.pop(key, None)
            return None
        self._known[key] = entry.value
        return entry.value


def is_root(message: Message) -> bool:
    """True for the directive at the root of a trace: it caused the others, so it is none of them."""
    return message.hop == 0 and message.trace_id == message.id


def _belongs(data: bytes, trace_id: str) -> bool:
    try:
        return Message.read(data, default_id="").trace_id == trace_id
    except MessageError:
        return False


def _key(trace_id: str) -> str:
    """The trace's token in subjects; strangers may name a trace anything."""
    return trace_id if subjects.token(trace_id) else hashlib.sha256(trace_id.encode(errors="replace")).hexdigest()[:32]
