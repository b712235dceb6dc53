"""How to reach a NATS server: where it is, as whom to come in, and by which certificates it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from agenthub.errors import ConfigError

SCHEMES = ("nats", "tls")


class Transport(NamedTuple):
    """A server, or several of a cluster, and what it asks for before it lets anybody in."""

    url: str
    """Of several servers separated by commas; without user and password."""
    user: str = ""
    password: SecretStr | None = None
    token: SecretStr | None = None
    creds: Path | None = None
    """File with a user's JWT and seed, as `nsc` writes it."""
    nkey: Path | None = None
    """File with a seed of the server's, instead of our own identities."""
    ca: Path | None = None
    """Who must have signed the server's certificate. None: whom this machine trusts."""
    cert: Path | None = None
    key: Path | None = None
    inbox_prefix: str = ""
    tls_first: bool = False
    """Begin with TLS, before the server has said anything."""
    origins: Mapping[str, str] = MappingProxyType({})
    """Where each of these was said, for people: a file, or a variable."""

    @property
    def has_login(self) -> bool:
        """True if the server knows us by this, and not by the keys of our own identities; these sign all the same."""
        return bool(self.user or self.token or self.creds or self.nkey)

    @property
    def wants_tls(self) -> bool:
        """True if nothing may be sent in clear, whatever the server says."""
        schemes = {urlsplit(one).scheme for one in self.servers}
        return "tls" in schemes or self.tls_first or any((self.ca, self.cert, self.key))

    @property
    def servers(self) -> list[str]:
        return [one.strip() for one in self.url.split(",")]

    def said(self, field: str) -> str:
        """A field and where it was said: "`ca` of /home/ada/.config/nats/context/prod.json"."""
        origin = self.origins.get(field, "")
        return f"`{field}` of {origin}" if origin else f"`{field}`"


class Login(NamedTuple):
    """Who comes in, by what stands in an address."""

    user: str = ""
    password: str = ""
    token: str = ""


def split_login(url: str, origin: str) -> tuple[str, Login]:
    """An address without user and password, which would be shown with it, and these.

    Raises:
        ConfigError: If it is no address of a NATS server that can be reached from here.
    """
    found, servers = Login(), []
    for one in (part.strip() for part in url.split(",")):
        scheme, has_scheme, rest = one.rpartition("://")
        if has_scheme and scheme not in SCHEMES:
            raise ConfigError(
                f"`url` of {origin}: `{scheme}://` is not spoken here. Name the server's port for clients, as "
                "nats://host:4222 or tls://host:4222."
            )
        login, has_login, place = rest.rpartition("@")
        if has_login:
            name, has_password, password = login.partition(":")
            found = Login(unquote(name), unquote(password)) if has_password else Login(token=unquote(name))
        servers.append(f"{scheme}://{place}" if has_scheme else place)
    return ",".join(servers), found
