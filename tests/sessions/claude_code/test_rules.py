"""What decides about turns of Claude Code, without Claude Code: tools, repeats, endings, its environment."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agenthub import sandbox
from agenthub.cli import doctor
from agenthub.errors import ConfigError, ModelRefusedError, ModelUnavailableError, SessionError
from agenthub.messages import Outcome, Usage
from agenthub.organization import load_organization
from agenthub.sessions.claude_code import endings, place, repeats, walls
from agenthub.sessions.claude_code.place import Place
from agenthub.sessions.claude_code.running import outside
from agenthub.sessions.claude_code.store import Store
from agenthub.sessions.claude_code.tally import Answered, Tally
from agenthub.sessions.journal import Block, Journal
from agenthub.sessions.session import ToolOutcome, TurnEnd, TurnResult
from agenthub.sessions.tool_calls import outcome_to
from agenthub.settings import Settings
from tests.organization import write_organization


# ── tools ──────────────────────────────────────────────────────────────────────────────────────────
def test_only_its_own_tools_that_are_named_and_harmless_to_the_journal_are_allowed() -> None:
    rules = place.allowed(
        ["Read", "Bash(pytest *)", "Agent", "Task", "mcp__agenthub__send", "delegate", "Bash(git log)"]
    )
    assert rules == ("Read", "Bash(pytest *)", "Bash(git log)")
    assert place.names(rules) == ["Bash", "Read"]
    assert place.allowed(None) == ()


@pytest.mark.parametrize(
    ("tool", "named", "is_inside"),
    [
        ("Read", {"file_path": "notes/a.md"}, True),
        ("Read", {"file_path": "../other/a.md"}, False),
        ("Write", {"file_path": "/etc/passwd"}, False),
        ("Edit", {"file_path": "link/a"}, False),
        ("Grep", {"pattern": "x"}, True),
        ("Grep", {"pattern": "x", "path": "/"}, False),
        ("Glob", {"pattern": "**/*.md"}, True),
        ("Glob", {"pattern": "/etc/*"}, False),
        ("Glob", {"pattern": "../*"}, False),
        ("Read", {"file_path": "a\0b"}, False),
        ("Bash", {"command": "cat /etc/passwd"}, True),
    ],
)
def test_file_tools_stay_in_the_workspace(tmp_path: Path, tool: str, named: dict[str, str], is_inside: bool) -> None:
    (tmp_path / "link").symlink_to("/etc")
    assert (outside(tmp_path, tool, named) == "") is is_inside


@pytest.mark.skipif(importlib.util.find_spec("claude_agent_sdk") is not None, reason="the extra is installed here")
def test_without_the_extra_it_is_said_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"agenthub\[claude-code\]"):
        place.find_program()


# ── repeats ────────────────────────────────────────────────────────────────────────────────────────
class Records:
    """A journal with one turn of one answer, and what Claude Code knows of its calls."""

    def __init__(self, folder: Path) -> None:
        self.journal, self.store = Journal(folder / "journal.db"), Store(folder / "journal.db")

    def answer(self, *calls: Block, stop_reason: str = "tool_use") -> None:
        self.journal.record_answer(
            "a", message_id="a", asked=[{"type": "text", "text": "do"}], answered=list(calls), model="m",
            usage=Usage(), stop_reason=stop_reason,
        )  # fmt: skip

    def open(self, **known: bool) -> list[tuple[int, str]]:
        found = repeats.open_calls("a", journal=self.journal, store=self.store, known=known)
        return [(call.number, call.name) for call in found]

    def told(self) -> list[str]:
        found = repeats.open_calls("a", journal=self.journal, store=self.store, known={})
        return repeats.told("a", found, self.journal)


@pytest.fixture
def records(tmp_path: Path) -> Any:
    records = Records(tmp_path)
    yield records
    records.store.close()
    records.journal.close()


def call(identity: str, name: str = "pay", **value: str) -> Block:
    return {"type": "tool_use", "id": identity, "name": name, "input": value}


def test_a_call_is_open_until_its_result_is_in_claude_codes_record(records: Records) -> None:
    records.answer(call("x"), call("y"))
    assert records.open() == [(0, "pay"), (1, "pay")]
    assert records.open(x=False) == [(1, "pay")]
    assert records.open(x=True, y=True) == []


def test_an_error_in_its_record_does_not_hide_what_was_done(records: Records) -> None:
    records.answer(call("done"), call("begun"), call("failed"))
    records.journal.record_step("a", 0, "pay", outcome_to(ToolOutcome("paid")))
    records.journal.intend("a", 1, "pay")
    records.journal.record_step("a", 2, "pay", outcome_to(ToolOutcome("no money", is_error=True)))
    assert records.open(done=True, begun=True, failed=True) == [(0, "pay"), (1, "pay")]


def test_what_was_made_again_is_the_first_call_also_after_another_crash(records: Records) -> None:
    records.answer(call("x", text="1"))
    records.answer(call("y", text="1"))
    records.store.keep_repeat("a", 1, of=0)
    assert records.open() == [(0, "pay")]
    assert records.open(x=True) == [(0, "pay")]
    assert records.open(y=False) == []


def test_the_model_is_told_what_is_known_of_each_open_call(records: Records) -> None:
    records.answer(call("x", text="1"), call("y", text="2"), call("z", text="3"))
    records.journal.record_step("a", 0, "pay", outcome_to(ToolOutcome("paid")))
    records.journal.intend("a", 1, "pay")
    made, unknown, unmade = records.told()
    assert "was made, do not repeat it. Its result: paid" in made
    assert '{"text": "2"}: it is unknown whether' in unknown
    assert "no result is recorded" in unmade


def test_a_recorded_end_is_the_end(records: Records) -> None:
    assert repeats.recorded_end("a", records.journal) is None
    records.answer(call("x"))
    assert repeats.recorded_end("a", records.journal) is None
    aside = ToolOutcome("set aside", ends_turn=TurnResult(TurnEnd.INTERRUPTED))
    records.journal.record_step("a", 0, "yield_turn", outcome_to(aside))
    assert repeats.recorded_end("a", records.journal) is None, "a turn that was set aside goes on"
    records.answer(call("y"))
    ended = TurnResult(TurnEnd.FINISHED, Outcome.DONE, "all good")
    records.journal.record_step("a", 1, "finish", outcome_to(ToolOutcome("ok", ends_turn=ended)))
    assert repeats.recorded_end("a", records.journal) == ended


def test_last_words_are_an_end_unless_they_were_cut_off(records: Records) -> None:
    records.answer({"type": "text", "text": "I have"}, stop_reason="max_tokens")
    assert repeats.recorded_end("a", records.journal) is None
    records.answer({"type": "text", "text": "Done."}, stop_reason="end_turn")
    assert repeats.recorded_end("a", records.journal) == TurnResult(TurnEnd.STOPPED, text="Done.")


def test_the_conversation_is_remembered_in_the_journals_file(records: Records) -> None:
    assert records.store.session_id() is None
    records.store.keep_session("one")
    records.store.keep_session("two")
    assert records.store.session_id() == "two"
    records.store.forget_session()
    assert records.store.session_id() is None


def test_results_are_found_in_its_record_whatever_else_stands_there(tmp_path: Path) -> None:
    result = {"type": "tool_result", "tool_use_id": "x", "content": "ok"}
    failed = {**result, "tool_use_id": "y", "is_error": True}
    lines = [
        json.dumps({"type": "user", "message": {"content": [result, failed]}}),
        json.dumps({"type": "user", "message": {"content": 'words about "tool_result"'}}),
        json.dumps({"type": "summary", "text": '"tool_result"'}),
        '{"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "z"',
    ]
    path = tmp_path / "projects" / "-w" / "sid.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines), "utf-8")
    assert place.known_results(tmp_path, "sid") == {"x": False, "y": True}
    assert place.known_results(tmp_path, "other") == {}


# ── endings ────────────────────────────────────────────────────────────────────────────────────────
def result(**fields: Any) -> SimpleNamespace:
    usual = {"subtype": "success", "is_error": False, "result": "", "errors": None, "terminal_reason": None}
    return SimpleNamespace(**{**usual, "api_error_status": None, **fields})


def test_a_result_is_the_models_last_words() -> None:
    assert endings.end_of(result(result="Done. "), max_steps=5) == TurnResult(TurnEnd.STOPPED, text="Done.")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"api_error_status": 529}, ModelUnavailableError),
        ({"api_error_status": 429}, ModelUnavailableError),
        ({"api_error_status": 401}, ModelUnavailableError),
        ({"api_error_status": 402}, ModelUnavailableError),
        ({"api_error_status": 404}, ModelRefusedError),
        ({"terminal_reason": "prompt_too_long", "api_error_status": 400}, endings.ContextFullError),
        ({"terminal_reason": "blocking_limit"}, endings.ContextFullError),
        ({}, SessionError),
    ],
)
def test_a_failed_result_is_the_error_that_fits_though_it_says_success(
    fields: dict[str, Any], error: type[SessionError]
) -> None:
    with pytest.raises(SessionError) as caught:
        endings.end_of(result(is_error=True, result="API Error", **fields), max_steps=5)
    assert type(caught.value) is error


def test_the_limit_of_one_process_is_no_failure_of_the_task() -> None:
    with pytest.raises(ModelUnavailableError):
        endings.end_of(result(subtype="error_max_budget_usd", is_error=True), max_steps=5)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_what_an_answer_took_is_read_along_however_it_is_cut(size: int) -> None:
    said = (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m1","model":"x","usage":'
        b'{"input_tokens":7,"output_tokens":1,"cache_read_input_tokens":3}}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"the \\"usage\\" {"}}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":5}}\n\n'
    )
    tally = Tally("haiku")
    for at in range(0, len(said), size):
        tally.read(said[at : at + size])
    usage = {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 3}
    assert tally.answered() == Answered("m1", "haiku", usage)


def test_an_answer_that_does_not_stream_is_counted_and_what_is_none_is_not() -> None:
    tally = Tally("haiku")
    tally.read(b'{"id": "m1", "usage": {"input_tokens": 7}')
    tally.read(b"}")
    assert tally.answered() == Answered("m1", "haiku", {"input_tokens": 7})
    for body in (b"", b'{"error": {"message": "no \\"usage\\""}}', b'"usage"', b'{"usage": 1}', b'{"input_tokens": 7}'):
        tally = Tally("haiku")
        tally.read(body)
        assert tally.answered() is None


# ── its process ────────────────────────────────────────────────────────────────────────────────────
_SHOWS = """\
import json, os, sys
sys.stdout.write(json.dumps([dict(os.environ), sys.argv[1:]]) + "\\n")
sys.stdout.flush()
sys.stdin.read()
"""


async def _started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> asyncio.subprocess.Process:
    """A stand-in for Claude Code, started as the SDK starts it: with all of this process's environment."""
    program = folder / "stand-in"
    program.write_text(f"#!{sys.executable} -IS\n{_SHOWS}")
    program.chmod(0o700)
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("AGENTHUB_API_KEY", "secret")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "the-key")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy")
    home = folder / "home"
    given = place.environment(Place("m", "s", folder, home, "the-key"), "http://127.0.0.1:1", {"TMPDIR": "/tmp"})
    return await asyncio.create_subprocess_exec(
        place.write_launcher(home, [str(program)]), "--resume", "two words",
        env={**os.environ, **given}, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_it_gets_of_the_environment_what_it_needs_and_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await _started(tmp_path, monkeypatch)
    told, _ = await asyncio.wait_for(process.communicate(b""), 30)
    given, arguments = json.loads(told)
    assert arguments == ["--resume", "two words"]
    assert {"HOME", "CLAUDE_CONFIG_DIR", "ANTHROPIC_BASE_URL", "PATH"} <= set(given)
    assert not {"GITHUB_TOKEN", "AGENTHUB_API_KEY", "HTTPS_PROXY"} & set(given)
    assert "the-key" not in given.values()


async def test_what_an_earlier_process_left_running_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = await _started(tmp_path, monkeypatch)
    assert process.stdout is not None
    await process.stdout.readline()
    place.kill_all(tmp_path / "other home")
    assert process.returncode is None
    assert [killed.pid for killed in place.kill_all(tmp_path / "home")] == [process.pid]
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL


# ── its walls ──────────────────────────────────────────────────────────────────────────────────────
def written(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_of_its_program_the_walls_show_the_file_or_the_package_of_a_script_and_what_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Place("m", "s", tmp_path / "workspace", tmp_path / "home", "the-key")
    binary = written(tmp_path / "versions" / "2.1", "\x7fELF")
    link = tmp_path / "bin" / "claude"
    link.parent.mkdir()
    link.symlink_to(binary)
    monkeypatch.setenv("PATH", str(tmp_path / "node" / "bin"))
    node = written(tmp_path / "node" / "bin" / "node", "\x7fELF")
    assert set(walls.around(given, str(link), tmp_path / "s").reads) - {Path("/etc/claude-code")} == {binary}
    assert walls.variables(str(link))["PATH"].endswith(":/bin")

    script = written(tmp_path / "node_modules" / "@anthropic-ai" / "claude-code" / "cli.js", "#!/usr/bin/env node\n")
    written(script.with_name("package.json"))
    shown = set(walls.around(given, str(script), tmp_path / "s").reads) - {Path("/etc/claude-code")}
    assert shown == {tmp_path / "node_modules", node}
    assert walls.variables(str(script))["PATH"].endswith(f":{node.parent}")
    assert walls.name_of(str(link)) == str(binary)


def test_records_that_are_links_or_pipes_are_not_read(tmp_path: Path) -> None:
    home, project = tmp_path / "home", tmp_path / "home" / "projects" / "w"
    project.mkdir(parents=True)
    written(tmp_path / "elsewhere" / "sid.jsonl", "secret")
    (project / "sid.jsonl").symlink_to(tmp_path / "elsewhere" / "sid.jsonl")
    (home / "projects" / "x").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(written(home / "projects" / "y" / "a").with_name("sid.jsonl"))
    assert place.records(home, "sid") == []
    assert not place.has_heard(home, "sid", "secret")
    real = written(home / "projects" / "z" / "sid.jsonl", "secret")
    assert place.records(home, "sid") == [real]


def test_a_person_who_looks_into_a_conversation_runs_nothing_that_the_role_has_left_there(tmp_path: Path) -> None:
    line = place.resume_command(tmp_path / "home", tmp_path / "workspace", "sid")
    assert " GIT_DIR=/dev/null CLAUDE_CONFIG_DIR=" in line
    assert line.endswith("claude --resume sid --fork-session --setting-sources '' --strict-mcp-config")


def test_doctor_says_whom_a_machine_without_walls_leaves_without_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_organization(tmp_path, '[defaults]\nsession = "claude-code"\n')
    for name, tools in {"backend": "Read, WebFetch", "qa": "Bash(pytest *), Read", "ceo": "WebSearch"}.items():
        file = tmp_path / "roles" / f"{name}.md"
        file.write_text(file.read_text().replace("agenthub:\n", f"tools: {tools}\nagenthub:\n", 1))
    organization = load_organization(Settings.load(config=tmp_path / "agenthub.toml"))
    monkeypatch.setitem(sandbox._ENVIRONMENT, "PATH", str(tmp_path))
    sandbox.isolation.cache_clear()
    try:
        commands, network = doctor._commands(organization)
    finally:
        sandbox.isolation.cache_clear()
    assert (commands.level, commands.remedy) == ("warning", "install bubblewrap")
    assert "; qa cannot run any; backend, qa: without Claude Code's own tools for files" in commands.found
    assert network.found.startswith("`backend` names WebFetch")
