"""How work ended, who approved of it and who rejected it give each role a score."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthub.client import Client
from agenthub.client.learnings import Learnings
from agenthub.messages import Check, Completion, Outcome
from agenthub.org.reputation import ALL, NOTHING, Score, scores
from agenthub.sessions.session import TurnEnd, TurnResult
from tests.organization import Hub, says, until
from tests.test_acceptance import STOPS, asks

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
SKILLS = {"backend": ("sql",), "qa": ("testing",), "cto": ()}


def end(identity: str, role: str = "backend", **changes: Any) -> Completion:
    values = {
        "message_id": identity, "role": role, "outcome": Outcome.DONE, "subject": f"A sql task {identity}",
        "from_role": "cto", "trace_id": f"t{identity}", "started_at": NOON, "ended_at": NOON,
    }  # fmt: skip
    return Completion.model_validate(values | changes)


def verdict(about: str, number: int = 0, *, by: str = "qa", doer: str = "backend", **changes: Any) -> Completion:
    """The end of a verification: it approves, if nothing else is said."""
    more = {"from_role": doer, "verifies": about, "subject": f"Verify: A sql task {about}"}
    return end(f"v{about}{number}{by}", by, **(more | changes))


REJECTS: dict[str, Any] = {"outcome": Outcome.FAILED}


@pytest.mark.parametrize(
    ("ends", "expected", "value"),
    [
        ([end("a")], NOTHING, 0.5),  # a word alone shows nothing
        ([end("a", evidence=["a.md"])], Score(1, 0, 0), 0.6),
        ([end("a", check=Check(command="make test", exit_code=0))], Score(1, 0, 0), 0.6),
        ([end("a", check=Check(command="make test", exit_code=1))], NOTHING, 0.5),
        ([end("a", verified_by="qa"), verdict("a")], Score(1, 0, 0, verified=1), 0.667),
        ([end("a", verified_by="you")], Score(1, 0, 0, verified=1), 0.667),
        ([end("a", verified_by="qa")], NOTHING, 0.5),  # qa never said so
        ([end("a", verified_by="qa"), verdict("a", by="cto")], NOTHING, 0.5),  # somebody else did
        ([end("a", verified_by="qa"), verdict("a", implicit=True)], NOTHING, 0.5),  # it just stopped
        ([end("a", verified_by="backend"), verdict("a", by="backend")], NOTHING, 0.5),  # its own
        ([end("a", verified_by="qa"), verdict("a", **REJECTS), verdict("a", 1)], Score(1, 0, 0, 1, 1), 0.5),
        ([end("a", **REJECTS), *(verdict("a", n, **REJECTS) for n in range(3))], Score(0, 1, 0, 0, 3), 0.167),
        ([end("a", **REJECTS), *(verdict("a", n, **REJECTS) for n in range(9))], Score(0, 1, 0, 0, 3), 0.167),
        ([end("a", evidence=["a.md"]), verdict("a", **REJECTS)], Score(1, 0, 0), 0.6),  # nobody asked qa
        ([end("a", outcome=Outcome.COMPLETED_UNVERIFIED), verdict("a", **REJECTS)], Score(0, 0, 0, 0, 1), 0.333),
        ([end("a", outcome=Outcome.BLOCKED), verdict("a", **REJECTS)], NOTHING, 0.5),
        ([verdict("a", **REJECTS)], NOTHING, 0.5),  # it has not ended yet
        ([end("a", verified_by="qa"), verdict("a", outcome=Outcome.BLOCKED)], NOTHING, 0.5),  # it could not tell
    ],
)
def test_the_table_in_the_docstring_holds(ends: list[Completion], expected: Score, value: float) -> None:
    found = scores(ends, SKILLS, operator="you").get("backend", {}).get(ALL, NOTHING)
    assert found == expected
    assert found.value == pytest.approx(value, abs=0.0006)


def test_it_counts_for_the_skills_that_the_work_names() -> None:
    ends = [end("a", verified_by="qa"), verdict("a", **REJECTS), verdict("a", 1), end("b", subject="Tea", **REJECTS)]
    assert scores(ends, SKILLS) == {"backend": {ALL: Score(1, 1, 0, 1, 1), "sql": Score(1, 0, 0, 1, 1)}}


OUTCOMES = [Outcome.DONE, Outcome.FAILED, Outcome.COMPLETED_UNVERIFIED, Outcome.BLOCKED, Outcome.DEAD]
_work = st.builds(
    lambda number, role, outcome, by, evidence, minutes: end(
        f"w{number}", role, outcome=outcome, verified_by=by, evidence=["a.md"] if evidence else [],
        trace_id=f"t{number % 3}", ended_at=NOON + timedelta(minutes=minutes),
    ),
    st.integers(0, 9), st.sampled_from(["backend", "cto"]), st.sampled_from(OUTCOMES),
    st.sampled_from(["", "qa", "cto", "backend", "you"]), st.booleans(), st.integers(0, 5),
)  # fmt: skip
_verdict = st.builds(
    lambda about, number, by, doer, outcome: verdict(f"w{about}", number, by=by, doer=doer, outcome=outcome),
    st.integers(0, 9), st.integers(0, 4), st.sampled_from(["qa", "cto", "backend"]),
    st.sampled_from(["backend", "cto"]), st.sampled_from(OUTCOMES),
)  # fmt: skip
_ends = st.lists(
    st.one_of(_work, _verdict), max_size=25, unique_by=lambda one: (one.role, one.message_id)
)  # what the broker stored once


def value(ends: list[Completion], role: str) -> float:
    return scores(ends, SKILLS, operator="you").get(role, {}).get(ALL, NOTHING).value


@given(_ends, st.randoms(use_true_random=False))
def test_neither_order_nor_repeats_matter(ends: list[Completion], random: Random) -> None:
    again = ends + random.sample(ends, len(ends) // 2)
    random.shuffle(again)
    assert scores(again, SKILLS, operator="you") == scores(ends, SKILLS, operator="you")


@given(_ends)
def test_a_score_is_a_share_and_counts_no_more_than_there_was(ends: list[Completion]) -> None:
    for found in scores(ends, SKILLS, operator="you").values():
        for score in found.values():
            assert 0 < score.value < 1
            assert 0 <= score.verified <= score.done
            assert score.done + score.failed + score.reworked <= len(ends)


@given(_ends, _verdict)
def test_an_approval_never_harms_a_rejection_never_helps_and_the_verifier_gains_nothing(
    ends: list[Completion], new: Completion
) -> None:
    ends = [one for one in ends if (one.role, one.message_id) != (new.role, new.message_id)]
    more = [*ends, new]
    for role in SKILLS:
        if role != new.from_role:
            assert value(more, role) == value(ends, role)
    if new.outcome is Outcome.DONE:
        assert value(more, new.from_role) >= value(ends, new.from_role)
    else:
        assert value(more, new.from_role) <= value(ends, new.from_role)


async def test_in_a_hub_an_approval_weighs_and_a_rejection_counts_against(hub: Hub) -> None:
    learnings = Learnings(Client(hub.bus, hub.organization))
    no, yes = (TurnResult(TurnEnd.FINISHED, outcome, "looked at it") for outcome in (Outcome.FAILED, Outcome.DONE))
    async with hub.role("backend", says(STOPS)), hub.role("qa", says(no, yes)):
        first = await asks(hub, "backend", "build the api", verify="qa")
        done = await hub.completion("backend", first)
        assert (done.outcome, done.verified_by) == (Outcome.DONE, "qa")
        found = await until(learnings.scores)
    assert found == {"backend": {ALL: Score(1, 0, 0, 1, 1), "api": Score(1, 0, 0, 1, 1)}}
