"""Where Claude Code runs: its program, its folders, its environment, and which of its own tools a role may use."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import psutil

from agenthub.cradle import RUN_VARIABLE
from agenthub.errors import ConfigError
from agenthub.organization_file import Price
from agenthub.sessions.claude_code import launch
from agenthub.whole_files import write_whole

SERVER = "agenthub"
"""Name of the MCP server that offers our tools."""
PREFIX = f"mcp__{SERVER}__"

FILE_TOOLS = {
    "Read": "file_path", "Write": "file_path", "Edit": "file_path", "NotebookEdit": "notebook_path",
    "Glob": "path", "Grep": "path",
}  # fmt: skip
"""Tools of Claude Code that touch files, each with the input that says where."""
CHANGING_TOOLS = frozenset({"Bash", "Write", "Edit", "NotebookEdit"})
BUILT_IN = frozenset({*FILE_TOOLS, "Bash", "WebFetch", "WebSearch", "TodoWrite"})
"""Tools of Claude Code that a role file may name. None starts further agents, whose calls would not be recorded."""

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PWD", RUN_VARIABLE)
_FOR_NETWORK = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
_NO_KEY = "held-by-the-host"
"""It starts without a login only if it believes that it has a key."""
_RULE = re.compile(r"(\w+)(?:\((.*)\))?", re.DOTALL)


class Place(NamedTuple):
    """What a role's Claude Code is given."""

    model: str
    system: str
    workspace: Path
    home: Path
    """Its HOME and configuration; nothing of the user's own is read."""
    api_key: str
    """For its model; it never gets it itself (`relay`)."""
    base_url: str = ""
    """Of its model. Empty: Anthropic's."""
    rules: tuple[str, ...] = ()
    """Its own tools that are allowed, as in a role file: `Read`, `Bash(pytest *)`."""
    max_steps: int = 50
    max_output_tokens: int = 16_000
    prices: Mapping[str, Price] = MappingProxyType({})
    """The organization's own, before list prices."""
    max_usd: float | None = None
    """What one process of it may spend by its own count; a net below the budget. None: unlimited."""
    owner: str = "claude-code"
    """Name of the role; as root it runs as the user that derives from it, as the role's commands do."""
    has_network: bool = False
    """Whether it, and what it starts, reach more than the model."""
    processes: int = 256
    """That may run at the same time, beside its own."""
    memory_bytes: float = 2 * 1024**3
    """Of all that it starts together; it has some for itself besides."""
    disk_bytes: int = 2 * 1024**3
    """That one process of it may write to its workspace and its home."""


def allowed(tools: Iterable[str] | None) -> tuple[str, ...]:
    """The rules among a role's tools that are for Claude Code itself. No list of tools allows none of its own."""
    return tuple(rule for rule in tools or () if (found := _RULE.fullmatch(rule)) and found[1] in BUILT_IN)


def names(rules: Iterable[str]) -> list[str]:
    """Names of the tools that rules are about, sorted."""
    return sorted({found[1] for rule in rules if (found := _RULE.fullmatch(rule))})


def find_program() -> str:
    """Path of Claude Code: what is on PATH, else the one that came with the SDK.

    Raises:
        ConfigError: If the extra is not installed.
    """
    package = importlib.util.find_spec("claude_agent_sdk")
    if package is None or package.origin is None:
        raise ConfigError(
            "`session: claude-code` needs the extra `claude-code`, which is not installed. "
            "Run `pip install 'agenthub[claude-code]'`, or write `session: anthropic`."
        )
    bundled = Path(package.origin).parent / "_bundled" / "claude"
    program = shutil.which("claude") or (str(bundled) if bundled.is_file() else None)
    if program is None:
        raise ConfigError("There is no `claude` on PATH, and none came with claude-agent-sdk. Install Claude Code.")
    return program


