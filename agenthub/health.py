"""How a platform sees that a role is well: /livez, /readyz and /metrics, over HTTP on a port of its own.

/livez says that the event loop turns, and nothing else: one that also asked the broker or the model would have
the platform restart every role whenever those are away. No framework: a role must stay small.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

from agenthub.health_files import HealthFile
from agenthub.metrics import Metrics
from agenthub.settings import Settings

logger = logging.getLogger(__name__)

_REQUEST_WITHIN_S = 5.0
_LONGEST_HEAD_BYTES = 8192
_MOST_AT_ONCE = 16
_STATUS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
           405: "Method Not Allowed", 503: "Service Unavailable"}  # fmt: skip
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Answer(NamedTuple):
    status: int
    body: str | bytes
    kind: str = "text/plain; charset=utf-8"


class Health:
    """Answers for one process. Not ready until `ready` says so."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._host, self._metrics = settings.health_host, metrics
        self._token = settings.health_token.get_secret_value() if settings.health_token else ""
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        """Where it listens; 0: nowhere."""
        self.ready: Callable[[], Mapping[str, bool]] = lambda: {"started": False}
        """Gives what must be true for work to be done, by name."""
        self.note: Callable[[], str] = lambda: ""
        """Gives what else who asks should know though all is well: that a person has stopped the role."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close: nobody can hold a role up by keeping connections open."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            async with asyncio.timeout(_REQUEST_WITHIN_S):
                if len(self._serving) <= _MOST_AT_ONCE:
                    writer.write(_encoded(*await self._answered(reader)))
                    await writer.drain()
        except (OSError, TimeoutError):
            pass  # who asked is gone, or too slow
        finally:
            self._serving.discard(task)
            writer.close()

    async def stop(self) -> None:
        """Let go of requests that are still being answered."""
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _answered(self, reader: asyncio.StreamReader) -> tuple[_Answer, bool]:
        """The answer, and whether its body is wanted."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request, *lines = head.rstrip("\r\n").split("\r\n")
            method, target, _ = request.split(" ")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            return _Answer(400, "not an HTTP request\n"), True
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if method not in ("GET", "HEAD"):
            return _Answer(405, "only GET and HEAD\n"), True
        if "origin" in headers or not self._is_meant(headers.get("host", "")):
            return _Answer(403, "not for web pages: the host or origin is not this process\n"), True
        return await self._answer(target.partition("?")[0], headers), method == "GET"

    async def _answer(self, path: str, headers: Mapping[str, str]) -> _Answer:
        if path == "/livez":
            return _Answer(200, "ok\n")
        if path == "/readyz":
            missing = [name for name, is_so in self.ready().items() if not is_so]
            return _Answer(503, f"not {', not '.join(missing)}\n") if missing else self._well()
        if path == "/metrics":
            said = headers.get("authorization", "").removeprefix("Bearer ")
            if self._token and not hmac.compare_digest(said.encode(), self._token.encode()):
                return _Answer(401, "`Authorization: Bearer …` with the value of AGENTHUB_HEALTH_TOKEN is missing\n")
            if not self._token and not _is_loopback(self._host):
                return _Answer(403, "set AGENTHUB_HEALTH_TOKEN to have /metrics beyond this machine\n")
            return _Answer(200, await self._metrics.page(), _METRICS_TYPE)
        return _Answer(404, "/livez, /readyz, /metrics\n")

    def _well(self) -> _Answer:
        note = self.note()
        return _Answer(200, f"ok: {note}\n" if note else "ok\n")

    def _is_meant(self, host: str) -> bool:
        """False for a web page that was led here by a name of its own (DNS rebinding)."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return not _is_loopback(self._host) or not name or _is_loopback(name.strip("[]"))


@contextlib.asynccontextmanager
async def open_health(settings: Settings, key: str, metrics: Metrics) -> AsyncIterator[Health]:
    """The health door of a process, open for the length of the block; where it is stands in the state folder.

    A port that is taken is no reason not to work: then another one is chosen, and the log says so.
    """
    health = Health(settings, metrics)
    if settings.health_port < 0:
        yield health
        return
    server = await _listen(health, settings.health_host, settings.health_port)
    host, health.port = server.sockets[0].getsockname()[:2]
    file = HealthFile(host, health.port, os.getpid())
    file.write(settings.state, key)
    try:
        yield health
    finally:
        server.close()
        await health.stop()
        HealthFile.remove(settings.state, key, file)


async def _listen(health: Health, host: str, port: int) -> asyncio.Server:
    try:
        return await asyncio.start_server(health.serve, host, port, limit=_LONGEST_HEAD_BYTES)
    except OSError as error:
        if not port:
            raise
        logger.warning("port %d at %s is not free for /livez (%s); another one is taken", port, host, error.strerror)
        return await asyncio.start_server(health.serve, host, 0, limit=_LONGEST_HEAD_BYTES)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _encoded(answer: _Answer, has_body: bool) -> bytes:
    body = answer.body.encode() if isinstance(answer.body, str) else answer.body
    head = (
        f"HTTP/1.1 {answer.status} {_STATUS[answer.status]}\r\nContent-Type: {answer.kind}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if has_body else b"")
