"""Open a connection to NATS that survives what happens to servers, for the length of a block.

The options are measured: the defaults give up after 60 tries, notice a dead peer after four minutes and
hang for two minutes when nothing answers at start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoServersError, SecureConnWantedError

from agenthub.bus.connection import Bus
from agenthub.bus.identity import Identity
from agenthub.bus.logins import login_of, tls_of
from agenthub.errors import ConfigError, HubUnreachableError
from agenthub.transport import Transport

logger = logging.getLogger(__name__)

_VIOLATION = re.compile(r'permissions violation for publish to "?([^"\s]+)', re.IGNORECASE)
FLUSHED_WITHIN_S = 5.0
"""How long who publishes waits for a server that does not read; what is published is sent when it does. Without a limit
nats-py lets it wait for ever when the connection is lost meanwhile."""
_REFUSALS = ("authorization violation", "authentication", "user credentials expired")


@contextlib.asynccontextmanager
async def connect(
    to: Transport | str, *, name: str, identity: Identity | None = None, connect_timeout_s: float = 5.0,
    patience_s: float = 60.0,
) -> AsyncIterator[Bus]:  # fmt: skip
    """A connection to a server, or to a cluster, for the length of the block.

    Args:
        to: How to reach it; an address alone is one of servers that know our keys, or nobody.
        name: What the server calls the connection.
        identity: Who signs; and as whom to come in, unless the transport says that. None: without a key, as a stranger
            where keys are asked for.

    Raises:
        ConfigError: If a file of the transport cannot be read.
        HubUnreachableError: If none answers within `connect_timeout_s`, cannot be believed, or does not let us in.
    """
    transport = Transport(to) if isinstance(to, str) else to
    options = login_of(transport, identity) | tls_of(transport)
    bus = Bus(transport.url, patience_s=patience_s, identity=identity)
    bus.nc.must_encrypt = transport.wants_tls
    bus.nc.renewed = partial(_renewed, transport)
    trouble: list[Exception] = []
    was_let_in = False

    async def failed(error: Exception) -> None:
        if violation := _VIOLATION.search(str(error)):
            bus.violated(violation[1])
            return
        trouble.append(error)
        del trouble[:-_KEPT]
        if not was_let_in and _is_final(trouble, len(transport.servers)):
            patience.reschedule(asyncio.get_running_loop().time())
        logger.log(logging.DEBUG if isinstance(error, (OSError, NatsError)) else logging.WARNING, "nats: %r", error)

    async def lost() -> None:
        if not bus.nc.is_closed:
            logger.info("lost %s, looking for a server", transport.url)
            bus.lost()

    try:
        try:
            async with asyncio.timeout(connect_timeout_s) as patience:
                await bus.nc.connect(
                    servers=transport.servers,
                    name=name,
                    error_cb=failed,
                    disconnected_cb=lost,
                    reconnected_cb=bus.reconnected,
                    connect_timeout=1,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.1,
                    ping_interval=5,
                    max_outstanding_pings=2,
                    pending_size=8 * 1024 * 1024,
                    flush_timeout=FLUSHED_WITHIN_S,
                    drain_timeout=2,
                    **options,
                )
        except (TimeoutError, NoServersError, OSError, NatsError) as error:
            raise HubUnreachableError(_sentence(transport, identity, [*trouble, error])) from error
        was_let_in = True  # from now on a server that is not believed is waited for, as one that is away
        yield bus
    finally:  # also if we are cancelled while we connect: what is half there would try again for ever
        await bus.flush()
        await _close(bus.nc)


def _renewed(transport: Transport) -> dict[str, Any]:
    """Certificates as they are on disk by now; nothing, while they do not fit together: half of them is written."""
    try:
        return tls_of(transport)
    except ConfigError as error:
        logger.warning("certificates are not taken as they are by now: %s", error)
        return {}


_CLOSED_WITHIN_S = 5.0
_KEPT = 8
"""So many errors are remembered while no server lets us in."""


def _is_final(errors: list[Exception], servers: int) -> bool:
    """True if trying again at once cannot help: every server has a certificate that is not believed, or none."""
    last = errors[-servers:]
    kinds = ssl.SSLCertVerificationError | SecureConnWantedError
    return len(last) == servers and all(isinstance(error, kinds) for error in last)


def _sentence(transport: Transport, identity: Identity | None, errors: list[Exception]) -> str:
    """Why nobody lets us in, and what to do."""
    url, newest = transport.url, list(reversed(errors))
    for error in newest:
        if isinstance(error, ssl.SSLCertVerificationError):
            return _disbelief(transport, error)
        if isinstance(error, SecureConnWantedError):
            asked = next((field for field in ("ca", "cert", "tls_first") if getattr(transport, field)), "url")
            return (
                f"The NATS server at {url} offers no TLS, which {transport.said(asked)} asks for; nothing was sent. "
                "Have the server use TLS, or take that out."
            )
    if any(refusal in str(error).lower() for error in newest for refusal in _REFUSALS):
        return f"The NATS server at {url} does not admit {_who(transport, identity)}"
    for error in newest:  # last: a server that refuses somebody may cut off the TLS as well
        if isinstance(error, ssl.SSLError):
            what = (error.reason or str(error)).replace("_", " ").lower()
            wanted = "certificate" in what and not transport.cert
            remedy = "It asks for a certificate of ours: name `cert` and `key`." if wanted else "See the server's log."
            return f"There is no TLS with the NATS server at {url}: {what}. {remedy}"
    return f"No NATS server answers at {url}. Start one with `agenthub up -d`."


def _disbelief(transport: Transport, error: ssl.SSLCertVerificationError) -> str:
    by = f"{transport.ca} ({transport.said('ca')})" if transport.ca else "the authorities that this machine trusts"
    return (
        f"The NATS server at {transport.url} is not believed by {by}: {error.verify_message or error}. Name the file "
        "of the authority that signed the server's certificate as `nats.ca` or as `ca` of the context, and a host by "
        "which the certificate calls it."
    )


def _who(transport: Transport, identity: Identity | None) -> str:
    for field, found in (
        ("user", transport.user), ("creds", transport.creds), ("nkey", transport.nkey), ("token", transport.token),
    ):  # fmt: skip
        if found:
            shown = "the token" if field == "token" else f"`{found}`"
            return f"{shown} ({transport.said(field)}). Correct it there, or have the server admit it."
    who = f"the key of `{identity.name}`" if identity else "anybody without a key"
    return f"{who}. `agenthub provision --print-auth` shows what it must be told."


async def _close(nc: Client) -> None:
    with contextlib.suppress(NatsError, TimeoutError, OSError):
        async with asyncio.timeout(_CLOSED_WITHIN_S):
            await nc.close()
