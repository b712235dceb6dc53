"""Several embedded nats-servers that are one cluster, on loopback: for a trial of what a real one does, and tests.

Each server has a folder of its own, `n0`, `n1` ...; on one machine they share its disk and its power, so this
survives the death of a server, not of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from agenthub.bus.access import Access
from agenthub.bus.connection import Bus
from agenthub.bus.monitor import has_quorum
from agenthub.bus.server import Membership, NatsServer
from agenthub.errors import ConfigError, HubError
from agenthub.ports import Port

QUORUM_WITHIN_S = 30.0
_PAUSE_S = 0.05


class NatsCluster:
    """A cluster of nats-servers with JetStream, their data below `folder`."""

    def __init__(self, folder: Path, *, size: int = 3, durable: bool = True, access: Access | None = None) -> None:
        self.servers = [
            NatsServer(folder / f"n{number}", durable=durable, name=f"n{number}", access=access)
            for number in range(size)
        ]
        """In the order of their numbers; one may be killed and started again by itself."""
        self._routes: list[Port] = []

    @property
    def url(self) -> str:
        """Addresses of all servers, separated by commas: what a client connects to."""
        return ",".join(server.url for server in self.servers)

    def server(self, name: str) -> NatsServer:
        """The server of that name, as NATS tells it: `n0`."""
        return self.servers[int(name.removeprefix("n"))]

    async def start(self) -> None:
        """Start all servers and return when they are one cluster with a leader.

        Raises:
            HubRunningError: If another server uses one of the folders.
            HubError: If one does not come up, or they do not find each other.
        """
        self._keep_routes()
        started = await asyncio.gather(*(server.start() for server in self.servers), return_exceptions=True)
        if failed := [error for error in started if error is not None]:
            await self.kill()
            self.release()
            raise failed[0]
        try:
            async with asyncio.timeout(QUORUM_WITHIN_S):
                while True:
                    if await has_quorum([server.monitor_port for server in self.servers]):
                        return
                    await asyncio.sleep(_PAUSE_S)  # nobody tells us when they have agreed
        except TimeoutError as error:
            raise HubError(
                f"The {len(self.servers)} nats-servers did not agree on a leader within {QUORUM_WITHIN_S:.0f} s; "
                f"see {self.servers[0].log}."
            ) from error

    async def admit(self, to: Access) -> bool:
        """Let other people in, or others do other things, from now on; see `NatsServer.admit`."""
        return any(await asyncio.gather(*(server.admit(to) for server in self.servers)))

    async def stop(self) -> None:
        """End all servers gracefully."""
        await asyncio.gather(*(server.stop() for server in self.servers))
        self.release()

    async def kill(self) -> None:
        """End all servers at once, as crashes would."""
        await asyncio.gather(*(server.kill() for server in self.servers))

    def release(self) -> None:
        """Let other servers use the folders and the ports."""
        for server in self.servers:
            server.release()
        for port in self._routes:
            port.close()
        self._routes.clear()

    def _keep_routes(self) -> None:
        """The routes must be known before the first server starts, and stay theirs until `release`."""
        if self._routes:
            return
        for server in self.servers:
            self._routes.append(Port(server.member.route_port if server.member else 0))
        numbers = tuple(port.number for port in self._routes)
        for server, number in zip(self.servers, numbers, strict=True):
            server.member = Membership(number, numbers)


@contextlib.asynccontextmanager
async def start_cluster(folder: Path, *, size: int = 3, durable: bool = True) -> AsyncIterator[NatsCluster]:
    """A running cluster of the caller's own; killed at the end, which costs no acknowledged message."""
    cluster = NatsCluster(folder, size=size, durable=durable)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.kill()
        cluster.release()


async def leader_of(bus: Bus, stream: str) -> str:
    """Name of the server that leads a stream; empty while there is none, or the server is not in a cluster."""
    info = await bus.patiently(lambda: bus.js.stream_info(stream), stream)
    return (info.cluster.leader if info.cluster else None) or ""


def servers_of_data(folder: Path) -> int:
    """How many servers made the data below `folder`; 0 if there is none."""
    if (folder / "jetstream").exists():
        return 1
    return sum(1 for path in folder.glob("n[0-9]*") if (path / "jetstream").exists())


def check_data(folder: Path, size: int) -> None:
    """Return if a hub of `size` servers may use the data below `folder`.

    Raises:
        ConfigError: If it was made by another number of servers, which would not see it.
    """
    found = servers_of_data(folder)
    if found in (0, size):
        return
    made = f"{found} servers" if found > 1 else "one server"
    how = f"`--cluster {found}` (or `nats.servers = {found}`)" if found > 1 else "`agenthub up` without `--cluster`"
    raise ConfigError(
        f"The data in {folder} was made by {made}; {f'{size} servers' if size > 1 else 'one server'} would not see it. "
        f"Go on with {how}, or move that folder away to begin with empty inboxes."
    )
