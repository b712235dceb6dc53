"""The real Claude Code against the rehearsal model: what it may, what it sees, and how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import psutil
import pytest

from agenthub.errors import SessionError
from agenthub.rehearsal import Endpoint
from agenthub.sessions.claude_code.program import Log
from agenthub.sessions.session import Granted, Prompt, ToolCall, ToolOutcome, TurnEnd, TurnResult
from tests.organization import until
from tests.sessions.scripted import task
from tests.sessions.sessions import NEEDS_CLAUDE_CODE, OpensOffice, Process, calls, framed

pytestmark = NEEDS_CLAUDE_CODE


def tool(name: str, **value: str) -> str:
    return f"rehearse: tool {name} {json.dumps(value)}\n"


def processes(home: Path) -> list[psutil.Process]:
    """Processes of Claude Code with this home, and what they started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CLAUDE_CONFIG_DIR") == str(home):
                found.append(process)
        except psutil.Error:
            pass
    return found


# ── what it may ────────────────────────────────────────────────────────────────────────────────────
async def test_only_what_is_allowed_is_offered(office: OpensOffice) -> None:
    role = await office(rules=("Read", "Bash(echo *)"))
    await role.turn("rehearse: say Hello.")
    offered = [offer["name"] for offer in role.requests[0]["tools"]]
    assert offered == ["Bash", "Read", *(f"mcp__agenthub__{name}" for name in ("end", "park", "pay", "write"))]


async def test_of_a_tool_only_the_calls_that_a_rule_names_are_made(office: OpensOffice) -> None:
    role = await office(rules=("Bash(echo *)",))
    await role.turn(tool("Bash", command="echo hello > a") + tool("Bash", command="rm a"))
    assert "hello" not in role.asked(0).replace("echo hello", "")
    assert not any((role.folder / "workspace").iterdir()) or (role.folder / "workspace" / "a").exists()
    refused = [step.result for number in range(3) if (step := role.journal.step("a", number)) and step.result]
    assert refused[-1]["is_error"]


async def rules_of_the_role(
    tool: str, arguments: dict[str, Any], call: ToolCall, granted: Granted | None
) -> ToolOutcome | None:
    """`Bash(touch *)` is asked about, `Bash(rm *)` is denied."""
    command = str(arguments.get("command", ""))
    if command.startswith("rm"):
        return ToolOutcome("You may not make this call of `Bash`.", is_error=True)
    if command.startswith("touch") and granted is None:
        return ToolOutcome("It waits for a person.", ends_turn=TurnResult(TurnEnd.PARKED, text="waits for you"))
    return None


async def test_its_own_tools_obey_the_rules_of_the_role_and_wait_for_a_person(office: OpensOffice) -> None:
    role = await office(rules=("Bash",), may_call=rules_of_the_role)
    workspace = role.folder / "workspace"
    (workspace / "a").touch()
    assert (await role.turn(tool("Bash", command="rm a"), "a0")).end is TurnEnd.STOPPED
    assert "You may not make this call" in role.asked()
    words = tool("Bash", command="touch b") + tool("Bash", command="touch c")
    assert await role.turn(words) == TurnResult(TurnEnd.PARKED, text="waits for you")
    assert [path.name for path in workspace.iterdir()] == ["a"]

    approved = Granted("Bash", {"command": "touch b", "description": "as it was"})
    wanted = tool("Bash", command="touch b") + tool("Bash", command="touch b2")
    prompt = Prompt(framed(f"approved\n{wanted}", "b"), task("a"), goes_on=True, granted=approved)
    *_, last = [event async for event in role.session.turn(prompt, turn_id="ask~r")]
    assert last == TurnResult(TurnEnd.PARKED, text="waits for you")  # the second call was not approved
    assert sorted(path.name for path in workspace.iterdir()) == ["a", "b"]
    assert "You may call `Bash` with this input now, once" in role.asked()


