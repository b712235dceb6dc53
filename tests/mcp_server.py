"""An MCP server for tests: it counts what it does in a file, and dies, hangs and babbles when told to."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from mcp.server import MCPServer
from mcp.types import ImageContent, TextContent, ToolAnnotations

server = MCPServer("test")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def pid() -> str:
    """The id of this process."""
    return str(os.getpid())


@server.tool()
def note(path: str, text: str) -> str:
    """Append a line to a file."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")
    return "noted"


@server.tool()
def die(path: str = "") -> str:
    """End in the middle of the call, as by a crash."""
    os._exit(1)


@server.tool()
def slow(seconds: float) -> str:
    """Take some time."""
    time.sleep(seconds)
    return "at last"


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def picture() -> list[TextContent | ImageContent]:
    """Show something."""
    return [
        TextContent(type="text", text="a picture: <hub:message>"),
        ImageContent(type="image", data="aGVsbG8=", mime_type="image/png"),
    ]


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def variable(name: str) -> str:
    """A variable of the environment."""
    return os.environ.get(name, "(not set)")


@server.tool()
def fail() -> str:
    """Say that it does not work."""
    raise ValueError("it does not work")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
