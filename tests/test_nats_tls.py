"""A server that somebody else runs: reached by TLS, as its users, and never in clear where TLS was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from agenthub import subjects
from agenthub.bus.connecting import connect
from agenthub.bus.identity import OPERATOR, SYSTEM, Keyring
from agenthub.bus.nats_client import HeedingClient
from agenthub.cradle import RUN_VARIABLE
from agenthub.errors import ConfigError, HubUnreachableError
from agenthub.ports import Port
from agenthub.settings import Settings
from agenthub.transport import Transport
from tests import commands
from tests.foreign_server import Accounts, Certificates, Running, foreign_server, needs_openssl, write_context
from tests.organization import keys_of, until, write_organization

pytestmark = needs_openssl

QUICK = '[defaults]\nmodel = "claude-sonnet-5-5"\n[process]\ngrace_s = 2\n'
PASSWORD = "correct horse battery staple"
USERS = f'authorization {{ users: [ {{ user: ada, password: "{PASSWORD}" }} ] }}\n'


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("pki") / "certificates")


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts of this test's own, and nothing else that is said about servers."""
    for name in os.environ:
        if name.startswith(("AGENTHUB_", "NATS_", "ANTHROPIC_API_KEY")) or name == RUN_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config home"))


@pytest.fixture
def organization(tmp_path: Path) -> Path:
    folder = tmp_path / "acme"
    folder.mkdir()
    write_organization(folder, f'nats.context = "acme"\n{QUICK}')
    return folder


async def agenthub(*words: str, folder: Path, code: int | None = 0) -> Any:
    """What a command printed: JSON on stdout, or what it said on stderr where it failed."""
    ran = await commands.agenthub(*words, folder=folder)
    assert ran.code == code, f"{words}: {ran.code}\n{ran.out}\n{ran.err}"
    return ran.json if "--json" in words and code == 0 else ran.err


@contextlib.asynccontextmanager
async def working(folder: Path, *words: str) -> AsyncIterator[None]:
    """The organization for the length of the block."""
    try:
        await agenthub("up", "-d", "--wait", "--rehearse", "--speed", "200", *words, folder=folder)
        yield
    finally:
        await agenthub("down", "--now", folder=folder)


