"""How far roles are trusted with a kind of work, from how their work ended: a rule over completions, without I/O.

    score = (2 + c) / (4 + c + 2 d)        as for learnings (`org.trust`)

    what is found of a piece of work                                             c    d
    ended well and showed it: by evidence, or by a check that passed            +1
    ended well, and somebody else approved of it                                +2
    failed, or was buried                                                            +1
    its sender asked for it again in the same trace (rework)                         +1
    somebody else rejected what was said to be done, each time, three at most        +1

So work that was rejected once and then approved of moves nothing (50 % stay 50 %), and approval at once is worth two
pieces of work that nobody looked at. What is blocked, unverified or needs a person says nothing about the role, nor
does a vote, a bid or a verification about who votes, bids or verifies: to reject is no failure.

Scores are computed from what the broker stored once for each message, so a replay changes nothing, and no role reports
its own: that another role approved counts only if it stands in that role's own end of the verification too. A rejection
counts only against work that was to be verified: nobody can reject what nobody asked about.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from operator import add
from typing import NamedTuple

from agenthub.auctions import TENDER
from agenthub.messages import Completion, Outcome
from agenthub.org.trust import trust
from agenthub.verification import MAX_REJECTIONS, is_rejection
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
    verified: int = 0
    """Of those that ended well: somebody else approved of them."""
    rejected: int = 0
    """How often somebody else rejected what was said to be done."""

    @property
    def value(self) -> float:
        """From 0 to 1; 0.5 if nothing is known."""
        return trust(self.done + self.verified, self.failed + self.reworked + self.rejected)


NOTHING = Score(0, 0, 0)


def scores(
    ends: Iterable[Completion], skills: Mapping[str, Collection[str]], *, operator: str = ""
) -> dict[str, dict[str, Score]]:
    """By role and skill how work ended; under `ALL` everything.

    Args:
        skills: Of each role. A task is of those that its subject names.
        operator: Whose approval needs no end of its own: people answer, they do not work off messages.
    """
    everything = list(ends)
    verdicts = _verdicts(everything)
    known = {(end.role, end.message_id): end for end in everything if end.type not in (BALLOT, TENDER)}
    known = {key: end for key, end in known.items() if not end.verifies}
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
    counts: dict[str, dict[str, Score]] = defaultdict(lambda: defaultdict(lambda: NOTHING))
    for end in ordered:
        found = _found(end, verdicts[end.role, end.message_id], is_rework=end.message_id in reworked, operator=operator)
        if found == NOTHING:
            continue
        words = set(_WORD.findall(end.subject.lower()))
        for skill in (ALL, *(skill for skill in skills.get(end.role, ()) if skill.lower() in words)):
            counts[end.role][skill] = Score(*map(add, counts[end.role][skill], found))
    return {role: dict(found) for role, found in counts.items()}


class _Verdicts(NamedTuple):
    """What others said of a piece of work, in ends of their own."""

    approved: set[str]
    """Who."""
    rejected: set[str]
    """Ids of the verifications."""


def _verdicts(ends: Iterable[Completion]) -> dict[tuple[str, str], _Verdicts]:
    """By who did the work and what it was."""
    found: dict[tuple[str, str], _Verdicts] = defaultdict(lambda: _Verdicts(set(), set()))
    for end in ends:
        if end.verifies and end.role != end.from_role:
            if end.outcome is Outcome.DONE and not end.implicit:
                found[end.from_role, end.verifies].approved.add(end.role)
            elif is_rejection(end.outcome):
                found[end.from_role, end.verifies].rejected.add(end.message_id)
    return found


def _found(end: Completion, verdicts: _Verdicts, *, is_rework: bool, operator: str) -> Score:
    """What one piece of work says about its role."""
    is_claimed = end.outcome in (Outcome.FAILED, Outcome.COMPLETED_UNVERIFIED) or bool(end.verified_by)
    rejected = min(len(verdicts.rejected), MAX_REJECTIONS) if is_claimed else 0
    if is_rework:
        return Score(0, 0, 1, 0, rejected)
    if end.outcome in (Outcome.FAILED, Outcome.DEAD):
        return Score(0, 1, 0, 0, rejected)
    is_approved = bool(end.verified_by) and end.verified_by in {operator, *verdicts.approved}
    has_passed = end.check is not None and end.check.has_passed
    is_shown = is_approved or has_passed or (bool(end.evidence) and not end.implicit)
    is_good = end.outcome is Outcome.DONE and is_shown
    return Score(int(is_good), 0, 0, int(is_good and is_approved), rejected)


def _is_alike(one: str, other: str) -> bool:
    """True if two subjects share most of their words: the same thing asked for again."""
    mine, theirs = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    return bool(mine and theirs) and 2 * len(mine & theirs) > min(len(mine), len(theirs))
