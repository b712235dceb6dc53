"""The way from Claude Code to its model: a socket in its walls, and behind it this process, which has the key.

So Claude Code needs no network, and the key is nowhere in its processes, where its own shell could read it. What
comes over the socket is passed on to one endpoint, if it asks a model and the gate lets it; nothing else is. What each
answer took is settled there and kept here, since the shell may ask as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import uvicorn

from agenthub.messages import Usage
from agenthub.sessions.claude_code.gate import NO_TURN, Gate
from agenthub.sessions.claude_code.tally import Answered, Tally

logger = logging.getLogger(__name__)

_ANTHROPIC = "https://api.anthropic.com"
_MAX_BODY_BYTES = 40 * 1024**2
"""More than the provider takes."""
_MOST_AT_ONCE = 16
"""Who may use the socket must not fill the memory of this process."""
_LONGEST_PATH = 100
"""Of a socket, in bytes; the kernel takes 107."""
_OPEN_WITHIN_S = 10.0
_MESSAGES = "/v1/messages"
_BYTES_PER_TOKEN = 3
"""Few, so that the size of a question is rather taken for too large."""
_REFUSED = 403, "permission_error"
"""What Claude Code and the SDKs do not try again."""
_ASKED = {_MESSAGES: "POST", "/v1/messages/count_tokens": "POST", "/v1/models": "GET"}
_OURS = {b"host", b"content-length", b"x-api-key", b"authorization", b"accept-encoding"}
_OF_ONE_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"expect"}

_Event = dict[str, Any]
_Send = Callable[[Any], Awaitable[None]]


class Relay:
    """Passes requests on to the model's endpoint, with the key, from `open` to `close`."""

    def __init__(
        self, path: Path, *, base_url: str, api_key: str, gate: Gate, price: Callable[[Answered], Usage]
    ) -> None:
        """
        Args:
            path: Where the socket is to be; what is there already is taken for one that was left.
            base_url: The endpoint. Empty: Anthropic's.
            gate: Asked before the model is.
            price: What an answer took, with its price.
        """
        self.path, self._api_key, self._gate, self._price = path, api_key, gate, price
        self._upstream = urlsplit((base_url or _ANTHROPIC).rstrip("/"))
        self._answered: list[Answered] = []
        self._closing = asyncio.Event()
        self._folder = -1
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """What Claude Code is to take for its endpoint: in clear, since it comes over the socket."""
        return self._upstream._replace(scheme="http").geturl()

    def take_answered(self) -> list[Answered]:
        """The answers that came since this was called last, oldest first; also those that broke off."""
        taken, self._answered = self._answered, []
        return taken

    def reachable_path(self) -> str:
        """A path of the open socket that is short enough to connect to, for processes outside of the walls."""
        return self._short(os.getpid())

    async def open(self, *, uid: int | None) -> None:
        """Listen.

        Args:
            uid: The user who may connect; None: this process's own.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(self._short("self"))
            self.path.chmod(0o600)
            if uid is not None:
                os.chown(self.path, uid, uid)
            verify = ssl.create_default_context() if self._upstream.scheme == "https" else False
            client = httpx2.AsyncClient(verify=verify, timeout=httpx2.Timeout(None, connect=10.0))
            server = _Server(self._application(client), self._closing)
            self._serving = asyncio.create_task(_serve(server, listening, client), name="relay to the model")
            async with asyncio.timeout(_OPEN_WITHIN_S):
                await server.open.wait()
        except BaseException:
            listening.close()
            raise

    async def close(self) -> None:
        """Let go of all who are connected."""
        self._closing.set()
        if self._serving is not None:
            await self._serving
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        self.path.unlink(missing_ok=True)

    def _application(self, client: httpx2.AsyncClient) -> Any:
        upstream = self._upstream

        async def application(scope: _Event, receive: Callable[[], Awaitable[Any]], send: _Send) -> None:
            if scope["type"] != "http":
                return
            path = scope["path"].removeprefix(upstream.path)
            if _ASKED.get(path) != scope["method"] or not scope["path"].startswith(upstream.path):
                await _refuse(send, 404, "not_found_error", f"The host passes no {scope['method']} {path[:100]} on.")
                return
            body = await _body(receive)
            if body is None:
                await _refuse(send, 413, "request_too_large", f"More than {_MAX_BODY_BYTES} bytes.")
                return
            url = upstream._replace(path=scope["path"], query=scope["query_string"].decode("latin-1")).geturl()
            headers = [(name, value) for name, value in scope["headers"] if name not in _OURS | _OF_ONE_HOP]
            headers.append((b"accept-encoding", b"identity"))  # else it could not be read along
            if self._api_key:
                headers.append((b"x-api-key", self._api_key.encode()))
            request = client.build_request(scope["method"], url, headers=headers, content=body or None)
            asking = self._ask if path == _MESSAGES else self._look_up
            answering = asyncio.create_task(asking(client, request, send, body), name="answer of the model")
            leaving = asyncio.create_task(_left(receive), name="claude code leaves")
            try:
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                answering.cancel()  # who has left is owed nothing, and every token costs
                leaving.cancel()
                await asyncio.gather(answering, leaving, return_exceptions=True)

        return application

    async def _ask(self, client: httpx2.AsyncClient, request: httpx2.Request, send: _Send, body: bytes) -> None:
        """Ask the model, if it may be asked; what the answer took is settled, however it ends."""
        async with self._gate.question(input_tokens=-(-len(body) // _BYTES_PER_TOKEN)) as question:
            if not question.refusal:
                tally = Tally(_model_of(body))
                try:
                    await _answer(client, request, send, tally)
                finally:
                    answered = tally.answered()
                    if answered is not None:
                        self._answered.append(answered)
                        question.took = self._price(answered)
                    elif tally.was_refused:
                        question.took = Usage()
        if question.refusal:
            await _refuse(send, *_REFUSED, question.refusal)

    async def _look_up(self, client: httpx2.AsyncClient, request: httpx2.Request, send: _Send, body: bytes) -> None:
        """Pass on what costs nothing."""
        if self._gate.is_open:
            await _answer(client, request, send, Tally(""))
        else:
            await _refuse(send, *_REFUSED, NO_TURN)

    def _short(self, process: int | str) -> str:
        if len(os.fsencode(self.path)) <= _LONGEST_PATH or sys.platform != "linux":
            return str(self.path)
        return f"/proc/{process}/fd/{self._folder}/{self.path.name}"


async def _serve(server: _Server, listening: socket.socket, client: httpx2.AsyncClient) -> None:
    async with client:
        with listening:
            await server.serve(sockets=[listening])


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers and its log, stopped by an event."""

    def __init__(self, application: Any, closing: asyncio.Event) -> None:
        super().__init__(
            uvicorn.Config(
                application, interface="asgi3", http="h11", ws="none", lifespan="off", log_config=None,
                log_level="critical", access_log=False, server_header=False, date_header=False,
                timeout_keep_alive=3600, timeout_graceful_shutdown=1,
                limit_concurrency=_MOST_AT_ONCE,
            )
        )  # fmt: skip
        self._closing = closing
        self.open = asyncio.Event()

    async def main_loop(self) -> None:
        self.open.set()
        await self._closing.wait()

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


