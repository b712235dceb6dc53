"""Contexts of the `nats` command line: named files that say how to reach a server.

Places, fields and which one wins after https://github.com/nats-io/jsm.go, natscontext; what this client cannot do is
refused with what to do instead, never left out in silence.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from agenthub.errors import ConfigError, unknown
from agenthub.transport import split_login

DEFAULT_URL = "nats://127.0.0.1:4222"
"""Of a context that names no server, as for the `nats` command."""

_TEXTS = ("url", "token", "user", "password", "inbox_prefix")
_FILES = ("creds", "nkey", "cert", "key", "ca")
_FLAGS = ("tls_first",)
FIELDS = (*_TEXTS, *_FILES, *_FLAGS)
"""What a context may say here."""

_IDLE = ("name", "description", "color_scheme", "jetstream_event_prefix")
"""Fields that change nothing about a connection."""

_ANOTHER = "leave it out, in a context of its own if others need it, and name"
_INSTEAD = {
    "nsc": f"{_ANOTHER} a file as `creds`: `nsc generate creds --name USER --output-file user.creds`",
    "user_jwt": f"{_ANOTHER} a file with the JWT and the user's seed as `creds`",
    "user_seed": f"{_ANOTHER} a file with the JWT and the user's seed as `creds`",
    "socks_proxy": f"{_ANOTHER} a `url` that can be reached without the proxy, such as a tunnel's",
    "jetstream_domain": f"{_ANOTHER} a server of that domain as `url`",
    "jetstream_api_prefix": f"{_ANOTHER} a user as `creds` in whose account the streams are",
    "windows_cert_store": f"{_ANOTHER} files as `cert` and `key`",
    "windows_cert_match": f"{_ANOTHER} files as `cert` and `key`",
    "windows_cert_match_by": f"{_ANOTHER} files as `cert` and `key`",
    "windows_ca_certs_match": f"{_ANOTHER} a file as `ca`",
}
"""What the `nats` command can do and nats-py, or our use of it, cannot; and what helps."""

_SCHEME = re.compile(r"(?:[a-z][a-z0-9+.-]+://|data:)", re.IGNORECASE)


class NatsContext(NamedTuple):
    """A context as read."""

    path: Path
    values: Mapping[str, Any]
    """By field; what says nothing is left out. Files are absolute."""


def contexts_folder() -> Path:
    """Where the `nats` command keeps its contexts.

    Raises:
        ConfigError: If this user has no home.
    """
    try:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    except RuntimeError as error:
        raise ConfigError(
            "This user has no home. Set XDG_CONFIG_HOME to the folder that has `nats/context`."
        ) from error
    return base.absolute() / "nats" / "context"


def read_context(name: str, origin: str) -> NatsContext:
    """The context of a name.

    Args:
        origin: Who asks for it, for people.

    Raises:
        ConfigError: If there is none, it cannot be read, or it says what cannot be done here.
    """
    folder = contexts_folder()
    path = folder / f"{name}.json"
    if not name or "/" in name or ".." in name:
        raise ConfigError(f"{name!r} ({origin}) cannot be the name of a NATS context.")
    try:
        said = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        known = [found.stem for found in folder.glob("*.json")] if folder.is_dir() else []
        raise ConfigError(
            f"{unknown('NATS context', name, known)} {origin} asks for it, and it would be {path}."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from error
    if not isinstance(said, dict):
        raise ConfigError(f"{path} is not a NATS context: it must be an object with `url` and the like.")
    return NatsContext(path, _values(said, path))


def _values(said: Mapping[str, Any], path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, value in said.items():
        if not value or field in _IDLE:
            continue
        if field in _INSTEAD:
            raise ConfigError(f"{path}: `{field}` cannot be done here; {_INSTEAD[field]}.")
        if field not in FIELDS:
            raise ConfigError(f"{path}: {unknown('field', field, FIELDS)} What is not known here is not done.")
        kind = bool if field in _FLAGS else str
        if not isinstance(value, kind):
            raise ConfigError(f"{path}: `{field}` must be {'true or false' if kind is bool else 'a text'}.")
        if field in _FILES:
            value = _file(str(value), field, path)
        elif field in ("token", "password") and _SCHEME.match(str(value)):
            raise ConfigError(
                f"{path}: `{field}` is fetched from elsewhere, which cannot be done here; leave it out, and give it as "
                f"AGENTHUB_NATS_{field.upper()} or AGENTHUB_NATS_{field.upper()}_FILE."
            )
        values[field] = value
    if ("cert" in values) != ("key" in values):
        raise ConfigError(f"{path}: `cert` and `key` belong together; name both or none.")
    return values


def _file(value: str, field: str, path: Path) -> Path:
    value = value.removeprefix("file://")
    if _SCHEME.match(value):
        raise ConfigError(f"{path}: `{field}` must be a file; write what {value.split(':')[0]}: gives into one.")
    return Path(os.path.expandvars(value)).expanduser().absolute()


class Said(NamedTuple):
    """A value that somebody said about the server."""

    value: Any
    rank: int
    """0 is the strongest: flag, variable of ours, agenthub.toml, variable of the `nats` command."""
    origin: str


WEAKEST = 3
_LOGIN = ("user", "password", "token", "creds", "nkey")


def reach(said: Mapping[str, Said], folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """How to reach the server by all that was said, and where each of that comes from; nothing: the hub runs its own.

    A context is what was said where it was chosen: only the same place and stronger ones say otherwise. A `url` at a
    stronger place sets it aside, and with it whom it would have sent there.

    Args:
        said: By field, without those of which nothing is said; `context` is one.
        folder: What files of agenthub.toml are relative to.

    Raises:
        ConfigError: If the context cannot be read, or something is said without the rest.
    """
    found = {field: one for field, one in said.items() if field != "context"}
    context, url = said.get("context"), said.get("url")
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if context is not None and (url is None or url.rank >= context.rank):
        read = read_context(str(context.value), context.origin)
        found = {field: one for field, one in found.items() if one.rank <= context.rank}
        values = {"url": DEFAULT_URL, **read.values}
        for group in (_LOGIN, ("cert", "key")):
            if any(field in found and field != "password" for field in group):
                values = {field: value for field, value in values.items() if field not in group}
        origins = dict.fromkeys(values, str(read.path))
        values["context"], origins["context"] = context.value, context.origin
    for field, one in found.items():
        values[field], origins[field] = _placed(field, one, folder), one.origin
    if "url" not in values:
        alone = next((f"`nats.{field}` ({one.origin})" for field, one in found.items() if one.rank < WEAKEST), "")
        if alone:
            raise ConfigError(
                f"{alone} is for a server that somebody else runs. Name it as `nats.url`, or leave it out."
            )
        return {}, {}
    if isinstance(values["url"], str):
        values["url"], login = split_login(values["url"], origins["url"])
        if not any(field in values for field in _LOGIN if field != "password"):
            told = {field: value for field, value in login._asdict().items() if value and field not in values}
            values |= told
            origins |= dict.fromkeys(told, origins["url"])
    for part, other in (("cert", "key"), ("key", "cert"), ("password", "user")):
        if part in values and other not in values:
            raise ConfigError(f"`nats.{part}` ({origins[part]}) needs `nats.{other}` as well.")
    return values, origins


def _placed(field: str, one: Said, folder: Path) -> Any:
    """Files as absolute paths."""
    if field not in _FILES or not isinstance(one.value, str | Path):
        return one.value
    path = Path(one.value).expanduser()
    return folder / path if one.rank == WEAKEST - 1 else path.absolute()
