"""A TCP proxy between the roles and the server that knows whose connection is whose, and can spoil it.

A client of NATS says its name in its CONNECT line, and ours say which role they are; so a connection can be cut,
slowed down or made half-open for one role, without the role or the server knowing of the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_NAME = re.compile(rb'"name"\s*:\s*"agenthub ([A-Za-z0-9_. -]+)"')


@dataclass(eq=False)
class _Link:
    """One connection through the proxy."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    role: str = ""
    delay_s: float = 0.0
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    """Not set: nothing passes, and nobody is told."""

    def close(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Passes on what comes, to wherever `port` leads."""

    def __init__(self) -> None:
        self.port = 0
        """Port of the server behind; may change."""
        self.url = ""
        self._links: set[_Link] = set()
        self._blocked: set[str] = set()
        """Roles whose new connections lead nowhere either."""

    @contextlib.asynccontextmanager
    async def run(self, port: int) -> AsyncIterator[Proxy]:
        """Listen on a free port for the length of the block."""
        self.port = port
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for link in tuple(self._links):
                link.close()

    def cut(self, role: str) -> None:
        """End the role's connections at once."""
        for link in self._of(role):
            link.close()

    async def slow(self, role: str, *, delay_s: float, seconds: float) -> None:
        """Have everything take `delay_s` longer for a while."""
        links = self._of(role)
        for link in links:
            link.delay_s = delay_s
        await asyncio.sleep(seconds)
        for link in links:
            link.delay_s = 0.0

    async def half_open(self, role: str, *, seconds: float) -> None:
        """Let nothing pass for a while, in either direction; then what waited arrives late, as TCP has it."""
        self._blocked.add(role)
        for link in self._of(role):
            link.is_open.clear()
        await asyncio.sleep(seconds)
        self._blocked.discard(role)
        for link in self._of(role):
            link.is_open.set()

    def heal(self) -> None:
        """Let everything pass."""
        self._blocked.clear()
        for link in self._links:
            link.delay_s = 0.0
            link.is_open.set()

    def _of(self, role: str) -> list[_Link]:
        return [link for link in self._links if link.role == role]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link((writer, far_writer))
        link.is_open.set()
        self._links.add(link)
        try:
            passing = [
                asyncio.ensure_future(self._pass(link, reader, far_writer, is_client=True)),
                asyncio.ensure_future(self._pass(link, far_reader, writer, is_client=False)),
            ]
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            for task in passing:
                task.cancel()
            await asyncio.wait(passing)
        finally:
            link.close()
            self._links.discard(link)

    async def _pass(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_client: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if is_client and not link.role and (found := _NAME.search(data)):
                    link.role = found[1].decode()
                    if link.role in self._blocked:
                        link.is_open.clear()
                if link.delay_s:
                    await asyncio.sleep(link.delay_s)
                await link.is_open.wait()
                writer.write(data)
                await writer.drain()
