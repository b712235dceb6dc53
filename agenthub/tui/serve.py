"""The terminal UI in a browser: textual-serve behind a token, on this machine only.

textual-serve itself asks nobody who they are, and a page of anybody can open a websocket to 127.0.0.1. So each
request must name this host, come from no other page, and bring the token or the cookie that the first visit gave.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from aiohttp import web
from textual_serve.server import Server

from agenthub.tui.served import VARIABLE, this_process

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HTTP = 80
_HEADERS = {
    "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "frame-ancestors 'none'", "Cache-Control": "no-store",
}  # fmt: skip


class Door(NamedTuple):
    """Who may come in."""

    token: str
    host: str
    port: int

    @property
    def cookie(self) -> str:
        """Name of the cookie: cookies know no ports, and two hubs may be served side by side."""
        return f"agenthub_{self.port}"

    @property
    def pass_(self) -> str:
        """What the cookie holds: it opens this door, and the token does not follow from it."""
        return hashlib.sha256(f"cookie {self.token}".encode()).hexdigest()

    @property
    def place(self) -> str:
        """The one name under which a browser may call it: another one could lead here from anywhere."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTP else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.place}"

    def refusal(self, request: web.Request) -> str:
        """Why a request may not come in; empty: it may."""
        if request.headers.get("Host", "") != self.place:
            return f"this host is not served here; open {self.url}"
        origin = request.headers.get("Origin")
        if origin is not None and origin != self.url:
            return "it comes from another page"
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return "it comes from another page"
        if request.path == "/ws" and origin is None:
            return "it does not say which page it comes from"
        brought = request.cookies.get(self.cookie, "")
        if hmac.compare_digest(brought.encode(), self.pass_.encode()) or self.has_token(request):
            return ""
        return "the token is missing or wrong; use the whole address that `agenthub tui --serve` printed"

    def has_token(self, request: web.Request) -> bool:
        """True if the address holds the token."""
        return hmac.compare_digest(request.query.get("token", "").encode(), self.token.encode())


def guard(door: Door) -> Any:
    """Let in only who may come in, to pages and websockets alike."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if reason := door.refusal(request):
            return web.Response(status=403, text=f"Refused: {reason}.\n", headers=_HEADERS)
        if request.path == "/" and "token" in request.query:  # out of the address, the history and the title
            response: web.StreamResponse = web.Response(status=303, headers={**_HEADERS, "Location": "/"})
            response.set_cookie(door.cookie, door.pass_, httponly=True, samesite="Strict", path="/")
            return response
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    return middleware


class GuardedServer(Server):
    """textual-serve with a door."""

    def __init__(self, command: str, door: Door, *, title: str) -> None:
        super().__init__(command, host=door.host, port=door.port, title=title, public_url=door.url)
        self._door = door

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(guard(self._door))
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Nothing: who serves says where."""


async def serve(
    arguments: Sequence[str], *, host: str, port: int, title: str, stop: asyncio.Event, ready: Callable[[str], None],
) -> None:  # fmt: skip
    """Serve `agenthub tui` with these arguments until `stop`; each page that opens is a terminal UI of its own.

    Args:
        port: 0: any that is free.
        ready: Called with the address, token included, as soon as it can be opened.
    """
    listening = await _listen(host, port)
    door = Door(secrets.token_urlsafe(24), host, listening.getsockname()[1])
    served_by = f"{VARIABLE}={this_process()}"
    command = shlex.join(["env", served_by, sys.executable, "-m", "agenthub", "tui", *arguments])
    runner = web.AppRunner(await GuardedServer(command, door, title=title)._make_app(), access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        ready(f"{door.url}/?token={door.token}")
        await stop.wait()
    finally:
        await runner.cleanup()


async def _listen(host: str, port: int) -> Any:
    """A socket that listens, so that the port is known before the page says it."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    found = server.sockets[0]
    listening = found.dup()
    server.close()
    return listening
