"""Tools of MCP servers. Each server has a task of its own, which starts it, keeps it and starts it again.

What goes wrong with a server is a result for the model, never the end of a turn: a call that takes too long, a
server that dies in the middle or cannot be reached. The tools are listed once, when the session starts; what was
listed is kept in a file, so that a server that is down then takes nothing away from the session.

Only a role that has such servers imports this: the library costs a second and 30 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import re
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from mcp.types import Tool as Listed
from pydantic import RootModel, TypeAdapter

from agenthub.cradle import RUN_VARIABLE
from agenthub.mcp_files import McpServer
from agenthub.sessions import prompts
from agenthub.sessions.session import Repeat, Tool, ToolCall, ToolOutcome
from agenthub.whole_files import write_whole

logger = logging.getLogger(__name__)

START_WITHIN_S = 10.0
"""How long a starting session waits for its servers."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
WAIT_FOR_SERVER_S = 15.0
"""How long a call waits for a server that is being started again."""
_LONGEST_DESCRIPTION = 2048
_LONGEST_NAME = 128
_MOST_PAGES = 50
_LISTING = TypeAdapter(list[Listed])
_DIES_WITH_ROLE = (
    "import ctypes,os,sys\n"
    "if sys.platform == 'linux':\n"
    "    ctypes.CDLL(None).prctl(1, 15)\n"
    "    if os.getppid() != int(sys.argv[1]): os._exit(1)\n"
    "try: os.execvp(sys.argv[2], sys.argv[2:])\n"
    "except OSError as error: sys.exit(f'{sys.argv[2]}: {error.strerror}')\n"
)
"""Becomes the server, once it is sure to end with the role's process."""


class UnavailableError(Exception):
    """A server did not do what it was asked; says why."""


