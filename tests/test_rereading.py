"""Restarts by the files as they are now: of roles that are new, changed, wrong or gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import jsonschema
import pytest

from agenthub import subjects
from agenthub.bus.access import Access
from agenthub.bus.identity import Keyring
from agenthub.bus.inboxes import inboxes
from agenthub.children import Child, RoleState
from agenthub.cli.schemas import schema_of
from agenthub.client import Client
from agenthub.guards.senders import Senders
from agenthub.messages import now
from agenthub.org.registry import Registry
from agenthub.presence import Absence
from agenthub.rereading import Files
from agenthub.restarts import obey_restarts
from agenthub.run_file import processes_of
from tests.organization import Hub
from tests.organization import until as until_async
from tests.test_hub import Folder, until
from tests.test_steering import client


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
    message = folder.json("send", "qa", "rehearse: slow 15")["id"]
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
    meanwhile: list[tuple[RoleState, Absence]] = []

    async def admit(access: Access) -> None:
        meanwhile.append((child.state, (await Registry(hub.bus).absences())["qa"]))

    (hub.folder / "roles" / "qa.md").unlink()
    await files.read(hub.bus, hub.settings)
    assert files.gone == {"qa"} and "qa" in files.organization.roles
    if waits:
        await hub.send("qa", "Look at it")
    files.admit = admit
    await Registry(hub.bus).note_absence("qa", Absence(role="qa", since=now(), reason="it fell", holds=["x.y"]))
    for _ in range(2):
        await files.end(
            hub.bus, hub.settings, child, [], start=lambda one: _start(one, started),
            report=lambda _, kind, text: reported.append(kind),
        )  # fmt: skip
    assert (len(started), reported) == ((1, []) if waits else (0, ["ended"]))
    assert ("qa" in files.organization.roles, "qa" in await inboxes(hub.bus)) == (waits, waits)
    absence = (await Registry(hub.bus).absences())["qa"]
    assert absence.was_stopped and absence.is_told, "nobody misses it"
    assert absence.holds == ["x.y"], "given back if it comes up again"
    assert meanwhile == ([] if waits else [(RoleState.STOPPED, absence)]), "nor starts it while its queues go"


@pytest.mark.parametrize("state", [RoleState.WAITING, RoleState.QUARANTINED])
async def test_a_person_s_restart_waits_until_all_is_noted_of_the_process_that_has_ended(
    hub: Hub, state: RoleState
) -> None:
    noted, heard = asyncio.Event(), asyncio.Event()
    started: list[bool] = []
    child = Child("qa", "qa", state=state, signing_off=asyncio.create_task(_noted(noted)))

    async def new(role: str) -> Sequence[Child]:
        heard.set()
        return []

    async def start(child: Child) -> None:
        child.state = RoleState.STARTING
        started.append(noted.is_set())

    senders = Senders(Keyring(hub.settings.keys), operator=hub.organization.operator)
    steering = client(hub).steering
    obeying = asyncio.create_task(
        obey_restarts(hub.bus, senders, hub.organization.operator, {"qa": child}, start, lambda *_: None, new)
    )
    try:
        while not heard.is_set():  # what comes before it listens is for those who start then
            await steering.decide(steering.control("restart", "qa"))
        noted.set()
        await until_async(lambda: started)
        assert started == [True]
    finally:
        obeying.cancel()


async def _noted(noted: asyncio.Event) -> None:
    await noted.wait()


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
