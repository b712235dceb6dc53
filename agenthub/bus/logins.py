"""What a connection shows to a server: a user, a file of credentials, or one of our keys; and by whom it is believed.

Files are read anew for each connection, so that what is renewed on disk is used at the next one.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agenthub.bus.identity import Identity
from agenthub.errors import ConfigError
from agenthub.transport import Transport

_JWT = re.compile(rb"-----BEGIN NATS USER JWT-----\s+([\w.=-]+)\s+-+END")
_SEED = re.compile(rb"-----BEGIN USER NKEY SEED-----\s+(SU[A-Z2-7]{56})\s+-+END")
_BARE_SEED = re.compile(rb"^\s*(SU[A-Z2-7]{56})\s*$", re.MULTILINE)


def login_of(transport: Transport, identity: Identity | None) -> dict[str, Any]:
    """What nats-py is told about who comes in. What the transport says goes before our identity.

    Raises:
        ConfigError: If a file cannot be read, or is none of its kind.
    """
    options: dict[str, Any] = {}
    if transport.user:
        password = transport.password.get_secret_value() if transport.password else ""
        options = {"user": transport.user, "password": password}
    elif transport.creds:
        options = _by_creds(transport, transport.creds)
    elif transport.nkey:
        text = _read(transport, "nkey", transport.nkey)
        seed = _found(_BARE_SEED, text, transport, "nkey", transport.nkey, "the seed of a user, `SU…`")
        options = {"nkeys_seed_str": seed.decode()}
    elif identity is not None and not transport.token:
        options = {"nkeys_seed_str": identity.seed}
    if transport.token and not transport.user:
        options["token"] = transport.token.get_secret_value()
    prefix = transport.inbox_prefix if transport.has_login else ""
    if not prefix:
        prefix = identity.inbox_prefix if identity is not None and not transport.has_login else "_INBOX"
    return {**options, "inbox_prefix": prefix}


def tls_of(transport: Transport) -> dict[str, Any]:
    """What nats-py is told about TLS; nothing where the server need not have any.

    Raises:
        ConfigError: If a file cannot be read, or is none of its kind.
    """
    if not transport.wants_tls:
        return {}
    context = _context(transport)
    if transport.cert and transport.key:
        for field, path in (("cert", transport.cert), ("key", transport.key)):
            _read(transport, field, path)
        try:
            context.load_cert_chain(transport.cert, transport.key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"{transport.said('cert')}: {transport.cert} and {transport.key} are no certificate in PEM with its "
                f"key: {_reason(error)}. Correct `cert` and `key` there."
            ) from error
    return {"tls": context, "tls_handshake_first": transport.tls_first}


def _context(transport: Transport) -> ssl.SSLContext:
    if transport.ca is None:
        return ssl.create_default_context()
    text = _read(transport, "ca", transport.ca)
    try:
        return ssl.create_default_context(cadata=text.decode("ascii", errors="replace"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"{transport.said('ca')}: {transport.ca} holds no certificate in PEM: {_reason(error)}. Correct it there."
        ) from error


def _by_creds(transport: Transport, path: Path) -> dict[str, Any]:
    import nkeys

    def jwt_and_seed() -> tuple[bytes, bytes]:
        text = _read(transport, "creds", path)
        kind = "a file of credentials with the JWT and the seed of a user"
        return (
            _found(_JWT, text, transport, "creds", path, kind), _found(_SEED, text, transport, "creds", path, kind)
        )  # fmt: skip

    def again() -> tuple[bytes, bytes]:
        try:
            return jwt_and_seed()
        except ConfigError as error:  # half of it is written: nats-py tries on after this one, and after no other
            raise OSError(str(error)) from error

    def sign(nonce: str) -> bytes:
        pair = nkeys.from_seed(bytearray(again()[1]))  # type: ignore[no-untyped-call]
        return base64.b64encode(bytes(pair.sign(nonce.encode())))

    jwt_and_seed()
    jwt: Callable[[], bytes] = lambda: again()[0]  # noqa: E731
    return {"user_jwt_cb": jwt, "signature_cb": sign}


def _read(transport: Transport, field: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{transport.said(field)}: {path} cannot be read: {error.strerror}. Correct it there."
        ) from error


def _found(pattern: re.Pattern[bytes], text: bytes, transport: Transport, field: str, path: Path, kind: str) -> bytes:
    match = pattern.search(text)
    if match is None:
        raise ConfigError(f"{transport.said(field)}: {path} is not {kind}. Correct it there.")
    return match[1]


def _no_password() -> str:
    """A key that is encrypted would have OpenSSL ask on the terminal."""
    raise ValueError("the key has a password, which nobody can type in here")


def _reason(error: Exception) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else str(error)) or str(error)
