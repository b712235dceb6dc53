"""What a screen shows of a hub, as values, and the rules by which agents are named and ordered. No drawing, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from agenthub.asks import Ask
from agenthub.client import RoleStatus
from agenthub.client.states import State, asks_by_role, breakers_by_role, since_when, state_and_doing
from agenthub.guards.circuit_breaker import Breaker
from agenthub.messages import Priority

Sorting = Literal["needs you first", "name", "cost", "waiting", "context"]
_WORD = 9
"""So long is the word for a state at the most, that its column holds it."""
SORTINGS: tuple[Sorting, ...] = ("needs you first", "name", "cost", "waiting", "context")


class Money(NamedTuple):
    """What an account spent today and what it may spend."""

    usd: float
    limit_usd: float | None = None

    @property
    def share(self) -> float | None:
        """0 to 1; None if nothing limits it."""
        return None if not self.limit_usd else self.usd / self.limit_usd


class Picture(NamedTuple):
    """A hub at one moment."""

    at: datetime
    statuses: Sequence[RoleStatus] = ()
    decisions: Sequence[Ask] = ()
    """What waits for a person, the oldest first."""
    breakers: Sequence[Breaker] = ()
    """Those that are not closed."""
    dead: int = 0
    """Dead letters that nobody has given another life."""
    mail: int = 0
    """Messages in the operator's own inbox."""
    money: Mapping[str, Money] = {}
    """Today's, by role; of all together under the empty name."""
    trust: Mapping[str, float] = {}
    """0 to 1, by role."""
    round_trip_s: float | None = None
    """To the broker and back. None: it does not answer."""

    @property
    def up(self) -> int:
        """Processes that beat."""
        return sum(status.heartbeat is not None for status in self.statuses)

    @property
    def waiting(self) -> int:
        """Messages that wait at roles."""
        return sum(sum(status.waiting.values()) + status.unsorted for status in self.statuses if "." not in status.role)

    @property
    def inbox(self) -> int:
        """Messages that the view of the inboxes lists and nobody works on: those that wait, are put off, and mail."""
        return self.waiting + self.mail + sum(status.delayed for status in self.statuses if "." not in status.role)

    @property
    def tokens(self) -> int:
        """Read and written today."""
        return sum(status.heartbeat.usage_today.tokens for status in self.statuses if status.heartbeat)

    @property
    def spent(self) -> Money:
        """Today's money of all."""
        beats = sum(status.heartbeat.usage_today.cost_usd for status in self.statuses if status.heartbeat)
        found = self.money.get("", Money(0.0))
        return found._replace(usd=max(found.usd, beats))


class Agent(NamedTuple):
    """One line of the list of agents."""

    key: str
    """Name of the process: that of the role, with a number behind it for a replica."""
    role: str
    depth: int
    """In the tree of who reports to whom; 0 in a flat list."""
    state: State
    doing: str
    since: datetime | None
    """When it entered this state; of one that needs a person, when it asked. None: it gives no sign of life."""
    waiting: tuple[int, ...]
    """By priority, most urgent first."""
    context: float | None
    """Share of the context window that is used."""
    money: Money
    beat_at: datetime | None
    trust: float | None
    ask_id: str
    """What it waits for a person to decide; empty: nothing."""
    message_id: str
    """What it works on; empty: nothing."""


def agents(picture: Picture) -> list[Agent]:
    """The agents in the order of the organization."""
    asks, breakers = asks_by_role(picture.decisions), breakers_by_role(picture.breakers)
    result = []
    for status in picture.statuses:
        role, beat = status.role.partition(".")[0], status.heartbeat
        ask = asks.get(role)
        state, doing = state_and_doing(status, ask, breakers.get(role))
        state = state._replace(word=state.word[:_WORD])
        spent = picture.money.get(role, Money(0.0))
        if beat is not None:
            spent = spent._replace(usd=max(spent.usd, beat.usage_today.cost_usd))
        result.append(
            Agent(
                status.role, role, 0, state, doing, since_when(status, ask),
                tuple(status.waiting[priority] for priority in Priority),
                beat.context_tokens / beat.context_window if beat and beat.context_window else None,
                spent, beat.beat_at if beat else None, picture.trust.get(role), ask.id if ask else "",
                beat.message_id if beat else "",
            )
        )  # fmt: skip
    return result


def ordered(found: Iterable[Agent], by: Sorting) -> list[Agent]:
    """The agents sorted; equals stay in the order of the organization."""
    keys = {
        "needs you first": lambda agent: agent.state.rank,
        "name": lambda agent: agent.key,
        "cost": lambda agent: -agent.money.usd,
        "waiting": lambda agent: tuple(-count for count in agent.waiting),
        "context": lambda agent: -(agent.context or 0.0),
    }
    return sorted(found, key=keys[by])


def as_tree(found: Iterable[Agent], reports_to: Mapping[str, str]) -> list[Agent]:
    """The agents as the org chart has them: who reports to somebody stands below, with its depth."""
    by_role: dict[str, list[Agent]] = {}
    for agent in found:
        by_role.setdefault(agent.role, []).append(agent)
    below: dict[str, list[str]] = {}
    for role in by_role:
        below.setdefault(reports_to.get(role, ""), []).append(role)
    result: list[Agent] = []
    placed: set[str] = set()

    def put(role: str, depth: int) -> None:
        if role in placed:
            return
        placed.add(role)
        result.extend(agent._replace(depth=depth) for agent in by_role[role])
        for name in below.get(role, []):
            put(name, depth + 1)

    for role in by_role:
        if reports_to.get(role, "") not in by_role:
            put(role, 0)
    for role in by_role:  # a circle has no top
        put(role, 0)
    return result


def fits(filter_: str, *words: str) -> bool:
    """True if a filter lets a line pass: it occurs in one of the words; with `!` before it, in none."""
    wanted = filter_.strip().casefold()
    is_inverse = wanted.startswith("!")
    wanted = wanted.removeprefix("!").strip()
    if not wanted:
        return True
    return any(wanted in word.casefold() for word in words) != is_inverse
