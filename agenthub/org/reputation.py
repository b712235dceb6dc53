"""How far roles are trusted with a kind of work, from how their work ended: a rule over completions, without I/O.

    score = (2 + c) / (4 + c + 2 d)

as for learnings (`org.trust`): c ended well and showed it, d failed, were buried, or were asked for again. What is
blocked or needs a person says nothing about the role, nor does a vote or a bid. Of a task that its sender asked for
again in the same trace the first end counts as rework. Scores are computed from what the broker stored once for each
message, so nobody can report its own, and a replay changes nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from agenthub.auctions import TENDER
from agenthub.messages import Completion, Outcome
from agenthub.org.trust import trust
from agenthub.votes import BALLOT

ALL = ""
"""The skill under which all of a role's work is counted."""
_WORD = re.compile(r"[a-z0-9_-]+")


class Score(NamedTuple):
    """How the work of a role with a skill ended."""

    done: int
    """Ended well, with something that shows it."""
    failed: int
    reworked: int
    """Reported as done, and asked for again."""

    @property
    def value(self) -> float:
        """From 0 to 1; 0.5 if nothing is known."""
        return trust(self.done, self.failed + self.reworked)


NOTHING = Score(0, 0, 0)


def scores(ends: Iterable[Completion], skills: Mapping[str, Collection[str]]) -> dict[str, dict[str, Score]]:
    """By role and skill how work ended; under `ALL` everything.

    Args:
        skills: Of each role. A task is of those that its subject names.
    """
    known = {(end.role, end.message_id): end for end in ends if end.type not in (BALLOT, TENDER)}
    ordered = sorted(known.values(), key=lambda end: (end.ended_at, end.message_id))
    reworked: set[str] = set()
    last: dict[tuple[str, str, str], Completion] = {}
    for end in ordered:
        if not end.from_role or end.outcome in (Outcome.NOTED, Outcome.REFUSED, Outcome.REASSIGNED):
            continue
        asked = (end.role, end.from_role, end.trace_id)
        before = last.get(asked)
        if before is not None and before.outcome is Outcome.DONE and _is_alike(before.subject, end.subject):
            reworked.add(before.message_id)
        last[asked] = end
    counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    for end in ordered:
        which = _which(end, reworked)
        if which is None:
            continue
        words = set(_WORD.findall(end.subject.lower()))
        for skill in (ALL, *(skill for skill in skills.get(end.role, ()) if skill.lower() in words)):
            counts[end.role][skill][which] += 1
    return {role: {skill: Score(*three) for skill, three in found.items()} for role, found in counts.items()}


def _which(end: Completion, reworked: Collection[str]) -> int | None:
    if end.message_id in reworked:
        return 2
    if end.outcome in (Outcome.FAILED, Outcome.DEAD):
        return 1
    is_shown = end.outcome is Outcome.DONE and not end.implicit and bool(end.evidence)
    return 0 if is_shown else None


def _is_alike(one: str, other: str) -> bool:
    """True if two subjects share most of their words: the same thing asked for again."""
    mine, theirs = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    return bool(mine and theirs) and 2 * len(mine & theirs) > min(len(mine), len(theirs))
