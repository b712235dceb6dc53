"""Steering a hub of real processes by the command line: kills, restarts, the exit codes, a cluster."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from pathlib import Path

import pytest

from agenthub.bus.cluster import start_cluster
from agenthub.bus.connecting import connect
from agenthub.cli import main
from agenthub.client import Client
from tests.organization import Hub, ScriptedSession, says
from tests.organization import until as until_async
from tests.test_hub import Folder, until
from tests.test_steering import are_up, client


def held(folder: Folder, role: str = "backend") -> tuple[bool, bool]:
    """Whether a role is paused, and whether it is stopped."""
    standing = folder.roles()[role].standing
    return standing.paused is not None, standing.stopped is not None


def test_what_is_stopped_stays_so_through_kills_and_restarts_and_goes_on_where_it_was(folder: Folder) -> None:
    folder.up()
    message = folder.json("send", "backend", "rehearse: steps 12 Write the manual")["id"]
    until(lambda: folder.state_of("backend") == "working")
    stopped = folder.pid_of("backend")
    control = folder.json("estop", "--reason", "it burns")
    assert sorted(control["came"]) == ["backend", "ceo", "cto", "qa"]
    os.kill(stopped, signal.SIGKILL)
    until(lambda: folder.pid_of("backend") not in (0, stopped))
    assert held(folder) == (False, True)
    folder.look(lambda client: client.steering.pause("backend"))
    folder.run("down")
    came_up = folder.popen("up", "-d", "--wait").communicate(timeout=60)[1]
    folder.hub()
    assert "all 4 roles are up; all stopped by you: it burns, since 2" in came_up
    assert "`agenthub thaw`" in came_up
    assert held(folder) == (True, True)
    well = folder.run("check")
    assert "backend, ceo, cto, qa: stopped by you since 2" in well
    assert "agenthub thaw" in folder.run("doctor", code=None)
    (row,) = [row for row in folder.json("ps") if row["role"] == "backend"]
    assert (row["stopped"]["by"], row["stopped"]["reason"]) == ("you", "it burns")
    folder.look(lambda client: client.steering.thaw())
    assert held(folder) == (True, False)
    folder.look(lambda client: client.steering.resume("backend"))
    done = folder.look(lambda client: client.completion("backend", message, timeout_s=50))
    assert done.outcome == "done"
    assert len(folder.completions(message)) == 1
    assert len(list((folder.state / "workspaces" / "backend" / "notes").iterdir())) == 12


def test_a_role_that_was_left_alone_is_started_again_and_a_restart_is_no_crash(folder: Folder) -> None:
    folder.up()
    killed: set[int] = set()
    for _ in range(5):
        pid = until(lambda: (found := folder.pid_of("backend")) not in {0, *killed} and found)
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    until(lambda: folder.events("quarantined"))
    crashes = len(folder.events("crashed"))
    for _ in range(2):
        folder.look(lambda client: client.steering.restart("backend"))
        pid = until(lambda: (found := folder.pid_of("backend")) not in {0, *killed} and found)
        killed.add(pid)
    assert folder.json("send", "backend", "rehearse: say hello", "--wait")["text"] == "hello"
    assert len(folder.events("crashed")) == crashes


async def command(hub: Hub, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run a command in this process, for it saves a second each; its exit code, and all that it said."""

    def run() -> int:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--nats", hub.server.url, "--config", str(hub.folder / "agenthub.toml")])
        return int(ended.value.code or 0)

    code = await asyncio.to_thread(run)
    said = capsys.readouterr()
    return code, said.out + said.err


