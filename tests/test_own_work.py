"""What code notices in a role's own work, and what follows from how the work of all roles ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agenthub.bus.connection import Bus
from agenthub.client import Client
from agenthub.client.learnings import Learnings
from agenthub.learning.candidates import Step, Watch, in_steps
from agenthub.messages import Completion, Message, Outcome, Payload, derived_id
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


def test_each_is_shown_once_and_what_comes_again_after_done_is_rework() -> None:
    watch = Watch()
    for identity in ("a", "b"):
        for step in steps("!make test", "make test"):
            watch.acted(step)
        watch.ended(task(identity, trace=identity), is_done=True)
    found = watch.take()
    assert found is not None
    assert (found.task, watch.take()) == ("a", None)
    watch.arrived(task("c", trace="a"))
    again = watch.take()
    assert again is not None
    assert "rework" in again.text
    watch.arrived(task("d", trace="other"))
    watch.arrived(task("e", trace="a", sender="ceo"))
    assert watch.take() is None


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
