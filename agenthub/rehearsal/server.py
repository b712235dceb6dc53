"""The endpoint: HTTP in front of the rehearsal model, on loopback, in this process or in one of its own.

Faults are acted out here, and pauses are taken here; what is said is decided in `model.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agenthub.errors import ConfigError
from agenthub.rehearsal import catalog, streaming
from agenthub.rehearsal.faults import Fault
from agenthub.rehearsal.model import Answered, RehearsalModel
from agenthub.rehearsal.requests import MAX_BODY_BYTES, ApiError, error_body
from agenthub.rehearsal.streaming import StreamEvent

logger = logging.getLogger(__name__)

_NEVER_S = 30 * 24 * 3600.0


class Endpoint(NamedTuple):
    """A running rehearsal endpoint."""

    url: str
    """Base URL for the SDK."""
    model: RehearsalModel
    """For looking in from the same process: its journal, its faults."""


@contextlib.asynccontextmanager
async def start_rehearsal(
    port: int = 0, *, seed: int = 7, speed: float = 1.0, clock: Callable[[], float] = time.monotonic,
    host: str = "127.0.0.1",
) -> AsyncIterator[Endpoint]:  # fmt: skip
    """A rehearsal endpoint in this process, on loopback unless told otherwise. Leaving the block ends it.

    Port 0: a free one.

    `speed` 1 writes 400 tokens a second; 0 and infinity do not wait at all. `clock` gives the seconds by
    which the prefix cache forgets.

    Raises:
        ConfigError: If the port is taken, or the speed is negative.
    """
    if not speed >= 0:
        raise ConfigError(f"The rehearsal speed is {speed}; it must be 0 (no waiting) or more.")
    listening = _listen(host, port)
    model = RehearsalModel(seed=seed, clock=clock)
    server = _Server(_Application(model, speed=speed))
    # A plain task: a task group would wrap what the caller's block raises.
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="rehearsal")
    try:
        await server.open.wait()
        yield Endpoint(f"http://{host}:{listening.getsockname()[1]}", model)
    finally:
        server.stop()
        await serving
        listening.close()


async def serve(
    *, port: int, seed: int, speed: float, ready: Callable[[str], None], stop: asyncio.Event, host: str = "127.0.0.1"
) -> None:
    """Run a rehearsal endpoint until `stop` is set; `ready` is called with its URL.

    Raises:
        ConfigError: As `start_rehearsal`.
    """
    async with start_rehearsal(port, seed=seed, speed=speed, host=host) as endpoint:
        ready(endpoint.url)
        await stop.wait()


def _listen(host: str, port: int) -> socket.socket:
    # With the protocol named, asyncio turns Nagle's algorithm off; else each answer waits 40 ms for an ACK.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"Port {port} for the rehearsal model is not free ({error}). Choose another, or 0."
        ) from error
    return listening


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers and its log, stopped by an event instead of polling."""

    def __init__(self, application: _Application) -> None:
        super().__init__(
            uvicorn.Config(
                application.app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",  # a cut connection is meant; it is no error to report
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=3600,  # a client must not meet a connection that is just being closed
                timeout_graceful_shutdown=5,
            )
        )
        self._application = application
        self.open = asyncio.Event()

    async def main_loop(self) -> None:
        self.open.set()
        await self._application.closing.wait()

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()

    def stop(self) -> None:
        self._application.closing.set()


