"""How well trust tells true patterns from false ones: eleven agents, noise, two liars, ninety days, no model.

Each agent has tasks on topics and is offered up to five unproven learnings of the topic; what it trusts it applies as
well. A true pattern mostly leads to success, a false one hardly more often than not; what agents say of it is wrong now
and then. Two of them lie: half of the false patterns are theirs, they call every false one good and every true one bad.
The rule is the product's (`agenthub.org.trust`), with its clock. Beside it stands what it refuses to do: to believe
what others say of a learning. The plot is written to docs/learning.svg.
"""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from agenthub.org.trust import Finding, State, standing
from bench.plot import Line, plot
from bench.table import Result

AGENTS, LIARS, DAYS, TASKS_A_DAY, TOPICS = 11, 2, 90, 6, 10
TRUE, FALSE = 50, 50
MOST_HINTS, APPLIED = 5, 0.6
_ALL = -1
"""Keeps the findings of all, where everybody is believed."""
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_PLOT = Path(__file__).parent.parent / "docs" / "learning.svg"


class World(NamedTuple):
    """How often things go which way."""

    true_succeeds: float = 0.9
    false_succeeds: float = 0.5
    true_seen: float = 0.8
    """That an agent sees, after a success, that a true pattern helped."""
    false_seen: float = 0.1
    """That it takes a false one for the reason of a success."""
    blamed: float = 0.6
    """That it sees, after a failure, that a false one was the reason; of a true one it thinks so by mistake only."""
    mistaken: float = 0.05
    """That it says the opposite of what it saw."""


class Pattern(NamedTuple):
    number: int
    topic: int
    is_true: bool
    author: int
    day: int
    """On which it is published."""


class Day(NamedTuple):
    """How far things were at the end of a day, over all pairs of an honest agent and a pattern of another."""

    true_promoted: float
    false_promoted: float


class Run(NamedTuple):
    days: Sequence[Day]
    days_to_half: float
    """From the publication of a true pattern to its promotion, for half of all pairs."""
    false_ever: float
    """Share of false pairs that were promoted at any moment."""


def simulate(seed: int, *, believes_others: bool, world: World = World()) -> Run:  # noqa: B008
    """One organization over all days."""
    chance = random.Random(seed)
    patterns = _patterns(chance)
    findings: dict[tuple[int, int], list[Finding]] = defaultdict(list)
    states: dict[tuple[int, int], State] = {}
    promoted_on: dict[tuple[int, int], int] = {}
    days: list[Day] = []
    honest = range(LIARS, AGENTS)
    for day in range(DAYS):
        at = _BEGIN + timedelta(days=day)
        known = [one for one in patterns if one.day <= day]
        tried: set[tuple[int, int]] = set()
        for agent in range(AGENTS):
            for task in range(TASKS_A_DAY):
                name, when = f"{day}-{agent}-{task}", at + timedelta(minutes=90 * task + agent)
                for pattern in _applied(chance, agent, known, states):
                    found = _judged(chance, agent, pattern, name, when, world)
                    if found is None:
                        continue
                    keeper = _ALL if believes_others else agent
                    findings[keeper, pattern.number].append(found)
                    tried.add((keeper, pattern.number))
        end = at + timedelta(days=1)
        for pattern in known:
            for keeper in (_ALL,) if believes_others else honest:
                kept = (keeper, pattern.number)
                if pattern.author == keeper or kept not in findings or not (kept in tried or day % 7 == 0):
                    continue  # without news trust drifts, which is looked at once a week
                state = standing(findings[kept], authors=[str(pattern.author)], at=end).state
                for reader in honest if believes_others else (keeper,):
                    states[reader, pattern.number] = state
                    if state is State.PROMOTED and pattern.author != reader:
                        promoted_on.setdefault((reader, pattern.number), day)
        days.append(_day(patterns, states, honest))
    waited = [
        promoted_on.get((reader, one.number), DAYS) - one.day
        for reader in honest
        for one in patterns
        if one.is_true and one.author != reader
    ]
    false = [(r, one.number) for r in honest for one in patterns if not one.is_true and one.author != r]
    return Run(days, statistics.median(waited), sum(pair in promoted_on for pair in false) / len(false))


