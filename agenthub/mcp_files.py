"""Which MCP servers a role has, as files say it: Claude Code's format, in `.mcp.json` and in the role's file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agenthub.errors import ConfigError, unknown

MCP_FILE = ".mcp.json"
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


class McpServer(BaseModel):
    """How to reach one MCP server. What may be secret is not shown."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    type: Literal["stdio", "http", "streamable-http"] = "stdio"
    command: str = ""
    """Program that speaks MCP on its standard input and output."""
    args: tuple[str, ...] = Field(default=(), repr=False)
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    """Added to the few harmless variables that it gets anyway; of the role's own environment it gets nothing else."""
    url: str = Field(default="", repr=False)
    """Of a server that speaks streamable HTTP."""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    timeout: float = Field(default=120_000, gt=0)
    """Milliseconds that one call may take."""


def servers_of(named: Iterable[object], *, folder: Path, environment: Mapping[str, str]) -> dict[str, McpServer]:
    """The servers that a role names, with variables filled in, in order of name.

    Args:
        named: Names of servers in `.mcp.json`, `*` for all of these, or mappings of a name to a server.

    Raises:
        ConfigError: If a name is not known, something is no server, or a variable is not set.
    """
    found: dict[str, McpServer] = {}
    common: dict[str, Any] | None = None
    for item in named:
        if isinstance(item, Mapping):
            found |= {str(name): _server(str(name), raw, "the role's file", environment) for name, raw in item.items()}
            continue
        common = _common(folder) if common is None else common
        if item != "*" and item not in common:
            raise ConfigError(f"{folder / MCP_FILE}: {unknown('MCP server', str(item), common)}")
        for name in common if item == "*" else [str(item)]:
            found.setdefault(name, _server(name, common[name], MCP_FILE, environment))
    return dict(sorted(found.items()))


def _common(folder: Path) -> dict[str, Any]:
    path = folder / MCP_FILE
    try:
        servers = json.loads(path.read_text())["mcpServers"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not JSON with the key `mcpServers`: {error}") from error
    if not isinstance(servers, dict):
        raise ConfigError(f"{path}: `mcpServers` must map names to servers")
    return servers


def _server(name: str, raw: object, where: str, environment: Mapping[str, str]) -> McpServer:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: an MCP server's name is letters, digits, `_` and `-`, at most 40; found {name!r}")
    if isinstance(raw, dict) and "type" not in raw and "url" in raw:
        raw = {**raw, "type": "http"}
    try:
        server = McpServer.model_validate(_expanded(raw, name, environment))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(
            f"{where}: MCP server `{name}`: `{'.'.join(map(str, first['loc']))}`: {first['msg']}"
        ) from None
    if not (server.command if server.type == "stdio" else server.url):
        key = "command" if server.type == "stdio" else "url"
        raise ConfigError(f"{where}: MCP server `{name}` of the type `{server.type}` needs `{key}`")
    return server


def _expanded(value: object, name: str, environment: Mapping[str, str]) -> object:
    """`${NAME}` and `${NAME:-default}` filled in, as Claude Code does."""

    def fill(match: re.Match[str]) -> str:
        found = environment.get(match[1], match[2])
        if found is None:
            raise ConfigError(f"MCP server `{name}` needs the variable `{match[1]}`, which is not set.")
        return found

    if isinstance(value, str):
        return _VARIABLE.sub(fill, value)
    if isinstance(value, dict):
        return {key: _expanded(item, name, environment) for key, item in value.items()}
    return [_expanded(item, name, environment) for item in value] if isinstance(value, list) else value
