"""What the rehearsal model finds of what a role was taught."""

from __future__ import annotations

from agenthub.rehearsal.lessons import Lesson, lessons

LEARNED = "## The flaky parser test\n\nRun it twice.\n\nOutcome: fewer alarms\n\n- learning: 0a1b2c\n- from: cto"
A_PERSONS = "## The flaky parser of ours\n\nAsk the cto, whose parser it is, before you change anything in there."
TASK = "Look at the flaky parser"


def policy(*entries: str) -> str:
    return "\n".join(["<hub:policy>", "What proved itself.", "", "\n\n".join(entries), "</hub:policy>"])


def test_entries_that_came_from_learnings_are_found_beside_those_that_people_wrote() -> None:
    for entries in ((LEARNED, A_PERSONS), (A_PERSONS, LEARNED)):
        assert lessons([], [policy(*entries)], TASK) == [Lesson("0a1b2c", "Run it twice.", is_proven=True)]


def test_a_policy_that_only_people_wrote_is_read_at_once() -> None:
    assert lessons([], [policy(*[A_PERSONS] * 20)], TASK) == []