def mcp_door(folder: Path) -> Client:
    words = ["-m", "agenthub", "mcp", "--config", str(folder / "agenthub.toml")]
    home = {"XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}  # a client passes on little of its environment
    return Client(StdioServerParameters(command=sys.executable, args=words, env=home))


@contextlib.asynccontextmanager
async def terminal_ui(folder: Path) -> AsyncIterator[None]:
    """The terminal UI on a terminal of its own."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agenthub", "tui", cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    reading = asyncio.create_task(asyncio.to_thread(_read_all, ours))
    try:
        yield
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()
        await reading
        os.close(ours)


def _read_all(terminal: int) -> None:
    with contextlib.suppress(OSError):  # the other end is gone
        while os.read(terminal, 65536):
            pass


async def does_its_work(folder: Path) -> None:
    """A directive is sent, worked off and answered."""
    ended = await agenthub("send", "qa", "Look at it.", "--wait", "--json", folder=folder)
    assert ended["outcome"] == "done"
    shown = await agenthub("ps", "--json", folder=folder)
    assert {status["role"] for status in shown} == {"ceo", "cto", "backend", "qa"}
    assert {status["state"] for status in shown} <= {"idle", "working"}


# ── the whole organization ─────────────────────────────────────────────────────────────────────────
async def test_every_process_of_an_organization_comes_in_by_the_context(
    tmp_path: Path, organization: Path, certificates: Certificates
) -> None:
    config = certificates.tls(more=f'ca_file: "{certificates.ca}", verify: true') + USERS
    async with foreign_server(tmp_path / "theirs", config) as server:
        write_context(
            "acme", url=server.url, ca=certificates.ca, cert=certificates.client,
            key=certificates.key(certificates.client), user="ada", password=PASSWORD,
        )  # fmt: skip
        async with working(organization):
            await does_its_work(organization)
            connected = {one["name"]: one for one in server.connections() if "name" in one}
            assert {"agenthub supervisor", *(f"agenthub {role}" for role in ("ceo", "cto", "backend", "qa"))} <= {
                *connected
            }
            assert all(one["tls_version"].startswith("1.") for one in connected.values())
            assert {one["authorized_user"] for one in connected.values()} == {"ada"}
            async with mcp_door(organization) as door:
                answer = await door.call_tool("hub_who", {})
                assert not answer.is_error
                assert "backend" in str(answer.content)
            async with terminal_ui(organization):
                await until(lambda: any(one.get("name") == "agenthub client" for one in server.connections()))
        said = b"".join(path.read_bytes() for path in (organization / ".agenthub").rglob("*") if path.is_file())
        assert PASSWORD.encode() not in said
        assert Keyring(organization / ".agenthub" / "keys").find(OPERATOR) is not None


async def test_in_an_account_the_server_knows_a_user_and_messages_are_signed_by_our_keys(
    tmp_path: Path, organization: Path, certificates: Certificates
) -> None:
    accounts = Accounts()
    async with foreign_server(tmp_path / "theirs", certificates.tls() + accounts.config()) as server:
        creds = accounts.creds(tmp_path / "ada.creds")
        write_context("acme", url=server.url, ca=certificates.ca, creds=creds)
        async with working(organization):
            await does_its_work(organization)
            settings = Settings.load(config=organization / "agenthub.toml")
            async with connect(settings.transport, name="test") as bus:
                ends = await bus.history(subjects.DONE, subjects.ALL_DONE)
                assert ends
                assert all(subjects.SIGNATURE in end.headers for end in ends)


async def test_a_hub_is_found_by_the_context_with_which_it_was_started(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_organization(tmp_path / "acme", QUICK, roles={"ceo": {}})
    async with foreign_server(tmp_path / "theirs", certificates.tls() + USERS) as server:
        write_context("staging", url=server.url, ca=certificates.ca, user="ada", password=PASSWORD)
        monkeypatch.setenv("AGENTHUB_NATS_CONTEXT", "staging")
        async with working(tmp_path / "acme"):
            monkeypatch.delenv("AGENTHUB_NATS_CONTEXT")
            (status,) = await agenthub("ps", "--json", folder=tmp_path / "acme")
            assert status["state"] == "idle"


async def test_a_wrong_authority_is_refused_by_every_command_in_a_sentence_that_names_the_file(
    tmp_path: Path, organization: Path, certificates: Certificates
) -> None:
    async with foreign_server(tmp_path / "theirs", certificates.tls()) as server:
        context = write_context("acme", url=server.url, ca=certificates.wrong_ca)
        for words in (["ps"], ["send", "qa", "x"], ["provision"], ["up", "--rehearse"]):
            said = await agenthub(*words, folder=organization, code=4)
            assert f"is not believed by {certificates.wrong_ca} (`ca` of {context})" in said
            assert "Traceback" not in said


# ── one connection ─────────────────────────────────────────────────────────────────────────────────
Made = Callable[[Running, Certificates, Path], Transport]


@pytest.mark.parametrize(
    ("config", "transport", "sentence"),
    [
        (
            lambda c: c.tls(),
            lambda s, c, f: Transport(s.url),
            "is not believed by the authorities that this machine trusts",
        ),
        (lambda c: c.tls(c.elsewhere), lambda s, c, f: Transport(s.url, ca=c.ca), "certificate is not valid for"),
        (
            lambda c: "",
            lambda s, c, f: Transport(s.url, user="ada"),
            "offers no TLS, which `url` asks for; nothing was sent",
        ),
        (
            lambda c: "",
            lambda s, c, f: Transport(f"nats://127.0.0.1:{s.port}", ca=c.ca, origins={"ca": "NATS_CA"}),
            "offers no TLS, which `ca` of NATS_CA asks for",
        ),
        (
            lambda c: c.tls(more=f'ca_file: "{c.ca}", verify: true'),
            lambda s, c, f: Transport(s.url, ca=c.ca),
            "It asks for a certificate of ours: name `cert` and `key`.",
        ),
        (
            lambda c: c.tls() + USERS,
            lambda s, c, f: Transport(s.url, ca=c.ca, user="ada", origins={"user": "a.json"}),
            "does not admit `ada` (`user` of a.json). Correct it there",
        ),
        (
            lambda c: c.tls() + Accounts().config(),
            lambda s, c, f: Transport(s.url, ca=c.ca, creds=Accounts().creds(f / "other.creds")),
            "other.creds` (`creds`). Correct it there",
        ),
    ],
)
async def test_who_is_not_let_in_is_told_why_and_what_to_do(
    tmp_path: Path, certificates: Certificates, config: Callable[[Certificates], str], transport: Made, sentence: str
) -> None:
    async with foreign_server(tmp_path / "theirs", config(certificates)) as server:
        with pytest.raises(HubUnreachableError) as caught:
            async with connect(transport(server, certificates, tmp_path), name="test"):
                pass
    assert sentence in str(caught.value)


async def test_user_and_password_are_not_sent_in_clear_to_who_says_that_tls_is_not_needed(
    certificates: Certificates,
) -> None:
    heard = bytearray()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.12.0","max_payload":1048576,"auth_required":true}\r\n')
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                heard.extend(data)
        writer.close()

    async with await asyncio.start_server(pretend, "127.0.0.1", 0) as impostor:
        url = f"nats://127.0.0.1:{impostor.sockets[0].getsockname()[1]}"
        with pytest.raises(HubUnreachableError, match="offers no TLS"):
            from pydantic import SecretStr

            told = Transport(url, ca=certificates.ca, user="ada", password=SecretStr(PASSWORD))
            async with connect(told, name="test", connect_timeout_s=2):
                pass
    assert bytes(heard) == b""


async def test_who_is_given_up_while_connecting_ends_though_the_cancellation_was_swallowed() -> None:
    tries = 0

    async def swallows(error: Exception) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # as `asyncio.wait_for` of Python 3.11 may
                await asyncio.sleep(0)

    with Port() as nobody:
        client = HeedingClient()
        connecting = asyncio.create_task(
            client.connect(
                f"nats://127.0.0.1:{nobody.number}",
                error_cb=swallows,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.01,
            )
        )
        done, _ = await asyncio.wait([connecting], timeout=10)
        connecting.cancel()
        await asyncio.wait([connecting], timeout=5)
        await client.close()
        assert done
        assert connecting.cancelled()


async def test_a_server_that_does_not_end_its_tls_holds_nobody_up(certificates: Certificates) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server, certificates.key(certificates.server))
    silent: list[socket.socket] = []

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain = listening.accept()[0]
                plain.sendall(b'INFO {"server_id":"x","version":"2.12.0","max_payload":1,"tls_required":true}\r\n')
                silent.append(context.wrap_socket(plain, server_side=True))
                silent[-1].recv(4096)
                silent[-1].sendall(b"-ERR 'Authorization Violation'\r\n")  # and from now on nothing

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(asyncio.to_thread(serve, listening))
        transport = Transport(f"tls://127.0.0.1:{listening.getsockname()[1]}", ca=certificates.ca, user="ada")
        try:
            async with asyncio.timeout(12):
                with pytest.raises(HubUnreachableError, match="does not admit `ada`"):
                    async with connect(transport, name="test", connect_timeout_s=1):
                        pass
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            await serving
            for one in silent:
                one.close()


async def test_a_server_that_leaves_the_choice_is_spoken_to_by_tls(tmp_path: Path, certificates: Certificates) -> None:
    config = certificates.tls() + "allow_non_tls: true\n"
    async with foreign_server(tmp_path / "theirs", config) as server:
        transport = Transport(f"nats://127.0.0.1:{server.port}", ca=certificates.ca)
        async with connect(transport, name="test"):
            (connection,) = server.connections()
    assert connection["tls_version"]


async def test_a_server_that_begins_with_tls_is_met_so(tmp_path: Path, certificates: Certificates) -> None:
    config = certificates.tls(more="handshake_first: true")
    async with foreign_server(tmp_path / "theirs", config) as server:
        transport = Transport(server.url, ca=certificates.ca, tls_first=True)
        async with connect(transport, name="test") as bus:
            assert bus.is_connected


async def test_renewed_certificates_are_used_at_the_next_connection(
    tmp_path: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "agenthub.bus.connecting")
    renewed = Certificates(tmp_path / "renewed")
    ca, cert = tmp_path / "ca.pem", tmp_path / "client.pem"

    def put(made: Certificates) -> str:
        """Files of one authority in the place of those of another; what the server needs to be told."""
        ca.write_bytes(made.ca.read_bytes())
        cert.write_bytes(made.client.read_bytes())
        cert.with_suffix(".key").write_bytes(made.key(made.client).read_bytes())
        return made.tls(more=f'ca_file: "{made.ca}", verify: true')

    async with contextlib.AsyncExitStack() as servers:
        first = await servers.enter_async_context(foreign_server(tmp_path / "first", put(certificates)))
        transport = Transport(first.url, ca=ca, cert=cert, key=cert.with_suffix(".key"))
        async with connect(transport, name="test") as bus:
            await servers.aclose()
            await until(lambda: not bus.is_connected)
            second = renewed.tls(more=f'ca_file: "{renewed.ca}", verify: true')
            async with foreign_server(tmp_path / "second", second, port=first.port):
                await until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
                cert.write_text("half of it is")
                await until(lambda: "certificates are not taken" in caplog.text)
                put(renewed)
                await until(lambda: bus.is_connected)
                await bus.nc.flush()


async def test_without_a_login_of_the_context_our_own_keys_are_it(tmp_path: Path, certificates: Certificates) -> None:
    identity = keys_of(tmp_path).find(SYSTEM)
    assert identity is not None
    config = f"{certificates.tls()}authorization {{ users: [ {{ nkey: {identity.public_key} }} ] }}\n"
    async with foreign_server(tmp_path / "theirs", config) as server:
        transport = Transport(server.url, ca=certificates.ca)
        async with connect(transport, name="test", identity=identity):
            (connection,) = server.connections()
    assert connection["authorized_user"] == identity.public_key


async def test_a_seed_of_the_context_is_who_comes_in_instead(tmp_path: Path, certificates: Certificates) -> None:
    ours, theirs = keys_of(tmp_path).find(SYSTEM), keys_of(tmp_path).find(OPERATOR)
    assert ours is not None
    assert theirs is not None
    (tmp_path / "theirs.nk").write_text(f"{theirs.seed}\n")
    config = f"{certificates.tls()}authorization {{ users: [ {{ nkey: {theirs.public_key} }} ] }}\n"
    async with foreign_server(tmp_path / "theirs", config) as server:
        transport = Transport(server.url, ca=certificates.ca, nkey=tmp_path / "theirs.nk")
        async with connect(transport, name="test", identity=ours) as bus:
            (connection,) = server.connections()
            assert bus.identity is ours
    assert connection["authorized_user"] == theirs.public_key


@pytest.mark.parametrize(
    ("field", "text", "sentence"),
    [
        ("ca", None, "cannot be read: No such file or directory. Correct it there."),
        ("ca", "nonsense", "holds no certificate in PEM"),
        ("creds", "nonsense", "is not a file of credentials with the JWT and the seed of a user"),
        ("nkey", "nonsense", "is not the seed of a user"),
        ("cert", "nonsense", "are no certificate in PEM with its key"),
    ],
)
async def test_a_file_that_is_none_of_its_kind_is_named_with_where_it_was_said(
    tmp_path: Path, field: str, text: str | None, sentence: str
) -> None:
    path = tmp_path / "file"
    if text is not None:
        path.write_text(text)
    told: dict[str, Any] = {field: path, "origins": {field: "/etc/prod.json"}}
    if field == "cert":
        told["key"] = path
    with pytest.raises(ConfigError) as caught:
        async with connect(Transport("tls://127.0.0.1:1", **told), name="test"):
            pass
    assert str(caught.value).startswith(f"`{field}` of /etc/prod.json: {path} ")
    assert sentence in str(caught.value)
