"""Our tools as an MCP server inside this process, as Claude Code calls them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from agenthub.sessions.claude_code.place import SERVER

_CALL_ID = "claudecode/toolUseId"
"""Where Claude Code says which call of the model it makes."""
_ENDS_TURN = {"claude/endTurn": True}
"""Has Claude Code end the turn behind a result, without asking the model for more words."""

Called = Callable[[str, str, dict[str, Any]], Awaitable[tuple[str, bool, bool]]]
"""Id of the call, tool and input to what it gives, whether that is an error, and whether it ends the turn."""


def mcp_server(definitions: Sequence[dict[str, Any]], called: Called) -> dict[str, Any]:
    """The server, as an option of the SDK."""
    from mcp import types  # imported late: it comes with the extra
    from mcp.server import Server

    offered = [
        types.Tool(name=tool["name"], description=tool["description"], input_schema=tool["input_schema"])
        for tool in definitions
    ]

    async def list_tools(_context: object, _request: object) -> Any:
        return types.ListToolsResult(tools=offered)

    async def call_tool(_context: object, request: Any) -> Any:
        call_id = str((request.meta or {}).get(_CALL_ID, ""))
        text, is_error, ends_turn = await called(call_id, request.name, dict(request.arguments or {}))
        result = types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=is_error)
        if ends_turn:
            result.meta = dict(_ENDS_TURN)
        return result

    server = Server(SERVER, on_list_tools=list_tools, on_call_tool=call_tool)
    return {"type": "sdk", "name": SERVER, "instance": server}
