"""The way from Claude Code to its model: who comes over the socket asks the model with the host's key, and no more.

And only when they may: while a turn runs, one after the other, and while there is money.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agenthub.errors import BreakerOpenError, FrozenError, LeaseLostError, ModelUnavailableError
from agenthub.messages import Usage
from agenthub.rehearsal import Endpoint, start_rehearsal
from agenthub.sessions.claude_code.answers import priced
from agenthub.sessions.claude_code.gate import Gate, OpenTurn
from agenthub.sessions.claude_code.relay import Relay
from agenthub.sessions.claude_code.tally import Answered
from agenthub.sessions.session import Meter
from tests.organization import until
from tests.sessions.sessions import Purse

ASKED = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "rehearse: say Hi."}],
}
VERSION = {"anthropic-version": "2023-06-01"}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BEGUN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"


class Way:
    """A relay whose gate is open, and a client that knows no key, and comes over its socket."""

    def __init__(self, folder: Path, url: str, *, key: str = "the-key", meter: Meter | None = None) -> None:
        self.gate = Gate(before_effect=_may, meter=meter)
        self.relay = Relay(folder / "model", base_url=url, api_key=key, gate=self.gate, price=_price)
        self.turn: OpenTurn
        self.client: httpx2.AsyncClient

    async def asks(self, **more: Any) -> httpx2.Response:
        return await self.client.post("/v1/messages", json={**ASKED, **more})

    @contextlib.asynccontextmanager
    async def asked(self) -> AsyncIterator[httpx2.Response]:
        """A question whose answer streams; leaving the block before it has come leaves."""
        async with self.client.stream("POST", "/v1/messages", json={**ASKED, "stream": True}) as said:
            yield said


async def _may() -> None: ...


def _price(answered: Answered) -> Usage:
    return priced(answered.model, answered.usage, {})


@contextlib.asynccontextmanager
async def way(folder: Path, url: str, **more: Any) -> AsyncIterator[Way]:
    one = Way(folder, url, **more)
    await one.relay.open(uid=None)
    transport = httpx2.AsyncHTTPTransport(uds=one.relay.reachable_path())
    try:
        one.turn = await one.gate.open("turn", input_tokens=0)
        async with httpx2.AsyncClient(
            transport=transport, base_url=one.relay.url, headers=VERSION, timeout=20
        ) as one.client:
            yield one
    finally:
        await one.relay.close()
        assert not (folder / "model").exists()


@contextlib.asynccontextmanager
async def asking(folder: Path, url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that comes over the socket while a turn runs."""
    async with way(folder, url) as one:
        yield one.client


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
    async with hearing(BEGUN, ends=False) as (url, heard, left), asking(tmp_path, url) as client:
        async with client.stream("POST", "/v1/messages", json=ASKED):
            assert not left.is_set()
        await asyncio.wait_for(left.wait(), 30)
    assert heard


async def test_it_ends_at_once_though_an_answer_is_being_written(tmp_path: Path) -> None:
    async with hearing(BEGUN, ends=False) as (url, heard, left):
        async with asyncio.timeout(30), asking(tmp_path, url) as client:
            asked = asyncio.create_task(client.post("/v1/messages", json=ASKED))
            await until(lambda: heard)
        with contextlib.suppress(httpx2.HTTPError):
            await asked
        await asyncio.wait_for(left.wait(), 30)


async def test_a_path_that_is_too_long_for_a_socket_has_a_shorter_one(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 40)
    async with hearing(OK) as (url, _, _), asking(folder, url) as client:
        assert (await client.post("/v1/messages", json=ASKED)).text == "ok"


async def test_it_takes_in_no_more_than_it_can_hold(tmp_path: Path) -> None:
    async with hearing(OK) as (url, heard, _), asking(tmp_path, url) as client:
        large = await client.post("/v1/messages", content=bytes(41 * 1024**2))
        held = [await asyncio.open_unix_connection(tmp_path / "model") for _ in range(20)]
        crowded = await client.post("/v1/messages", json=ASKED)
        for _, writer in held:
            writer.close()
    assert (large.status_code, crowded.status_code) == (413, 503)
    assert heard == []


async def test_only_its_own_user_may_connect(tmp_path: Path) -> None:
    relay = Way(tmp_path, "").relay
    await relay.open(uid=65000 if os.geteuid() == 0 else None)
    status = (tmp_path / "model").stat()
    await relay.close()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_uid == (65000 if os.geteuid() == 0 else os.geteuid())
    assert relay.url == "http://api.anthropic.com"


# ── only who may ───────────────────────────────────────────────────────────────────────────────────
async def test_a_question_that_may_not_be_asked_is_refused_with_the_reason_and_reaches_nobody(tmp_path: Path) -> None:
    purse = Purse()
    reasons = [
        BreakerOpenError("backend", "it failed too often", retry_after_s=5),
        FrozenError("by you"), LeaseLostError("another process has the role"), ValueError("what a bug says"),
    ]  # fmt: skip
    async with hearing(OK) as (url, heard, _), way(tmp_path, url, meter=purse) as one:
        for reason in reasons:
            purse.error = reason
            said = await one.asks()
            assert (said.status_code, said.json()["error"]["type"]) == (403, "permission_error")
            words = said.json()["error"]["message"]
            assert words == str(reason) or (words, str(reason)) == ("The host failed: ValueError.", "what a bug says")
            assert one.turn.cause_of(ModelUnavailableError(f"API Error: 403 {words}", retry_after_s=60)) is reason
        purse.error, purse.usd = None, 0
        assert "agenthub budget allow" in (await one.asks()).json()["error"]["message"]
        assert one.turn.cause_of(ModelUnavailableError("API Error: 529 overloaded", retry_after_s=15)) is None
    assert heard == []
    assert purse.settled == [Usage()], "only the question whether there is money at all"