async def _answer(client: httpx2.AsyncClient, request: httpx2.Request, send: _Send, tally: Tally) -> None:
    """Pass the answer on as it comes. One that breaks off is left without its end, so that it shows as such."""
    has_begun = False
    try:
        response = await client.send(request, stream=True)
        try:
            headers = [(name.lower(), value) for name, value in response.headers.raw]
            headers = [(name, value) for name, value in headers if name not in _OF_ONE_HOP]
            tally.was_refused = response.status_code >= 400
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            has_begun = True
            async for piece in response.aiter_raw():
                tally.read(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            await response.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    except (httpx2.HTTPError, OSError) as error:
        logger.info("the model's endpoint: %s: %s", type(error).__name__, error)
        if not has_begun:
            tally.was_refused = True
            await _refuse(send, 502, "api_error", f"The model's endpoint is not reached: {type(error).__name__}")


def _model_of(body: bytes) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(body).get("model"))
    return ""


async def _body(receive: Callable[[], Awaitable[Any]]) -> bytes | None:
    """Body of the request; None if it is too large, or cut off. Read to its end: the client listens only then."""
    pieces, size = [], 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        piece = event.get("body", b"")
        size += len(piece)
        if size <= _MAX_BODY_BYTES:
            pieces.append(piece)
        if not event.get("more_body"):
            return b"".join(pieces) if size <= _MAX_BODY_BYTES else None


async def _refuse(send: _Send, status: int, kind: str, text: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": text}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _left(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
