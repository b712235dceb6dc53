"""The walls around Claude Code: what its own shell gains without them, and that it gains nothing behind them.

Each attack is run twice: as a plain process, where it must succeed, or it would show nothing; and by the Bash of the
real program.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest

import agenthub
from agenthub import sandbox
from agenthub.errors import SessionError
from agenthub.rehearsal import Endpoint
from agenthub.sandbox import isolation
from agenthub.sessions.claude_code.place import running
from agenthub.sessions.session import ModelCalled
from tests.organization import until
from tests.sessions.sessions import NEEDS_CLAUDE_CODE, Office, Process, by_curl, calls

pytestmark = NEEDS_CLAUDE_CODE
walled = pytest.mark.skipif(bool(isolation().remedy), reason=isolation().found)

KEY = "sk-canary-4711"


class State:
    """The state folder of a hub, in which a role is played by Claude Code; around it what is not the role's."""

    def __init__(self, folder: Path, endpoint: Endpoint) -> None:
        self.folder, self.endpoint = folder, endpoint
        self.role = folder / "state" / "role"
        self.role.mkdir(parents=True)
        for path in ("state/keys/ceo.nk", "state/workspaces/ceo/plan.md", "user/.ssh/id", "state/journals/ceo.db"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(f"canary {path}")
        self.role.joinpath("home.start.canary").write_text("canary beside the home")

    async def plain(self, command: str) -> str:
        """What a command says that runs as a plain process of the hub's user."""
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", command, cwd=self.role, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        return said.decode(errors="replace")

    async def by_claude_code(self, *commands: str, **settings: Any) -> list[str]:
        """What each command says that Claude Code's own Bash runs."""
        role = Office("claude-code", self.role, self.endpoint, rules=("Bash",), max_steps=40, **settings)
        await role.opens()
        try:
            # The model ends its turn at the first command that fails.
            wanted = [f"rehearse: tool Bash {json.dumps({'command': f'{one}; true'})}\n" for one in commands]
            await role.turn("".join(wanted))
            said = []
            for number, command in enumerate(commands):
                step = role.journal.step("a", number)
                assert step is not None, command
                assert step.result is not None, command
                said.append(str(step.result["content"]))
            return said
        finally:
            await role.closes()


@pytest.fixture
def state(tmp_path: Path, endpoint: Endpoint) -> State:
    return State(tmp_path, endpoint)


@walled
async def test_its_shell_sees_nothing_of_this_machine_but_its_own_folders(state: State) -> None:
    at = state.folder
    attacks = [
        f"cat {at}/state/keys/*",
        f"ls {at}/state/workspaces/ceo && echo canary",
        f"cat {at}/user/.ssh/id",
        f"ls -A {at}/user/ | grep -q . && echo canary",
        f"rm -f link; ln -s {at}/state/keys link; cat link/*",
        f"cat /proc/[0-9]*/root{at}/state/keys/*",
        f"cat {at}/state/journals/*",
        f"cat {at}/state/role/home.start.canary",
        "cat /etc/passwd && echo canary",
        f"ls {agenthub.__file__} && echo canary",
    ]
    if any(Path.home().iterdir()) and not at.is_relative_to(Path.home()):
        attacks.append(f"ls -A {Path.home()} | grep -q . && echo canary")
    for attack in attacks:
        assert "canary" in await state.plain(attack), attack
    *said, inside = await state.by_claude_code(*attacks, "pwd; echo $HOME; echo mine > mine; cat mine; git --version")
    assert {attack: out for attack, out in zip(attacks, said, strict=True) if "\ncanary" in f"\n{out}"} == {}
    assert inside.splitlines()[:3] == [str(state.role / "workspace"), str(state.role / "home"), "mine"]
    assert (state.role / "workspace" / "mine").read_text() == "mine\n"


@walled
async def test_its_shell_finds_the_key_of_the_model_nowhere_not_even_in_its_memory(state: State) -> None:
    # Written backwards: what the model says stands in the memory that is searched.
    scan = """\
import os, re, sys
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        lines = open(f"/proc/{pid}/maps").read().splitlines()
        memory = open(f"/proc/{pid}/mem", "rb", 0)
    except OSError:
        continue
    if int(pid) == os.getpid():
        continue
    for line in lines:
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if " rw" in line and end - begin < 2**30:
            try:
                memory.seek(begin)
                data = memory.read(end - begin)
            except (OSError, ValueError, OverflowError):
                continue
            found += [word for word in sys.argv[1:] if word[::-1].encode() in data]
print("found", *sorted(set(found)))
"""
    (state.role / "workspace").mkdir()
    (state.role / "workspace" / "scan.py").write_text(scan)
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        pytest.skip("there is no Python among the programs of the system to search memory with")
    placeholder = "held-by-the-host"
    search = f"{python} scan.py {KEY[::-1]} {placeholder[::-1]}"
    everywhere = (
        "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; grep -rl canary-47[1]1 $HOME /tmp /run"
    )
    said, shown = await state.by_claude_code(search, everywhere, api_key=KEY)
    assert said.strip() == f"found {placeholder[::-1]}"  # so the search finds what is there
    assert placeholder in shown
    assert KEY not in shown
    assert str(state.role / "home") not in shown.splitlines()[-1]


@walled
async def test_its_shell_reaches_no_other_service(state: State, endpoint: Endpoint) -> None:
    port = endpoint.url.rpartition(":")[2]
    attack = f"exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    assert "rehearsal model" in await state.plain(attack)
    [closed] = await state.by_claude_code(attack)
    assert "rehearsal model" not in closed


@walled
async def test_with_the_network_its_shell_reaches_what_the_machine_reaches(state: State, endpoint: Endpoint) -> None:
    port = endpoint.url.rpartition(":")[2]
    asked = f"exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    [said] = await state.by_claude_code(asked, has_network=True)
    assert "rehearsal model" in said


@walled
async def test_what_it_starts_cannot_change_what_is_run_outside(state: State) -> None:
    [said] = await state.by_claude_code(
        "ls -A ..; rm -rf ../home.start; echo 'touch escaped' > ../home.start; echo x > ../home.model; touch ../new"
    )
    assert said.split()[:2] == ["home", "workspace"]
    assert not (state.role / "new").exists()
    assert "escaped" not in (state.role / "home.start").read_text()


@walled
@pytest.mark.skipif(shutil.which("curl", path="/usr/bin:/bin") is None, reason="no curl to ask with")
async def test_what_its_shell_asks_the_model_is_counted_as_what_the_turn_took(state: State) -> None:
    role = Office("claude-code", state.role, state.endpoint, rules=("Bash",))
    await role.opens()
    told = await role.events(f"rehearse: tool Bash {json.dumps({'command': by_curl()})}\nrehearse: say Done.")
    took = [(event.model, event.usage.calls) for event in told if isinstance(event, ModelCalled)]
    await role.closes()
    assert took == [("claude-sonnet-5-5", 1), ("claude-sonnet-5-5", 1), ("claude-haiku-4-5", 1)]


@walled
async def test_a_path_that_is_too_long_for_a_socket_is_none_for_the_model(tmp_path: Path, endpoint: Endpoint) -> None:
    role = Office("claude-code", tmp_path / ("deep" * 30), endpoint)
    role.folder.mkdir()
    await role.opens()
    assert (await role.turn("rehearse: say Hello.")).text == "Hello."
    await role.closes()


async def test_without_walls_its_own_tools_are_refused_with_the_reason_and_ours_go_on(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sandbox._ENVIRONMENT, "PATH", str(tmp_path))
    isolation.cache_clear()
    role = Office("claude-code", tmp_path, endpoint, rules=("Bash", "Read"))
    try:
        await role.opens()
        (tmp_path / "workspace" / "a").write_text("canary")
        bash = f"rehearse: tool Bash {json.dumps({'command': 'touch b'})}\n"
        read = f"rehearse: tool Read {json.dumps({'file_path': 'a'})}\n"
        await role.turn("rehearse: stubborn\n" + bash + read + calls(("write", "1")))
        asked = role.asked()
    finally:
        isolation.cache_clear()
        await role.closes()
    assert "`Bash` of Claude Code is not used on this machine: commands cannot be walled in" in asked
    assert "install bubblewrap, then restart" in asked
    assert "`Read` of Claude Code is not used" in asked
    assert "canary" not in asked
    assert role.toolbox.texts("write") == ["1"]
    assert not (tmp_path / "workspace" / "b").exists()


async def test_without_the_network_it_fetches_nothing_and_the_model_is_told_why(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    role = Office("claude-code", tmp_path, endpoint, rules=("WebFetch",))
    await role.opens()
    wanted = json.dumps({"url": "http://127.0.0.1:9/", "prompt": "What is there?"})
    await role.turn(f"rehearse: tool WebFetch {wanted}\n")
    await role.closes()
    assert "`WebFetch` needs the network, which this role has not" in role.asked()


@walled
async def test_what_it_started_ends_with_a_role_that_is_killed_and_its_conversation_goes_on(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    role, mark = Process("claude-code", tmp_path, endpoint.url, rules=["Bash"]), f"300.{os.getpid()}"

    def left() -> list[list[str]]:
        """Processes that have the mark; the daemon is known by nothing else."""
        found = (process.info["cmdline"] for process in psutil.process_iter(["cmdline"]))
        return [words for words in found if words and words[0] == "sleep" and mark in words]

    command = f"test -e begun || {{ env -i setsid sleep {mark} & sleep 0.1; touch begun; sleep 300; }}"
    text = f"rehearse: tool Bash {json.dumps({'command': command})}\n{calls(('write', '1'))}"
    process = await role.starts(text)
    await until((tmp_path / "workspace" / "begun").exists, within_s=60)
    assert left()
    process.kill()
    await process.wait()
    await until(lambda: not left(), within_s=30)
    assert (await role.ends(text))[0] == "stopped"
    assert [name for name, *_ in role.effects()] == ["write"]
    [record] = tmp_path.glob("home/projects/*/*.jsonl")
    assert record.read_text("utf-8").count('"sessionId"') > 0


@walled
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("python3 -c \"hog = b'x' * 900_000_000; import time; time.sleep(60)\"", "MiB of memory"),
        ("head -c 120000000 /dev/zero > big; sleep 60", "it filled the disk by more than 50 MiB"),
    ],
    ids=["memory", "disk"],
)
async def test_all_of_it_is_ended_when_it_takes_too_much_and_the_model_is_told(
    state: State, monkeypatch: pytest.MonkeyPatch, command: str, reason: str
) -> None:
    monkeypatch.setattr("agenthub.sessions.claude_code.walls._OWN_MEMORY_BYTES", 500 * 1024**2)
    limits = {"memory_bytes": 100 * 1024**2, "disk_bytes": 50 * 1024**2}
    role = Office("claude-code", state.role, state.endpoint, rules=("Bash",), **limits)
    await role.opens()
    try:
        async with asyncio.timeout(45):
            with pytest.raises(SessionError, match=reason):
                await role.turn(f"rehearse: tool Bash {json.dumps({'command': command})}")
        await until(lambda: running(state.role / "home") is None)
        assert (await role.turn("rehearse: say Hello.", "b")).text == "Hello."
        assert reason in role.asked()
    finally:
        await role.closes()
