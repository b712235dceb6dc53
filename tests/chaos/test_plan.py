"""A plan is drawn from its seed alone, has something of everything, and breaks no more than may be broken."""

from __future__ import annotations

import json

import pytest

from agenthub.messages import Message
from agenthub.rehearsal import steering
from chaos.plan import MOST_CRASHES, POINTS, PRIORITIES, ROLES
from chaos.run import NETWORKED, OWN_SERVER, SCENES, SHORT, Scene


@pytest.mark.parametrize("scene", [*SCENES, SHORT], ids=lambda scene: scene.name)
def test_the_same_seed_gives_the_same_plan_and_another_seed_another(scene: Scene) -> None:
    assert scene.plan(5) == scene.plan(5)
    assert scene.plan(5).faults != scene.plan(6).faults


@pytest.mark.parametrize("scene", [*SCENES, SHORT], ids=lambda scene: scene.name)
@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_fault_happens_and_no_role_crashes_so_often_that_it_is_left_alone(
    scene: Scene, seed: int
) -> None:
    plan = scene.plan(seed)
    kinds = {fault.kind for fault in plan.faults}
    assert kinds >= set(scene.kinds) - {"kill nursery"}
    starts = [0.0, *(fault.at_s for fault in plan.faults if fault.kind in ("kill supervisor", "kill nursery"))]
    for start, end in zip(starts, [*starts[1:], float("inf")], strict=True):
        for role in ROLES:
            crashes = [
                fault for fault in plan.faults
                if fault.target == role and fault.kind in ("kill role", "failpoint") and start <= fault.at_s < end
            ]  # fmt: skip
            assert len(crashes) <= MOST_CRASHES + 1


def test_a_long_scene_dies_at_every_failpoint_and_sends_by_every_door_in_every_priority() -> None:
    for scene in (OWN_SERVER, NETWORKED):
        plan = scene.plan(3)
        points = {str(fault.value).split()[0] for fault in plan.faults if fault.kind == "failpoint"}
        assert points == {str(point) for point in POINTS}
        assert {directive.priority for directive in plan.directives} == set(PRIORITIES)
        assert {directive.way for directive in plan.directives} == {"lane", "plain", "stranger"}


def test_every_directive_is_a_message_whose_steering_words_are_understood() -> None:
    for directive in OWN_SERVER.plan(1).directives:
        assert steering.read(directive.text).mistake == ""
        body = {"from_role": directive.sender, "type": "task_assignment", "payload": {"message": directive.text}}
        assert Message.read(json.dumps(body).encode(), default_id="x").is_actionable
