"""Open a connection to NATS that survives what happens to servers, for the length of a block.

The options are measured: the defaults give up after 60 tries, notice a dead peer after four minutes and
hang for two minutes when nothing answers at start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoServersError

from agenthub.bus.connection import Bus
from agenthub.bus.identity import Identity
from agenthub.errors import HubUnreachableError

logger = logging.getLogger(__name__)

_VIOLATION = re.compile(r'permissions violation for publish to "?([^"\s]+)', re.IGNORECASE)


@contextlib.asynccontextmanager
async def connect(
    url: str, *, name: str, identity: Identity | None = None, connect_timeout_s: float = 5.0, patience_s: float = 60.0
) -> AsyncIterator[Bus]:
    """A connection to the servers of `url` (several separated by commas) for the length of the block.

    Args:
        name: What the server calls the connection.
        identity: As whom to come in. None: without a key, as a stranger where keys are asked for.

    Raises:
        HubUnreachableError: If none answers within `connect_timeout_s`, or does not let this identity in.
    """
    bus = Bus(url, patience_s=patience_s, identity=identity)
    refused = ""

    async def failed(error: Exception) -> None:
        nonlocal refused
        if violation := _VIOLATION.search(str(error)):
            bus.violated(violation[1])
            return
        if "authorization violation" in str(error).lower():
            refused = str(error)
        logger.log(logging.DEBUG if isinstance(error, (OSError, NatsError)) else logging.WARNING, "nats: %r", error)

    async def lost() -> None:
        if not bus.nc.is_closed:
            logger.info("lost %s, looking for a server", url)
            bus.lost()

    try:
        async with asyncio.timeout(connect_timeout_s):
            await bus.nc.connect(
                servers=[one.strip() for one in url.split(",")],
                name=name,
                nkeys_seed_str=identity.seed if identity else None,
                inbox_prefix=identity.inbox_prefix if identity else "_INBOX",
                error_cb=failed,
                disconnected_cb=lost,
                reconnected_cb=bus.reconnected,
                connect_timeout=1,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.1,  # type: ignore[arg-type]  # passed to asyncio.sleep
                ping_interval=5,
                max_outstanding_pings=2,
                pending_size=8 * 1024 * 1024,
                drain_timeout=2,
            )
    except (TimeoutError, NoServersError, OSError, NatsError) as error:
        await _close(bus.nc)
        if refused or "authorization violation" in str(error).lower():
            who = f"the key of `{identity.name}`" if identity else "anybody without a key"
            raise HubUnreachableError(
                f"The NATS server at {url} does not admit {who}. `agenthub provision --print-auth` shows what it must "
                "be told."
            ) from error
        raise HubUnreachableError(f"No NATS server answers at {url}. Start one with `agenthub up -d`.") from error
    try:
        yield bus
    finally:
        await bus.flush()
        await _close(bus.nc)


async def _close(nc: Client) -> None:
    with contextlib.suppress(NatsError, TimeoutError, OSError):
        await nc.close()