class Server:
    """One MCP server: what keeps the connection, and the way to call its tools."""

    def __init__(self, name: str, config: McpServer, *, folder: Path, known: Path) -> None:
        """A server that is not started yet.

        Args:
            folder: Where it runs.
            known: File that keeps the list of its tools.
        """
        self.name, self.config = name, config
        self._folder, self._known = folder, known
        self._client: Client | None = None
        self._calls: set[asyncio.Task[CallToolResult]] = set()
        self._is_up, self._is_lost, self.was_tried = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.trouble = "it is being started"

    async def run(self) -> None:
        """Keep the server running and connected until cancelled."""
        myself, pause_s = asyncio.current_task(), FIRST_PAUSE_S
        assert myself is not None
        while True:
            try:
                async with Client(self._transport()) as client:
                    self._keep(await _list(client))
                    self._client, self.trouble = client, ""
                    self._is_lost.clear()
                    self._is_up.set()
                    self.was_tried.set()
                    logger.info("MCP server %s is up", self.name)
                    await self._is_lost.wait()
                    pause_s = FIRST_PAUSE_S
            except asyncio.CancelledError:
                if myself.cancelling():
                    raise
                self._has_gone("the connection was cut")  # the library cancels who holds a connection that ends
            except Exception as error:  # noqa: BLE001 - whatever the library, or the server's answer, comes to
                self._has_gone(_reason(error))
            finally:
                for call in self._calls:
                    call.cancel()
                self.was_tried.set()
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    def tools(self) -> list[Listed]:
        """The tools that it offers, or offered when it was last seen."""
        try:
            return _LISTING.validate_json(self._known.read_bytes())
        except (OSError, ValueError):
            return []

    async def call(
        self, tool: str, arguments: dict[str, Any], interrupted: asyncio.Event | None = None
    ) -> CallToolResult:
        """What a call gives.

        Args:
            interrupted: Set to wait for it no longer.

        Raises:
            UnavailableError: If the server cannot be reached, ends in the middle, or takes too long.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_FOR_SERVER_S):
                await self._is_up.wait()
        client = self._client
        if client is None:
            raise UnavailableError(f"The MCP server `{self.name}` is down: {self.trouble}. Nothing was done.")
        call = asyncio.create_task(client.call_tool(tool, arguments), name=f"mcp {self.name} {tool}")
        self._calls.add(call)
        within_s = self.config.timeout / 1000
        stop = asyncio.create_task((interrupted or asyncio.Event()).wait(), name=f"mcp {self.name} interrupted")
        try:
            await asyncio.wait([call, stop], timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            has_ended = call.done()
            self._calls.discard(call)
            call.cancel()
            stop.cancel()
        if not has_ended and stop.done() and not stop.cancelled():
            raise UnavailableError(
                f"The call of `{tool}` was interrupted; it is unknown whether it took effect. Look before you call it "
                "again."
            )
        if not has_ended:
            raise UnavailableError(
                f"`{tool}` of the MCP server `{self.name}` took longer than {within_s:g} s; it is unknown whether it "
                "took effect. Look before you call it again."
            )
        if call.cancelled():
            raise UnavailableError(self._was_cut(tool, "the connection was cut"))
        error = call.exception()
        if isinstance(error, MCPError) and "closed" not in str(error).lower():
            raise UnavailableError(f"The MCP server `{self.name}` says: {str(error)[:2000]}")
        if error is not None:
            if client is self._client:
                self._has_gone(_reason(error))
            raise UnavailableError(self._was_cut(tool, _reason(error)))
        return call.result()

    def _was_cut(self, tool: str, reason: str) -> str:
        return (
            f"The MCP server `{self.name}` was lost during `{tool}`: {reason}. It is unknown whether it took effect; "
            "the server is being started again. Look before you call it again."
        )

    def _has_gone(self, reason: str) -> None:
        self.trouble, self._client = reason, None
        self._is_up.clear()
        self._is_lost.set()
        logger.warning("MCP server %s: %s", self.name, reason)

    @contextlib.asynccontextmanager
    async def _transport(self) -> AsyncIterator[Any]:
        if self.config.type != "stdio":
            timeout = httpx2.Timeout(30, read=self.config.timeout / 1000)
            async with (
                httpx2.AsyncClient(headers=self.config.headers, timeout=timeout) as http,
                streamable_http_client(self.config.url, http_client=http) as streams,
            ):
                yield streams
            return
        run = {RUN_VARIABLE: os.environ[RUN_VARIABLE]} if RUN_VARIABLE in os.environ else {}
        wrapped = ["-I", "-S", "-c", _DIES_WITH_ROLE, str(os.getpid()), self.config.command, *self.config.args]
        parameters = StdioServerParameters(
            command=sys.executable, args=wrapped, env={**self.config.env, **run}, cwd=self._folder
        )
        async with stdio_client(parameters, errlog=sys.__stderr__ or sys.stderr) as streams:
            yield streams

    def _keep(self, listed: list[Listed]) -> None:
        self._known.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._known, _LISTING.dump_json(listed, by_alias=True, exclude_none=True))


@contextlib.asynccontextmanager
async def open_mcp(servers: Mapping[str, McpServer], *, folder: Path, known: Path) -> AsyncIterator[list[Tool]]:
    """The tools of these servers, which run for the length of the block.

    Args:
        folder: Where they run.
        known: Folder for the lists of their tools.
    """
    running = [Server(name, config, folder=folder, known=known / f"{name}.json") for name, config in servers.items()]
    tasks = [asyncio.create_task(server.run(), name=f"mcp {server.name}") for server in running]
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_WITHIN_S):
                await asyncio.gather(*(server.was_tried.wait() for server in running))
        tools: dict[str, Tool] = {}
        for server in running:
            listed = server.tools()
            if not listed:
                logger.warning("MCP server %s offers no tools: %s", server.name, server.trouble or "it lists none")
            for one in listed:
                tool = tool_of(server, one)
                if len(tool.name) > _LONGEST_NAME or tool.name in tools:
                    logger.warning("MCP server %s: the tool %r cannot be offered by that name", server.name, one.name)
                    continue
                tools[tool.name] = tool
        yield [tools[name] for name in sorted(tools)]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def tool_of(server: Server, listed: Listed) -> Tool:
    """A tool of a server as the session knows tools: `mcp__server__tool`, with the server's own schema."""
    hints = listed.annotations
    only_reads = hints is not None and hints.read_only_hint is True
    may_repeat = only_reads or (hints is not None and hints.idempotent_hint is True)

    async def run(arguments: RootModel[dict[str, Any]], call: ToolCall) -> ToolOutcome:
        try:
            result = await server.call(listed.name, arguments.root, call.interrupted)
        except UnavailableError as error:
            return ToolOutcome(prompts.quoted(str(error)), is_error=True)
        return ToolOutcome(text_of(result), is_error=bool(result.is_error))

    return Tool(
        f"mcp__{server.name}__{re.sub(r'[^A-Za-z0-9_-]', '_', listed.name)}",
        (listed.description or listed.title or "")[:_LONGEST_DESCRIPTION],
        _input(listed.input_schema),
        run,
        repeat=Repeat.SAFE if may_repeat else Repeat.UNSAFE,
        changes=not only_reads,
        patience_s=lambda _: WAIT_FOR_SERVER_S + server.config.timeout / 1000,
        describe=lambda a: json.dumps(a.root, ensure_ascii=False)[:80],
    )


def text_of(result: CallToolResult) -> str:
    """A result as text for the model; of what is no text it says that it was left out."""
    parts: list[str] = []
    for block in result.content:
        match block:
            case TextContent():
                parts.append(block.text)
            case ImageContent() | AudioContent():
                parts.append(f"[{block.mime_type} of {len(block.data) * 3 // 4:,} bytes: left out]")
            case ResourceLink():
                parts.append(f"[resource {block.uri}]")
            case EmbeddedResource() if isinstance(block.resource, TextResourceContents):
                parts.append(block.resource.text)
            case _:
                parts.append(f"[{block.type}: left out]")
    if result.structured_content is not None and not any(isinstance(block, TextContent) for block in result.content):
        parts.append(json.dumps(result.structured_content, ensure_ascii=False))
    return prompts.quoted("\n".join(parts)) or "(nothing)"


def _input(schema: Mapping[str, Any]) -> type[RootModel[dict[str, Any]]]:
    """A model that shows the server's schema and takes any object: the server checks it."""
    shown = {"type": "object", **schema}

    class Input(RootModel[dict[str, Any]]):
        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return dict(shown)

    return Input


async def _list(client: Client) -> list[Listed]:
    """All tools, in order of name."""
    found: list[Listed] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return sorted(found, key=lambda tool: tool.name)


def _reason(error: BaseException) -> str:
    """The first thing that went wrong, in a line, without what a group of errors is wrapped in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split())[:300] or type(error).__name__
