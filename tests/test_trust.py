"""The rule of trust, as tables and as properties: only the set of what was found counts, never how it came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthub.org.trust import Finding, State, drifted, standing, trust, votes

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def found(task: str, *, holds: bool = True, witness: str = "qa", hours: float = 0, evidence: str = "") -> Finding:
    return Finding(witness, task, holds, NOON + timedelta(hours=hours), frozenset(evidence.split()))


@pytest.mark.parametrize(
    ("confirmations", "contradictions", "expected", "state"),
    [
        (0, 0, 0.500, State.HINT),
        (1, 0, 0.600, State.HINT),
        (2, 0, 0.667, State.HINT),
        (3, 0, 0.714, State.PROMOTED),
        (3, 1, 0.556, State.HINT),
        (0, 1, 0.333, State.ARCHIVED),
        (2, 1, 0.500, State.HINT),
    ],
)
def test_the_table_in_the_docstring_holds(
    confirmations: int, contradictions: int, expected: float, state: State
) -> None:
    findings = [found(f"t{n}") for n in range(confirmations)]
    findings += [found(f"u{n}", holds=False, hours=1) for n in range(contradictions)]
    stands = standing(findings, at=NOON + timedelta(hours=contradictions))
    assert trust(confirmations, contradictions) == pytest.approx(expected, abs=0.0006)
    assert (stands.confirmations, stands.contradictions, stands.state) == (confirmations, contradictions, state)
    assert stands.trust == pytest.approx(expected, abs=0.01)


def test_trust_drifts_half_of_the_way_back_in_thirty_days() -> None:
    assert drifted(0.7, timedelta(days=30)) == pytest.approx(0.6)
    assert drifted(0.3, timedelta(days=60)) == pytest.approx(0.45)
    assert drifted(0.7, timedelta(days=-1)) == 0.7


def test_what_was_promoted_is_demoted_only_under_sixty_per_cent() -> None:
    findings = [found("a"), found("b"), found("c")]
    assert standing(findings, at=NOON + timedelta(days=20)).state is State.PROMOTED  # under 70 %, above 60 %
    assert standing(findings, at=NOON + timedelta(days=34)).state is State.HINT


def test_what_was_archived_comes_back_only_when_it_is_as_good_as_new() -> None:
    findings = [found("a", holds=False), found("b", hours=1)]
    assert standing(findings, at=NOON + timedelta(hours=1)).state is State.ARCHIVED  # 3/7 is above 40 %, below 50 %
    assert standing([*findings, found("c", hours=2)], at=NOON + timedelta(hours=2)).state is State.HINT


def test_a_task_confirms_at_most_once_and_a_contradiction_in_it_wins() -> None:
    assert standing([found("a"), found("a", hours=1)], at=NOON).confirmations == 1
    both = standing([found("a"), found("a", holds=False, hours=1)], at=NOON)
    assert (both.confirmations, both.contradictions) == (0, 1)


def test_an_author_confirms_nothing() -> None:
    findings = [found(f"t{n}", witness="backend") for n in range(5)]
    assert standing(findings, authors=["backend"], at=NOON).trust == 0.5


def test_the_same_evidence_through_two_mouths_is_one_witness() -> None:
    findings = [found("a", evidence="x"), found("b", witness="you", evidence="x"), found("c", evidence="b")]
    assert standing(findings, at=NOON).confirmations == 1


def test_what_shows_only_what_the_author_has_shown_confirms_nothing_but_may_contradict() -> None:
    assert standing([found("a", evidence="proof")], shown=["proof"], at=NOON).confirmations == 0
    assert standing([found("a", holds=False, evidence="proof")], shown=["proof"], at=NOON).contradictions == 1


findings_ = st.lists(
    st.builds(
        Finding,
        witness=st.sampled_from(["qa", "you", "backend"]),
        task=st.sampled_from([f"t{n}" for n in range(8)]),
        is_confirmation=st.booleans(),
        at=st.integers(-4000, 4000).map(lambda hours: NOON + timedelta(hours=hours)),
        evidence=st.frozensets(st.sampled_from("uvwxyz"), max_size=2),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(findings_, st.randoms(use_true_random=False))
def test_neither_order_nor_repeats_change_what_follows(findings: list[Finding], random: Random) -> None:
    rules = {"authors": ["backend"], "shown": ["u"]}
    expected = standing(findings, **rules, at=NOON)
    arrived = [*findings, *findings[: len(findings) // 2]]
    random.shuffle(arrived)
    assert standing(arrived, **rules, at=NOON) == expected


@settings(max_examples=60, deadline=None)
@given(findings_)
def test_no_witness_counts_twice_and_trust_stays_between_nought_and_one(findings: list[Finding]) -> None:
    counted = votes(findings, authors=["backend"], shown=[])
    ids = [vote.evidence | {vote.task} for vote in counted]
    assert sum(map(len, ids)) == len(frozenset().union(*ids))
    assert all(vote.witness != "backend" for vote in counted)
    assert 0 < standing(findings, at=NOON).trust < 1


@settings(max_examples=60, deadline=None)
@given(findings_)
def test_a_contradiction_never_helps_and_costs_more_than_a_confirmation_brings(findings: list[Finding]) -> None:
    findings, last = [one._replace(at=NOON) for one in findings], NOON  # nothing drifts
    before = standing(findings, at=last)
    worse = standing([*findings, Finding("qa", "new", False, last)], at=last)
    better = standing([*findings, Finding("qa", "new", True, last)], at=last)
    assert worse.trust < before.trust <= better.trust
    assert trust(3, 1) < trust(2, 0) < trust(3, 0)
