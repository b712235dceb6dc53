"""What can be read off a working role at any moment, for Prometheus."""

from __future__ import annotations

from agenthub.breakers import Breakers
from agenthub.bus.lanes import Lanes
from agenthub.coordination import Coordination
from agenthub.learning.learner import Learner
from agenthub.messages import now
from agenthub.metrics import CIRCUIT_STATES, Metrics
from agenthub.org.activity import Activity
from agenthub.org.registry import Pulse
from agenthub.spending import Spending


def show(
    metrics: Metrics, *, activity: Activity, pulse: Pulse, lanes: Lanes, spending: Spending, breakers: Breakers,
    coordination: Coordination, learner: Learner, circuits: tuple[str, str],
) -> None:  # fmt: skip
    """Have /metrics show what the parts of a role say when it is asked.

    Args:
        circuits: Names of the circuit breakers of the role and of its model account.
    """
    keys = dict(zip(("role", "account"), circuits, strict=True))

    async def waiting() -> dict[tuple[str, ...], float]:
        return {(str(priority),): count for priority, count in (await lanes.waiting()).items()}

    def context() -> float:
        used, window = activity.context
        return used / window if window else 0.0

    metrics.asked_gauge("agenthub_inbox_messages", "Messages that wait or are in hand", waiting, ("priority",))
    metrics.gauge("agenthub_working", "1 while a message is worked on", lambda: float(activity.message is not None))
    metrics.gauge("agenthub_parked_tasks", "Tasks that wait for answers", lambda: float(activity.parked()))
    metrics.gauge(
        "agenthub_approvals_waiting", "Calls and questions that wait for a person",
        lambda: float(coordination.approvals_waiting),
    )  # fmt: skip
    metrics.gauge(
        "agenthub_learnings", "Learnings of others, and how far they are trusted",
        lambda: {(state,): float(count) for state, count in learner.states().items()}, ("state",),
    )  # fmt: skip
    metrics.gauge("agenthub_context_ratio", "How full the conversation is", context)
    metrics.gauge(
        "agenthub_budget_ratio", "How far a limit is used up", spending.shares, ("account", "limit")
    )  # fmt: skip
    metrics.gauge(
        "agenthub_circuit_state", "0 closed, 1 half-open, 2 open",
        lambda: {(name,): CIRCUIT_STATES[breakers.state(key)] for name, key in keys.items()}, ("circuit",),
    )  # fmt: skip
    metrics.gauge(
        "agenthub_heartbeat_age_seconds", "Since the broker stored the last one",
        lambda: (now() - pulse.last.beat_at).total_seconds() if pulse.last else 0.0,
    )  # fmt: skip
