"""Alive, and not getting on: what the host does about it, rung by rung."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from agenthub import subjects
from agenthub.errors import StalledError
from agenthub.ladder import Ladder, Rung, rung
from agenthub.messages import Event, Message, Outcome, Payload, Usage, now
from agenthub.org.activity import Activity
from agenthub.org.events import Events
from agenthub.org.registry import Registry
from agenthub.organization import load_organization
from agenthub.runtime import RolePlace, run_role
from agenthub.sessions.session import Prompt, SessionEvent, ToolStarted, TurnEnd, TurnResult
from tests.organization import Hub, ScriptedSession, says, until, write_organization


@pytest.mark.parametrize(
    ("since_s", "expected"),
    [
        (0.0, Rung.FINE),
        (299.9, Rung.FINE),
        (300.0, Rung.STALLED),
        (600.0, Rung.NUDGED),
        (900.0, Rung.INTERRUPTED),
        (1200.0, Rung.RESTARTED),
        (9999.0, Rung.RESTARTED),
    ],
)
def test_the_rungs_are_multiples_of_the_stall_time(since_s: float, expected: Rung) -> None:
    assert rung(since_s, 300.0) is expected


class HangingSession(ScriptedSession):
    """A session whose turns begin a tool and then say nothing; one that obeys ends them when it is interrupted."""

    def __init__(self, *, obeys: bool, patience_s: float = 0.0) -> None:
        super().__init__(says("never")._script)
        self.obeys, self.patience_s = obeys, patience_s
        self.notices: list[str] = []
        self._interrupted = asyncio.Event()

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent, None]:
        self.prompts.append(prompt)
        self._interrupted.clear()
        yield ToolStarted("wait", "for ever", self.patience_s)
        await self._interrupted.wait()
        yield TurnResult(TurnEnd.INTERRUPTED)

    async def inject(self, notice: str) -> bool:
        self.notices.append(notice)
        return True

    async def interrupt(self) -> None:
        if self.obeys:
            self._interrupted.set()


async def climbed(hub: Hub) -> list[str]:
    found = await hub.bus.history(subjects.EVENTS, subjects.event("*", "backend"))
    kinds = [Event.decode(received.data).kind for received in found]
    return [kind for kind in kinds if kind in ("stalled", "nudged", "interrupted", "restarting")]


@pytest.fixture
async def impatient(hub: Hub) -> Hub:
    """A hub that takes a quarter of a second without progress for stalling."""
    write_organization(hub.folder, "[defaults]\nstall_s = 0.25\n")
    hub.organization = load_organization(hub.settings)
    return hub


async def test_a_turn_that_hangs_climbs_the_ladder_in_order_and_ends_its_process(impatient: Hub) -> None:
    message_id = await impatient.send("backend", "hang")
    session = HangingSession(obeys=False)
    place = RolePlace(impatient.settings, impatient.organization, "backend")
    for _ in range(3):
        with pytest.raises(ExceptionGroup) as ended:
            await run_role(place, stop=asyncio.Event(), session=session)
        assert ended.group_contains(StalledError)
    rungs = ["stalled", "nudged", "interrupted", "restarting"]
    assert await until(lambda: _has(impatient, 12)) == rungs * 3
    assert "made no progress" in session.notices[0]
    async with impatient.role("backend", says("never")):  # and it does not circle for ever
        done = await impatient.completion("backend", message_id)
    assert (done.outcome, done.text) == (Outcome.FAILED, "3 tries made no progress")


async def _has(hub: Hub, count: int) -> list[str]:
    found = await climbed(hub)
    return found if len(found) >= count else []


async def test_a_turn_that_can_be_interrupted_goes_on_later_and_fails_after_three_tries(impatient: Hub) -> None:
    session = HangingSession(obeys=True)
    async with impatient.role("backend", session):
        done = await impatient.completion("backend", await impatient.send("backend", "hang"))
    assert (done.outcome, len(session.prompts)) == (Outcome.FAILED, 3)
    assert "no progress" in done.text
    assert "restarting" not in await climbed(impatient)


async def test_everybody_sees_in_the_heartbeat_that_a_role_does_not_get_on(impatient: Hub) -> None:
    registry = Registry(impatient.bus)

    async def health() -> bool:
        beat = await registry.find("backend")
        return beat is not None and beat.health != "ok" and beat.progress_at is not None

    async with impatient.role("backend", HangingSession(obeys=True)):
        message_id = await impatient.send("backend", "hang")
        await until(health)
        await impatient.completion("backend", message_id)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def at_work(hub: Hub) -> Activity:
    activity = Activity("backend", model="", clock=now, usage_of_day=lambda _: Usage())
    activity.works(Message(from_role="you", type="task_assignment", id="m", payload=Payload(subject="long")))
    return activity


async def test_a_tool_that_says_how_long_it_takes_is_left_alone_for_so_long(hub: Hub) -> None:
    activity, clock = at_work(hub), Clock()
    ladder = Ladder(activity, says("never"), Events(hub.bus, "backend"), stall_s=10, clock=clock)
    activity.does("build", patience_s=600)
    for clock.at_s in (0.0, 590.0):
        await ladder.look()
    assert activity.beat().health == "ok"
    clock.at_s = 601.0
    await ladder.look()
    assert activity.beat().health == "stalled"
    activity.progresses()
    await ladder.look()
    assert activity.beat().health == "ok"


async def test_after_a_long_absence_no_rung_is_left_out(hub: Hub) -> None:
    activity, clock = at_work(hub), Clock()
    ladder = Ladder(activity, says("never"), Events(hub.bus, "backend"), stall_s=10, clock=clock)
    await ladder.look()
    clock.at_s = 9999.0
    seen = []
    for _ in range(3):
        await ladder.look()
        seen.append(activity.beat().health)
    assert seen == ["stalled", "nudged", "interrupted"]
    with pytest.raises(StalledError, match="no progress for 9999 s: long"):
        await ladder.look()
