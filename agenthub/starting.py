"""What an organization needs to begin with, written into a folder; nothing that is there is overwritten unasked."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from agenthub.errors import ConfigError
from agenthub.mcp_files import MCP_FILE
from agenthub.roles import Role, as_token, read_role

TEMPLATES = ("startup", "pair")

_ENVIRONMENT = """\
# Copy to .env and fill in. `set -a; . ./.env; set +a` reads it into a shell; docker compose reads it by itself.
# What talks to Claude. Without it the organization rehearses.
ANTHROPIC_API_KEY=
# Or a file that holds it.
# ANTHROPIC_API_KEY_FILE=
# A NATS server of your own; empty: the hub runs one.
AGENTHUB_NATS_URL=
# Which agenthub.toml, where it is not found from the current folder up.
# AGENTHUB_CONFIG=
"""


class Written(NamedTuple):
    """What became of one file."""

    path: str
    """Relative to the folder."""
    what: Literal["written", "kept", "replaced", "added to"]
    note: str = ""


class _File(NamedTuple):
    path: str
    text: str


def begin(
    folder: Path, *, template: str, source: Path | None, org: str | None, force: bool, dry_run: bool
) -> list[Written]:
    """Write agenthub.toml, role files, `.mcp.json`, `.env.example`.

    Args:
        source: Folder of agent files to take the roles from. What lies in `.claude/agents` of the folder itself is
            read there and not copied.

    Raises:
        ConfigError: If a name cannot be one, or `.mcp.json` is there and is not JSON.
    """
    name = org or as_token(folder.absolute().name) or "org"
    if as_token(name) != name.lower():
        raise ConfigError(f"`{name}` cannot be an organization's name. Try `--org {as_token(name) or 'acme'}`.")
    files = [_File("agenthub.toml", _template("agenthub.toml").replace("@ORG@", name))]
    if source is None:
        files += [_File(f"roles/{path.name}", path.read_text("utf-8")) for path in _roles_of(template)]
    elif source.resolve() != (folder / ".claude/agents").resolve():
        files += [_File(f"roles/{role.name}.md", text) for role, text in readable(source)]
    files.append(_File(".env.example", _ENVIRONMENT))
    found = [write(folder, file.path, file.text, force=force, dry_run=dry_run) for file in files]
    return [*found, _add_server(folder, dry_run=dry_run)]


def write(folder: Path, path: str, text: str, *, force: bool, dry_run: bool) -> Written:
    """Write one file, unless there is one: then it is kept, or replaced with `force`."""
    file = folder / path
    is_there = file.exists()
    if is_there and file.read_bytes() == text.encode():
        return Written(path, "kept", "it is the same")
    if is_there and not force:
        return Written(path, "kept", "it was there; --force replaces it")
    if not dry_run:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    return Written(path, "replaced" if is_there else "written")


def readable(source: Path) -> Iterator[tuple[Role, str]]:
    """The agent files below a folder that can be read as roles, each with the text of a role file.

    Raises:
        ConfigError: If there is none, or one cannot be read.
    """
    paths = sorted(path for path in source.rglob("*.md") if path.is_file() and path.name.lower() != "readme.md")
    problems, count = [], 0
    for path in paths:
        role, found = read_role(path, source)
        problems += [str(problem) for problem in found if problem.level == "error"]
        if role is not None:
            count += 1
            yield role, path.read_text("utf-8-sig") if path.name != "AGENTS.md" else as_file(role)
    if problems:
        raise ConfigError("\n".join(problems))
    if not count:
        raise ConfigError(f"There is no agent file (*.md) in {source}.")


def as_file(role: Role, *, for_claude: bool = False) -> str:
    """A role as the text of a role file; `for_claude`: without the part that only agenthub reads."""
    front: dict[str, Any] = {"name": role.name, "description": role.description}
    if role.tools is not None:
        front["tools"] = ", ".join(role.tools)
    front |= {"model": role.model} if role.model else {}
    front |= {"color": role.color} if role.color else {}
    front |= role.other
    ours = role.settings.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    if ours and not for_claude:
        front["agenthub"] = ours
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{head}---\n{role.prompt}\n"


def _add_server(folder: Path, *, dry_run: bool) -> Written:
    """Our server beside those that `.mcp.json` has; none of them is changed."""
    file = folder / MCP_FILE
    try:
        content = json.loads(file.read_text("utf-8")) if file.exists() else {}
        servers = content.setdefault("mcpServers", {})
        is_there = "agenthub" in servers
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{file} is not JSON with the key `mcpServers`: {error}. Mend it, then init again."
        ) from error
    if is_there:
        return Written(MCP_FILE, "kept", "it names agenthub already")
    what: Literal["added to", "written"] = "added to" if file.exists() else "written"
    servers["agenthub"] = our_server()
    if not dry_run:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return Written(MCP_FILE, what, "Claude Code in this folder has the hub's tools")


def _roles_of(template: str) -> list[Any]:
    found = resources.files("agenthub") / "templates" / template / "roles"
    return sorted((path for path in found.iterdir() if path.name.endswith(".md")), key=lambda path: path.name)


def _template(name: str) -> str:
    return (resources.files("agenthub") / "templates" / name).read_text("utf-8")


def our_server() -> dict[str, Any]:
    """What `.mcp.json` says, so that a person's own Claude Code in this folder has the hub's tools.

    By the program's name where a shell finds it, else by where this one lies.
    """
    return {"command": str(_program()), "args": ["mcp"]}


def typed(command: str = "agenthub", *, folder: Path | None = None) -> str:
    """A command of this program as a person types it in a folder, else in this one.

    The program's name where a shell finds it, else where it lies: `.venv/bin/agenthub ps`.
    """
    program, here = _program(), Path.cwd() if folder is None else folder.absolute()
    return command.replace("agenthub", str(program.relative_to(here) if program.is_relative_to(here) else program), 1)


def _program() -> Path:
    here = Path(sys.executable).with_name("agenthub")
    return Path("agenthub") if shutil.which("agenthub") or not here.exists() else here
