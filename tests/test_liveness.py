"""A hub of real processes in which roles stop, hang or die: it notices by itself and the work ends once."""

from __future__ import annotations

import os
import signal
import time

from agenthub.run_file import processes_of
from tests.organization import QUICK_PROCESS, write_organization
from tests.test_hub import Folder, until


def test_a_role_that_was_stopped_is_killed_and_started_again_and_its_message_ends_once(folder: Folder) -> None:
    folder.up()
    message = folder.json("send", "backend", "rehearse: slow 4")
    until(lambda: folder.state_of("backend") == "working")
    stopped = folder.pid_of("backend")
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: folder.completions(message["id"]))
    assert folder.pid_of("backend") not in (0, stopped)
    assert [event.role for event in folder.events("killed")] == ["backend"]
    until(lambda: folder.state_of("backend") == "idle")
    assert len(folder.completions(message["id"])) == 1


def test_a_broker_that_is_away_is_no_reason_to_kill_anybody(folder: Folder) -> None:
    run = folder.up()
    (server,) = (p for p in processes_of(run.run_id) if p.name() == "nats-server")
    server.suspend()
    away_since = time.monotonic()
    until(lambda: time.monotonic() - away_since > 7)  # twice the time after which a role is killed, and more
    server.resume()
    message = folder.json("send", "backend", "rehearse: say hello", "--wait")
    assert message["text"] == "hello"
    until(lambda: all(folder.state_of(role) == "idle" for role in ("ceo", "cto", "backend", "qa")))
    assert folder.events("killed") == []


def test_with_two_replicas_the_message_of_the_one_that_is_killed_ends_long_before_the_broker_hands_it_on(
    folder: Folder,
) -> None:
    write_organization(folder.path, f"{QUICK_PROCESS}ack_wait_s = 600\n[roles.backend]\nreplicas = 2\n")
    folder.up()
    message = folder.json("send", "backend", "rehearse: slow 4")
    key = until(lambda: next((r for r in ("backend", "backend.1") if folder.state_of(r) == "working"), None))
    os.kill(folder.pid_of(key), signal.SIGKILL)
    until(lambda: folder.completions(message["id"]), within_s=30)
    assert len(folder.completions(message["id"])) == 1


def test_what_a_role_had_in_hand_that_is_left_alone_is_done_by_its_fallback(folder: Folder) -> None:
    write_organization(
        folder.path, f'{QUICK_PROCESS}[defaults]\nreassign_after_s = 1\n[roles.backend]\nfallback = "qa"\n'
    )
    folder.up("--speed", "0.3")
    message = ""
    killed: set[int] = set()
    for last in (False, False, False, False, True):
        until(lambda: folder.pid_of("backend") not in {0, *killed})
        if last:
            message = folder.json("send", "backend", "rehearse: slow 4")["id"]
            until(lambda: folder.state_of("backend") == "working")
        pid = folder.pid_of("backend")
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    until(lambda: folder.events("quarantined"))
    done = folder.look(lambda client: client.completion("backend", message, timeout_s=50))
    assert (done.role, done.outcome) == ("qa", "done")
    (moved,) = folder.events("reassigned")
    assert (moved.role, moved.message_id, moved.data["reassigned_to"]) == ("backend", message, "qa")
    (row,) = [row for row in folder.json("ps") if row["role"] == "backend"]
    assert (row["state"], row["health"], row["reason"].split(":")[0]) == ("down", "unhealthy", "left alone")
    assert row["since_s"] > 1
    assert "qa" in folder.run("tail")
