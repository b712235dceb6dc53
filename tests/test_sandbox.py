"""Commands in their sandbox: what an attack gains without the walls, and that it gains nothing behind them.

Each attack is run twice: as a plain process, where it must succeed, or it would show nothing; and by the tool.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from agenthub import sandbox
from agenthub.guards.permissions import Permissions, Verdict, decide
from agenthub.role_settings import RoleSettings
from agenthub.roles import Role
from agenthub.sandbox import CommandLimits, Sandbox, isolation
from agenthub.sessions.conversation import Conversation
from agenthub.sessions.journal import Journal
from agenthub.sessions.session import (
    Prompt,
    Repeat,
    SessionEvent,
    Tool,
    ToolCall,
    ToolOutcome,
    ToolStarted,
    TurnEnd,
    TurnResult,
)
from agenthub.tools import commands
from agenthub.tools.offer import role_tools, sandbox_of
from agenthub.tools.shell import shell_tools
from agenthub.tools.workplace import OneFolder
from tests.organization import until
from tests.sessions.scripted import ScriptedModel, says, task
from tests.sessions.scripted import calls as run_calls

pytestmark = pytest.mark.skipif(bool(isolation().remedy), reason=isolation().found)

KEY = "sk-canary-4711"


class Machine:
    """A role's workspace, and around it what its commands must not reach."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.state = folder / "state"
        self.workspace, self.neighbour = self.state / "workspaces" / "qa", self.state / "workspaces" / "ceo"
        self.neighbour.mkdir(parents=True)
        self.workspace.mkdir(parents=True)
        (self.neighbour / "plan.txt").write_text(f"plan {KEY}")
        (self.state / "journals").mkdir()
        (self.state / "journals" / "ceo.db").write_text(f"journal {KEY}")
        # A name of its own: limits of processes count all that a user has, and tests run side by side.
        self.sandbox = Sandbox(self.workspace, f"qa {folder}", **options)
        self.tool: Tool = shell_tools(self.sandbox, OneFolder(self.sandbox.workspace))[0]
        self.supervisor: subprocess.Popen[bytes]
        self.port = 0

    async def run(self, command: str, **more: Any) -> ToolOutcome:
        return await self.tool.run(self.tool.arguments.model_validate({"command": command, **more}), self.call())

    def call(self) -> ToolCall:
        return ToolCall("k~1", task())

    def unprotected(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.workspace, env={**os.environ, "ANTHROPIC_API_KEY": KEY},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout.decode(errors="replace")

    def filled(self, command: str) -> str:
        places = {"STATE": self.state, "SUPERVISOR": self.supervisor.pid, "PORT": self.port, "PYTHON": sys.executable}
        for name, value in places.items():
            command = command.replace(name, str(value))
        return command


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine whose supervisor has the key in its environment, and on which a server listens."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("_AGENTHUB_RUN", KEY)
    made = Machine(tmp_path)
    made.supervisor = subprocess.Popen(["sleep", "600"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        made.port = server.getsockname()[1]
        threading.Thread(target=_greet, args=[server], daemon=True).start()
        try:
            yield made
        finally:
            made.supervisor.kill()
            made.supervisor.wait()
            server.shutdown(socket.SHUT_RDWR)


def _greet(server: socket.socket) -> None:
    try:
        while True:
            with server.accept()[0] as connection:
                connection.sendall(KEY.encode())
    except OSError:
        return


class Attack(NamedTuple):
    name: str
    command: str
    sign: str = KEY
    """What its output shows if it succeeds."""


GAINED = f" && echo {KEY}"

READS = [
    Attack("print the environment", "env; cat /proc/self/environ"),
    Attack("the environment of the parents", "cat /proc/$PPID/environ /proc/1/environ /proc/SUPERVISOR/environ"),
    Attack("the environment of every process", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'"),
    Attack("the memory of the supervisor", "head -c 1 /proc/SUPERVISOR/maps" + GAINED),
    Attack("another role's workspace", "cat ../ceo/plan.txt; cat STATE/workspaces/ceo/plan.txt"),
    Attack("the journals", "cat STATE/journals/*"),
    Attack("through a link", "ln -sfn STATE/journals j; cat j/ceo.db"),
    Attack("through a link to the root of a process", "cat /proc/SUPERVISOR/root/STATE/journals/ceo.db"),
    Attack("a home folder", "ls ~root" + GAINED),
    Attack("the passwords", "cat /etc/shadow" + GAINED),
    Attack("a server on this machine", "exec 3<>/dev/tcp/127.0.0.1/PORT; timeout 5 head -c 14 <&3"),
    Attack("signal the supervisor", "kill -0 SUPERVISOR" + GAINED),
]  # fmt: skip


@pytest.mark.parametrize("attack", READS, ids=lambda attack: attack.name.replace(" ", "-"))
async def test_what_a_command_would_find_on_the_machine_it_does_not_find_in_its_sandbox(
    machine: Machine, attack: Attack
) -> None:
    command = machine.filled(attack.command)
    assert attack.sign in await asyncio.to_thread(machine.unprotected, command)
    assert attack.sign not in (await machine.run(command)).content.replace(command, "")


WRITES = [
    ("beside the workspace", "echo x > ../escaped; echo x > STATE/escaped", "escaped"),
    ("through a link", "ln -sfn STATE out; echo x > out/escaped", "escaped"),
    ("into a neighbour", "echo x > STATE/workspaces/ceo/escaped", "workspaces/ceo/escaped"),
    ("by a hard link", "ln STATE/journals/ceo.db l && echo x >> l && cp l STATE/escaped", "escaped"),
    ("by the root of a process", "echo x > /proc/SUPERVISOR/root/STATE/escaped", "escaped"),
    ("by a mount", "unshare -rm sh -c 'mount --bind STATE . && echo x > STATE/escaped'", "escaped"),
]


@pytest.mark.parametrize(("name", "command", "made"), WRITES, ids=[name.replace(" ", "-") for name, _, _ in WRITES])
async def test_a_command_writes_nothing_outside_of_its_workspace(
    machine: Machine, name: str, command: str, made: str
) -> None:
    command = machine.filled(command)
    await asyncio.to_thread(machine.unprotected, command)
    assert (machine.state / made).exists()
    (machine.state / made).unlink()
    await machine.run(command)
    assert not (machine.state / made).exists()


SYSTEM = ["/usr/bin/x", "/usr/local/lib/x", "/etc/x", "/x", "/lib/x", "/dev/x", "/proc/sys/kernel/core_pattern"]


@pytest.mark.parametrize("path", SYSTEM)
async def test_the_system_cannot_be_written(machine: Machine, path: str) -> None:
    outcome = await machine.run(f"echo x >> {path} && echo written; mkdir {path}y && echo written")
    assert "written" not in outcome.content
    assert not Path("/usr/bin/x").exists()


async def test_a_command_has_no_rights_and_its_files_belong_to_its_user(machine: Machine) -> None:
    outcome = await machine.run("echo x > mine; id -u; grep -E 'Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs' /proc/self/status")
    uid, *rights = outcome.content.splitlines()[:-1]
    assert uid != "0"
    assert [line.split()[1] for line in rights] == ["0" * 16] * 4 + ["1"]
    assert (machine.workspace / "mine").stat().st_uid == (machine.sandbox.uid or os.geteuid())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; the other tests do it then")
def test_it_holds_for_a_hub_that_does_not_run_as_root(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "plan.txt").write_text(KEY)
        (folder / "ws").mkdir()
        os.chown(folder / "ws", 1234, 1234)
        command = (
            f"id -u; touch mine; cat {folder}/plan.txt /proc/1/environ /proc/{os.getpid()}/environ; "
            "touch /x /dev/x; unshare -Ur touch nested; mount -t tmpfs x /mnt; "
            "for i in $(seq 300); do sleep 1 & done; jobs -r | wc -l"
        )
        with monkeypatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: 1234)
            argv = Sandbox(folder / "ws", "qa", limits=LITTLE).argv(["bash", "-c", command])
        done = subprocess.run(
            argv, env=sandbox.environment(), user=1234, group=1234, extra_groups=[], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout.startswith("1000\n"), done.stderr
        assert KEY not in done.stdout
        assert "300" not in done.stdout.split()
        assert [path.name for path in (folder / "ws").iterdir()] == ["mine"]
        assert (folder / "ws" / "mine").stat().st_uid == 1234


async def test_only_the_three_standard_files_are_open(machine: Machine) -> None:
    outcome = await machine.run("ls /proc/$$/fd | tr '\\n' ' '; cat")
    assert outcome.content.startswith("0 1 2 ")
    assert "exit code 0" in outcome.content, "who waits for input gets none"


async def test_a_role_with_the_network_reaches_it(machine: Machine, tmp_path: Path) -> None:
    online = Machine(tmp_path / "online", has_network=True)
    online.supervisor, online.port = machine.supervisor, machine.port
    assert KEY in (await online.run(online.filled(READS[-2].command))).content


# ── bombs and floods ───────────────────────────────────────────────────────────────────────────────
FORKS = "for i in $(seq 300); do sleep 3 & done 2>/dev/null; jobs -r | wc -l; kill $(jobs -p)"
MEMORY = "PYTHON -c 'x = bytearray(400 * 1024**2); print(len(x))'"
HOLDS = "import time; x = bytearray(60 * 1024**2); time.sleep(5)"
MEMORY_OF_MANY = f"for i in 1 2 3 4 5 6; do PYTHON -c '{HOLDS}' & done; wait; echo survived"
LARGE_FILE = "head -c 200M /dev/zero > big; stat -c %s big"
MANY_FILES = "for i in $(seq 40); do head -c 10M /dev/zero > f$i; sleep 0.05; done; ls f* | wc -l"
LITTLE = CommandLimits(
    timeout_s=30, memory_bytes=200 * 1024**2, processes=100, file_bytes=50 * 1024**2, disk_bytes=100 * 1024**2
)
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or ""


async def test_a_fork_bomb_ends_at_the_limit_of_processes(machine: Machine, tmp_path: Path) -> None:
    assert "300" in await asyncio.to_thread(machine.unprotected, FORKS)
    small = Machine(tmp_path / "small", limits=LITTLE)
    outcome = await small.run(FORKS, timeout_s=8)
    assert "300" not in outcome.content.splitlines()


async def test_a_bomb_that_forks_without_end_is_gone_when_its_time_is_over(tmp_path: Path) -> None:
    small = Machine(tmp_path, limits=LITTLE._replace(memory_bytes=1024**3))
    mark = uuid.uuid4().hex
    outcome = await small.run(f": {mark}; bomb() {{ bomb | bomb & }}; bomb; sleep 60", timeout_s=2)
    assert outcome.is_error
    assert "longer than 2 s" in outcome.content
    assert not _with(mark)


async def test_one_process_gets_no_more_memory_than_allowed(machine: Machine, tmp_path: Path) -> None:
    command = MEMORY.replace("PYTHON", PYTHON)
    assert "419430400" in await asyncio.to_thread(machine.unprotected, command)
    outcome = await Machine(tmp_path / "small", limits=LITTLE).run(command)
    assert "MemoryError" in outcome.content


async def test_many_processes_together_get_no_more_memory_than_allowed(machine: Machine, tmp_path: Path) -> None:
    command = MEMORY_OF_MANY.replace("PYTHON", PYTHON)
    assert "survived" in await asyncio.to_thread(machine.unprotected, command)
    outcome = await Machine(tmp_path / "small", limits=LITTLE).run(command)
    assert "more than 200 MiB of memory" in outcome.content
    assert "survived" not in outcome.content


async def test_files_are_bounded_each_and_all_together(machine: Machine, tmp_path: Path) -> None:
    assert str(200 * 1024**2) in await asyncio.to_thread(machine.unprotected, LARGE_FILE)
    assert "40" in (await asyncio.to_thread(machine.unprotected, MANY_FILES)).splitlines()
    small = Machine(tmp_path / "small", limits=LITTLE)
    await small.run(LARGE_FILE)
    assert (small.workspace / "big").stat().st_size == LITTLE.file_bytes
    (small.workspace / "big").unlink()
    outcome = await small.run(MANY_FILES)
    assert "filled the disk by more than 100 MiB" in outcome.content
    for scratch in ("/tmp/x", "/dev/shm/x"):
        command = f"head -c 200M /dev/zero > {scratch}; head -c 200M /dev/zero > {scratch}y"
        assert "No space left" in (await machine.run(command, timeout_s=20)).content


async def test_what_others_free_at_the_same_time_hides_nobody_who_fills_the_disk(
    machine: Machine, tmp_path: Path
) -> None:
    small, ballast = Machine(tmp_path / "small", limits=LITTLE), tmp_path / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1024**3)
    running = asyncio.create_task(small.run(MANY_FILES))
    await until((small.workspace / "f1").exists)
    ballast.unlink()
    assert "filled the disk by more than 100 MiB" in (await running).content


async def test_a_flood_of_output_is_cut_in_the_middle_and_ended(machine: Machine) -> None:
    before = psutil.Process().memory_info().rss
    outcome = await machine.run("echo first; yes", timeout_s=60)
    assert outcome.content.startswith("first\ny\n")
    assert "bytes left out" in outcome.content
    assert "of output" in outcome.summary
    assert len(outcome.content) < 30_000
    assert psutil.Process().memory_info().rss - before < 100 * 1024**2


# ── nothing is left ────────────────────────────────────────────────────────────────────────────────
DAEMON = "setsid sh -c 'setsid sleep 500.MARK >/dev/null 2>&1 &' ; (nohup sleep 500.MARK &) ; sleep 500.MARK & echo up"


def _with(mark: str) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if any(mark in part for part in p.info["cmdline"] or ())]


@pytest.fixture
def mark() -> Iterator[str]:
    mark = str(uuid.uuid4().int)[:15]
    yield mark
    for pid in _with(mark):
        os.kill(pid, 9)


async def test_a_daemon_survives_a_plain_command(machine: Machine, mark: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", DAEMON.replace("MARK", mark), stdout=subprocess.DEVNULL, start_new_session=True
    )
    await process.wait()
    os.killpg(process.pid, 9)
    assert _with(mark)


async def test_nothing_runs_on_when_a_command_has_ended(machine: Machine, mark: str) -> None:
    outcome = await machine.run(DAEMON.replace("MARK", mark))
    assert outcome.content.startswith("up\n")
    assert not _with(mark)


@pytest.mark.parametrize("trap", ["", "trap '' TERM INT HUP; "])
async def test_nothing_runs_on_after_the_time_out(machine: Machine, mark: str, trap: str) -> None:
    outcome = await machine.run(f"{trap}{DAEMON.replace('MARK', mark)}; wait", timeout_s=1)
    assert outcome.content.startswith("up\n[killed after 1.")
    assert not _with(mark)


async def test_nothing_runs_on_when_the_turn_is_interrupted_or_the_role_stops(machine: Machine, mark: str) -> None:
    arguments = machine.tool.arguments.model_validate({"command": f"{DAEMON.replace('MARK', mark)}; wait"})
    call = machine.call()
    running = asyncio.ensure_future(machine.tool.run(arguments, call))
    await until(lambda: len(_with(mark)) > 3)
    call.interrupted.set()
    assert "interrupted" in (await running).content
    assert not _with(mark)

    running = asyncio.ensure_future(machine.tool.run(arguments, machine.call()))
    await until(lambda: len(_with(mark)) > 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not _with(mark)


async def test_a_command_that_has_only_just_begun_can_be_ended(machine: Machine, mark: str) -> None:
    arguments = machine.tool.arguments.model_validate({"command": f"sleep 500.{mark}"})
    for turns_of_the_loop in range(40):
        call = machine.call()
        running = asyncio.ensure_future(machine.tool.run(arguments, call))
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        call.interrupted.set()
        async with asyncio.timeout(30):
            await running
        running = asyncio.ensure_future(machine.tool.run(arguments, machine.call()))
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        running.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait([running])
        assert not _with(mark)


async def test_nothing_runs_on_when_the_process_of_the_role_is_killed(machine: Machine, mark: str) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from agenthub.tools.commands import run; "
        "from agenthub.sandbox import Sandbox; "
        "asyncio.run(run(['bash', '-c', sys.argv[2]], Sandbox(Path(sys.argv[1]), 'qa')))"
    )
    command = f"{DAEMON.replace('MARK', mark)}; wait"
    role = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(machine.workspace), command)
    await until(lambda: len(_with(mark)) > 4)
    role.kill()
    await role.wait()
    await until(lambda: not _with(mark))


async def test_an_interrupted_turn_ends_its_command_and_the_next_turn_runs_its_own(
    machine: Machine, mark: str, tmp_path: Path
) -> None:
    model = ScriptedModel(
        run_calls(("run_command", {"command": f"sleep 500.{mark}", "timeout_s": 100})),
        run_calls(("run_command", {"command": "echo well"})),
        says("Done."),
    )

    async def allowed() -> None: ...

    journal = Journal(tmp_path / "journal.db")
    conversation = Conversation(model, journal, system="x", tools=[machine.tool], max_steps=5, before_effect=allowed)
    await conversation.start()
    events: list[SessionEvent] = []
    async for event in conversation.turn(Prompt("go", task("a")), turn_id="a"):
        events.append(event)
        if isinstance(event, ToolStarted):
            assert event.patience_s == 100
            asyncio.get_running_loop().create_task(interrupt_when(conversation, mark))
    assert isinstance(events[-1], TurnResult)
    assert events[-1].end is TurnEnd.INTERRUPTED
    assert not _with(mark)
    assert [event async for event in conversation.turn(Prompt("go on", task("b")), turn_id="b")]
    shown = str(model.requests)
    assert "killed after" in shown
    assert "the turn was interrupted" in shown
    assert "well\\n[exit code 0" in shown
    journal.close()


async def interrupt_when(conversation: Conversation, mark: str) -> None:
    await until(lambda: _with(mark))
    await conversation.interrupt()


# ── what the model gets ────────────────────────────────────────────────────────────────────────────
async def test_both_outputs_come_in_order_with_exit_code_and_duration(machine: Machine) -> None:
    outcome = await machine.run("echo one; echo two >&2; echo three; exit 3")
    assert outcome.content.startswith("one\ntwo\nthree\n[exit code 3, 0.")
    assert (outcome.is_error, outcome.summary.split(",")[0]) == (True, "exit code 3")
    assert "exit code 139" in (await machine.run("kill -SEGV $$")).content


async def test_the_call_is_known_as_one_that_must_not_be_repeated(machine: Machine) -> None:
    assert (machine.tool.repeat, machine.tool.changes) == (Repeat.UNSAFE, True)
    arguments = machine.tool.arguments
    assert machine.tool.patience_s(arguments.model_validate({"command": "x", "timeout_s": 7})) == 7
    assert machine.tool.patience_s(arguments.model_validate({"command": "x", "timeout_s": 7000})) == 300


async def test_the_workspace_stays_and_the_scratch_folder_does_not(machine: Machine) -> None:
    await machine.run("echo kept > kept; echo lost > /tmp/lost")
    assert (await machine.run("cat kept; ls /tmp")).content.startswith("kept\n[exit code 0")


async def test_without_bubblewrap_a_command_is_refused_with_the_next_step(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sandbox._ENVIRONMENT, "PATH", str(tmp_path))
    isolation.cache_clear()
    try:
        with pytest.raises(Exception, match=r"no `bwrap`.*install bubblewrap"):
            await machine.run("true")
    finally:
        isolation.cache_clear()


def test_the_middle_of_a_long_output_is_left_out_and_counted() -> None:
    output = commands.Output(3, 4)
    for piece in (b"ab", b"cdefg", b"hijklmnop", b"qrstuvw", b"xyz"):
        output.add(piece)
    assert output.text().startswith("abc\n[... 19 bytes left out")
    assert output.text().endswith("...]\nwxyz")
    whole = commands.Output(3, 4)
    whole.add(b"abcdefg")
    assert whole.text() == "abcdefg"


# ── who gets it ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (None, False), (("Read", "Write"), False), (("Read", "Bash"), True), (("Bash(pytest *)",), True),
        (("run_command",), True), (("mcp__github__*",), False),
    ],
)  # fmt: skip
def test_the_shell_is_for_a_role_whose_file_names_it(
    tmp_path: Path, line: tuple[str, ...] | None, offered: bool
) -> None:
    role = Role(name="qa", prompt="x", path=Path("qa.md"), tools=line)
    assert ("run_command" in [tool.name for tool in role_tools(role, OneFolder(tmp_path), state=tmp_path)]) == offered


def test_a_command_is_seen_as_the_shell_by_the_rules_of_permission() -> None:
    permissions = Permissions(only=("Bash(pytest:*)",))
    assert decide(permissions, "run_command", {"command": "pytest -q"}).verdict is Verdict.ALLOW
    assert decide(permissions, "run_command", {"command": "pytest; rm -r ."}).verdict is Verdict.DENY


def test_limits_come_from_the_file_of_the_role(tmp_path: Path) -> None:
    settings = RoleSettings.model_validate(
        {"network": True, "limits": {"command_timeout_s": 7.0, "command_memory_mib": 100, "command_disk_mib": 9}}
    )
    role = Role(name="qa", prompt="x", path=Path("qa.md"), settings=settings)
    sandbox = sandbox_of(role, tmp_path)
    assert sandbox.has_network
    assert sandbox.limits == CommandLimits(timeout_s=7, memory_bytes=100 * 1024**2, disk_bytes=9 * 1024**2)