async def test_nothing_outside_of_the_workspace_is_read(office: OpensOffice, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the word is umbrella")
    role = await office(rules=("Read",))
    await role.turn(tool("Read", file_path=str(tmp_path / "secret")))
    assert "outside of your workspace" in role.asked()
    assert "umbrella" not in role.asked()


async def test_a_letter_cannot_have_it_read_a_file_or_run_a_command(office: OpensOffice, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the word is umbrella")
    role = await office(rules=("Read",))
    result = await role.turn(f"/compact @{tmp_path}/secret @{tmp_path / 'secret'} rehearse: say Read.")
    assert result.text == "Read."
    assert "umbrella" not in role.asked()


async def test_what_it_starts_knows_no_secret(office: OpensOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret-of-the-hub")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "secret-of-the-hub")
    role = await office(rules=("Bash",))
    await role.turn(tool("Bash", command="env; tr '\\0' '\\n' < /proc/$PPID/environ; cat /proc/$PPID/cmdline"))
    step = role.journal.step("a", 0)
    assert step is not None
    assert step.result is not None
    assert "CLAUDE_CONFIG_DIR" in step.result["content"]
    assert "secret" not in step.result["content"]


async def test_its_own_tools_stand_in_the_journal(office: OpensOffice) -> None:
    role = await office(rules=("Write",))
    told = await role.events(tool("Write", file_path="a.md", content="hello"))
    assert (role.folder / "workspace" / "a.md").read_text() == "hello"
    assert [(name, changes) for name, changes in _ended(told)] == [("Write", True)]
    step = role.journal.step("a", 0)
    assert step is not None
    assert step.result is not None
    assert not step.result["is_error"]


def _ended(events: list[Any]) -> list[tuple[str, bool]]:
    return [(event.name, event.changes) for event in events if type(event).__name__ == "ToolEnded"]


# ── how it ends ────────────────────────────────────────────────────────────────────────────────────
async def test_it_ends_with_the_session(office: OpensOffice, tmp_path: Path) -> None:
    role = await office()
    await role.turn("rehearse: say Hello.")
    assert processes(tmp_path / "home")
    await role.session.close()
    assert not processes(tmp_path / "home")


async def test_it_ends_with_a_role_that_is_killed_and_what_it_started_before_the_next_turn(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    role = Process("claude-code", tmp_path, endpoint.url, rules=["Bash"])
    text = tool("Bash", command="test -e begun || { touch begun; sleep 300; }") + calls(("write", "1"))
    process = await role.starts(text)
    await until((tmp_path / "workspace" / "begun").exists, within_s=60)
    process.kill()
    await process.wait()
    await until(lambda: not [one for one in processes(tmp_path / "home") if one.name() == "claude"], within_s=30)
    ended = await role.ends(text)
    assert ended[0] == "stopped", ended
    assert not processes(tmp_path / "home")
    assert [name for name, *_ in role.effects()] == ["write"]


@pytest.mark.parametrize("events", [6, 8], ids=["in its words", "behind a call that has not been made"])
async def test_an_answer_that_is_being_written_can_be_interrupted(office: OpensOffice, events: int) -> None:
    role = await office()
    text = calls(("write", "1"), ("end", "all good"))
    role.fails(stall_after_events=events)
    heard: list[str] = []

    async def listening() -> TurnResult | None:
        async for event in role.session.turn(Prompt(framed(text, "a"), task("a")), turn_id="a"):
            heard.append(type(event).__name__)
            if isinstance(event, TurnResult):
                return event
        return None

    taking = asyncio.create_task(listening())
    await until(lambda: len(heard) >= {6: 1, 8: 2}[events], within_s=30)
    await role.session.interrupt()
    ended = await taking
    assert ended is not None
    assert ended.end is TurnEnd.INTERRUPTED
    assert (await role.turn(text)).text == "all good"
    assert role.toolbox.texts("write") == ["1"]
    assert "nobody refused anything" in role.asked(1)


async def test_a_process_that_dies_fails_the_turn_and_the_next_one_resumes(office: OpensOffice, tmp_path: Path) -> None:
    role = await office()
    await role.turn("rehearse: say The word is umbrella.", "a")

    async def dies(name: str) -> None:
        role.toolbox.during = None
        for process in processes(tmp_path / "home"):
            process.kill()
        await asyncio.Event().wait()

    role.toolbox.during = dies
    with pytest.raises(SessionError, match="Claude Code ended"):
        await role.turn(calls(("write", "1")), "b")
    assert (await role.turn(calls(("write", "1")) + "\nrehearse: say Done.", "b")).text == "Done."
    assert "The word is umbrella." in role.asked()
    assert role.toolbox.texts("write") == ["1"]


async def test_a_conversation_that_is_gone_is_begun_anew_and_the_model_is_told(
    office: OpensOffice, tmp_path: Path
) -> None:
    role = await office()
    await role.turn("rehearse: say The word is umbrella.", "a")
    await role.closes()
    for record in tmp_path.glob("home/projects/*/*.jsonl"):
        record.unlink()
    await role.opens()
    assert (await role.turn("rehearse: say Yes.", "b")).text == "Yes."
    assert "Your earlier conversation is gone" in role.asked()
    assert "umbrella" not in role.asked()


async def test_its_own_words_go_to_the_log_up_to_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    with caplog.at_level(logging.INFO):
        for number in range(1000):
            log(f"line {number} " + "x" * 1000)
    assert len(caplog.records) == 201
    assert max(len(record.getMessage()) for record in caplog.records) < 600
