"""The embedded nats-servers of a hub: started, kept running, healed after a full disk, stopped.

A server whose write has failed answers no publication any more, also when there is room again, until it is
started anew. So each is asked for its health, and one that does not store is started again once it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from agenthub.bus.access import Access
from agenthub.bus.cluster import NatsCluster, check_data
from agenthub.bus.monitor import is_healthy, store_error
from agenthub.bus.server import NatsServer
from agenthub.errors import HubError
from agenthub.rhythm import next_moment

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 2.5
ROOM_BYTES = 64 * 1024**2
"""So much must be free before a server that found the disk full is started again."""
LITTLE_BYTES = 512 * 1024**2
"""Less than this and a person is told, before anything stops."""
_NOTHING_BYTES = 4 * 1024**2
_HEALTHY_WITHIN_S = 30.0
_START_PAUSES_S = (0.05, 0.5, 2.0, 5.0)
_LONGEST_PAUSE_S = 60.0


class Servers:
    """One server, or a cluster of several, below one folder."""

    def __init__(
        self, folder: Path, count: int, *, access: Access | None = None,
        say: Callable[[str], None], tell: Callable[[str, str], None], fail: Callable[[Exception], None],
    ) -> None:  # fmt: skip
        """
        Args:
            access: Who may come in; None: anybody on this machine.
            say: Gets one line for each thing that a person should know.
            tell: Gets kind and text of what should be an event.
            fail: Gets what keeps a server from running for good.
        """
        self._folder, self._say, self._tell, self._fail = folder, say, tell, fail
        self.nats = NatsCluster(folder, size=count, access=access) if count > 1 else NatsServer(folder, access=access)
        self._servers = self.nats.servers if isinstance(self.nats, NatsCluster) else [self.nats]
        self._is_stopping = False
        self._troubled: set[str] = set()
        self._is_short_told = self._is_full_told = False

    @property
    def can_store(self) -> bool:
        """False while the disk is full or a server does not store: a role that fails meanwhile is not to blame."""
        return not self._troubled and self._free_bytes() >= _NOTHING_BYTES

    @property
    def monitor_ports(self) -> dict[str, int]:
        """Monitoring port of each server, by its name."""
        return {server.name: server.monitor_port for server in self._servers}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """The servers for the length of the block, kept running; their addresses, separated by commas.

        Raises:
            ConfigError: If the data here was made by another number of servers.
            HubError: If one does not come up.
        """
        check_data(self._folder, len(self._servers))
        keeping: list[asyncio.Task[None]] = []
        try:
            await self.nats.start()
            keeping += [asyncio.create_task(self._keep(server), name=server.name) for server in self._servers]
            keeping += [
                asyncio.create_task(self._watch(server), name=f"watch {server.name}") for server in self._servers
            ]
            yield self.nats.url
        finally:
            self._is_stopping = True
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            await self.nats.stop()

    async def _keep(self, server: NatsServer) -> None:
        """Start the server again whenever it has ended."""
        while True:
            status = await server.wait()
            if self._is_stopping:
                return
            is_healed = server.name in self._troubled  # `_watch` has ended it, and says when it is well
            if not is_healed:
                self._say(f"{server.name} ended with {status}; starting it again")
            if not await self._started_again(server):
                self._fail(HubError(f"{server.name} does not come up again; see {server.log}"))
                return
            if not is_healed:
                self._troubled.discard(server.name)

    async def _started_again(self, server: NatsServer) -> bool:
        for pause_s in _START_PAUSES_S:
            await asyncio.sleep(pause_s)
            if self._free_bytes() < ROOM_BYTES:
                self._troubled.add(server.name)
                await self._wait_for_room()
            try:
                await server.start()
            except HubError as error:
                self._say(f"{server.name} does not start: {error}")
            else:
                return True
        return False

    async def _watch(self, server: NatsServer) -> None:
        """Have the server started again when it has ceased to store, as soon as it can store again."""
        loop = asyncio.get_running_loop()
        pause_s, healed_s = 0.0, float("-inf")
        while True:
            await next_moment(CHECK_EVERY_S)
            self._look_at_disk()
            error = await store_error(server.monitor_port)
            if error is None:
                continue
            logger.error("%s does not store any more: %s", server.name, error)
            self._troubled.add(server.name)
            if self._free_bytes() < ROOM_BYTES:
                await self._wait_for_room()
            else:  # a broken disk, or there is room again already
                self._report("not_storing", f"{server.name} does not store any more: {error}; starting it again")
            # A disk with room on which writes fail all the same is broken: not again and again at once.
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s or 1.0) if loop.time() - healed_s < 60 else 0.0
            await asyncio.sleep(pause_s)
            await server.end()  # it is started again by who keeps it running
            is_healthy = await self._is_healthy_again(server)
            healed_s = loop.time()
            self._troubled.discard(server.name)
            if is_healthy and not self._troubled:
                self._report("storing", "the bus stores again")

    async def _wait_for_room(self) -> None:
        """Say once that the disk is full, and return when there is room."""
        if not self._is_full_told:
            self._is_full_told = True
            self._report(
                "disk_full",
                f"the disk is full: {_mib(self._free_bytes())} free at {self._folder}, the bus does not store."
                f" Make room: from {_mib(ROOM_BYTES)} on all goes on by itself; what was acknowledged is not lost",
            )
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            if self._free_bytes() >= ROOM_BYTES:
                self._is_full_told = False
                return

    async def _is_healthy_again(self, server: NatsServer) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HEALTHY_WITHIN_S):
                while True:
                    if server.pid is not None and await is_healthy(server.monitor_port):
                        return True
                    await asyncio.sleep(0.05)
        return False

    def _look_at_disk(self) -> None:
        """Say once that there is little room, while there is still time."""
        free = self._free_bytes()
        if free < LITTLE_BYTES and not self._is_short_told:
            self._is_short_told = True
            self._report("disk_short", f"only {_mib(free)} free at {self._folder}; when it is full no role can go on")
        elif free > 2 * LITTLE_BYTES:
            self._is_short_told = False

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free

    def _report(self, kind: str, text: str) -> None:
        logger.warning("%s", text)
        self._say(text)
        self._tell(kind, text)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:,.0f} MiB"
