"""Steering a hub of real processes by the command line: kills, restarts, the exit codes, a cluster."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from agenthub import subjects
from agenthub.bus.cluster import start_cluster
from agenthub.bus.connecting import connect
from agenthub.bus.inboxes import inboxes
from agenthub.children import Child, RoleState
from agenthub.cli import main
from agenthub.cli.schemas import schema_of
from agenthub.client import Client
from agenthub.org.registry import Registry
from agenthub.rereading import Files
from agenthub.run_file import processes_of
from tests.organization import Hub, ScriptedSession, says, write_organization
from tests.organization import until as until_async
from tests.test_hub import Folder, until
from tests.test_steering import are_up, client

QUICK = "[process]\nheartbeat_s = 0.5\nlease_ttl_s = 3\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    write_organization(tmp_path, QUICK)
    folder = Folder(tmp_path)
    yield folder
    folder.clean()


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


def test_a_restart_is_by_the_file_as_it_is_now_and_takes_in_a_role_that_is_new(folder: Folder) -> None:
    folder.up()
    backend, kept = folder.path / "roles" / "backend.md", folder.pid_of("qa")
    as_it_was = backend.read_text()
    backend.write_text(as_it_was.replace("---\n", "---\nmodel: sonet\n", 1))
    folder.run("restart", "backend")
    assert "no model `sonet`" in folder.json("send", "backend", "rehearse: say hello", "--wait", code=1)["text"]
    backend.write_text(as_it_was)
    folder.run("restart", "backend")
    assert folder.json("send", "backend", "rehearse: say hello", "--wait")["text"] == "hello"
    log = map(json.loads, (folder.state / "logs" / "backend.log").read_text().splitlines())
    ended = [line["level"] for line in log if "asked for its restart" in line["event"]]
    assert ended == ["info", "info"], "what a person asks for is no error"

    (folder.path / "roles" / "tester.md").write_text(as_it_was.replace("backend", "tester"))
    waits_for_it = folder.popen("send", "tester", "hello").communicate(timeout=60)[1]
    assert "`tester` is new, and has no inbox yet. `agenthub restart tester` starts it" in waits_for_it
    folder.run("restart", "tester")
    assert folder.state_of("tester") == "idle"
    folder.run("grants", "add", "qa", "topic", "decisions.api")
    assert folder.json("send", "tester", "rehearse: say hello", "--wait")["text"] == "hello"
    assert folder.pid_of("qa") == kept, "nobody else is disturbed"


def test_after_a_restart_of_all_every_role_and_who_leads_know_one_that_is_new(folder: Folder) -> None:
    folder.up()
    roles = folder.path / "roles"
    new = (roles / "backend.md").read_text().replace("backend", "tester")
    new = new.replace("agenthub:\n", 'agenthub:\n  schedule: {tick: "@every 10s"}\n', 1)
    (roles / "tester.md").write_text(new)
    process = folder.popen("restart", "tester")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0 and "learn of tester when they are started again: `agenthub restart --all`" in said
    kept = {role: folder.pid_of(role) for role in ("backend", "ceo", "cto", "qa", "tester")}
    assert folder.run("restart", code=2) == folder.run("restart", "qa", "--all", code=2) == ""
    restarted = folder.json("restart", "--all")
    jsonschema.validate(restarted, schema_of("restart"))
    assert [one["role"] for one in restarted] == [*kept]
    # One that has a message in hand, as from its schedule, is started again behind it.
    until(lambda: all((pid := folder.pid_of(role)) and pid != kept[role] for role in kept))
    until(lambda: [done for done in folder.events("completed") if done.role == "tester"])


def test_restarts_that_come_one_right_after_the_other_miss_nobody(folder: Folder) -> None:
    folder.up()

    async def twice(client: Client) -> list[str]:
        silent = []
        for _ in range(3):
            effects = [await client.steering.restart("backend") for _ in range(2)]
            silent += [key for effect in effects for key in effect.silent]
            besides = [name for effect in effects for name in effect.control.processes]
            assert await client.steering.has_come_up("backend", within_s=30, besides=besides)
        await client.steering.restart("backend")
        return silent

    assert folder.look(twice) == []
    assert [one["role"] for one in folder.json("restart", "--all")] == ["backend", "ceo", "cto", "qa"]
    assert folder.json("send", "backend", "rehearse: say hello", "--wait")["text"] == "hello"


def processes_like(folder: Folder, name: str) -> list[str]:
    """Processes of the hub whose name begins so."""
    return [p.name() for p in processes_of(folder.hub().run_id) if p.name().startswith(name)]


def test_a_role_whose_file_is_gone_ends_behind_its_message_and_its_queues_with_it(folder: Folder) -> None:
    qa = folder.path / "roles" / "qa.md"
    as_it_was = qa.read_text()
    qa.write_text(as_it_was.replace("agenthub:\n", "agenthub:\n  replicas: 2\n", 1))
    folder.up()
    message = folder.json("send", "qa", "rehearse: slow 8")["id"]
    until(lambda: any(row["state"] == "working" for row in folder.json("ps") if row["role"].startswith("qa")))
    qa.unlink()
    said = folder.popen("restart", "qa", "--now").communicate(timeout=60)[1]
    assert "`qa` has no file, and nobody would go on with the message that it works on. Leave `--now` out" in said
    process = folder.popen("restart", "qa")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0 and ": ends after its message" in said and "qa ends for good" in said
    assert "the other roles know qa until they are started again: `agenthub restart --all`" in said
    until(lambda: folder.events("ended"))
    (end,) = folder.completions(message)
    assert end.data["outcome"] == "done"
    assert processes_like(folder, "qa") == []
    assert "qa" not in folder.look(lambda client: inboxes(client.bus))
    assert "0 changes" in folder.popen("provision", "--dry-run").communicate(timeout=60)[1]
    assert (folder.state / "keys" / "role.qa.nk").exists(), "its reply is not read yet, and believed by its key"
    restarted = folder.json("restart", "--all")
    assert [one["role"] for one in restarted] == ["backend", "ceo", "cto"]
    assert folder.events("unhealthy") == [], "nobody misses it"
    folder.run("restart", "qa", code=3)
    assert [row["role"] for row in folder.json("ps")] == ["backend", "ceo", "cto"]

    qa.write_text(as_it_was)
    folder.run("restart", "qa")
    assert folder.json("send", "qa", "rehearse: say hello", "--wait")["text"] == "hello"


def test_a_role_without_a_file_stays_as_long_as_messages_wait_for_it_and_none_is_lost(folder: Folder) -> None:
    folder.up()
    folder.run("pause", "qa")
    sent = [folder.json("send", "qa", f"rehearse: say {word}")["id"] for word in ("one", "two")]
    (folder.path / "roles" / "qa.md").unlink()
    kept = folder.look(lambda client: Registry(client.bus).all())
    process = folder.popen("restart", "qa")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 6 and "`qa` has no file, but runs and has 2 messages waiting, so it stays" in said
    assert "`agenthub inbox move qa --all --to ROLE` has another role do what waits; or put its file back" in said
    process = folder.popen("restart", "--all")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 6 and "Every role that has a file is started again. `qa` has no file" in said
    beats = folder.look(lambda client: Registry(client.bus).all())
    assert {key for key in beats if beats[key].pid == kept[key].pid} == {"qa"}
    for words in (["provision", "--dry-run"], ["provision"]):
        out, said = folder.popen(*words).communicate(timeout=60)
        assert out == "" and "`qa` has no file, but runs and has 2 messages waiting: its queues" in said
        assert (folder.state / "keys" / "role.qa.nk").exists()
    moved = folder.json("inbox", "move", "qa", "--all", "--to", "backend")
    jsonschema.validate(moved, schema_of("inbox move"))
    assert [one["message_id"] for one in moved] == sent
    ends = [folder.look(lambda client, id_=id_: client.completion("qa", id_, timeout_s=50)) for id_ in sent]  # type: ignore[misc]
    assert [(end.role, end.text) for end in ends] == [("backend", "one"), ("backend", "two")]
    ended = folder.json("restart", "--all")
    assert [one["role"] for one in ended] == ["qa", "backend", "ceo", "cto"] and ended[0]["came"] == {"qa": "ends"}
    assert processes_like(folder, "qa") == []
    assert [event.role for event in folder.events("ended")] == ["qa"]
    ends_here = folder.look(lambda client: client.bus.counts(subjects.DONE, subjects.done("qa", "*")))
    assert ends_here == {subjects.done("qa", id_): 1 for id_ in sent}
    assert not (folder.state / "keys" / "role.qa.nk").exists()


@pytest.mark.parametrize("state", [RoleState.WAITING, RoleState.QUARANTINED])
@pytest.mark.parametrize("waits", [True, False])
async def test_what_comes_before_a_role_without_a_file_has_ended_keeps_it(
    hub: Hub, state: RoleState, waits: bool
) -> None:
    files, child = Files(hub.organization, say=lambda _: None), Child("qa", "qa", state=state)
    started: list[Child] = []
    reported: list[str] = []
    (hub.folder / "roles" / "qa.md").unlink()
    await files.read(hub.bus, hub.settings)
    assert files.gone == {"qa"} and "qa" in files.organization.roles
    if waits:
        await hub.send("qa", "Look at it")
    for _ in range(2):
        await files.end(
            hub.bus, hub.settings, child, [], start=lambda one: _start(one, started),
            report=lambda _, kind, text: reported.append(kind),
        )  # fmt: skip
    assert (len(started), reported) == ((1, []) if waits else (0, ["ended"]))
    assert ("qa" in files.organization.roles, "qa" in await inboxes(hub.bus)) == (waits, waits)


def _start(child: Child, started: list[Child]) -> None:
    child.state = RoleState.STARTING
    started.append(child)


def test_a_restart_by_files_that_are_wrong_is_refused_and_one_under_way_is_by_what_they_said_before(
    folder: Folder,
) -> None:
    folder.up()
    backend, before = folder.path / "roles" / "backend.md", folder.pid_of("backend")

    async def restarted(client: Client) -> None:
        backend.write_text(backend.read_text().replace("agenthub:\n", "agenthub:\n  bugdet: 1\n"))
        await client.steering.restart("backend")

    folder.look(restarted)
    folder.run("restart", "backend", code=2)
    said = folder.state / "logs" / "supervisor.log"
    until(lambda: "`agenthub.bugdet` is not a key" in said.read_text())
    backend.write_text(backend.read_text().replace("  bugdet: 1\n", ""))
    until(lambda: folder.pid_of("backend") not in (0, before))
    assert folder.json("send", "backend", "rehearse: say hello", "--wait")["text"] == "hello"


def test_while_a_file_is_wrong_a_hub_that_runs_is_seen_and_stopped_by_the_rest(folder: Folder) -> None:
    folder.up()
    qa = folder.path / "roles" / "qa.md"
    as_it_was = qa.read_text()
    qa.write_text(as_it_was.replace("agenthub:\n", "agenthub:\n  bugdet: 1\n"))
    process = folder.popen("estop", "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and sorted(json.loads(out)["came"]) == ["backend", "ceo", "cto", "qa"]
    assert "roles/qa.md, line 5: `agenthub.bugdet` is not a key" in err and "without qa" in err
    found = {row["role"]: row["has_file"] for row in folder.json("ps")}
    assert found == {"backend": True, "ceo": True, "cto": True, "qa": False}
    folder.run("thaw")
    folder.run("logs", "backend", "-n", "1")
    qa.write_text(as_it_was)
    assert {row["role"]: row["stopped"] for row in folder.json("ps")}["qa"] is None
    qa.write_text(as_it_was.replace("agenthub:\n", "agenthub:\n  bugdet: 1\n"))
    folder.run("down")
    folder.run("ps", code=2)


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
