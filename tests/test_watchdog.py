"""Who is there and who is gone, as one process sees it for all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.deliveries import Delivery, Pull
from agenthub.bus.server import NatsServer
from agenthub.client import Client
from agenthub.messages import Event, now
from agenthub.org.registry import Registry, Sightings
from agenthub.organization import load_organization
from agenthub.presence import Absence, Heartbeat
from agenthub.watchdog import fallen_silent
from tests.organization import Hub, directive, says, until, write_organization

TTL_S = 15.0


@pytest.mark.parametrize(
    ("beating", "told", "silent_s", "found"),
    [
        (["qa"], [], 0.0, []),
        ([], [], 14.9, []),  # signed off, or started again: not yet anybody's business
        ([], [], 15.0, ["qa"]),
        ([], ["qa"], 99.0, []),
        (["other"], [], 15.0, ["qa"]),
    ],
)
def test_who_gives_no_sign_of_life_is_marked_once(
    beating: Sequence[str], told: Sequence[str], silent_s: float, found: list[str]
) -> None:
    assert fallen_silent(["qa"], beating, told, lambda _: silent_s, ttl_s=TTL_S) == found


def test_silence_counts_from_the_last_new_beat() -> None:
    sightings = Sightings(longest_gap_s=5)
    for at_s, sign in ((0.0, 1), (4.0, 1), (8.0, 2), (12.0, 2)):
        sightings.look({"qa": sign}, at_s=at_s)
    assert sightings.silent_s("qa", at_s=12.0) == 4.0
    assert sightings.silent_s("never seen", at_s=12.0) == 12.0


def test_who_could_not_look_for_a_while_holds_nobody_guilty() -> None:
    sightings = Sightings(longest_gap_s=5)
    sightings.look({"qa": 1}, at_s=0.0)
    sightings.look({}, at_s=600.0)  # the broker was away, or this process was stopped
    assert sightings.silent_s("qa", at_s=600.0) == 0.0
    sightings.look({}, at_s=604.0)
    assert sightings.silent_s("qa", at_s=604.0) == 4.0


def beat(role: str, *, state: str = "working") -> Heartbeat:
    return Heartbeat(
        role=role, state=state, doing="a test", message_id="m", since=now(), beat_at=now(), started_at=now(), pid=1,
        host="elsewhere",
    )  # fmt: skip


async def events(hub: Hub, kind: str, role: str) -> list[Event]:
    found = await hub.bus.history(subjects.EVENTS, subjects.event(kind, role))
    return [Event.decode(received.data) for received in found]


async def test_a_role_that_falls_silent_is_unhealthy_for_everybody_and_healthy_when_it_is_back(hub: Hub) -> None:
    client = Client(hub.bus, hub.organization)
    await Registry(hub.bus).put("qa", beat("qa"), every_s=0.5)
    async with hub.role("backend", says("ok")):
        (event,) = await until(lambda: events(hub, "unhealthy", "qa"))
        assert "at work on a test" in event.text
        (status,) = [status for status in await client.roles() if status.role == "qa"]
        assert status.absence is not None
        assert (status.heartbeat, status.absence.reason) == (None, "no sign of life")
        async with hub.role("qa", says("ok")):
            await until(lambda: events(hub, "healthy", "qa"))
            (status,) = [status for status in await client.roles() if status.role == "qa"]
            assert status.heartbeat is not None
            assert status.absence is None
    assert len(await events(hub, "unhealthy", "qa")) == 1
    assert not await events(hub, "unhealthy", "backend")


async def test_a_role_that_said_goodbye_is_down_and_not_unhealthy(hub: Hub) -> None:
    registry = Registry(hub.bus)
    await registry.put("qa", beat("qa", state="stopping"), every_s=0.5)
    async with hub.role("backend", says("ok")):
        absence = await until(lambda: _absence(registry, "qa"))
    assert absence.was_stopped
    assert not await events(hub, "unhealthy", "qa")


async def test_a_role_that_stops_for_an_upgrade_is_not_missed(hub: Hub) -> None:
    hub.settings = hub.settings.model_copy(update={"heartbeat_s": 1.5})  # no beat comes too late on a full machine
    registry = Registry(hub.bus)
    async with hub.role("backend", says("ok")):
        for _ in range(2):  # idle, it stops within a moment: nobody sees a heartbeat that says so
            async with hub.role("qa", says("ok")):
                await until(lambda: registry.find("qa"))
            absence = await until(lambda: _absence(registry, "qa"))
            assert (absence.was_stopped, absence.reason) == (True, "stopped")
            await until(lambda: events(hub, "unhealthy", "cto"))  # so it has looked at everybody for long enough
        async with hub.role("qa", says("ok")):
            await until(lambda: _is_forgotten(registry, "qa"))
    assert not await events(hub, "unhealthy", "qa")
    assert not await events(hub, "healthy", "qa")


async def _is_forgotten(registry: Registry, key: str) -> bool:
    return await _absence(registry, key) is None


async def _absence(registry: Registry, key: str) -> Absence | None:
    return (await registry.absences()).get(key)


async def test_two_leaders_in_a_row_tell_it_once(hub: Hub) -> None:
    async with hub.role("backend", says("ok")):
        await until(lambda: events(hub, "unhealthy", "qa"))
    registry = Registry(hub.bus)
    async with hub.role("cto", says("ok")):
        await until(lambda: events(hub, "healthy", "cto"))
        await asyncio.sleep(0)
        await until(lambda: _absence(registry, "backend"))  # so it has looked at everybody
    assert len(await events(hub, "unhealthy", "qa")) == 1


async def test_what_a_dead_replica_held_goes_to_the_other_long_before_the_broker_would_hand_it_on(
    server: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    hub = Hub(server, bus, tmp_path, ack_wait_s=600.0)
    write_organization(hub.folder, "[roles.backend]\nreplicas = 2\n")
    hub.organization = load_organization(hub.settings)
    await hub.provision()
    held: list[Delivery] = []
    pull = Pull(bus, subjects.AGENTS, subjects.lane_consumer("backend", "medium"), lambda: held.extend(pull.held))
    await pull.open()
    message = directive("held by one that dies", sender="you")
    await bus.publish(subjects.lane("backend", "medium", "you"), json.dumps(message).encode())
    await until(lambda: held)
    dead = beat("backend.1").model_copy(update={"holds": [held[0].reply_subject]})
    await Registry(bus).put("backend.1", dead, every_s=0.5)
    async with hub.role("backend", says("done by the other")):
        done = await hub.completion("backend", str(message["id"]))
    assert done.text == "done by the other"


async def test_a_heartbeat_that_cannot_be_read_does_not_end_who_looks(hub: Hub) -> None:
    await hub.bus.publish(f"$KV.{subjects.REGISTRY}.qa", b"no heartbeat", ttl_s=1)
    async with hub.role("backend", says("ok")):
        await until(lambda: events(hub, "unhealthy", "ceo"))
        assert (await hub.completion("backend", await hub.send("backend", "go on"))).text == "ok"
