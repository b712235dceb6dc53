"""A nats-server that somebody else runs: with TLS, users, accounts; and the certificates and JWTs that it needs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import nkeys
import pytest

from agenthub.bus.server import binary

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


class Certificates:
    """Authorities, and what they signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.ca = self._make("ca", extensions=["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"])
        self.wrong_ca = self._make("wrong", extensions=["basicConstraints=critical,CA:TRUE"])
        self.server = self._make("server", signed_by="ca", extensions=["subjectAltName=IP:127.0.0.1"])
        self.elsewhere = self._make("elsewhere", signed_by="ca", extensions=["subjectAltName=DNS:nats.elsewhere"])
        self.client = self._make("client", signed_by="ca", extensions=["extendedKeyUsage=clientAuth"])

    def key(self, certificate: Path) -> Path:
        return certificate.with_suffix(".key")

    def _make(self, name: str, *, signed_by: str = "", extensions: list[str]) -> Path:
        path = self.folder / f"{name}.pem"
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        words += ["-keyout", str(self.key(path)), "-out", str(path), "-days", "2", "-subj", f"/CN={name}"]
        if signed_by:
            words += ["-CA", str(self.folder / f"{signed_by}.pem"), "-CAkey", str(self.folder / f"{signed_by}.key")]
        for extension in extensions:
            words += ["-addext", extension]
        subprocess.run(words, check=True, capture_output=True, timeout=30)
        return path

    def tls(self, certificate: Path | None = None, *, more: str = "") -> str:
        """The block of a server's configuration."""
        shown = certificate or self.server
        return f'tls {{ cert_file: "{shown}", key_file: "{self.key(shown)}", {more} }}\n'


class Running(NamedTuple):
    """A server that runs."""

    port: int
    monitor_port: int

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    def connections(self) -> list[dict[str, Any]]:
        """All that are open, as the server itself tells."""
        address = f"http://127.0.0.1:{self.monitor_port}/connz?auth=true"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return list(json.load(answer)["connections"])


@contextlib.asynccontextmanager
async def foreign_server(folder: Path, config: str, *, port: int = -1) -> AsyncIterator[Running]:
    """A server with this configuration, for the length of the block; on a free port, if none is said."""
    folder.mkdir(parents=True)
    common = f'listen: "127.0.0.1:{port}"\n' + 'http: "127.0.0.1:-1"\nfeature_flags { js_ack_fc_v2: false }\n'
    common += f'jetstream {{ store_dir: "{folder / "jetstream"}" }}\nlog_file: "{folder / "nats.log"}"\n'
    (folder / "nats.conf").write_text(common + config)
    process = await asyncio.create_subprocess_exec(
        binary(), "-c", str(folder / "nats.conf"), "--ports_file_dir", str(folder),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while not (ports := [_port(path) for path in folder.glob("*.ports")]) or None in ports:
                assert process.returncode is None, (folder / "nats.log").read_text()
                await asyncio.sleep(0.01)
        assert ports[0] is not None
        yield ports[0]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _port(path: Path) -> Running | None:
    try:
        found = json.loads(path.read_text())
        return Running(*(int(found[kind][0].rsplit(":", 1)[1]) for kind in ("nats", "monitoring")))
    except (ValueError, KeyError):
        return None


class Accounts:
    """An operator, an account with JetStream, and a user of it: what `nsc` makes."""

    def __init__(self) -> None:
        self._operator, self._system, self._account = (
            _pair(kind) for kind in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_ACCOUNT)
        )
        unlimited = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
        unlimited |= dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
        self._accounts = {
            _public(self._system): self._sign("SYS", self._system, {"type": "account", "limits": {}}),
            _public(self._account): self._sign(
                "ACME", self._account, {"type": "account", "limits": {**unlimited, "wildcards": True}}
            ),
        }

    def config(self) -> str:
        """What the server is told."""
        preloaded = "\n".join(f"  {name}: {jwt}" for name, jwt in self._accounts.items())
        about = {"type": "operator", "system_account": _public(self._system)}
        operator = _jwt("operator", self._operator, _public(self._operator), about)
        return f"operator: {operator}\nresolver: MEMORY\nresolver_preload: {{\n{preloaded}\n}}\n"

    def creds(self, path: Path) -> Path:
        """A file of credentials of a user who may do everything in the account."""
        user = _pair(nkeys.PREFIX_BYTE_USER)
        jwt = _jwt("ada", self._account, _public(user), {"type": "user", "subs": -1, "data": -1, "payload": -1})
        seed = bytes(user.seed).decode()
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
        path.chmod(0o600)
        return path

    def _sign(self, name: str, pair: Any, about: dict[str, Any]) -> str:
        return _jwt(name, self._operator, _public(pair), about)


def _pair(kind: int) -> Any:
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), kind))


def _public(pair: Any) -> str:
    return bytes(pair.public_key).decode()


def _jwt(name: str, issuer: Any, subject: str, about: dict[str, Any]) -> str:
    claims = {
        "name": name, "sub": subject, "iss": _public(issuer), "iat": int(time.time()), "nats": {**about, "version": 2}
    }  # fmt: skip
    digest = hashlib.new("sha512_256", json.dumps(claims).encode()).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, claims]
    text = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return f"{text}.{_encoded(bytes(issuer.sign(text.encode())))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def write_context(name: str, **fields: Any) -> Path:
    """A context as `nats context add` writes it, where this process looks for them."""
    path = Path(os.environ["XDG_CONFIG_HOME"], "nats", "context", f"{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    empty = dict.fromkeys(
        ("description", "url", "socks_proxy", "token", "user", "password", "creds", "nkey", "cert", "key", "ca", "nsc",
         "jetstream_domain", "jetstream_api_prefix", "jetstream_event_prefix", "inbox_prefix", "user_jwt",
         "color_scheme"),
        "",
    )  # fmt: skip
    told = {field: str(value) if isinstance(value, Path) else value for field, value in fields.items()}
    path.write_text(json.dumps({**empty, "tls_first": False, **told}, indent=2))
    return path