def _patterns(chance: random.Random) -> list[Pattern]:
    """True and false ones; half of the false ones are the liars'. All are published within the first month."""
    found = []
    for number in range(TRUE + FALSE):
        is_true = number < TRUE
        is_lie = not is_true and number % 2 == 0
        author = chance.randrange(LIARS) if is_lie else chance.randrange(LIARS, AGENTS)
        found.append(Pattern(number, chance.randrange(TOPICS), is_true, author, chance.randrange(30)))
    return found


def _applied(
    chance: random.Random, agent: int, known: Sequence[Pattern], states: dict[tuple[int, int], State]
) -> list[Pattern]:
    """What an agent applies in a task: of what it trusts and of what it is offered, most."""
    topic = chance.randrange(TOPICS)
    fitting = [one for one in known if one.topic == topic and one.author != agent]
    trusted = [one for one in fitting if states.get((agent, one.number)) is State.PROMOTED]
    hints = [one for one in fitting if states.get((agent, one.number), State.HINT) is State.HINT]
    offered = [*trusted, *chance.sample(hints, min(MOST_HINTS, len(hints)))]
    return [one for one in offered if chance.random() < APPLIED]


def _judged(
    chance: random.Random, agent: int, pattern: Pattern, task: str, at: datetime, world: World
) -> Finding | None:
    """What comes of a pattern in a task, as the agent says; a confirmation counts only if the task succeeded."""
    if agent < LIARS:
        return Finding(str(agent), task, not pattern.is_true, at)
    succeeds = chance.random() < (world.true_succeeds if pattern.is_true else world.false_succeeds)
    if succeeds:
        is_seen = chance.random() < (world.true_seen if pattern.is_true else world.false_seen)
        says = True if is_seen else None
    else:
        says = False if not pattern.is_true and chance.random() < world.blamed else None
    if chance.random() < world.mistaken:
        says = not says if says is not None else chance.random() < 0.5
    if says is None or (says and not succeeds):
        return None
    return Finding(str(agent), task, says, at)


def _day(patterns: Sequence[Pattern], states: dict[tuple[int, int], State], honest: range) -> Day:
    def share(is_true: bool) -> float:
        pairs = [(r, one.number) for r in honest for one in patterns if one.is_true is is_true and one.author != r]
        return sum(states.get(pair) is State.PROMOTED for pair in pairs) / len(pairs)

    return Day(share(True), share(False))


async def measure(rounds: int = 5) -> list[Result]:
    """Shares of patterns promoted after ninety days, by our rule and by one that believes what others say."""
    ours = [simulate(seed, believes_others=False) for seed in range(rounds)]
    naive = [simulate(seed, believes_others=True) for seed in range(min(rounds, 2))]
    lines = [
        Line("true patterns in policies", _mean(ours, 0), "#2f7d4f"),
        Line("false patterns in policies", _mean(ours, 1), "#c0392b"),
        Line("true, if others were believed", _mean(naive, 0), "#2f7d4f", is_dashed=True),
        Line("false, if others were believed", _mean(naive, 1), "#c0392b", is_dashed=True),
    ]
    title = f"{AGENTS} agents, {LIARS} of them liars, {TRUE} true and {FALSE} false patterns, {DAYS} days"
    _PLOT.write_text(plot(lines, title=title, across="days", up="share promoted"), "utf-8")
    return [
        Result("learning: true promoted at the end", "%", [100 * run.days[-1][0] for run in ours], (), 80, True),
        Result("learning: false promoted at the end", "%", [100 * run.days[-1][1] for run in ours], (), 1, False),
        Result("learning: false ever promoted", "%", [100 * run.false_ever for run in ours], (), None, False),
        Result("learning: days to promotion, half", "d", [run.days_to_half for run in ours], (), 30, False),
        Result("learning: true, others believed", "%", [100 * run.days[-1][0] for run in naive], (), None, True),
        Result("learning: false, others believed", "%", [100 * run.days[-1][1] for run in naive], (), None, False),
    ]


def _mean(runs: Sequence[Run], which: int) -> list[float]:
    return [statistics.mean(run.days[day][which] for run in runs) for day in range(DAYS)]
