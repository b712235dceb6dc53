"""A whole hub as a user runs it: real processes, the real server, the rehearsal model, the real command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from agenthub.bus.server import start_server
from agenthub.client import Client, RoleStatus, open_client
from agenthub.errors import HubError
from agenthub.messages import Event
from agenthub.organization import load_organization
from agenthub.run_file import RunFile, processes_of
from agenthub.settings import Settings
from tests.commands import command, program
from tests.organization import write_organization

T = TypeVar("T")
WITHIN_S = 60.0


class Folder:
    """A folder with an organization, and the command line in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / ".agenthub"
        self.started: list[subprocess.Popen[str]] = []
        self.run_ids: set[str] = set()

    def popen(self, *words: str) -> subprocess.Popen[str]:
        process = program(*words, folder=self.path)
        self.started.append(process)
        return process

    def run(self, *words: str, code: int | None = 0) -> str:
        """What a command printed on stdout; it must exit with `code`."""
        ran = command(*words, folder=self.path)
        assert code is None or ran.code == code, f"agenthub {' '.join(words)}: {ran.code}\n{ran.err}"
        return ran.out

    def json(self, *words: str, code: int | None = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code))

    def up(self, *words: str) -> RunFile:
        self.run("up", "-d", "--wait", *words)
        return self.hub()

    def hub(self) -> RunFile:
        def ready() -> RunFile | None:
            found = RunFile.read(self.state)
            return found if found and found.is_ready else None

        run = until(ready)
        self.run_ids.add(run.run_id)
        return run

    def look(self, look: Callable[[Client], Awaitable[T]]) -> T:
        """What the client sees: as the command line does, but without starting a process."""

        async def ask() -> T:
            settings = Settings.load(config=self.path / "agenthub.toml")
            async with open_client(settings, load_organization(settings)) as client:
                return await look(client)

        return asyncio.run(ask())

    def roles(self) -> dict[str, RoleStatus]:
        return {status.role: status for status in self.look(lambda client: client.roles())}

    def state_of(self, role: str) -> str:
        beat = self.roles()[role].heartbeat
        return beat.state if beat else "down"

    def pid_of(self, role: str) -> int:
        beat = self.roles()[role].heartbeat
        return beat.pid if beat else 0

    def events(self, kind: str = "") -> list[Event]:
        async def all_events(client: Client) -> list[Event]:
            return [event async for event in client.events(last=1000) if kind in ("", event.kind)]

        return self.look(all_events)

    def completions(self, message_id: str) -> list[Event]:
        return [e for e in self.events() if e.message_id == message_id and e.kind in ("completed", "dead")]

    def clean(self) -> None:
        if (run := RunFile.read(self.state)) is not None:
            self.run_ids.add(run.run_id)
        for process in self.started:
            process.kill()
            process.communicate()
        for run_id in self.run_ids:
            for left in processes_of(run_id):
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    write_organization(tmp_path)
    folder = Folder(tmp_path)
    yield folder
    folder.clean()


def until(condition: Callable[[], T | None], within_s: float = WITHIN_S) -> T:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(HubError):  # the server may be on its way back
            if value := condition():
                return value
        time.sleep(0.02)
    raise AssertionError("it did not come about in time")


