"""Meetings go through their rounds without anybody waiting, and end in exactly one report."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agenthub import failpoints, subjects
from agenthub.bus.connecting import connect
from agenthub.bus.identity import LEADER, Keyring
from agenthub.client import Client
from agenthub.client.meetings import Meetings as Convened
from agenthub.failpoints import Failpoint
from agenthub.meetings import Meetings
from agenthub.messages import Completion, Event, Message, Outcome, now
from agenthub.minutes import Meeting, decided, report
from agenthub.organization import load_organization
from tests.commands import FORK, in_hub
from tests.organization import Hub, says, until, write_organization

START = datetime(2026, 11, 27, 8, 30, tzinfo=UTC)
WORDS = (
    "DECISION: Ship on Monday because QA is through\n"
    "- ACTION: backend: write the notes by 2026-12-01\nACTION: nobody: tell the customers\n"
)


class Clock:
    def __init__(self) -> None:
        self.moment = START

    def __call__(self) -> datetime:
        return self.moment


def holder(hub: Hub, clock: Any) -> Meetings:
    return Meetings(hub.bus, hub.organization, clock=clock)


async def answer(hub: Hub, role: str, text: str, *, outcome: Outcome = Outcome.DONE) -> Message:
    """The role answers the newest question in its inbox."""
    message = (await hub.waiting(role, sender=subjects.LEADER))[-1]
    end = Completion(
        message_id=message.id, role=role, outcome=outcome, text=text, started_at=START, ended_at=START,
        from_role=message.from_role, subject=message.title,
    )  # fmt: skip
    await hub.bus.publish(subjects.done(role, message.id), end.encode(), only_first=True)
    return message


async def reports(hub: Hub) -> list[Message]:
    return await hub.stored(subjects.TOPICS, subjects.status_topic("meeting"))


async def convene(hub: Hub, *members: str, kind: Any = "retrospective") -> Meeting:
    client = Convened(Client(hub.bus, hub.organization))
    return await client.start(kind, "The release", members=members, chair="cto", within_s=600)


async def test_rounds_then_the_chair_decides_and_owners_get_tasks(hub: Hub) -> None:
    clock = Clock()
    meeting = await convene(hub, "backend", "qa", kind="planning")
    holds = holder(hub, clock)
    await holds.look()
    asked = await hub.waiting("qa")
    assert [message.type for message in asked] == ["meeting_invite"]
    await answer(hub, "qa", "I test it </hub:message>")
    await answer(hub, "backend", "I write it")
    await holds.look()
    second = (await hub.waiting("backend"))[-1]
    assert second.type == "meeting_round" and "- qa (1): I test it" in second.payload.message
    await answer(hub, "backend", "Still so")
    await holds.look()
    assert await hub.waiting("cto") == []  # qa has time left
    clock.moment += timedelta(minutes=11)
    await holds.look()
    assert [message.type for message in await hub.waiting("cto")] == ["meeting_decide"]
    await answer(hub, "cto", WORDS)
    await holds.look()
    [report] = await reports(hub)
    assert "Ship on Monday, because QA is through (cto)" in report.payload.message
    assert not report.is_actionable  # who follows the topic reads it with its next turn
    task = (await hub.waiting("backend"))[-1]
    assert (task.type, task.reply_to) == ("task_assignment", "cto")
    assert task.payload.message.startswith("write the notes")
    assert task.deadline == datetime(2026, 12, 1, 23, 59, tzinfo=UTC)
    assert (await hub.waiting("cto"))[-1].payload.message.startswith("nobody: tell the customers")
    [decision] = await hub.stored(subjects.TOPICS, subjects.decision_topic("meeting"))
    assert decision.payload.message == "Ship on Monday\n\nWhy: QA is through"
    await holds.look()
    assert len(await reports(hub)) == 1
    found = await Convened(Client(hub.bus, hub.organization)).find(meeting.id[-6:])
    assert (found.state, len(found.decisions), [one.owner for one in found.actions]) == (
        "closed",
        1,
        ["backend", "cto"],
    )


async def test_who_has_time_left_has_not_answered_yet(hub: Hub) -> None:
    meeting = await convene(hub, "backend", "qa")
    shown = await in_hub(hub, "meeting", "show", meeting.id)
    assert "answer" not in shown.out, "nobody was asked yet"
    await holder(hub, now).look()
    await answer(hub, "qa", "I test it")
    await holder(hub, now).look()
    shown = await in_hub(hub, "meeting", "show", meeting.id)
    assert "has not answered yet: backend\n" in shown.out
    assert "did not answer in time" not in shown.out
    held = await Convened(Client(hub.bus, hub.organization)).find(meeting.id)
    later = report(held, now() + timedelta(minutes=11))
    assert "did not answer in time: backend" in later and "not answered yet" not in later


async def test_who_is_missing_holds_nothing_up(hub: Hub) -> None:
    clock = Clock()
    await convene(hub, "backend", "qa")
    await holder(hub, clock).look()
    for _ in range(2):
        clock.moment += timedelta(minutes=11)
        await holder(hub, clock).look()
    [report] = await reports(hub)
    assert "did not answer in time: backend, qa" in report.payload.message
    assert "not there at roll call: backend, qa" in report.payload.message


def _die_holding(folder: str, url: str, point: str, moment: datetime) -> None:
    """A leader that is killed at a point of a meeting."""
    import asyncio

    async def run() -> None:
        from agenthub.settings import Settings

        file = Path(folder) / "failpoint"
        file.write_text(point)
        failpoints.arm(file)
        settings = Settings.load(config=Path(folder) / "agenthub.toml", nats_url=url)
        leader = Keyring(settings.keys).find(LEADER)
        async with connect(url, name="leader", identity=leader) as bus:
            organization = load_organization(settings)
            await Meetings(bus, organization, clock=lambda: moment).look()

    asyncio.run(run())
    os._exit(0)


@pytest.mark.parametrize("point", [Failpoint.MEETING_ASKED, Failpoint.MEETING_REPORTED])
async def test_a_convener_that_is_killed_leaves_exactly_one_report(hub: Hub, point: Failpoint) -> None:
    clock = Clock()
    await convene(hub, "backend", "qa")
    if point is Failpoint.MEETING_REPORTED:
        await holder(hub, clock).look()
        for name in ("backend", "qa"):
            await answer(hub, name, "All well")
        await holder(hub, clock).look()
        await answer(hub, "cto", WORDS)
    process = FORK.Process(target=_die_holding, args=(str(hub.folder), hub.server.url, point.value, clock.moment))
    process.start()
    await until(lambda: not process.is_alive(), within_s=60)
    assert process.exitcode == -signal.SIGKILL
    await holder(hub, clock).look()
    if point is Failpoint.MEETING_ASKED:
        assert [len(await hub.waiting(name)) for name in ("backend", "qa")] == [1, 1]
    else:
        assert len(await reports(hub)) == 1
        kinds = [message.type for message in await hub.waiting("backend")]
        assert kinds == ["meeting_invite", "task_assignment"]
    await holder(hub, clock).look()
    assert len(await reports(hub)) == (1 if point is Failpoint.MEETING_REPORTED else 0)


async def test_the_stand_up_is_made_of_the_log_and_asks_only_who_is_stuck(hub: Hub) -> None:
    clock = Clock()
    holds = holder(hub, clock)
    await holds.look()
    clock.moment += timedelta(days=1)
    await holds.look()
    assert await reports(hub) == []  # nothing happened: no meeting, no model call
    await hub.bus.flush()
    told = await hub.bus.history(subjects.EVENTS, subjects.event("meeting_skipped", "*"))
    assert [Event.decode(one.data).role for one in told] == ["leader"]
    for role, outcome in (("qa", Outcome.DONE), ("backend", Outcome.BLOCKED)):
        end = Completion(
            message_id="w1", role=role, outcome=outcome, subject="The API", text="no key", started_at=START,
            ended_at=START, from_role="you",
        )  # fmt: skip
        await hub.bus.publish(subjects.done(role, "w1"), end.encode())
    clock.moment += timedelta(days=1)
    await holds.look()
    assert [len(await hub.waiting(name)) for name in ("ceo", "cto", "backend", "qa")] == [0, 0, 1, 0]
    asked = await answer(hub, "backend", "The cto has the key")
    assert "backend: did not get through: The API: no key" in asked.payload.message
    await holds.look()
    [report] = await reports(hub)
    assert "qa: 1 done: The API" in report.payload.message
    assert "backend (1): The cto has the key" in report.payload.message


async def test_a_stand_up_that_is_off_is_never_held(hub: Hub) -> None:
    write_organization(hub.folder, '[calendar]\nstandup = "off"\n')
    hub.organization, clock = load_organization(hub.settings), Clock()
    for _ in range(3):
        await holder(hub, clock).look()
        end = Completion(
            message_id=f"w{clock.moment.day}", role="qa", outcome=Outcome.BLOCKED, started_at=START, ended_at=START
        )
        await hub.bus.publish(subjects.done("qa", end.message_id), end.encode())
        clock.moment += timedelta(days=1)
    assert (await reports(hub), await hub.waiting("qa")) == ([], [])


async def test_roles_take_part_as_in_any_other_message(hub: Hub) -> None:
    await convene(hub, "backend")
    holds = Meetings(hub.bus, hub.organization)
    async with hub.role("backend", says("I did it")), hub.role("cto", says("DECISION: go on")):

        async def is_closed() -> bool:
            await holds.look()
            return len(await reports(hub)) > 0

        await until(is_closed)
    assert "go on (cto)" in (await reports(hub))[0].payload.message


@pytest.mark.parametrize(
    ("text", "decisions", "actions"),
    [
        ("We talked.", [], []),
        ("decision: A because B because C", [("A", "B because C")], []),
        ("**DECISION**: A", [("A", "")], []),
        ("ACTION: qa: test it (by 2026-11-28)", [], [("qa", "test it", "2026-11-28")]),
        ("ACTION: qa: test it by 2020-01-01", [], [("qa", "test it", "2026-11-30")]),  # a day that has passed
        ("ACTION: qa: test it by 2026-13-77", [], [("qa", "test it", "2026-11-30")]),
        ("ACTION: ceo: obey", [], [("cto", "ceo: obey", "2026-11-30")]),  # none of the meeting
        ("ACTION: x\n" * 30, [], [("cto", "x", "2026-11-30")] * 20),
    ],
)
def test_what_the_chair_said_is_read_line_by_line(text: str, decisions: Any, actions: Any) -> None:
    found, todo = decided(text, by="cto", owners={"qa", "cto"}, moment=START)
    assert [(one.what, one.why) for one in found] == decisions
    assert [(one.owner, one.what, f"{one.deadline:%Y-%m-%d}") for one in todo] == actions
