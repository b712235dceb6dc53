"""An organization on a cluster of three real nats-servers, of which one is killed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from agenthub import subjects
from agenthub.bus import deliveries
from agenthub.bus.cluster import NatsCluster, check_data, leader_of, start_cluster
from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus
from agenthub.bus.deliveries import Pull
from agenthub.bus.provisioning import provision
from agenthub.bus.topology import RoleQueues, topology, topology_of
from agenthub.client import Client
from agenthub.errors import ConfigError, HubError
from agenthub.messages import Outcome, Priority
from tests.organization import Hub, says, until

ROLES = [RoleQueues("backend"), RoleQueues("you", works=False)]
WITHIN_S = 60.0


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with start_cluster(tmp_path / "nats", durable=False) as running:
        yield running


@pytest.fixture
async def cluster_bus(cluster: NatsCluster) -> AsyncIterator[Bus]:
    async with connect(cluster.url, name="test", patience_s=WITHIN_S) as connected:
        yield connected


async def test_nobody_takes_a_port_of_a_server_that_is_away(cluster: NatsCluster) -> None:
    gone = cluster.servers[1]
    assert gone.member is not None
    await gone.kill()
    for port in (gone.port, gone.monitor_port, gone.member.route_port):
        with pytest.raises(OSError, match="in use"), socket.socket() as taker:
            taker.bind(("127.0.0.1", port))
    await gone.start()


async def test_provisioning_waits_for_a_server_that_is_not_heard_of_at_the_moment(
    cluster: NatsCluster, cluster_bus: Bus
) -> None:
    gone = cluster.servers[2]
    await gone.end()  # it says goodbye: the others take it for offline at once
    provisioning = asyncio.create_task(provision(cluster_bus, topology(ROLES, replicas=3)))
    done, _ = await asyncio.wait([provisioning], timeout=1)
    assert not done, "without a third server no stream of three replicas can be made"
    await gone.start()
    async with asyncio.timeout(WITHIN_S):
        assert await provisioning


async def test_what_was_accepted_while_leaders_are_killed_ends_exactly_once(
    cluster: NatsCluster, cluster_bus: Bus, tmp_path: Path
) -> None:
    hub = Hub(cluster, cluster_bus, tmp_path)
    await hub.provision()
    assert (await hub.bus.js.stream_info(subjects.AGENTS)).config.num_replicas == 3
    client = Client(hub.bus, hub.organization)
    accepted = [(await client.send("backend", "before anything happens")).id]
    is_over = asyncio.Event()

    async def load() -> None:
        while not is_over.is_set():
            accepted.append((await client.send("backend", "while it happens")).id)
            await asyncio.sleep(0.01)

    async def more() -> None:
        enough = len(accepted) + 20
        await until(lambda: len(accepted) > enough, within_s=WITHIN_S)

    async def ended() -> dict[str, int] | None:
        counts = await hub.bus.counts(subjects.DONE, subjects.done("backend", "*"))
        return counts if len(counts) >= len(accepted) else None

    async with hub.role("backend", says("done")), asyncio.TaskGroup() as group:
        await hub.completion("backend", accepted[0])
        loading = group.create_task(load())
        for stream in (subjects.AGENTS, subjects.DONE):
            await more()
            leader = cluster.server(await leader_of(hub.bus, stream))
            await leader.kill()
            await more()
            await leader.start()
        is_over.set()
        await loading
        counts = await until(ended, within_s=WITHIN_S)
    assert counts == {subjects.done("backend", identity): 1 for identity in accepted}


@pytest.mark.parametrize("is_told", [True, False])
async def test_an_idle_role_hears_of_a_message_though_the_leader_of_its_lane_died_unseen(
    cluster: NatsCluster, cluster_bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    """Mostly the next leader tells who waited that it is another; not always."""
    monkeypatch.setattr(deliveries, "PULL_EXPIRES_S", 600.0)  # else it would ask anew by itself, some time later
    if not is_told:
        take = Pull._on_message

        def took(pull: Pull, msg: Msg) -> None:
            if (msg.headers or {}).get("Status") != "409":
                take(pull, msg)

        monkeypatch.setattr(Pull, "_on_message", took)
    hub = Hub(cluster, cluster_bus, tmp_path)
    await hub.provision()
    lane = subjects.lane_consumer("backend", Priority.MEDIUM)
    info = await hub.bus.js.consumer_info(subjects.AGENTS, lane)
    assert info.cluster is not None
    leader = cluster.server(info.cluster.leader or "")
    # Its connection is to another server, so it is not lost with the leader: the next leader must tell.
    other = next(server for server in cluster.servers if server is not leader)
    hub.settings = hub.settings.model_copy(update={"nats_url": other.url})
    async with hub.role("backend", says("done")):
        client = Client(hub.bus, hub.organization)
        await hub.completion("backend", (await client.send("backend", "it works and is idle")).id)
        await until(lambda: _is_waited_at(hub, lane))
        await leader.kill()
        message = await client.send("backend", "more")
        assert (await hub.completion("backend", message.id)).outcome is Outcome.DONE


async def _is_waited_at(hub: Hub, lane: str) -> bool:
    info = await hub.bus.js.consumer_info(subjects.AGENTS, lane)
    return (info.num_waiting, info.num_ack_pending) == (1, 0)


async def test_replicas_stay_as_they_are_unless_told_and_provisioning_twice_changes_nothing(
    cluster: NatsCluster, cluster_bus: Bus
) -> None:
    await provision(cluster_bus, topology(ROLES, replicas=1))  # as one server made them
    assert await provision(cluster_bus, await topology_of(cluster_bus, ROLES)) == []
    wanted = await topology_of(cluster_bus, ROLES, replicas=3)
    assert await provision(cluster_bus, wanted) != []
    assert await provision(cluster_bus, wanted) == []
    for stream in (subjects.AGENTS, subjects.DONE, "KV_leases", "KV_registry"):
        assert (await cluster_bus.js.stream_info(stream)).config.num_replicas == 3


async def test_more_replicas_than_servers_are_refused_with_what_to_do(bus: Bus) -> None:
    with pytest.raises(HubError, match=r"set `nats\.replicas = 1`"):
        await provision(bus, await topology_of(bus, ROLES, replicas=3))


@pytest.mark.parametrize(
    ("made", "wanted"), [(["jetstream"], 3), (["n0/jetstream", "n1/jetstream", "n2/jetstream"], 1)]
)
def test_data_of_another_number_of_servers_is_named_and_left_alone(
    made: list[str], wanted: int, tmp_path: Path
) -> None:
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match="Go on with"):
        check_data(tmp_path, wanted)
    check_data(tmp_path, len(made))
    check_data(tmp_path / "nothing", wanted)