def has_gone(run: RunFile) -> bool:
    """True if nothing of a run is alive; who has ended and is not yet collected by its parent is not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if psutil.Process(run.pid).status() != psutil.STATUS_ZOMBIE:
            return False
    return not processes_of(run.run_id)


def test_up_send_ps_down_and_nothing_is_left(folder: Folder) -> None:
    run = folder.up()
    assert {(r["role"], r["state"]) for r in folder.json("ps")} == {
        ("backend", "idle"), ("ceo", "idle"), ("cto", "idle"), ("qa", "idle")
    }  # fmt: skip
    done = folder.json("send", "ceo", "Add file attachments: API, tests and all", "--wait", "--timeout", "50")
    assert (done["outcome"], done["role"], done["from_role"]) == ("done", "ceo", "you")
    until(lambda: folder.state_of("ceo") == "idle")
    assert next(r for r in folder.json("ps") if r["role"] == "ceo")["tokens_today"] > 0
    assert len(processes_of(run.run_id)) >= 6  # four roles, the nursery, the server, the rehearsal model
    down = folder.json("down")
    assert down["left"] == []
    assert has_gone(run)
    assert folder.run("down") == ""  # a second time there is nothing to stop, and that is fine


async def test_with_an_external_server_the_hub_uses_it_and_leaves_it_running(folder: Folder, tmp_path: Path) -> None:
    async with start_server(tmp_path / "elsewhere") as server:
        run = await asyncio.to_thread(folder.up, "--nats", server.url)
        assert run.nats_url == server.url
        assert not [p for p in processes_of(run.run_id) if p.name() == "nats-server"]
        done = await asyncio.to_thread(folder.json, "send", "backend", "rehearse: say hello", "--wait")
        assert done["text"] == "hello"
        assert (await asyncio.to_thread(folder.json, "down"))["left"] == []
        assert server.pid is not None


def test_a_second_up_says_what_runs_and_where(folder: Folder) -> None:
    run = folder.up()
    second = folder.popen("up")
    _, err = second.communicate(timeout=WITHIN_S)
    assert second.returncode == 1
    assert f"process {run.pid}" in err
    assert run.nats_url in err
    assert "agenthub down" in err


def test_ctrl_c_lets_each_role_finish_its_message(folder: Folder) -> None:
    process = folder.popen("up", "--rehearse")
    run = folder.hub()
    message = folder.json("send", "backend", "rehearse: slow 4")
    until(lambda: folder.state_of("backend") == "working")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, err
    assert "stopping" in err
    assert has_gone(run)
    folder.up()
    (end,) = folder.completions(message["id"])
    assert end.data["outcome"] == "done"
    assert end.at < folder.hub().started_at  # by the first run, not by the second


def test_a_second_ctrl_c_ends_at_once_and_the_message_goes_on_at_the_next_start(folder: Folder) -> None:
    process = folder.popen("up", "--rehearse")
    run = folder.hub()
    message = folder.json("send", "backend", "rehearse: slow 15")
    until(lambda: folder.state_of("backend") == "working")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    for line in process.stderr:  # the first one was understood
        if "stopping" in line:
            break
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=WITHIN_S)
    assert time.monotonic() - started < 12
    assert has_gone(run)
    folder.up("--speed", "1000")
    until(lambda: folder.completions(message["id"]))


def test_if_the_supervisor_is_killed_everything_ends_by_itself(folder: Folder) -> None:
    run = folder.up()
    os.kill(run.pid, signal.SIGKILL)
    until(lambda: not processes_of(run.run_id))
    assert folder.run("ps", code=4) == ""
    folder.up()  # and what it left behind is in nobody's way


def test_a_role_that_is_killed_in_a_turn_comes_back_and_the_directive_ends_in_one_report(folder: Folder) -> None:
    folder.up("--speed", "0.3")
    message = folder.json("send", "cto", "Build the API and test it")
    until(lambda: folder.state_of("backend") == "working")
    os.kill(folder.pid_of("backend"), signal.SIGKILL)
    until(lambda: folder.state_of("cto") == "working")
    os.kill(folder.pid_of("cto"), signal.SIGKILL)
    until(lambda: folder.completions(message["id"]))
    (end,) = folder.completions(message["id"])
    assert end.data["outcome"] == "done"
    assert [event.role for event in folder.events("crashed")] == ["backend", "cto"]


def test_the_server_killed_in_the_middle_comes_back_and_the_directive_ends_in_one_report(folder: Folder) -> None:
    run = folder.up("--speed", "0.3")
    message = folder.json("send", "cto", "Build the API and test it")
    until(lambda: folder.state_of("backend") == "working")
    (server,) = (p for p in processes_of(run.run_id) if p.name() == "nats-server")
    server.kill()
    until(lambda: folder.completions(message["id"]))
    (end,) = folder.completions(message["id"])
    assert end.data["outcome"] == "done"
    assert folder.json("down")["left"] == []


def test_a_role_that_dies_again_and_again_is_left_alone_and_said(folder: Folder) -> None:
    folder.up()
    killed: set[int] = set()
    for _ in range(5):
        until(lambda: folder.pid_of("qa") not in {0, *killed})
        pid = folder.pid_of("qa")
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    until(lambda: folder.events("quarantined"))
    until(lambda: folder.state_of("qa") == "down")
    assert folder.state_of("backend") == "idle"


def test_ctrl_c_while_it_starts_stops_what_has_started(folder: Folder) -> None:
    process = folder.popen("up", "--rehearse")
    run = until(lambda: RunFile.read(folder.state))
    folder.run_ids.add(run.run_id)
    until(lambda: len(processes_of(run.run_id)) >= 4)  # the server, the nursery, and the first that were forked
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, "killed" in err) == (0, False), err
    assert has_gone(run)


def test_doctor_leaves_hubs_of_other_folders_alone(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = folder.up()
    elsewhere = Folder(tmp_path_factory.mktemp("elsewhere"))
    write_organization(elsewhere.path)

    def looked() -> str | None:
        """What doctor says when no other test ends a hub, or has a process look like one, in that moment."""
        found = {item["what"]: item for item in elsewhere.json("doctor", code=None)}["processes"]
        return str(found["found"]) if found["level"] == "ok" else None

    assert f"{folder.path} (process {run.pid})" in until(looked)


def test_down_proves_that_nothing_is_left_also_of_a_hub_whose_supervisor_was_killed(folder: Folder) -> None:
    run = folder.up()
    os.kill(run.pid, signal.SIGKILL)
    down = folder.json("down")
    assert down["left"] == []
    assert has_gone(run)


def test_a_hub_on_a_cluster_loses_a_server_and_goes_on_and_leaves_nothing_behind(folder: Folder) -> None:
    run = folder.up("--cluster", "3")
    assert len(run.nats_url.split(",")) == len(run.servers) == 3
    assert len(folder.json("ps")) == 4
    killed = next(p for p in processes_of(run.run_id) if p.name() == "nats-server")
    killed.kill()
    assert folder.json("send", "backend", "rehearse: say hello", "--wait", "--timeout", "50")["text"] == "hello"

    def three_again() -> bool:
        running = [p for p in processes_of(run.run_id) if p.name() == "nats-server"]
        return len(running) == 3 and killed.pid not in [p.pid for p in running]

    until(three_again)
    psutil.Process(run.pid).kill()
    until(lambda: has_gone(run))
    refused = folder.popen("up")
    _, err = refused.communicate(timeout=WITHIN_S)
    assert refused.returncode == 2
    assert "was made by 3 servers" in err


def test_down_now_does_not_wait_for_the_messages_in_hand(folder: Folder) -> None:
    run = folder.up()
    folder.json("send", "backend", "rehearse: slow 60")
    until(lambda: folder.state_of("backend") == "working")
    started = time.monotonic()
    assert folder.json("down", "--now")["left"] == []
    assert time.monotonic() - started < 18  # below the grace time of 20 s
    assert has_gone(run)


def test_a_role_that_cannot_start_is_said_and_the_others_work(folder: Folder) -> None:
    (folder.state / "journals").mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(folder.state / "journals" / "qa.db")) as newer:
        newer.execute("PRAGMA user_version = 99")
    process = folder.popen("up", "-d", "--wait")
    _, err = process.communicate(timeout=WITHIN_S)
    folder.hub()
    assert process.returncode == 1
    assert "3 of 4 roles work; qa left alone" in err
    assert folder.json("send", "backend", "rehearse: say hello", "--wait")["text"] == "hello"


def test_ask_prints_the_answer_and_an_expected_one_is_pending_until_it_is_there(folder: Folder) -> None:
    folder.up()
    assert folder.run("ask", "backend", "rehearse: say port 8080", "--timeout", "50s") == "port 8080\n"
    assert folder.run("ask", "qa", "rehearse: blocked", "--timeout", "50s", code=1)
    sent = folder.json("send", "backend", "rehearse: slow 5", "--expect-reply", "--within", "1s")
    until(lambda: folder.state_of("backend") == "working")
    (owed,) = folder.json("pending")
    assert (owed["id"], owed["debtor"], owed["creditor"], owed["now"]) == (sent["id"], "backend", "you", "works on it")
    folder.run("ask", "backend", "rehearse: say too late", "--timeout", "0.5s", code=5)
    until(lambda: not folder.json("pending"))
    assert folder.events("reminded") == []
    assert folder.json("down")["left"] == []
