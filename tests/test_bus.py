"""The bus: publishing that never lies, provisioning, the embedded server, leases, buckets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from agenthub import subjects
from agenthub.bus import server as server_module
from agenthub.bus.buckets import Bucket, Holder, hold_lease
from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus, StreamFullError
from agenthub.bus.provisioning import Change, provision
from agenthub.bus.reading import read_stream
from agenthub.bus.server import NatsServer, start_server
from agenthub.bus.topology import RoleQueues, topology
from agenthub.client import Client
from agenthub.errors import HubError, HubRunningError, HubUnreachableError, LeaseLostError, NotFoundError, RefusedError
from agenthub.leader import lead
from agenthub.messages import Outcome, Priority, now
from agenthub.org.registry import Registry
from tests.organization import Hub, says, until

ROLES = [RoleQueues("backend", topics=("agent-hub.topics.tasks.sql",)), RoleQueues("you", works=False)]


# ── publishing ─────────────────────────────────────────────────────────────────────────────────────
async def test_a_message_that_is_too_large_is_refused_with_a_reason(hub: Hub) -> None:
    for size in (600_000, 2_000_000):  # larger than the stream takes, larger than the server takes
        with pytest.raises(RefusedError, match="Put it into a file"):
            await Client(hub.bus, hub.organization).send("backend", "x" * size)
    async with hub.role("backend", says("still here")):
        assert (await hub.completion("backend", await hub.send("backend", "small"))).outcome is Outcome.DONE


async def test_an_unknown_role_is_an_error_for_the_sender(hub: Hub) -> None:
    with pytest.raises(NotFoundError, match="Did you mean `backend`"):
        await Client(hub.bus, hub.organization).send("bakend", "hello")
    with pytest.raises(HubError, match="No stream stores"):  # also raw: no void takes it
        await hub.bus.publish(subjects.inbox("nobody"), b"{}")


async def test_a_full_inbox_refuses_and_the_others_take(hub: Hub) -> None:
    config = (await hub.bus.js.stream_info(subjects.AGENTS)).config
    config.max_msgs_per_subject = 3
    await hub.bus.js.update_stream(config)
    for _ in range(3):
        await hub.send("backend", "more")
    with pytest.raises(StreamFullError, match="full"):
        await hub.bus.publish(subjects.inbox("backend"), b"{}")
    await hub.send("qa", "there is room here")


async def test_only_the_first_of_a_subject_is_stored_also_after_the_window_and_a_crash(
    server: NatsServer, bus: Bus
) -> None:
    await provision(bus, topology(ROLES))
    assert (await bus.publish(subjects.done("backend", "1"), b"first", only_first=True)).is_new
    await server.kill()
    await server.start()
    assert not (await bus.publish(subjects.done("backend", "1"), b"second", only_first=True)).is_new
    assert await bus.last(subjects.DONE, subjects.done("backend", "1")) == b"first"


async def test_a_publication_during_a_restart_of_the_server_is_stored_once(server: NatsServer, bus: Bus) -> None:
    await provision(bus, topology(ROLES))
    await server.kill()
    publishing = asyncio.create_task(bus.publish(subjects.done("backend", "1"), b"x", message_id="one"))
    await server.start()
    await publishing
    assert not (await bus.publish(subjects.done("backend", "1"), b"x", message_id="one")).is_new
    assert (await bus.js.stream_info(subjects.DONE)).state.messages == 1


async def test_a_publication_that_a_dead_server_took_along_is_repeated_as_soon_as_it_is_back(
    server: NatsServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provision(bus, topology(ROLES))
    monkeypatch.setattr("agenthub.bus.connection._TRY_S", 3600.0)  # no time-out comes to its help
    assert server.pid
    os.kill(server.pid, signal.SIGSTOP)
    sent = bus.nc.stats["out_msgs"]
    publishing = asyncio.create_task(bus.publish(subjects.done("backend", "1"), b"x", message_id="one"))
    await until(lambda: bus.nc.stats["out_msgs"] > sent and not bus.nc.pending_data_size)  # it is with the server
    await server.kill()
    await server.start()
    async with asyncio.timeout(30):
        await publishing
    assert (await bus.js.stream_info(subjects.DONE)).state.messages == 1


async def test_what_a_stream_holds_is_read_to_its_end_though_the_server_dies_meanwhile(
    server: NatsServer, bus: Bus
) -> None:
    await provision(bus, topology(ROLES))
    kilobytes, count = b"x" * 100_000, 300  # more than is on its way at once
    await asyncio.gather(*(bus.publish(subjects.done("backend", str(number)), kilobytes) for number in range(count)))
    places = []
    async for received in read_stream(bus, subjects.DONE, subjects.ALL_DONE):
        places.append(received.sequence)
        if len(places) == 1:
            await server.kill()
            await server.start()
    assert places == list(range(1, count + 1))


@pytest.mark.parametrize("said", [b"", b"hello", b"[]", b"7", b"{}", b'{"stream": 1}', b'{"error": 1}', b"\xff"])
async def test_who_listens_to_a_stream_and_answers_as_if_it_were_one_is_found_out(bus: Bus, said: bytes) -> None:
    async def answer(msg: Msg) -> None:
        await msg.respond(said)

    await bus.nc.subscribe("spoken", cb=answer)
    await bus.flush()
    with pytest.raises(HubError, match="`spoken` is answered by somebody who is no stream"):
        await bus.publish("spoken", b"x")


async def test_an_answer_that_comes_too_late_for_a_flush_does_not_make_the_client_deaf(
    server: NatsServer, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    await hub.bus.flush()  # is given up
    os.kill(server.pid, signal.SIGCONT)
    await hub.bus.publish(subjects.inbox("backend"), b"{}")
    assert [record.getMessage() for record in caplog.records if record.name.startswith("nats")] == []


@contextlib.asynccontextmanager
async def overheard(server: NatsServer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A door to the server, and the packets that came through it, as they were sent."""
    packets: list[bytes] = []

    async def passes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[bytes]) -> None:
        with contextlib.suppress(ConnectionError):
            while packet := await reader.read(65536):
                heard.append(packet)
                writer.write(packet)
        writer.close()

    async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        its_reader, its_writer = await asyncio.open_connection(*server.url.removeprefix("nats://").rsplit(":", 1))
        await asyncio.gather(passes(reader, its_writer, packets), passes(its_reader, writer, []))

    door = await asyncio.start_server(came, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{door.sockets[0].getsockname()[1]}", packets
    finally:
        door.close()


async def test_a_flush_is_answered_behind_all_that_was_told_and_listened_to_before(
    server: NatsServer, bus: Bus
) -> None:
    async with overheard(server) as (url, packets), connect(url, name="test", identity=bus.identity) as bus:
        packets.clear()
        await bus.tell("told", b"at once")
        await bus.tell("told", b"soon", soon=True)
        async with bus.listen("heard"):
            said = b"".join(packets)
    assert 0 <= said.find(b"at once") < said.find(b"soon") < said.find(b"SUB heard") < said.find(b"PING")


async def test_what_may_wait_goes_with_what_is_sent_next_and_else_by_itself(server: NatsServer, bus: Bus) -> None:
    async with (
        overheard(server) as (url, packets), connect(url, name="test", identity=bus.identity) as bus,
        bus.listen("told") as heard,
    ):  # fmt: skip
        packets.clear()
        for number in range(3):
            await bus.tell("told", b"%d" % number, soon=True)
        async with asyncio.timeout(30):
            assert [(await anext(heard)).data for _ in range(3)] == [b"0", b"1", b"2"]
        assert len(packets) == 1
        packets.clear()
        await bus.tell("told", b"soon", soon=True)
        await bus.tell("told", b"at once")
        async with asyncio.timeout(30):
            assert [(await anext(heard)).data for _ in range(2)] == [b"soon", b"at once"]
        assert len(packets) == 1


async def test_what_was_to_be_told_soon_is_told_by_who_closes_the_connection(server: NatsServer, bus: Bus) -> None:
    async with bus.listen("told") as heard:
        async with connect(server.url, name="test", identity=bus.identity) as other:
            await other.tell("told", b"last words", soon=True)
        async with asyncio.timeout(30):
            assert (await anext(heard)).data == b"last words"


async def test_without_a_server_connecting_fails_soon_and_says_what_to_do() -> None:
    with pytest.raises(HubUnreachableError, match="agenthub up"):
        async with connect("nats://127.0.0.1:1", name="test", connect_timeout_s=0.5):
            pass


async def test_the_broker_publishes_a_schedule_when_its_time_has_come(hub: Hub) -> None:
    at = now() + timedelta(seconds=0.3)
    due = subjects.due("backend")
    await hub.bus.publish_at(at, subjects.schedule("backend", "x"), due, b"x", message_id="s")
    assert await until(lambda: hub.bus.last(subjects.SCHEDULES, due)) == b"x"
    assert now() >= at


# ── provisioning ───────────────────────────────────────────────────────────────────────────────────
async def test_provisioning_twice_changes_nothing_the_second_time(bus: Bus) -> None:
    wanted = topology(ROLES)
    planned = await provision(bus, wanted, dry_run=True)
    assert await provision(bus, wanted, dry_run=True) == planned  # a dry run makes nothing
    assert {change.action for change in planned} == {"create"}
    assert sorted(await provision(bus, wanted)) == sorted(planned)
    assert await provision(bus, wanted) == []


async def test_provisioning_adapts_what_changed_and_says_what(bus: Bus) -> None:
    await provision(bus, topology([*ROLES, RoleQueues("qa", topics=("agent-hub.topics.status.deploy",))]))
    changed = [RoleQueues("backend", topics=("agent-hub.topics.tasks.go",), replicas=3), RoleQueues("you", works=False)]
    changes = await provision(bus, topology(changed))
    by_name = {change.name: change for change in changes}
    assert by_name["AGENTHUB_TOPICS/qa-topics"].action == "delete"
    assert "tasks.sql → agent-hub.topics.tasks.go" in by_name["AGENTHUB_TOPICS/backend-topics"].detail
    assert by_name["GENBRAIN_AGENTS/backend-critical"] == Change(
        "update", "consumer", "GENBRAIN_AGENTS/backend-critical", "max_ack_pending: 3 → 9"
    )
    assert await provision(bus, topology(changed)) == []


async def test_streams_of_an_older_version_are_taken_over_and_what_cannot_be_is_said(bus: Bus) -> None:
    wanted = topology(ROLES)
    await provision(bus, wanted)
    await bus.js.delete_stream(subjects.EVENTS)
    older = replace(next(s for s in wanted.streams if s.name == subjects.EVENTS), persist_mode=None, max_age=600.0)
    await bus.js.add_stream(older)
    (change,) = await provision(bus, wanted)
    assert "max_age" in change.detail
    await bus.js.delete_stream(subjects.DONE)
    done = next(s for s in wanted.streams if s.name == subjects.DONE)
    await bus.js.add_stream(replace(done, retention="workqueue", allow_direct=True))  # type: ignore[arg-type]
    with pytest.raises(HubError, match="AGENTHUB_DONE cannot be brought"):
        await provision(bus, wanted)


async def test_the_public_names_are_kept_to_the_letter(bus: Bus) -> None:
    await provision(bus, topology(ROLES))
    for subject, stream in {
        "agent-hub.operators.operator-backend.inbox": "GENBRAIN_AGENTS",
        "agent-hub.operators.operator-you.inbox": "GENBRAIN_AGENTS",
        "agent-hub.topics.tasks.sql": "AGENTHUB_TOPICS",
        "agent-hub.topics.decisions.api": "AGENTHUB_TOPICS",
        "agent-hub.topics.status.deploy": "AGENTHUB_TOPICS",
        "agent-hub.global.announcements": "AGENTHUB_TOPICS",
        "genbrain.learning.backend": "AGENTHUB_LEARNING",
    }.items():
        assert await bus.js.find_stream_name_by_subject(subject) == stream


# ── the embedded server ────────────────────────────────────────────────────────────────────────────
async def test_a_second_server_on_the_same_folder_is_refused_also_when_the_parent_of_the_first_is_gone(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agenthub.bus.server.FREE_WITHIN_S", 0.1)
    server.release()  # as the system does for a process that was killed
    with pytest.raises(HubRunningError, match="uses"):
        await NatsServer(server.folder).start()


async def test_a_server_that_may_store_less_than_all_streams_may_take_is_told_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_CONFIG", server_module._CONFIG.replace("max_file: 20GB", "max_file: 5GB"))
    async with start_server(tmp_path) as server, connect(server.url, name="test") as bus:
        with pytest.raises(HubError, match=r"storage.* 12 GiB.*`max_file`"):
            await provision(bus, topology(ROLES))


async def test_nobody_takes_the_ports_of_a_server_that_is_away(server: NatsServer) -> None:
    ports = (server.port, server.monitor_port)
    await server.kill()
    for port in ports:
        with pytest.raises(OSError, match="in use"), socket.socket() as taker:
            taker.bind(("127.0.0.1", port))
    await server.start()
    assert (server.port, server.monitor_port) == ports


async def test_a_port_that_is_taken_is_named(server: NatsServer) -> None:
    await server.stop()
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(HubError, match=f"port {server.port}.*in use"):
        await server.start()
    await server.start()  # it kept nothing to itself meanwhile


async def test_a_restarted_server_has_the_same_address_and_all_that_it_acknowledged(tmp_path: Path) -> None:
    async with start_server(tmp_path) as server:
        url = server.url
        async with connect(url, name="test") as bus:
            await provision(bus, topology(ROLES))
            for number in range(50):
                await bus.publish(subjects.inbox("backend"), str(number).encode())
            await server.kill()
            await server.start()
            assert server.url == url
            found = await bus.look(subjects.AGENTS, subjects.inbox("backend"), most=100)
    assert [received.data for received in found] == [str(number).encode() for number in range(50)]


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "jetstream").write_text("this is no folder")
    with pytest.raises(HubError, match=r"nats-server ended with \d+"):
        async with start_server(tmp_path):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
async def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys, pathlib\n"
        "from agenthub.bus.server import NatsServer\n"
        "async def main():\n"
        "    server = NatsServer(pathlib.Path(sys.argv[1]))\n"
        "    await server.start()\n"
        "    print(server.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await until(lambda: not _is_alive(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


# ── leases and buckets ─────────────────────────────────────────────────────────────────────────────
async def test_a_role_is_worked_by_one_process_at_a_time(hub: Hub) -> None:
    stranger = Holder(host="elsewhere/1", pid=1, process_started=0, since=now())
    bucket = Bucket(hub.bus, subjects.LEASES, Holder)
    await bucket.put("backend", stranger, ttl_s=60)
    with pytest.raises(LeaseLostError, match="process 1 on elsewhere"):
        async with hold_lease(hub.bus, "backend", ttl_s=2, within_s=0.2, clock=time.monotonic):
            pass


async def test_the_lease_of_a_process_that_has_died_here_is_taken_at_once(hub: Hub) -> None:
    child = await asyncio.create_subprocess_exec("sleep", "60")
    here = Holder.this_process()
    dead = here.model_copy(update={"pid": child.pid, "process_started": time.time()})
    bucket = Bucket(hub.bus, subjects.LEASES, Holder)
    await bucket.put("backend", dead, ttl_s=60)
    child.send_signal(signal.SIGKILL)
    await child.wait()
    async with hold_lease(hub.bus, "backend", ttl_s=2, within_s=0, clock=time.monotonic) as lease:
        assert lease.is_held
        assert lease.fence > 1


async def test_a_holder_whose_time_is_over_acts_no_more_and_hears_who_took_over(hub: Hub) -> None:
    clock = [0.0]
    async with hold_lease(hub.bus, "backend", ttl_s=3, within_s=0, clock=lambda: clock[0]) as lease:
        await lease.ensure()
        clock[0] = 3.5  # as a process that was stopped and goes on
        assert not lease.is_held
        stranger = Holder(host="elsewhere/1", pid=7, process_started=0, since=now())
        await Bucket(hub.bus, subjects.LEASES, Holder).put("backend", stranger)
        keeping = asyncio.create_task(lease.keep())
        with pytest.raises(LeaseLostError, match="process 7 on elsewhere"):
            await lease.ensure()
        with pytest.raises(LeaseLostError):
            await keeping


async def test_a_lease_that_ran_out_while_the_server_was_away_is_taken_again(server: NatsServer, hub: Hub) -> None:
    async with hold_lease(hub.bus, "backend", ttl_s=1, within_s=0, clock=time.monotonic) as lease:
        first = lease.fence
        keeping = asyncio.create_task(lease.keep())
        await server.kill()
        await until(lambda: not lease.is_held)
        await server.start()
        await until(lambda: lease.is_held)
        await lease.ensure()
        assert lease.fence >= first
        keeping.cancel()


async def test_who_leads_and_is_cancelled_ends_also_if_the_server_is_gone(server: NatsServer, hub: Hub) -> None:
    leads = asyncio.Event()

    async def duty() -> None:
        leads.set()
        await asyncio.Event().wait()

    hub.bus.patience_s = 0.5
    leading = asyncio.create_task(
        lead(hub.bus, lambda: contextlib.nullcontext(hub.bus), lambda _: [duty], ttl_s=3.0, clock=time.monotonic)
    )
    await leads.wait()
    await server.kill()
    leading.cancel()
    done, _ = await asyncio.wait([leading], timeout=30)
    leading.cancel()
    assert done


async def test_of_two_writers_with_the_same_revision_one_wins(hub: Hub) -> None:
    bucket = Bucket(hub.bus, subjects.LEASES, Holder)
    value = Holder.this_process()
    revision = await bucket.create("k", value)
    assert revision is not None
    assert await bucket.create("k", value) is None
    written = await asyncio.gather(*(bucket.update("k", value, revision) for _ in range(5)))
    assert sum(found is not None for found in written) == 1
    await bucket.delete("k")
    assert await bucket.get("k") is None
    assert await bucket.create("k", value) is not None


# ── looking ────────────────────────────────────────────────────────────────────────────────────────
async def test_looking_takes_nothing_and_shows_the_most_urgent_first(hub: Hub) -> None:
    client = Client(hub.bus, hub.organization)
    for priority in (Priority.LOW, Priority.CRITICAL, Priority.MEDIUM):
        await client.send("backend", str(priority), priority=priority)
    for _ in range(2):
        found = await client.waiting("backend")
        assert [item.message.payload.message for item in found if item.message] == ["critical", "medium", "low"]
    (status,) = [role for role in await client.roles() if role.role == "backend"]
    assert status.heartbeat is None
    assert status.waiting == {Priority.CRITICAL: 1, Priority.HIGH: 0, Priority.MEDIUM: 1, Priority.LOW: 1}


async def test_the_past_is_read_whole_while_more_is_published(hub: Hub) -> None:
    for number in range(300):
        await hub.bus.publish(subjects.event("step", "backend"), str(number).encode())
    found = await asyncio.gather(*(hub.bus.history(subjects.EVENTS, subjects.ALL_EVENTS) for _ in range(5)))
    assert [len(received) for received in found] == [300] * 5
    last = await hub.bus.history(subjects.EVENTS, subjects.ALL_EVENTS, last=10)
    assert [received.data for received in last] == [str(number).encode() for number in range(290, 300)]


async def test_who_is_cancelled_ends_also_if_the_answer_of_the_broker_comes_at_the_same_moment(bus: Bus) -> None:
    """Cancelled at each of the moments that a request has: none of them may be one at which it is not heard."""
    await provision(bus, topology([]))
    registry = Registry(bus)

    async def asks_again_and_again() -> None:
        while True:
            await registry.all()

    for number in range(400):
        asking = asyncio.create_task(asks_again_and_again())
        for _ in range(2 + number % 20):
            await asyncio.sleep(0)
        await asyncio.to_thread(lambda: None)
        asking.cancel()
        done, _ = await asyncio.wait([asking], timeout=10)
        assert done, f"it goes on after cancellation number {number}"


async def test_the_log_of_the_server_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "LOG_BYTES", 5000)
    server = NatsServer(tmp_path / "nats")
    for _ in range(30):  # each start writes some two thousand bytes
        await server.start()
        await server.end()
    server.release()
    logs = list((tmp_path / "nats").glob("nats.log*"))
    assert 2 <= len(logs) <= 6
    assert sum(log.stat().st_size for log in logs) < 6 * 8000
