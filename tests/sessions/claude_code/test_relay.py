"""The way from Claude Code to its model: who comes over the socket asks the model with the host's key, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from agenthub.rehearsal import Endpoint, start_rehearsal
from agenthub.sessions.claude_code.relay import Relay
from tests.organization import until

ASKED = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "rehearse: say Hi."}],
}
VERSION = {"anthropic-version": "2023-06-01"}


@contextlib.asynccontextmanager
async def asking(folder: Path, url: str, key: str = "the-key") -> AsyncIterator[httpx2.AsyncClient]:
    """A client that knows no key, and comes over the socket."""
    relay = Relay(folder / "model", base_url=url, api_key=key)
    await relay.open(uid=None)
    way = httpx2.AsyncHTTPTransport(uds=relay.reachable_path())
    try:
        async with httpx2.AsyncClient(transport=way, base_url=relay.url, headers=VERSION, timeout=20) as client:
            yield client
    finally:
        await relay.close()
        assert not (folder / "model").exists()


@contextlib.asynccontextmanager
async def hearing(answer: bytes, *, ends: bool = True) -> AsyncIterator[tuple[str, list[bytes], asyncio.Event]]:
    """An endpoint that notes what it hears, gives one answer, and knows when its client has left."""
    heard: list[bytes] = []
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        if not ends:
            while await reader.read(1024):
                pass
            left.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/prefix", heard, left


async def test_a_model_is_asked_with_the_key_of_the_host(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nrequest-id: r1\r\n\r\nok"
    async with hearing(answer) as (url, heard, _), asking(tmp_path, url) as client:
        given = {"x-api-key": "another", "authorization": "Bearer another", "anthropic-beta": "b1"}
        said = await client.post("/v1/messages?beta=true", json=ASKED, headers=given)
    assert (said.status_code, said.text, said.headers["request-id"]) == (200, "ok", "r1")
    assert heard[0].startswith(b"POST /prefix/v1/messages?beta=true HTTP/1.1\r\n")
    assert b"x-api-key: the-key\r\n" in heard[0]
    assert b"anthropic-beta: b1\r\n" in heard[0]
    assert b"another" not in heard[0]


async def test_an_answer_comes_as_it_is_written(tmp_path: Path) -> None:
    async with start_rehearsal(speed=0) as endpoint, asking(tmp_path, endpoint.url) as client:
        async with client.stream("POST", "/v1/messages", json={**ASKED, "stream": True}) as said:
            lines = [line async for line in said.aiter_lines() if line.startswith("event: ")]
        counted = await client.post("/v1/messages/count_tokens", json={k: ASKED[k] for k in ("model", "messages")})
    assert lines[0] == "event: message_start"
    assert lines[-1] == "event: message_stop"
    assert counted.json()["input_tokens"] > 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/rehearsal/requests"), ("GET", "/v1/files"), ("DELETE", "/v1/messages"), ("GET", "/"),
        ("POST", "/v1/messages/../../rehearsal/faults"), ("POST", "/v1/messages/batches"), ("GET", "http://other/v1/x"),
    ],
)  # fmt: skip
async def test_nothing_else_is_passed_on(tmp_path: Path, method: str, path: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with hearing(answer) as (url, heard, _), asking(tmp_path, url) as client:
        said = await client.request(method, path)
    assert said.status_code == 404
    assert said.json()["error"]["type"] == "not_found_error"
    assert heard == []


async def test_an_endpoint_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    async with asking(tmp_path, "http://127.0.0.1:9") as client:
        said = await client.post("/v1/messages", json=ASKED)
    assert (said.status_code, said.json()["error"]["type"]) == (502, "api_error")


async def test_an_answer_that_breaks_off_does_so_here_too(tmp_path: Path, endpoint: Endpoint) -> None:
    endpoint.model.faults.add(json.dumps({"faults": [{"cut_after_events": 3}]}).encode())
    async with asking(tmp_path, endpoint.url) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.post("/v1/messages", json={**ASKED, "stream": True})


async def test_who_leaves_takes_the_request_along(tmp_path: Path) -> None:
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    async with hearing(begun, ends=False) as (url, heard, left), asking(tmp_path, url) as client:
        async with client.stream("POST", "/v1/messages", json=ASKED):
            assert not left.is_set()
        await asyncio.wait_for(left.wait(), 20)
    assert heard


async def test_it_ends_at_once_though_an_answer_is_being_written(tmp_path: Path) -> None:
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    async with hearing(begun, ends=False) as (url, heard, left):
        async with asyncio.timeout(20), asking(tmp_path, url) as client:
            asked = asyncio.create_task(client.post("/v1/messages", json=ASKED))
            await until(lambda: heard)
        with contextlib.suppress(httpx2.HTTPError):
            await asked
        await asyncio.wait_for(left.wait(), 20)


async def test_a_path_that_is_too_long_for_a_socket_has_a_shorter_one(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 40)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with hearing(answer) as (url, _, _), asking(folder, url) as client:
        assert (await client.post("/v1/messages", json=ASKED)).text == "ok"


async def test_it_takes_in_no_more_than_it_can_hold(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with hearing(answer) as (url, heard, _), asking(tmp_path, url) as client:
        large = await client.post("/v1/messages", content=bytes(41 * 1024**2))
        held = [await asyncio.open_unix_connection(tmp_path / "model") for _ in range(20)]
        crowded = await client.post("/v1/messages", json=ASKED)
        for _, writer in held:
            writer.close()
    assert (large.status_code, crowded.status_code) == (413, 503)
    assert heard == []


async def test_only_its_own_user_may_connect(tmp_path: Path) -> None:
    relay = Relay(tmp_path / "model", base_url="", api_key="k")
    await relay.open(uid=65000 if os.geteuid() == 0 else None)
    status = (tmp_path / "model").stat()
    await relay.close()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_uid == (65000 if os.geteuid() == 0 else os.geteuid())
    assert relay.url == "http://api.anthropic.com"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with start_rehearsal(speed=0) as endpoint:
        yield endpoint
