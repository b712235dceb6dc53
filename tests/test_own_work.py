"""What code notices in a role's own work, and what follows from how the work of all roles ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agenthub.bus.connection import Bus
from agenthub.client import Client
from agenthub.client.learnings import Learnings
from agenthub.learning.candidates import Watch, in_steps
from agenthub.learning.learner import verified_success
from agenthub.messages import Check, Completion, Message, Outcome, Payload, derived_id
from agenthub.org.own_work import MOST_KNOWN, MOST_STEPS, MOST_WAITING, OwnWork, Step
from agenthub.org.reputation import ALL, Score, scores
from agenthub.org.track_record import TrackRecord
from agenthub.sessions.session import ToolCall, TurnEnd, TurnResult
from agenthub.tools.colleagues import FindColleague, colleague_tools
from tests.organization import Hub, says

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def task(identity: str, *, sender: str = "cto", trace: str = "t", kind: str = "task_assignment") -> Message:
    return Message(
        id=identity, trace_id=trace, from_role=sender, type=kind, payload=Payload(subject="Parser", message="Mend it")
    )


def steps(*said: str) -> list[Step]:
    """`!` before a call says that it failed."""
    return [Step("run_command", one.lstrip("!"), one.startswith("!")) for one in said]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], []),
        (["make test"], []),
        (["!make test"], []),
        (["!make test", "!make test"], []),
        (["!make test", "make test"], ["`run_command make test` failed and then worked"]),
        (
            ["!make test", "make deps", "make test"],
            ["`run_command make test` failed and then worked after `run_command make deps`"],
        ),
        (["!make test", "!make test", "!make test"], ["`run_command make test` failed 3 times and never worked"]),
        (["!retry 1", "!retry 2", "!retry 3"], ["`run_command retry 3` failed 3 times and never worked"]),
        (["make test", "!make test"], []),
    ],
)
def test_what_is_worth_a_thought_in_the_calls_of_a_task(said: list[str], expected: list[str]) -> None:
    assert [one.text for one in in_steps(steps(*said), "t1")] == expected


@pytest.fixture
def watches(tmp_path: Path) -> Callable[[], Watch]:
    """Each is the watch of another process of the same role."""
    return lambda: Watch(OwnWork(tmp_path / "learning" / "own_work.db"))


def does(watch: Watch, about: Message, *said: str) -> None:
    for step in steps(*said):
        watch.acted(about, step)


def test_each_is_shown_once_and_what_comes_again_after_done_is_rework(watches: Callable[[], Watch]) -> None:
    watch = watches()
    for identity in ("a", "b"):
        does(watch, task(identity, trace=identity), "!make test", "make test")
        watch.ended(task(identity, trace=identity), is_done=True)
    found = watch.begins(task("n", trace="n"))
    assert found is not None
    assert (found.task, watch.begins(task("o", trace="o"))) == ("a", None)
    again = watch.begins(task("c", trace="a"))
    assert again is not None
    assert "rework" in again.text
    assert watch.begins(task("d", trace="other")) is None
    assert watch.begins(task("e", trace="a", sender="ceo")) is None


def test_a_failure_before_a_restart_and_the_success_behind_it_are_one_candidate(watches: Callable[[], Watch]) -> None:
    before, mine = watches(), task("a")
    does(before, mine, "make deps", "!make test 1")
    before.close()
    after = watches()
    does(after, task("b"), "make test 2")  # another task meanwhile
    does(after, mine, "make clean", "make test 3")
    after.ended(mine, is_done=True)
    after.close()
    last = watches()
    found = last.begins(task("n", trace="n"))
    assert found is not None
    assert found.text == "`run_command make test 3` failed and then worked after `run_command make clean`"
    again = watches().begins(task("n", trace="n"))
    assert again == found  # a task that is begun again after a crash is shown what it was shown
    assert watches().begins(task("o", trace="o")) is None
    rework = watches().begins(task("p"))
    assert rework is not None and rework.task == "a"


def test_what_is_kept_has_an_end(watches: Callable[[], Watch], tmp_path: Path) -> None:
    watch, parked = watches(), task("parked")
    for number in range(2 * MOST_STEPS):
        watch.acted(parked, Step("run_command", f"make {number} " + "x" * 500, is_error=True))
    for number in range(2 * MOST_WAITING):
        about = task(f"t{number}", trace=f"t{number}")
        does(watch, about, f"!make {'x' * number}", f"make {'x' * number}")
        watch.ended(about, is_done=True)
    for number in range(2 * MOST_KNOWN):
        watch.ended(task(f"u{number}", trace=f"u{number}"), is_done=True)
    watch.close()
    kept = sqlite3.connect(tmp_path / "learning" / "own_work.db")
    step, *others = (
        kept.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("step", "candidate", "done")
    )
    kept.close()
    assert 0 < step <= MOST_STEPS
    assert others == [MOST_WAITING, MOST_KNOWN]
    newest = watches().begins(task("n", trace="n"))
    assert newest is not None and newest.task == f"t{MOST_WAITING}"  # the oldest left


def test_work_without_a_failure_keeps_no_file_and_one_that_cannot_be_kept_ends_nothing(
    watches: Callable[[], Watch], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watches()
    does(watch, task("a"), "make test", "make deps")
    watch.ended(task("a"), is_done=False)
    assert watch.begins(task("b")) is None
    assert not (tmp_path / "learning").exists()
    (tmp_path / "learning").write_text("no folder")
    does(watch, task("a"), "!make test", "make test")
    watch.ended(task("a"), is_done=True)
    assert watch.begins(task("b")) is None
    assert "not kept" in caplog.text


async def test_a_candidate_comes_with_the_next_task_and_costs_no_model_call(hub: Hub) -> None:
    session = says("done")
    async with hub.role("backend", session):
        for words in ("Mend the parser", "That is not it: look again at the empty line"):
            await hub.completion("backend", await hub.send("backend", words, trace_id="same"))
    first, second = (prompt.text for prompt in session.prompts)
    assert "<hub:candidate" not in first
    assert "asks again" in second
    assert second.index("<hub:candidate") > second.index("</hub:message>")


# ── roles ──────────────────────────────────────────────────────────────────────────────────────────
def end(number: int, **changes: Any) -> Completion:
    values = {
        "message_id": f"m{number}", "role": "backend", "outcome": Outcome.DONE, "subject": f"A sql task {number}",
        "evidence": ["a.md"], "from_role": "cto", "trace_id": f"t{number}", "started_at": NOON,
        "ended_at": NOON + timedelta(minutes=number),
    }  # fmt: skip
    return Completion.model_validate(values | changes)


SKILLS = {"backend": ("sql", "api")}


def test_work_is_counted_by_skill_and_in_all() -> None:
    found = scores([end(1), end(2, subject="An api task"), end(3, outcome=Outcome.FAILED)], SKILLS)
    assert found["backend"] == {ALL: Score(2, 1, 0), "sql": Score(1, 1, 0), "api": Score(1, 0, 0)}


@pytest.mark.parametrize(
    "changes",
    [
        {"implicit": True}, {"evidence": []}, {"outcome": Outcome.BLOCKED}, {"outcome": Outcome.NEEDS_HUMAN},
        {"outcome": Outcome.NOTED}, {"outcome": Outcome.REFUSED}, {"outcome": Outcome.REASSIGNED},
    ],
)  # fmt: skip
def test_what_shows_nothing_about_a_role_is_not_counted(changes: dict[str, Any]) -> None:
    assert scores([end(1, **changes)], SKILLS) == {}


def test_what_is_asked_for_again_was_not_done_and_neither_order_nor_repeats_matter() -> None:
    ends = [end(1, trace_id="t", subject="The sql report"), end(2, trace_id="t", subject="The sql report, again")]
    found = scores(ends, SKILLS)
    assert found["backend"][ALL] == Score(1, 0, 1)
    assert scores([*ends[::-1], *ends], SKILLS) == found
    apart = [end(1, trace_id="t", subject="The sql report"), end(2, trace_id="t", subject="Buy biscuits")]
    assert scores(apart, SKILLS)["backend"][ALL] == Score(2, 0, 0)


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True), ({"evidence": []}, False), ({"implicit": True}, False), ({"outcome": Outcome.FAILED}, False),
        ({"evidence": [], "check": Check(command="make test", exit_code=0)}, True),
        ({"evidence": [], "check": Check(command="make test", exit_code=1)}, False),
        ({"evidence": [], "verified_by": "qa"}, True), ({"outcome": Outcome.BLOCKED, "verified_by": "qa"}, False),
    ],
)  # fmt: skip
def test_that_a_learning_helped_counts_only_in_a_success_that_something_shows(
    changes: dict[str, Any], counts: bool
) -> None:
    assert verified_success(end(1, **changes)) is counts


async def test_a_role_finds_the_colleague_whose_work_ended_best(hub: Hub, bus: Bus) -> None:
    good = TurnResult(TurnEnd.FINISHED, Outcome.DONE, "done", ("a.md",))
    bad = TurnResult(TurnEnd.FINISHED, Outcome.FAILED, "no")
    async with hub.role("backend", says(good)), hub.role("qa", says(bad)):
        for number in range(3):
            await hub.completion("backend", await hub.send("backend", f"Write the api, part {number}"))
            await hub.completion("qa", await hub.send("qa", f"Do the testing, part {number}"))
    skills = {name: role.settings.skills for name, role in hub.organization.roles.items()}
    (tool,) = colleague_tools(hub.organization, "cto", TrackRecord(bus, skills))
    call = ToolCall(derived_id("x"), task("m"))
    said = await tool.run(FindColleague(work="some api or testing"), call)
    backend, qa = said.content.splitlines()[1:3]
    assert backend.startswith("- backend: 71% (3 done and shown, 0 failed, 0 asked for again), skills: api")
    assert qa.startswith("- qa: 20% (0 done and shown, 3 failed")
    found = await Learnings(Client(bus, hub.organization)).scores()
    assert found["backend"]["api"] == Score(3, 0, 0)
