"""How far a role trusts what it learned from another: a rule over the set of what was found, without I/O.

One role's trust in one learning, from its findings: c of them confirmed it, d contradicted it.

    trust = (2 + c) / (4 + c + 2 d)

which is the mean of a Beta distribution that begins with two on each side, and in which a contradiction weighs
double (A. Jøsang, R. Ismail, The Beta Reputation System, 2002, for the form; start at 50 % and promotion at 70 % after
agent.ceo's description of its agents' messaging; archiving below 40 % after the same authors' skill cards). Without
findings for a while trust drifts back to 50 %: half of the way in 30 days.

    c  d  trust   what becomes of it
    0  0  0.500   a hint
    1  0  0.600   a hint
    2  0  0.667   a hint
    3  0  0.714   promoted (from 70 %)
    3  1  0.556   demoted (under 60 %): a hint again
    0  1  0.333   archived (under 40 %), until it is back at 50 %
    3  0  0.600   after 33 days without use; a day later it is demoted

What counts as one finding:
- at most one for each task; if a task both confirmed and contradicted it, it contradicted;
- none of an author of the learning;
- what shares evidence is one witness, whoever says it; what shows only what the author has shown confirms nothing.

The result depends on the set of findings and the moment, not on the order in which they came or how often: they
are sorted before they are counted. Hysteresis needs an order; it is that of the moments at which things were found.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

START = 0.5
PROMOTED_FROM = 0.70
DEMOTED_UNDER = 0.60
ARCHIVED_UNDER = 0.40
HALF_LIFE = timedelta(days=30)


class State(StrEnum):
    """What a role does with a learning."""

    HINT = "hint"
    """Offered with fitting tasks, as unproven."""
    PROMOTED = "promoted"
    """Part of the role's policy."""
    ARCHIVED = "archived"
    """Not offered any more."""
    QUARANTINED = "quarantined"
    """Kept from the model until a person has looked at it."""


class Finding(NamedTuple):
    """That a learning held in a task, or did not."""

    witness: str
    """Role whose task it was, or the person who says so."""
    task: str
    """Id of the message that was worked off."""
    is_confirmation: bool
    at: datetime
    evidence: frozenset[str] = frozenset()
    """Further ids that show it; the task is always one."""


class Standing(NamedTuple):
    """How a learning stands with a role at a moment."""

    trust: float
    """From 0 to 1."""
    confirmations: int
    contradictions: int
    state: State


def trust(confirmations: int, contradictions: int) -> float:
    """Trust that follows from what was counted, before it drifts."""
    return (2 + confirmations) / (4 + confirmations + 2 * contradictions)


def drifted(value: float, idle: timedelta) -> float:
    """Trust after a while without findings: nearer to 50 %."""
    return START + (value - START) * math.pow(0.5, max(idle, timedelta()) / HALF_LIFE)


def standing(
    findings: Iterable[Finding], *, authors: Collection[str] = (), shown: Collection[str] = (), at: datetime
) -> Standing:
    """How a learning stands at a moment.

    Args:
        authors: Who published it: their findings do not count.
        shown: The evidence that came with it.
    """
    confirmations = contradictions = 0
    value, state, last = START, State.HINT, None
    for vote in votes(findings, authors=authors, shown=shown):
        if last is not None:
            state = _next(state, drifted(value, vote.at - last))
        confirmations += vote.is_confirmation
        contradictions += not vote.is_confirmation
        value, last = trust(confirmations, contradictions), vote.at
        state = _next(state, value)
    if last is not None:
        value = drifted(value, at - last)
        state = _next(state, value)
    return Standing(value, confirmations, contradictions, state)


def votes(findings: Iterable[Finding], *, authors: Collection[str], shown: Collection[str]) -> list[Finding]:
    """One finding for each independent witness, in the order in which things were found."""
    known = [one for one in set(findings) if one.witness not in authors]
    counted = [_one_vote(group) for group in _witnesses(known)]
    seen = frozenset(shown)
    return sorted(
        (vote for vote in counted if not (vote.is_confirmation and seen & ({vote.task} | vote.evidence))),
        key=lambda vote: (vote.at, vote.task, vote.witness),
    )


def _witnesses(findings: list[Finding]) -> list[list[Finding]]:
    """Findings that share any evidence, also by way of others, together (union-find)."""
    parent: dict[str, str] = {}

    def root(identity: str) -> str:
        parent.setdefault(identity, identity)
        while parent[identity] != identity:
            parent[identity] = identity = parent[parent[identity]]
        return identity

    for finding in findings:
        for identity in finding.evidence:
            parent[root(identity)] = root(finding.task)
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(root(finding.task), []).append(finding)
    return list(groups.values())


def _one_vote(group: list[Finding]) -> Finding:
    """What a group says: it contradicts if any of it does; found when the first of it was that says so."""
    against = [one for one in group if not one.is_confirmation]
    first = min(against or group, key=lambda one: (one.at, one.task, one.witness, sorted(one.evidence)))
    everything = frozenset().union(*(one.evidence | {one.task} for one in group))
    return first._replace(evidence=everything)


def _next(state: State, value: float) -> State:
    if value >= PROMOTED_FROM:
        return State.PROMOTED
    if value < ARCHIVED_UNDER:
        return State.ARCHIVED
    is_demoted = state is State.PROMOTED and value < DEMOTED_UNDER
    is_revived = state is State.ARCHIVED and value >= START
    return State.HINT if is_demoted or is_revived else state