def write_launcher(home: Path, argv: Sequence[str]) -> Path:
    """Write the program that the SDK starts instead of Claude Code, see `launch`; `argv` puts up the walls around it.

    It runs outside of them, so it lies beside the home, where nothing inside can change it.
    """
    path = home.with_name(f"{home.name}.start")
    words = shlex.join([sys.executable, "-IS", str(Path(launch.__file__).resolve()), *argv])
    write_whole(path, f'#!/bin/sh\nexec {words} "$@"\n', mode=0o700)
    return path


def environment(place: Place, url: str, variables: Mapping[str, str]) -> dict[str, str]:
    """What Claude Code gets beside what it is started with; the launcher drops all the rest.

    Args:
        url: Of its model, as it is to see it.
        variables: Others that it gets, or gets in place of the machine's.
    """
    given = {
        "HOME": str(place.home),
        "CLAUDE_CONFIG_DIR": str(place.home),
        "CLAUDE_CODE_ENTRYPOINT": "sdk-py",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(place.max_output_tokens),
        "CLAUDE_CODE_MAX_RETRIES": "3",
        "DISABLE_AUTOUPDATER": "1",
        "ENABLE_TOOL_SEARCH": "false",  # else the model would have to look for our tools first
        "DISABLE_NON_ESSENTIAL_MODEL_CALLS": "1",
        "ANTHROPIC_API_KEY": _NO_KEY,
        "ANTHROPIC_BASE_URL": url,
        **variables,
    }
    keep = [*given, *_PASSED_ON, *(_FOR_NETWORK if place.has_network else ())]
    return {**given, launch.KEEP_VARIABLE: ",".join(keep)}


def kill_all(home: Path) -> list[psutil.Process]:
    """Kill every process of Claude Code with this home, and what it started: all have it in their environment."""
    killed = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get("CLAUDE_CONFIG_DIR") == str(home):
                process.kill()
                killed.append(process)
    return killed


def running(home: Path) -> int | None:
    """The process, started by this one, below which Claude Code runs with this home; None if none does."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("CLAUDE_CONFIG_DIR") == str(home):
                return process.pid
    return None


def end_leftovers(home: Path) -> None:
    """End what an earlier process of the role left running: it would write into the same conversation."""
    psutil.wait_procs(kill_all(home), timeout=5)


def known_results(home: Path, session_id: str) -> dict[str, bool]:
    """The calls whose results stand in Claude Code's own record of a conversation: by id, True if an error."""
    known: dict[str, bool] = {}
    for path in records(home, session_id):
        for block in _blocks(path):
            if block.get("type") == "tool_result":
                known[str(block.get("tool_use_id"))] = bool(block.get("is_error"))
    return known


def has_heard(home: Path, session_id: str, text: str) -> bool:
    """True if a text stands in Claude Code's own record of a conversation, as when its turn was cut off."""
    words = json.dumps(text, ensure_ascii=False)[1:-1]
    return any(words in path.read_text("utf-8", errors="replace") for path in records(home, session_id))


def records(home: Path, session_id: str) -> list[Path]:
    """Claude Code's own record of a conversation, if there is one.

    What runs in its walls can put anything there: a link would be read as this process, a pipe never end.
    """
    found, root = home.glob(f"projects/*/{session_id}.jsonl"), home.resolve()
    return [path for path in found if stat.S_ISREG(path.lstat().st_mode) and path.resolve().is_relative_to(root)]


def _blocks(path: Path) -> Iterator[dict[str, object]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError, AttributeError, TypeError):  # a torn last line; what is no message
                content = json.loads(line)["message"]["content"] if '"tool_result"' in line else []
                yield from (block for block in content if isinstance(block, dict))


def resume_command(home: Path, workspace: Path, session_id: str) -> str:
    """Shell line by which a person looks into a conversation, in a copy of it: the role's own stays as it is."""
    # What the role left there as settings, as servers or for git would be run outside of its walls.
    words = ["claude", "--resume", session_id, "--fork-session", "--setting-sources", "", "--strict-mcp-config"]
    with_home = f"GIT_DIR={os.devnull} CLAUDE_CONFIG_DIR={shlex.quote(str(home))}"
    return f"cd {shlex.quote(str(workspace))} && {with_home} {shlex.join(words)}"