class _Application:
    """The routes, and one place where every request becomes an answer."""

    def __init__(self, model: RehearsalModel, *, speed: float) -> None:
        self._model = model
        self._seconds_per_token = streaming.seconds_per_token(speed)
        self.closing = asyncio.Event()
        get, post, delete = ["GET"], ["POST"], ["DELETE"]
        self.app = Starlette(
            routes=[
                Route("/", self._guarded(self._root), methods=get),
                Route("/v1/messages", self._guarded(self._messages), methods=post),
                Route("/v1/messages/count_tokens", self._guarded(self._count_tokens), methods=post),
                Route("/v1/models", self._guarded(self._models), methods=get),
                Route("/v1/models/{id}", self._guarded(self._one_model), methods=get),
                Route("/rehearsal/faults", self._guarded(self._add_faults), methods=post),
                Route("/rehearsal/faults", self._guarded(self._list_faults), methods=get),
                Route("/rehearsal/faults", self._guarded(self._clear_faults), methods=delete),
                Route("/rehearsal/requests", self._guarded(self._list_requests), methods=get),
                Route("/rehearsal/requests", self._guarded(self._clear_requests), methods=delete),
            ],
            exception_handlers={HTTPException: self._no_such_route},
        )

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The handler, whose refusals and bugs are answered in the shape of the API."""

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except ApiError as error:
                return self._refusal(error)
            except Exception:
                logger.exception("rehearsal of %s failed", request.url.path)
                return self._refusal(ApiError(500, "Internal server error"))

        return handle

    def _refusal(self, error: ApiError) -> Response:
        identity = self._model.new_request_id()
        headers = {"request-id": identity}
        if error.retry_after_s is not None:
            headers["retry-after"] = f"{error.retry_after_s:g}"
        return JSONResponse(error.body(identity), error.status, headers)

    async def _no_such_route(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return self._refusal(ApiError(status, f"{request.method} {request.url.path}: not found"))

    async def _root(self, _request: Request) -> Response:
        return PlainTextResponse("rehearsal model\n")

    async def _messages(self, request: Request) -> Response:
        _check_key(request)
        answered = self._model.answer(await _body(request), version=_version(request))
        return _Acted(answered, self._seconds_per_token, self.closing)

    async def _count_tokens(self, request: Request) -> Response:
        _check_key(request)
        return JSONResponse({"input_tokens": self._model.count(await _body(request), version=_version(request))})

    async def _models(self, request: Request) -> Response:
        _check_key(request)
        data = [model.info() for model in catalog.listed()]
        return JSONResponse({"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]})

    async def _one_model(self, request: Request) -> Response:
        _check_key(request)
        name = request.path_params["id"]
        model = catalog.find(name)
        if model is None:
            raise ApiError(404, f"model: {name}")
        return JSONResponse(model.info())

    async def _add_faults(self, request: Request) -> Response:
        return JSONResponse({"waiting": self._model.faults.add(await _body(request))})

    async def _list_faults(self, _request: Request) -> Response:
        return JSONResponse({"faults": [fault.model_dump() for fault in self._model.faults.waiting()]})

    async def _clear_faults(self, _request: Request) -> Response:
        self._model.faults.clear()
        return JSONResponse({"waiting": 0})

    async def _list_requests(self, _request: Request) -> Response:
        return JSONResponse({"requests": list(self._model.journal)})

    async def _clear_requests(self, _request: Request) -> Response:
        self._model.journal.clear()
        return JSONResponse({"requests": []})


def _version(request: Request) -> str:
    return request.headers.get("anthropic-version", "")


def _check_key(request: Request) -> None:
    bearer = request.headers.get("authorization", "")
    key = bearer[7:].strip() if bearer.lower().startswith("bearer ") else request.headers.get("x-api-key", "").strip()
    if not key:
        raise ApiError(401, "invalid x-api-key: send any value as `Authorization: Bearer` or `x-api-key`")


async def _body(request: Request) -> bytes:
    """Body of the request. One that is too large is read to its end and dropped: the client listens only then."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size <= MAX_BODY_BYTES:
            pieces.append(piece)
    if size > MAX_BODY_BYTES:
        raise ApiError(413, f"Request exceeds the maximum allowed number of bytes: {size} > {MAX_BODY_BYTES}")
    return b"".join(pieces)


class _Dropped(Exception):  # noqa: N818 - no error: the connection ends here, on purpose
    """The connection is to be dropped: by a fault, by the client, or because the endpoint ends."""


class _Acted(Response):
    """An answer that takes its time and goes wrong where a fault says so."""

    def __init__(self, answered: Answered, seconds_per_token: float, closing: asyncio.Event) -> None:
        super().__init__()
        self._answered, self._closing = answered, closing
        self._fault = answered.fault or Fault()
        tokens = max(1, answered.message["usage"]["output_tokens"])
        self._pace_s = seconds_per_token if answered.stream_s is None else answered.stream_s / tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(_left(receive), name="client leaves")
        closing = asyncio.create_task(self._closing.wait(), name="endpoint ends")
        try:
            self._ends: tuple[asyncio.Task[Any], ...] = (leaving, closing)
            await self._wait(self._fault.delay_first_byte_s)
            await (self._stream(send) if self._answered.stream else self._plain(send))
        except _Dropped:
            # Returning without an end makes uvicorn close the connection: what the client sees as a cut.
            logger.debug("rehearsal connection dropped")
        finally:
            for task in (leaving, closing):
                task.cancel()
            await asyncio.gather(leaving, closing, return_exceptions=True)

    async def _stream(self, send: Send) -> None:
        fault = self._fault
        await self._begin(send, [(b"content-type", b"text/event-stream; charset=utf-8")])
        for number, event in enumerate(self._events()):
            if number == fault.stall_after_events:
                await self._wait(_NEVER_S)
            if number == fault.cut_after_events:
                raise _Dropped
            if number == fault.end_after_events:
                break
            await self._wait(event.tokens * self._pace_s)
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _events(self) -> Iterator[StreamEvent]:
        for number, event in enumerate(streaming.events_of(self._answered.message)):
            if number == 2 and self._fault.error_in_stream:
                kind = self._fault.error_in_stream
                yield StreamEvent(error_body(kind, self._fault.message, self._answered.request_id))
                return
            yield event

    async def _plain(self, send: Send) -> None:
        """The message at once. A cut and an early end leave half of it, a stall nothing but the headers."""
        fault = self._fault
        body = json.dumps(self._answered.message, ensure_ascii=False).encode()
        await self._wait(self._answered.message["usage"]["output_tokens"] * self._pace_s)
        await self._begin(send, [(b"content-type", b"application/json")])
        if fault.stall_after_events is not None:
            await self._wait(_NEVER_S)
        halved = fault.cut_after_events is not None or fault.end_after_events is not None
        await send(
            {"type": "http.response.body", "body": body[: len(body) // 2] if halved else body, "more_body": True}
        )
        if fault.cut_after_events is not None:
            raise _Dropped
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        headers.append((b"request-id", self._answered.request_id.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _wait(self, seconds: float) -> None:
        """Pause, and stop as soon as the client has left or the endpoint ends."""
        if seconds > 0:
            await asyncio.wait(self._ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if any(task.done() for task in self._ends):
            raise _Dropped


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
