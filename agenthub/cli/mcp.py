"""The command that is the hub's door for MCP clients."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_FAILED, EXIT_OK
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import say
from agenthub.cradle import RUN_VARIABLE
from agenthub.errors import HubError, RefusedError
from agenthub.mcp_http import TOKEN_FILE, Address, http_app, token


async def mcp(
    *,
    http: str | None = None,
    as_: Annotated[str | None, Parameter(name="--as")] = None,
    read_only: Annotated[bool, Parameter(negative="")] = False,
    options: Options = DEFAULT,
) -> int:
    """Offer the hub as MCP tools.

    Args:
        http: Listen on this port of this machine, `:8765`, instead of speaking on stdin and stdout.
        as_: Send under this name of a program instead of the operator's. Not a role's.
        read_only: Only the tools that change nothing.
    """
    from agenthub.mcp_server import Door, check_sender, make_server
    from agenthub.organization import load_organization

    if os.environ.get(RUN_VARIABLE):
        raise RefusedError("This process belongs to a role of a hub, and these tools speak for the operator.")
    settings = options.settings()
    organization = load_organization(settings)
    server = make_server(Door(settings, check_sender(organization, as_), read_only))
    if http is None:
        if sys.stdin.isatty():
            say("speaking MCP on stdin and stdout; add it to Claude Code: claude mcp add agenthub -- agenthub mcp")
        await server.run_stdio_async()
        return EXIT_OK
    import uvicorn

    address = Address.read(http)
    said = settings.mcp_token.get_secret_value() if settings.mcp_token else ""
    app = http_app(server, address, token(settings.state, said))
    url = f"http://{address.host if ':' not in address.host else f'[{address.host}]'}:{address.port}/mcp"
    where = settings.origins.get("mcp_token") or str(settings.state / TOKEN_FILE)
    shown = "$AGENTHUB_MCP_TOKEN" if said else f"$(cat {settings.state / TOKEN_FILE})"
    say(f"MCP on {url}, for who has the token in {where}. Add it to Claude Code:")
    say(f'  claude mcp add --transport http agenthub {url} --header "Authorization: Bearer {shown}"')
    running = uvicorn.Server(uvicorn.Config(app, host=address.host, port=address.port, log_level="warning"))
    try:
        await running.serve()
    except SystemExit as error:  # uvicorn ends the process when it cannot listen
        raise HubError(f"{url} cannot be listened on; another program may have the port.") from error
    return EXIT_OK if running.started else EXIT_FAILED
