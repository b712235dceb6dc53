"""Have servers that run elsewhere read their permissions again, by the broker's own administration."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from agenthub.bus.connection import Bus
from agenthub.errors import HubError

_PING = "$SYS.REQ.SERVER.PING"
_QUIET_S = 0.5
"""Servers answer within milliseconds; nobody says how many there are."""
_RELOADED_WITHIN_S = 5.0


async def reload_servers(bus: Bus) -> list[str]:
    """Names of the servers that have read their configuration again; connections stay.

    Args:
        bus: A connection as `servers`, the one identity that the broker's administration hears.

    Raises:
        HubError: If one does not take what stands in its configuration; it goes on with what it had.
    """
    found: dict[str, str] = {}
    async with bus.listen(reply := bus.nc.new_inbox()) as heard:
        await bus.nc.publish(_PING, reply=reply)
        try:
            while True:
                async with asyncio.timeout(_QUIET_S):
                    server = json.loads((await anext(heard)).data)["server"]
                    found[server["id"]] = server["name"]
        except TimeoutError:
            pass
    for server_id, name in found.items():
        answer = await bus.nc.request(f"$SYS.REQ.SERVER.{server_id}.RELOAD", b"{}", timeout=_RELOADED_WITHIN_S)
        said: dict[str, Any] = json.loads(answer.data)
        if error := said.get("error"):
            raise HubError(f"{name} does not take its new permissions: {error.get('description', error)}.")
    return sorted(found.values())
