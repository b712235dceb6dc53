"""When a process that has ended is started again."""

from __future__ import annotations

import asyncio

import pytest

from agenthub.children import Child, RoleState, Verdict, is_stuck
from agenthub.cradle import begin_nursery
from agenthub.forks import EXIT_AWAY, EXIT_CONFIG
from agenthub.supervisor import Supervisor
from tests.organization import Hub


def test_the_pause_doubles_with_each_crash_and_begins_anew_after_a_minute_of_health() -> None:
    child = Child("qa", "qa", started_s=0.0)
    pauses = []
    for at_s in (100.0, 130.0, 160.0):
        assert child.has_ended(1, at_s=at_s) is Verdict.CRASHED
        pauses.append(child.pause_s)
        child.started_s = at_s
    assert pauses == [0.1, 0.2, 0.4]
    child.has_ended(-9, at_s=300.0)
    assert child.pause_s == 0.1


def test_five_crashes_in_a_minute_are_a_loop_and_five_in_an_hour_are_not() -> None:
    child = Child("qa", "qa")
    assert [child.has_ended(1, at_s=1000.0 + n) for n in range(5)] == [Verdict.CRASHED] * 4 + [Verdict.CRASH_LOOP]
    assert child.state is RoleState.QUARANTINED
    child = Child("qa", "qa")
    assert {child.has_ended(1, at_s=600.0 * n) for n in range(5)} == {Verdict.CRASHED}


def test_what_was_away_is_waited_for_as_long_as_it_takes() -> None:
    child = Child("qa", "qa")
    for n in range(100):
        assert child.has_ended(EXIT_AWAY, at_s=float(n)) is Verdict.AWAY
        assert (child.state, child.pause_s) == (RoleState.WAITING, 2.0)
    assert child.has_ended(1, at_s=101.0) is Verdict.CRASHED  # and none of it counted


def test_a_wrong_configuration_is_not_tried_again() -> None:
    child = Child("qa", "qa")
    assert child.has_ended(EXIT_CONFIG, at_s=1.0) is Verdict.MISCONFIGURED
    assert child.state is RoleState.QUARANTINED


@pytest.mark.parametrize(
    ("state", "has_beaten", "silent_s", "age_s", "expected"),
    [
        (RoleState.RUNNING, True, 15.0, 600.0, True),
        (RoleState.RUNNING, True, 14.9, 600.0, False),
        (RoleState.RUNNING, True, 600.0, 10.0, False),  # it has only just been started
        (RoleState.RUNNING, False, 600.0, 59.0, False),  # it may wait for a lease
        (RoleState.RUNNING, False, 600.0, 60.0, True),
        (RoleState.KILLED, True, 600.0, 600.0, False),  # once is enough
        (RoleState.WAITING, True, 600.0, 600.0, False),
    ],
)
def test_what_lives_and_does_not_beat_is_stuck(
    state: RoleState, has_beaten: bool, silent_s: float, age_s: float, expected: bool
) -> None:
    child = Child("qa", "qa", state=state, pid=1, started_s=1000.0)
    found = is_stuck(child, has_beaten=has_beaten, silent_s=silent_s, patience_s=15.0, at_s=1000.0 + age_s)
    assert found is expected


async def test_a_process_that_ends_while_it_is_to_be_killed_is_started_again_all_the_same(hub: Hub) -> None:
    with begin_nursery() as nursery:
        supervisor = Supervisor(hub.settings, hub.organization, nursery, say=lambda line: None)
    child = Child("backend", "backend", state=RoleState.RUNNING, pid=1)
    supervisor._bus = hub.bus
    killing = asyncio.create_task(supervisor._kill(child, "process 1 lives but does not beat; killing it"))
    await asyncio.sleep(0)  # it is being stored why
    child.has_ended(EXIT_AWAY, at_s=0.0)
    await killing
    assert child.state is RoleState.WAITING
