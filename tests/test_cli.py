"""The command line as a user types it: output, JSON, exit codes, errors that say what to do."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agenthub import subjects
from agenthub.asks import Ask
from agenthub.bus.inboxes import inboxes
from agenthub.client import Client
from agenthub.messages import Event, Message, Payload, now
from agenthub.org.ledger import Ledger
from agenthub.sessions.session import TurnEnd, TurnResult
from tests.commands import agenthub, in_hub
from tests.organization import Hub, ScriptedSession, directive, says, until, write_organization

HEAVY = {
    "anthropic", "mcp", "textual", "structlog", "apscheduler", "sqlite_utils", "prometheus_client", "aiohttp",
}  # fmt: skip
"""Libraries that a command which only talks has no use for: each costs more than the command."""


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["sned", "ceo", "x"], 2, 'Did you mean "send"?'),
        (["send", "ceo", "x", "-p", "urgent"], 2, "critical"),
        (["send"], 2, "TO is missing. See `agenthub send --help`."),
        (["status"], 2, 'There is no command "status". Did you mean "ps"? `agenthub --help` lists what there is.'),
        (["inbox", "list"], 2, 'There is no command "list". Did you mean "ls"? `agenthub inbox --help` lists'),
        (["up", "--cluster", "3", "--nats", "nats://127.0.0.1:1"], 2, "Leave one of the two out"),
        (["up", "--cluster", "2"], 2, "3, 5"),
        (["ps"], 4, "agenthub up -d"),
        (["ps", "--nats", "nats://127.0.0.1:1"], 4, "No NATS server answers at nats://127.0.0.1:1"),
        (["logs", "bakend"], 3, "Did you mean `backend`?"),
        (["logs", "backend"], 3, "no log yet"),
        (["tail", "--since", "yesterday", "--nats", "nats://127.0.0.1:1"], 2, "90s, 10m, 2h or 7d"),
        (["roles", "check"], 0, "4 roles, 0 errors, 0 warnings"),
        (["roles", "ls"], 0, ""),
        (["down"], 0, "no hub runs here"),
        (["version"], 0, ""),
        (["send", "ceo", "--file", "none.md"], 2, "none.md cannot be read as text: No such file or directory."),
        (["send", "ceo", " "], 2, "There is no text"),
        (["demo", ""], 2, "empty"),
        (["role", "backend"], 2, "--nats"),
        (["send", "--help"], 0, ""),
        (["ps", "--config", "nowhere.toml"], 2, "nowhere.toml"),
    ],
)
async def test_exit_codes_and_errors_without_a_hub(tmp_path: Path, words: Sequence[str], code: int, says: str) -> None:
    write_organization(tmp_path)
    ran = await agenthub(*words, folder=tmp_path)
    assert (ran.code, says in ran.err) == (code, True), ran
    assert "Traceback" not in ran.err


async def test_errors_are_json_for_programs(tmp_path: Path) -> None:
    write_organization(tmp_path)
    ran = await agenthub("ps", "--json", folder=tmp_path)
    assert ran.json["error"]["code"] == ran.code == 4
    assert "agenthub up" in ran.json["error"]["message"]


async def test_roles_check_lists_every_problem_and_hides_no_good_role(tmp_path: Path) -> None:
    write_organization(tmp_path)
    (tmp_path / "roles" / "cfo.md").write_text("---\nname: cfo\nagenthub:\n  reprots_to: ceo\n---\nYou count.\n")
    (tmp_path / "roles" / "cmo.md").write_text("---\nname: c m o\n---\nYou sell.\n")
    ran = await agenthub("roles", "check", "--json", folder=tmp_path)
    assert ran.code == 2
    assert {"backend", "ceo", "cto", "qa"} <= set(ran.json["roles"])
    shown = {problem["path"]: problem for problem in ran.json["problems"]}
    assert "Did you mean `reports_to`" in shown["roles/cfo.md"]["text"]
    assert shown["roles/cfo.md"]["line"] == 4
    assert "roles/cmo.md" in shown


async def test_a_directive_is_stored_and_its_id_printed(hub: Hub) -> None:
    ran = await in_hub(hub, "send", "backend", "do it", "-p", "high", "-s", "a subject")
    assert ran.code == 0, ran
    (message,) = await hub.waiting("backend", "high", "you")
    assert ran.out.strip() == message.id
    assert (message.payload.subject, message.payload.message, message.type) == ("a subject", "do it", "task_assignment")


@pytest.mark.parametrize("words", [["-"], []])
async def test_the_text_may_come_on_stdin(hub: Hub, words: list[str]) -> None:
    ran = await in_hub(hub, "send", "backend", *words, stdin=b"line 1\nline 2\n")
    assert ran.code == 0, ran
    (message,) = await hub.waiting("backend")
    assert message.payload.message == "line 1\nline 2\n"


@pytest.mark.parametrize(
    ("stdin", "code", "says"),
    [(b"", 2, "no text"), (b"\xff\xfe", 2, "not UTF-8"), (b"x" * 600_000, 6, "600,")],
)
async def test_a_text_that_cannot_be_sent_is_refused_with_a_reason(
    hub: Hub, stdin: bytes, code: int, says: str
) -> None:
    ran = await in_hub(hub, "send", "backend", "-", stdin=stdin)
    assert (ran.code, says in ran.err) == (code, True), ran
    assert await hub.waiting("backend") == []


@pytest.mark.parametrize(("role", "says"), [("bakend", "Did you mean `backend`?"), ("a.b", "There is no role `a.b`")])
async def test_an_unknown_recipient_is_an_error_for_the_sender(hub: Hub, role: str, says: str) -> None:
    ran = await in_hub(hub, "send", role, "x")
    assert (ran.code, says in ran.err) == (3, True), ran


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (TurnResult(TurnEnd.FINISHED, text="all good", evidence=("a.md",)), 0),
        (TurnResult(TurnEnd.FINISHED, outcome="blocked", text="no access"), 1),  # type: ignore[arg-type]
    ],
)
async def test_wait_prints_the_reply_and_exits_with_the_outcome(hub: Hub, result: TurnResult, code: int) -> None:
    async with hub.role("backend", says(result)):
        ran = await in_hub(hub, "send", "backend", "do it", "--wait")
    assert (ran.code, ran.out) == (code, f"{result.text}\n"), ran
    assert str(result.outcome) in ran.err


async def test_waiting_for_a_person_is_refused_since_it_would_never_end(hub: Hub) -> None:
    ran = await in_hub(hub, "send", "you", "hello", "--wait")
    assert (ran.code, "is a person" in ran.err) == (2, True), ran
    assert (await in_hub(hub, "send", "you", "hello")).code == 0


async def test_waiting_is_given_up_after_the_timeout_and_the_directive_stays(hub: Hub) -> None:
    ran = await in_hub(hub, "send", "backend", "do it", "--wait", "--timeout", "0.2")
    assert (ran.code, "has not finished" in ran.err, "backend is down" in ran.err) == (5, True, True), ran
    assert len(await hub.waiting("backend")) == 1


async def test_ps_shows_every_role_what_waits_and_who_is_down(hub: Hub) -> None:
    await hub.put("qa", directive("unsorted"))
    async with hub.role("backend", says("ok")):
        await in_hub(hub, "send", "qa", "later", "-p", "low")
        await hub.beats("backend")
        ran = await in_hub(hub, "ps", "--json")
        table = await in_hub(hub, "ps")
    roles = {role["role"]: role for role in ran.json}
    assert roles["backend"]["state"] == "idle"
    assert roles["backend"]["heartbeat_age_s"] < 60
    assert (roles["qa"]["state"], roles["qa"]["waiting"]["low"]) == ("down", 1)
    assert "✖ down" in table.out
    assert "1 message waits at the plain inboxes" in table.err
    fields = await in_hub(hub, "ps", "--json=role,state")
    assert {tuple(role) for role in fields.json} == {("role", "state")}


async def test_inboxes_are_looked_into_without_taking_anything(hub: Hub) -> None:
    await in_hub(hub, "send", "backend", "second", "-p", "low")
    await in_hub(hub, "send", "backend", "first\nof two lines", "-p", "critical")
    await hub.put("backend", b"\xff not a message \x1b[31m")
    for _ in range(2):
        listed = await in_hub(hub, "inbox", "ls", "backend", "--json")
        assert [item.get("payload", {}).get("message") for item in listed.json] == [
            "first\nof two lines", "second", None
        ]  # fmt: skip
    table = await in_hub(hub, "inbox", "ls", "backend")
    assert "cannot be read" in table.out
    peeked = await in_hub(hub, "inbox", "peek", "backend", "-n", "3")
    assert "of two lines" in peeked.out
    assert "\x1b" not in peeked.out  # what strangers send cannot move the cursor
    (second,) = await hub.waiting("backend", "low", "you")
    by_id = await in_hub(hub, "inbox", "peek", second.id[:8])
    assert (by_id.code, second.id in by_id.out, "of two lines" in by_id.out) == (0, True, False), by_id
    assert [item["id"] for item in (await in_hub(hub, "inbox", "peek", second.id, "--json")).json] == [second.id]
    nowhere = await in_hub(hub, "inbox", "peek", "0123abcd")
    assert nowhere.code == 3
    assert "waits in no inbox; `agenthub trace 0123abcd` shows what became of it" in nowhere.err
    assert "Did you mean `backend`?" in (await in_hub(hub, "inbox", "peek", "bakend")).err


async def test_tail_tells_what_happened_to_a_directive(hub: Hub) -> None:
    async with hub.role("backend", says("ok")):
        await hub.completion("backend", await hub.send("backend", "do it"))
        await until(lambda: hub.bus.last(subjects.EVENTS, subjects.event("taken", "backend")))
    ran = await in_hub(hub, "tail", "--json")
    kinds = [json.loads(line)["kind"] for line in ran.out.splitlines()]
    assert [kind for kind in kinds if kind in ("ready", "taken", "completed")] == ["ready", "taken", "completed"]
    only = await in_hub(hub, "tail", "--json", "--kind", "completed", "--role", "backend", "--since", "1h")
    (event,) = [json.loads(line) for line in only.out.splitlines()]
    assert (event["data"]["outcome"], event["text"]) == ("done", "ok")
    table = await in_hub(hub, "tail", "-n", "5")
    assert "done" in table.out


async def test_tail_is_in_the_order_of_the_times_whatever_was_stored_first(hub: Hub) -> None:
    for second in (3, 1, 2):
        told = Event(kind="step", role="qa", at=datetime(2026, 5, 17, 8, 0, second, tzinfo=UTC), text=f"{second}")
        await hub.bus.publish(subjects.event("step", "qa"), told.encode())
    ran = await in_hub(hub, "tail", "--json", "--kind", "step")
    assert [json.loads(line)["text"] for line in ran.out.splitlines()] == ["1", "2", "3"]


async def test_doctor_says_what_is_wrong_and_what_to_do(hub: Hub) -> None:
    await in_hub(hub, "provision")  # this test's hub has other times than a user's
    ran = await in_hub(hub, "doctor", "--json")
    found = {item["what"]: item for item in ran.json}
    assert (ran.code, found["roles"]["level"]) == (1, "error")
    assert found["queues"]["level"] == found["disk"]["level"] == "ok"
    assert found["roles"]["remedy"].startswith("agenthub logs")
    await hub.bus.js.delete_consumer(subjects.AGENTS, "backend-low")
    ran = await in_hub(hub, "doctor")
    assert "create GENBRAIN_AGENTS/backend-low" in ran.out
    mended = await in_hub(hub, "provision", "--json")
    assert [change["name"] for change in mended.json] == ["GENBRAIN_AGENTS/backend-low"]


async def test_who_waits_at_a_terminal_sees_what_the_role_does_and_nothing_of_it_stays(hub: Hub) -> None:
    goes_on, said = asyncio.Event(), bytearray()
    ours, its = pty.openpty()

    async def script(_: object) -> str:
        await goes_on.wait()
        return "shipped"

    def has_said(text: str) -> bool:
        while select.select([ours], [], [], 0)[0]:
            said.extend(os.read(ours, 65536))
        return text in said.decode(errors="replace")

    async with hub.role("backend", ScriptedSession(script)):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agenthub", "send", "backend", "Ship it", "--wait", "--nats", hub.server.url,
            cwd=hub.folder, stdout=asyncio.subprocess.PIPE, stderr=its,
            env=dict(os.environ) | {"TERM": "xterm", "COLUMNS": "80"},
        )  # fmt: skip
        await until(lambda: has_said("backend ● working: Ship it · "))
        goes_on.set()
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"shipped\n")
    assert has_said("\r\x1b[Kbackend: done after ")
    os.close(ours)
    os.close(its)


async def test_ps_and_doctor_say_how_a_role_that_is_down_is_started(hub: Hub) -> None:
    assert "down: `agenthub restart backend` starts it" in (await in_hub(hub, "ps")).err
    assert "agenthub logs backend, then agenthub restart backend" in (await in_hub(hub, "doctor")).out


async def test_a_role_whose_file_is_gone_is_seen_while_it_runs_and_nothing_is_taken_from_under_it(hub: Hub) -> None:
    await in_hub(hub, "provision")
    gone = hub.folder / "roles" / "qa.md"
    async with hub.role("qa", says("ok")), hub.role("backend", says("ok")):
        await hub.beats("qa", "backend")
        as_it_was = gone.read_text()
        gone.unlink()
        rows = {row["role"]: row["has_file"] for row in (await in_hub(hub, "ps", "--json=role,has_file")).json}
        assert rows == {"backend": True, "ceo": True, "cto": True, "qa": False}
        table = await in_hub(hub, "ps")
        assert "▲ no file" in table.out and "no file: qa" in table.err
        said = (await in_hub(hub, "doctor")).out
        assert "`qa` has no file, but runs" in said and "`agenthub restart qa` ends it; or put its file back" in said
        assert "as the role files ask" in said and "agenthub provision" not in said
        for words in (["provision", "--dry-run"], ["provision"]):
            ran = await in_hub(hub, *words)
            assert (ran.code, ran.out) == (0, "")
            assert "`qa` has no file, but runs: its queues" in ran.err and "`agenthub restart qa` ends it" in ran.err
        assert (await hub.completion("qa", await hub.send("qa", "Are you there?"))).outcome == "done"
        await hub.bus.js.delete_consumer(subjects.AGENTS, "ceo-low")
        said = (await in_hub(hub, "doctor")).out
        assert "1 differ: create GENBRAIN_AGENTS/ceo-low" in said and "agenthub provision" in said
        gone.write_text(as_it_was.replace("agenthub:\n", "agenthub:\n  bugdet: 1\n"))
        assert "qa runs on as its file was: it is wrong now" in (await in_hub(hub, "doctor")).out


@pytest.mark.parametrize("where", ["inbox", "put off", "parked"])
async def test_queues_stay_as_long_as_something_waits_in_them(hub: Hub, where: str) -> None:
    await in_hub(hub, "provision")
    gone = hub.folder / "roles" / "qa.md"
    as_it_was = gone.read_text()
    gone.unlink()
    if where == "inbox":
        message = await hub.send("qa", "Look at it")
    elif where == "put off":
        message = "m1"
        await hub.bus.publish_at(
            now() + timedelta(hours=1), subjects.schedule("qa", "GENBRAIN_AGENTS-1"), subjects.due("qa"),
            json.dumps(directive("Look at it", id=message)).encode(), message_id="later",
            headers={subjects.ATTEMPTS: "1", subjects.ID: message},
        )  # fmt: skip
    else:
        task = Message(id="t1", from_role="you", type="task_assignment", payload=Payload(message="x"), timestamp=now())
        await Ledger(hub.bus).open(Ask(id="a1", role="qa", task=task, opened_at=now(), deadline=now(), parts=[]))
    for words in (["provision", "--dry-run"], ["provision"]):
        ran = await in_hub(hub, *words)
        assert (ran.code, ran.out) == (0, "")
        left = "waits for 1 answer of others" if where == "parked" else "has 1 message waiting"
        assert f"`qa` has no file, but {left}: its queues" in ran.err
    assert left in (await in_hub(hub, "doctor")).out
    if where != "parked":
        assert "agenthub inbox move qa --all --to ROLE" in ran.err
        assert message[:8] in (await in_hub(hub, "inbox", "ls", "qa")).out
        async with hub.role("backend", says("seen")):
            assert (await in_hub(hub, "inbox", "move", "qa", "--all", "--to", "qa", "--reason", "x")).code == 3
            assert (await in_hub(hub, "inbox", "move", "qa", "--to", "backend")).code == 2
            assert (await in_hub(hub, "inbox", "move", "qa", "--all", "--to", "backend")).code == 0
            assert (await Client(hub.bus, hub.organization).completion("qa", message, timeout_s=20)).text == "seen"
        ran = await in_hub(hub, "provision")
        assert "- consumer GENBRAIN_AGENTS/qa-high" in ran.out and "qa" not in await inboxes(hub.bus)
        gone.write_text(as_it_was)
        assert (await in_hub(hub, "provision")).code == 0
        assert (await hub.completion("qa", message)).reassigned_to == "backend"


async def test_doctor_in_an_empty_folder_names_one_fault_and_what_begins_an_organization(tmp_path: Path) -> None:
    ran = await agenthub("doctor", "--json", folder=tmp_path)
    (fault,) = [item for item in ran.json if item["level"] == "error"]
    assert (ran.code, fault["remedy"]) == (1, "agenthub init")


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("", "a rehearsal costs nothing and no file limits it; with Claude all may take $20.00 a day"),
        ("budget.usd_day = 3", "$0.00 of $3.00 today"),
    ],
)
async def test_that_a_rehearsal_is_not_limited_is_not_said_as_if_nothing_were(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, toml: str, says: str
) -> None:
    (hub.folder / "agenthub.toml").write_text(f'org = "acme"\n{toml}\n')
    monkeypatch.setenv("AGENTHUB_REHEARSE", "1")
    found = {item["what"]: item["found"] for item in (await in_hub(hub, "doctor", "--json")).json}
    assert found["budget"] == says


async def test_a_command_that_only_talks_imports_no_model(tmp_path: Path) -> None:
    look = f"print(sorted({HEAVY} & set(sys.modules)))"
    code = f"import sys; from agenthub.cli import talk, see; {look}"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out == b"[]\n"


@pytest.mark.parametrize(
    ("words", "others"),
    [
        (["send", "ceo", "Ship it"], set()),
        (["ps"], set()),
        (["--help"], {"rich", "docstring_parser", "cyclopts"}),
        (["inbox", "--help"], {"rich", "docstring_parser", "cyclopts"}),
        (["send", "--help"], {"rich", "docstring_parser"}),
    ],
)
async def test_no_model_is_imported_either_while_a_command_runs(hub: Hub, words: list[str], others: set[str]) -> None:
    code = (
        "import atexit, sys; from agenthub.cli import main;"
        f"atexit.register(lambda: print(sorted({HEAVY | others} & set(sys.modules))));"
        f"main({[*words, *([] if '--help' in words else ['--nats', hub.server.url])]})"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=hub.folder, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.endswith(b"\n[]\n")


async def test_config_shows_what_holds_also_of_what_nobody_has_written_down(tmp_path: Path) -> None:
    write_organization(tmp_path, "[defaults]\nbudget_usd_day = 7\n")
    ran = await agenthub("config", "--json", folder=tmp_path)
    found = {one["key"]: one["value"] for one in ran.json}
    assert found["defaults.budget.usd_day"] == found["defaults.budget_usd_day"] == 7
    assert (found["defaults.budget.tokens_day"], found["budget.usd_day"]) == (50_000_000, 20)
    assert found["calendar.zone"] == "UTC"
    said = (await agenthub("config", "--show-origin", folder=tmp_path)).out
    assert re.search(r"max_trace_messages +=  ?[0-9]+  # default", said) and ".0  #" not in said


async def test_a_folder_without_an_organization_says_how_one_begins(tmp_path: Path) -> None:
    empty = await agenthub("ps", folder=tmp_path)
    assert (empty.code, "`agenthub init`" in empty.err) == (2, True)
    assert (await agenthub("init", folder=tmp_path)).code == 0
    server = json.loads((tmp_path / ".mcp.json").read_text())["mcpServers"]["agenthub"]
    ran = await asyncio.create_subprocess_exec(server["command"], "version", "--json", stdout=asyncio.subprocess.PIPE)
    out, _ = await ran.communicate()
    assert (ran.returncode, "agenthub" in json.loads(out)) == (0, True)
