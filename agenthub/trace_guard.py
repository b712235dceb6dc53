"""Loops end by themselves: before each turn the guard asks whether its trace may go on, and parks it if not.

A parked trace costs nothing: its messages go back and are looked at again later. A person is told once, with
the reason, what it cost so far, and the commands by which to release or end it.
"""

from __future__ import annotations

from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus, StreamFullError
from agenthub.errors import TraceEndedError, TraceParkedError
from agenthub.guards.repeats import Memory, fingerprint, occasion
from agenthub.messages import Message, Payload, Priority, Usage, derived_id, now
from agenthub.org.events import Events
from agenthub.org.traces import TraceCounts, Traces, TraceState, is_root

LOOK_AGAIN_S = 60.0
"""How long a message of a parked trace waits until it is looked at again, if nobody releases it before."""


class TraceLimits(NamedTuple):
    """How much one directive may cause, whoever works on it. `math.inf`: unlimited."""

    max_messages: float
    max_usd: float
    max_repeats: float


class TraceGuard:
    """Looks after the traces that one role takes part in."""

    def __init__(
        self, role: str, *, operator: str, org: str, bus: Bus, traces: Traces, memory: Memory, events: Events,
        limits: TraceLimits,
    ) -> None:  # fmt: skip
        self._role, self._operator, self._org, self._bus = role, operator, org, bus
        self._traces, self._memory, self._events, self._limits = traces, memory, events, limits

    async def check(self, task: Message, *, is_new: bool) -> None:
        """Return if a turn for `task` may be taken; counts it, and the words in it, if it `is_new`.

        The root of a trace costs no round trip, anything else one, the first time.

        Raises:
            TraceParkedError: If a person must decide first; says when to look again.
            TraceEndedError: If a person has ended the trace.
        """
        state = await self._traces.known(task.trace_id)
        _raise_unless_free(state)
        if not is_new or is_root(task):
            return
        identity = f"{self._role}.{task.id}"
        if not self._memory.has_counted(identity):
            number = await self._traces.count_message(task.trace_id, by=identity)
            if number > max(self._limits.max_messages, state.max_messages if state else 0):
                await self._park(task, f"it has caused {number} messages (`defaults.max_trace_messages`).")
        times = self._memory.hear(
            _era(task, state), fingerprint(task, self._role), on=occasion(task), sender=task.from_role
        )
        if times >= self._limits.max_repeats:
            said = f"`{task.from_role}` said the same to `{self._role}` {times} times, and nothing changed in between"
            await self._park(task, f"{said} (`defaults.max_repeats`): {task.title[:100]!r}.")
        self._memory.count(identity)
        _raise_unless_free(await self._traces.known(task.trace_id))

    async def changed(self, task: Message) -> None:
        """Note that a turn for `task` changed something: what was said before may rightly be said again."""
        self._memory.forget(_era(task, await self._traces.known(task.trace_id)))

    async def answered(self, answer: Message) -> None:
        """Note that somebody answered, which is news to everybody but its sender."""
        self._memory.forget(_era(answer, await self._traces.known(answer.trace_id)), besides=answer.from_role)

    async def spent(self, task: Message, turn_id: str, usage: Usage) -> None:
        """Add what a turn cost to its trace; parks it if that was too much."""
        identity = f"{self._role}.{turn_id}~cost"
        micro_usd = round(usage.cost_usd * 1e6)
        if not micro_usd or self._memory.has_counted(identity):
            return
        cost_usd = await self._traces.add_cost(task.trace_id, micro_usd, by=identity)
        state = await self._traces.known(task.trace_id)
        limit_usd = max(self._limits.max_usd, state.max_usd if state else 0)
        if cost_usd > limit_usd:
            await self._park(task, f"it has cost {cost_usd:.2f} USD of {limit_usd:g} (`defaults.max_trace_usd`).")
        self._memory.count(identity)

    async def _park(self, task: Message, reason: str) -> None:
        """Have the trace stand still and a person be told; first that, so that a crash cannot forget it."""
        counts = await self._traces.counts(task.trace_id)
        before = await self._traces.known(task.trace_id)
        if before is None or before.state == "released":
            await self._tell(task, reason, counts, number=before.parks + 1 if before else 1)
        _, is_ours = await self._traces.park(task.trace_id, reason, role=self._role, counts=counts)
        if is_ours:
            await self._events.record(
                "parked_trace", reason, task, messages=counts.messages, cost_usd=round(counts.cost_usd, 6)
            )

    async def _tell(self, task: Message, reason: str, counts: TraceCounts, *, number: int) -> None:
        trace = task.trace_id
        text = (
            f"I parked everything that `{task.origin or task.from_role}` set off with trace {trace}: {reason}\n"
            f"So far: {counts.messages} messages, {counts.cost_usd:.2f} USD. Nothing is spent until you decide:\n\n"
            f"agenthub traces release {trace}   # let it go on, with as much again\n"
            f"agenthub traces end {trace}       # refuse whatever waits or comes\n\n"
            "If nobody decides, it stays as it is, and all that waits is kept."
        )
        question = Message(
            id=derived_id(trace, "parked", str(number)), type="question", from_operator=f"operator-{self._role}",
            from_role=self._role, timestamp=now(), trace_id=trace, causation_id=task.id, origin=task.origin,
            hop=task.hop + 1, org=self._org,
            payload=Payload(subject="A trace is parked: shall it go on?", message=text, priority=Priority.HIGH),
        )  # fmt: skip
        try:
            lane = subjects.lane(self._operator, Priority.HIGH, self._role)
            await self._bus.publish(lane, question.encode(), message_id=question.id)
        except StreamFullError:  # nobody empties a person's inbox by force; `agenthub traces ls` shows it all the same
            await self._events.tell("undelivered", f"the inbox of {self._operator} is full", task)


def _era(message: Message, state: TraceState | None) -> str:
    """The trace, counted anew after each release."""
    return f"{message.trace_id}#{state.parks if state else 0}"


def _raise_unless_free(state: TraceState | None) -> None:
    if state is None or state.state == "released":
        return
    if state.state == "ended":
        raise TraceEndedError(state.trace_id, state.reason)
    raise TraceParkedError(state.trace_id, state.reason, retry_after_s=LOOK_AGAIN_S)
