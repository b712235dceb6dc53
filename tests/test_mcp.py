"""Tools of MCP servers: real servers over stdio and HTTP, which die, hang and come back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from agenthub.errors import ConfigError
from agenthub.mcp_files import McpServer, servers_of
from agenthub.messages import Message, Payload
from agenthub.ports import Port
from agenthub.sessions.session import Repeat, Tool, ToolCall, ToolOutcome
from agenthub.tools import mcp
from agenthub.tools.mcp import open_mcp
from tests.organization import until

SERVER = str(Path(__file__).parent / "mcp_server.py")
TASK = Message(from_role="you", type="task_assignment", id="a", payload=Payload(message="x"))


def stdio(**more: Any) -> McpServer:
    return McpServer(command=sys.executable, args=(SERVER,), **more)


async def call(tools: list[Tool], name: str, /, **arguments: Any) -> ToolOutcome:
    (tool,) = [tool for tool in tools if tool.name == f"mcp__test__{name}"]
    return await tool.run(tool.arguments.model_validate(arguments), ToolCall(key="a~1", task=TASK))


def opened(folder: Path, **servers: McpServer) -> Any:
    return open_mcp(servers, folder=folder, known=folder / "known")


async def test_a_server_s_tools_are_offered_with_their_own_schema(tmp_path: Path) -> None:
    async with opened(tmp_path, test=stdio()) as tools:
        names = [tool.name for tool in tools]
        assert names == sorted(names)
        by_name = {tool.name: tool for tool in tools}
        note = by_name["mcp__test__note"].definition()
        assert note["input_schema"]["required"] == ["path", "text"]
        assert note["description"] == "Append a line to a file."
        assert by_name["mcp__test__note"].repeat is Repeat.UNSAFE
        assert [by_name[f"mcp__test__{name}"].repeat for name in ("pid", "picture")] == [Repeat.SAFE, Repeat.SAFE]
        assert (by_name["mcp__test__note"].changes, by_name["mcp__test__pid"].changes) == (True, False)
        assert (await call(tools, "note", path=str(tmp_path / "n"), text="hello")).content == "noted"
        picture = (await call(tools, "picture")).content
        assert picture == "a picture: &lt;hub:message>\n[image/png of 6 bytes: left out]"
        failed = await call(tools, "fail")
        assert (failed.is_error, "fail" in failed.content) == (True, True)
        assert (await call(tools, "note", path=1)).is_error


async def test_a_server_that_dies_in_the_middle_is_an_error_and_comes_back(tmp_path: Path) -> None:
    async with opened(tmp_path, test=stdio()) as tools:
        before = (await call(tools, "pid")).content
        died = await call(tools, "die")
        assert died.is_error
        assert "unknown whether it took effect" in died.content
        after = (await call(tools, "pid")).content  # waits until it is there again
        assert after.isdigit()
        assert after != before
        os.kill(int(after), signal.SIGKILL)  # while nobody calls
        lost = await call(tools, "pid")
        again = lost if not lost.is_error else await call(tools, "pid")
        assert again.content.isdigit()
        assert again.content != after


async def test_a_call_that_takes_too_long_is_an_error_and_the_server_stays(tmp_path: Path) -> None:
    async with opened(tmp_path, test=stdio(timeout=300)) as tools:
        late = await call(tools, "slow", seconds=1.0)
        assert late.is_error
        assert "longer than 0.3 s" in late.content


async def test_a_call_can_be_interrupted(tmp_path: Path) -> None:
    async with opened(tmp_path, test=stdio()) as tools:
        (slow,) = [tool for tool in tools if tool.name == "mcp__test__slow"]
        interrupted = asyncio.Event()
        circumstances = ToolCall(key="a~1", task=TASK, interrupted=interrupted)
        calling = asyncio.create_task(slow.run(slow.arguments.model_validate({"seconds": 3600}), circumstances))
        asyncio.get_running_loop().call_later(0.2, interrupted.set)
        outcome = await asyncio.wait_for(calling, 30)
    assert outcome.is_error
    assert "was interrupted" in outcome.content


async def test_a_server_that_is_down_keeps_the_list_of_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "WAIT_FOR_SERVER_S", 0.2)
    async with opened(tmp_path, test=stdio()) as tools:
        names = [tool.name for tool in tools]
    broken = McpServer(command="no-such-program")
    async with opened(tmp_path, test=broken, never_seen=broken) as tools:
        assert [tool.name for tool in tools] == names
        down = await call(tools, "pid")
    assert down.is_error
    assert "is down" in down.content
    assert "Nothing was done" in down.content


async def test_its_environment_holds_what_is_said_and_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    async with opened(tmp_path, test=stdio(env={"TOKEN": "mine"})) as tools:
        said = [(await call(tools, "variable", name=name)).content for name in ("TOKEN", "ANTHROPIC_API_KEY")]
    assert said == ["mine", "(not set)"]


async def test_it_ends_with_the_session(tmp_path: Path) -> None:
    async with opened(tmp_path, test=stdio()) as tools:
        server = psutil.Process(int((await call(tools, "pid")).content))
        assert server.is_running()
    await until(lambda: _has_ended(server))


async def test_it_ends_with_a_role_that_is_killed(tmp_path: Path) -> None:
    """Also one that does not look at its standard input."""
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom agenthub.mcp_files import McpServer\n"
        "from agenthub.tools.mcp import Server\n"
        "config = McpServer(command=sys.executable, args=('-c', 'import os, time; print(os.getpid(), file=open("
        '"pid.new", "w"), flush=True); os.rename("pid.new", "pid"); time.sleep(600)\'))\n'
        "asyncio.run(Server('t', config, folder=Path.cwd(), known=Path('known')).run())\n"
    )
    role = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=tmp_path)
    try:
        await until(lambda: (tmp_path / "pid").exists())
        server = psutil.Process(int((tmp_path / "pid").read_text()))
    finally:
        role.kill()
        await role.wait()
    await until(lambda: _has_ended(server))


async def test_a_server_over_http_may_go_and_come_back(tmp_path: Path) -> None:
    with Port() as held:
        port = held.number
        running = await _http_server(port)
        try:
            config = McpServer(type="http", url=f"http://127.0.0.1:{port}/mcp")
            async with opened(tmp_path, test=config) as tools:
                assert (await call(tools, "pid")).content == str(running.pid)
                hanging = asyncio.create_task(call(tools, "slow", seconds=30))
                await asyncio.sleep(0.2)
                running.kill()
                await running.wait()
                assert (await asyncio.wait_for(hanging, 30)).is_error
                running = await _http_server(port)
                answer = await until(lambda: _answers(tools))
                assert answer == str(running.pid)
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()


async def _answers(tools: list[Tool]) -> str | None:
    outcome = await call(tools, "pid")
    return None if outcome.is_error else outcome.content


async def _http_server(port: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, SERVER, str(port), stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    await until(listens)
    return process


def _has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# ── files ──────────────────────────────────────────────────────────────────────────────────────────
def servers(folder: Path, named: list[object], **environment: str) -> Mapping[str, McpServer]:
    return servers_of(named, folder=folder, environment=environment)


def test_servers_are_those_that_are_named_with_variables_filled_in(tmp_path: Path) -> None:
    (tmp_path / ".mcp.json").write_text(
        json.dumps(
            {
                "mcpServers": {
                    "github": {"type": "http", "url": "https://x/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
                    "files": {"command": "${BIN:-npx}", "args": ["-y", "${PACKAGE:-files}"]},
                }
            }
        )
    )
    found = servers(tmp_path, ["github", {"own": {"url": "http://y"}}], TOKEN="t0p")
    assert found["github"].headers == {"Authorization": "Bearer t0p"}
    assert found["own"].type == "http"
    assert "t0p" not in repr(found)
    assert list(servers(tmp_path, ["*"], TOKEN="t", BIN="/bin/x")) == ["files", "github"]
    assert servers(tmp_path, ["files"])["files"].args == ("-y", "files")
    assert servers(tmp_path, []) == {}


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (["githbu"], "Did you mean `github`?"),
        (["github"], "needs the variable `TOKEN`, which is not set"),
        ([{"own": {"command": ""}}], "needs `command`"),
        ([{"own": {"command": "x", "env": "SECRET"}}], "MCP server `own`: `env`"),
        ([{"own name": {"command": "x"}}], "'own name'"),
    ],
)
def test_what_is_wrong_with_servers_is_said_without_secrets(tmp_path: Path, named: list[object], says: str) -> None:
    (tmp_path / ".mcp.json").write_text('{"mcpServers": {"github": {"url": "http://x/${TOKEN}"}}}')
    with pytest.raises(ConfigError) as raised:
        servers(tmp_path, named)
    assert says in str(raised.value)
    assert "SECRET" not in str(raised.value)
