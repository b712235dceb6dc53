"""Steering a hub of real processes by the command line: kills, restarts, the exit codes, a cluster."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from agenthub.bus.cluster import start_cluster
from agenthub.bus.connection import connect
from agenthub.cli import main
from agenthub.client import Client
from tests.organization import Hub, ScriptedSession, says
from tests.organization import until as until_async
from tests.test_steering import are_up, client


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
            (["pause", "backend", "--reason", "too [bold] dear"], 0, "Next: agenthub resume backend"),
            (["pause", "backend"], 0, "already, since"),
            (["pause"], 2, "a role, or `--all`"),
            (["pause", "bakend"], 3, "Did you mean `backend`?"),
            (["ps"], 0, "agenthub resume backend"),
            (["doctor"], 1, "paused by you: too [bold] dear: backend"),
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
            (["estop"], 0, "Next: agenthub thaw"),
            (["thaw"], 0, "Next: agenthub ps"),
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