async def test_while_no_turn_runs_nothing_is_passed_on(tmp_path: Path) -> None:
    async with hearing(OK) as (url, heard, _), way(tmp_path, url) as one:
        await one.gate.close(one.turn)
        for method, path in (("POST", "/v1/messages"), ("POST", "/v1/messages/count_tokens"), ("GET", "/v1/models")):
            said = await one.client.request(method, path, json=ASKED)
            assert (said.status_code, "No turn of this role runs" in said.text) == (403, True)
        assert heard == []
        later = await one.gate.open("later", input_tokens=0)
        await one.gate.close(one.turn)  # one that ended long ago
        assert (await one.client.request("GET", "/v1/models")).status_code == 200
        await one.gate.close(later)


async def test_what_costs_nothing_needs_no_money(tmp_path: Path) -> None:
    purse = Purse()
    async with hearing(OK) as (url, heard, _), way(tmp_path, url, meter=purse) as one:
        purse.usd = 0
        assert (await one.client.post("/v1/messages/count_tokens", json=ASKED)).text == "ok"
        assert (await one.client.get("/v1/models")).text == "ok"
    assert len(heard) == 2


async def test_one_question_is_answered_after_the_other(tmp_path: Path) -> None:
    purse = Purse()
    async with hearing(BEGUN, ends=False) as (url, heard, _), way(tmp_path, url, meter=purse) as one:
        async with one.asked():
            others = [asyncio.create_task(one.asks()) for _ in range(3)]
            # What costs nothing is no question, so what waits does not hold it up; and it has come in behind them.
            assert (await one.client.get("/")).status_code == 404
            assert len(heard) == 1
            others[0].cancel()  # one that leaves while it waits
        await until(lambda: len(heard) == 2)  # the first one has left
        assert purse.settled == [Usage(), None]
        async with asyncio.timeout(30):
            await one.gate.close(one.turn)
        for other in others:
            with contextlib.suppress(httpx2.HTTPError, asyncio.CancelledError):
                await other
    assert len(heard) == 2, "the turn is over: the one in hand was cut off, and the last one refused"
    assert purse.settled == [Usage(), None, None]


async def test_who_leaves_while_its_price_is_set_aside_leaves_nothing_set_aside(tmp_path: Path) -> None:
    purse, is_asked, goes_on = Purse(), asyncio.Event(), asyncio.Event()

    async def stays() -> None:
        is_asked.set()
        await goes_on.wait()

    async with hearing(OK) as (url, heard, _), way(tmp_path, url, meter=purse) as one:
        purse.reserving = stays
        leaving = asyncio.create_task(one.asks())
        await is_asked.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        next_one = asyncio.create_task(one.asks())
        goes_on.set()
        assert (await next_one).text == "ok"
    assert len(heard) == 1
    assert purse.settled == [Usage(), Usage(), None]  # the endpoint does not say what it took


async def test_each_answer_is_settled_once_also_one_that_broke_off(tmp_path: Path, endpoint: Endpoint) -> None:
    purse = Purse()
    async with way(tmp_path, endpoint.url, meter=purse) as one:
        whole = (await one.asks()).json()["usage"]
        endpoint.model.faults.add(json.dumps({"faults": [{"cut_after_events": 3}, {"status": 529}]}).encode())
        with pytest.raises(httpx2.RemoteProtocolError):
            await one.asks(stream=True)
        assert (await one.asks()).status_code == 529
        answered = one.relay.take_answered()
    _, first, broken, refused = purse.settled
    assert first is not None
    assert broken is not None
    assert (first.output_tokens, first.calls, first.cost_usd > 0) == (whole["output_tokens"], 1, True)
    assert (broken.input_tokens + broken.cache_write_tokens > 0, broken.cost_usd > 0) == (True, True)
    assert refused == Usage()
    assert [_price(one) for one in answered] == [first, broken]


async def test_who_leaves_in_the_middle_pays_for_what_was_written(tmp_path: Path, endpoint: Endpoint) -> None:
    purse, words = Purse(), "word " * 400
    content = [{"role": "user", "content": f"rehearse: say {words}"}]
    endpoint.model.faults.add(json.dumps({"faults": [{"stall_after_events": 30}]}).encode())
    async with way(tmp_path, endpoint.url, meter=purse) as one:
        read = 0
        body = {**ASKED, "max_tokens": 2000, "messages": content, "stream": True}
        async with one.client.stream("POST", "/v1/messages", json=body) as said:
            async for line in said.aiter_lines():
                read += line.count('"text_delta"')
                if read == 20:
                    break
        await until(lambda: len(purse.settled) == 2)
    took = purse.settled[-1]
    assert took is not None
    assert took.output_tokens >= 20


async def test_an_endpoint_that_is_away_took_nothing(tmp_path: Path) -> None:
    purse = Purse()
    async with way(tmp_path, "http://127.0.0.1:9", meter=purse) as one:
        await one.asks()
    assert purse.settled == [Usage(), Usage()]
