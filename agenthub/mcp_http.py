"""The MCP door over HTTP: on this machine only, for who has the token, under its own name and origin."""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

from agenthub.errors import ConfigError
from agenthub.whole_files import write_whole

TOKEN_FILE = "mcp.token"  # noqa: S105  # the name of the file, in the state folder
MAX_BODY_BYTES = 1024 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Address(NamedTuple):
    """Where the door listens."""

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Address:
        """An address as people write it: `:8765`, `8765`, `127.0.0.1:8765`, `[::1]:8765`.

        Raises:
            ConfigError: If it is none, or another machine could reach it.
        """
        host, _, port = text.rpartition(":")
        host = host.strip("[]") or _LOOPBACK[0]
        if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(f"--http takes a port of this machine such as :8765; found {text!r}")
        if host not in _LOOPBACK:
            raise ConfigError(
                f"--http listens on this machine only ({', '.join(_LOOPBACK)}); found `{host}`. For others put a proxy "
                "with TLS and logins in front."
            )
        return cls(host, int(port))


def token(state: Path, said: str = "") -> str:
    """The secret that callers must have, from a file that only its owner can read; made if it is not there.

    Args:
        said: The one that a person has chosen; then there is no file.
    """
    if said:
        return said
    path = state / TOKEN_FILE
    with contextlib.suppress(FileNotFoundError):
        if said := path.read_text().strip():
            path.chmod(0o600)
            return said
    state.mkdir(parents=True, exist_ok=True)
    made = secrets.token_urlsafe(32)
    write_whole(path, made + "\n", mode=0o600)
    return made


def http_app(server: Any, address: Address, secret: str) -> Any:
    """The server as an ASGI application that answers only who has the secret, under its own name and origin."""
    from mcp.server.transport_security import TransportSecuritySettings

    names = [f"[{name}]" if ":" in name else name for name in _LOOPBACK]
    security = TransportSecuritySettings(
        allowed_hosts=[f"{name}:{address.port}" for name in names],
        allowed_origins=[f"http://{name}:{address.port}" for name in names],
    )
    app = server.streamable_http_app(
        host=address.host, transport_security=security, max_request_body_size=MAX_BODY_BYTES
    )
    return _only_with(secret, app)


_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


def _only_with(secret: str, app: _App) -> _App:
    expected = f"Bearer {secret}".encode()

    async def guarded(scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, expected):
                words = (
                    f"Send `Authorization: Bearer …` with what stands in {TOKEN_FILE} of the state folder, or in "
                    "AGENTHUB_MCP_TOKEN."
                )
                body = json.dumps({"error": words}).encode()
                headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        await app(scope, receive, send)

    return guarded