async def test_each_command_says_what_came_of_it_and_what_to_do_next(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    goes_on = asyncio.Event()

    async def script(_: object) -> str:
        await goes_on.wait()
        return "done"

    async with hub.role("backend", ScriptedSession(script)):
        await are_up(hub, "backend")
        first, second = [(await client(hub).send("backend", text)).id for text in ("first", "second")]
        await until_async(lambda: _works_on(hub, first))
        for words, code, out in [
            (["pause", "backend", "--reason", "too [bold] dear"], 0, "agenthub resume backend"),
            (["pause", "backend"], 0, "already, since"),
            (["pause"], 2, "a role, or `--all`"),
            (["pause", "bakend"], 3, "Did you mean `backend`?"),
            (["ps"], 0, "agenthub resume backend"),
            (["doctor"], 1, "paused by you: too [bold] dear: backend"),
            (
                ["send", "backend", "third"],
                0,
                "backend is paused by you: too [bold] dear until `agenthub resume backend`",
            ),
            (["send", "backend", "x", "--wait", "--timeout", "0.1"], 5, "it is paused by you: too [bold] dear until"),
            (["send", "backend", "x", "--wait", "--timeout", "1"], 5, "within 1s; it is paused by you"),
            (["ask", "backend", "fourth?", "--timeout", "0.1"], 5, "It is paused by you: too [bold] dear until"),
            (["inbox", "reprioritize", "backend", second[:8], "high"], 0, "is high now"),
            (["inbox", "reprioritize", "backend", second[:8], "urgent"], 2, "critical"),
            (["inbox", "requeue", "backend", second[:8]], 0, "is behind the others"),
            (["inbox", "requeue", "backend", first[:8]], 6, "works on"),
            (["inbox", "move", "backend", "ffff", "--to", "qa"], 3, "No message waits"),
            (["inbox", "cancel", "backend", second[:8]], 2, "--yes"),
            (["inbox", "cancel", "backend", second[:8], "--yes"], 0, "is cancelled"),
            (["nudge", "backend", "go on"], 0, "agenthub attach backend"),
            (["cancel", "backend"], 2, "--yes"),
            (["cancel", "backend", "--yes", "--reason", "enough"], 0, "agenthub trace"),
            (["nudge", "qa"], 3, "down"),
            (["estop"], 0, "agenthub thaw"),
            (["thaw"], 0, "agenthub ps"),
            (["thaw"], 0, "nothing is stopped. Next: "),
            (["resume", "--all"], 0, "backend: goes on"),
            (["resume", "--all"], 0, "no role is paused. Next: "),
            (["tail", "--kind", "steered"], 0, ""),
        ]:
            ended, said = await command(hub, capsys, *words)
            assert (ended, out in said) == (code, True), (words, ended, said)
        ended, said = await command(hub, capsys, "estop", "qa", "--json")
        assert ended == 0
        assert {"verb": "estop", "role": "qa", "by": "you", "is_new": True}.items() <= json.loads(said).items()
        goes_on.set()
        assert (await hub.completion("backend", first)).text == "cancelled by you: enough"


async def _works_on(hub: Hub, message: str) -> bool:
    return any(s.heartbeat and s.heartbeat.message_id == message for s in await client(hub).roles())


async def test_on_a_cluster_a_pause_holds_though_the_server_that_stored_it_is_gone(tmp_path: Path) -> None:
    async with (
        start_cluster(tmp_path / "nats", durable=False) as cluster,
        connect(cluster.url, name="test", patience_s=60) as bus,
    ):
        hub = Hub(cluster, bus, tmp_path)
        await hub.provision()
        steering = Client(bus, hub.organization).steering
        async with hub.role("backend", says("done")):
            await are_up(hub, "backend")
            assert (await steering.estop()).silent == []
            leader = cluster.server((await bus.js.stream_info("AGENTHUB_CONTROL")).cluster.leader)  # type: ignore[union-attr,arg-type]
            await leader.kill()
            message = await until_async(lambda: _sent(hub), within_s=60)
            assert (await until_async(steering.standing, within_s=60))["backend"].stopped is not None
            await leader.start()
            await steering.thaw()
            assert (await hub.completion("backend", message, within_s=60)).outcome == "done"


async def _sent(hub: Hub) -> str:
    return (await client(hub).send("backend", "work")).id
