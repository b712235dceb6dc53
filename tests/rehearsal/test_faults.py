"""What can be made to go wrong, seen from the SDK; and how the endpoint stops."""

from __future__ import annotations

import asyncio
import json
import math
import signal
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic

from agenthub.rehearsal import Endpoint, serve, start_rehearsal
from agenthub.rehearsal.streaming import TOKENS_PER_S

from .office import MODEL, Office, message, said

FIELDS: Any = {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": "Good morning"}]}


@pytest.fixture
async def fault(http: httpx2.AsyncClient) -> AsyncIterator[Any]:
    async def add(**fields: Any) -> None:
        added = await http.post("/rehearsal/faults", json={"faults": [fields]})
        assert added.status_code == 200, added.text

    yield add


async def _streamed(client: AsyncAnthropic) -> list[str]:
    """Kinds of the events of a stream."""
    async with client.messages.stream(**FIELDS) as stream:
        return [event.type async for event in stream]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, anthropic.AuthenticationError),
        (402, anthropic.PaymentRequiredError),
        (403, anthropic.PermissionDeniedError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (503, anthropic.ServiceUnavailableError),
        (529, anthropic.OverloadedError),
    ],
)
async def test_a_status_is_answered_once(
    client: AsyncAnthropic, fault: Any, status: int, error: type[anthropic.APIStatusError]
) -> None:
    await fault(status=status, retry_after=0.1)
    with pytest.raises(error) as raised:
        await _streamed(client)
    assert raised.value.response.headers["retry-after"] == "0.1"
    assert raised.value.status_code == status
    assert "message_stop" in await _streamed(client)


async def test_a_spend_limit_has_its_code(client: AsyncAnthropic, fault: Any) -> None:
    await fault(status=429, error_code="enforced_spend_limit_reached")
    with pytest.raises(anthropic.RateLimitError) as raised:
        await client.messages.create(**FIELDS)
    assert raised.value.error_code == "enforced_spend_limit_reached"


async def test_a_fault_waits_for_the_text_and_the_role_it_is_meant_for(client: AsyncAnthropic, fault: Any) -> None:
    await fault(match="Attachments", role="qa", status=529, times=2)
    assert "message_stop" in await _streamed(client)
    assert (await Office(client, "backend").told(message("Attachments."))).stop_reason == "tool_use"
    for _ in range(2):
        with pytest.raises(anthropic.OverloadedError):
            await Office(client, "qa").told(message("Attachments."))
    assert (await Office(client, "qa").told(message("Attachments."))).stop_reason == "tool_use"


async def test_a_cut_drops_the_connection_in_the_middle(client: AsyncAnthropic, fault: Any) -> None:
    await fault(cut_after_events=4)
    seen = []
    with pytest.raises(httpx2.RemoteProtocolError):
        async with client.messages.stream(**FIELDS) as stream:
            async for event in stream:
                seen.append(event.type)  # noqa: PERF401 - what came before the cut is what we want
    assert seen[0] == "message_start"
    assert "message_stop" not in seen
    await fault(cut_after_events=0)
    with pytest.raises(anthropic.APIConnectionError):
        await client.messages.create(**FIELDS)


async def test_a_stream_may_end_early_as_if_it_were_complete(client: AsyncAnthropic, fault: Any) -> None:
    await fault(end_after_events=4)
    async with client.messages.stream(**FIELDS) as stream:
        final = await stream.get_final_message()
    assert final.stop_reason is None
    await fault(end_after_events=4)
    with pytest.raises(json.JSONDecodeError):
        await client.messages.create(**FIELDS)


async def test_an_error_may_come_in_the_middle_of_a_stream(client: AsyncAnthropic, fault: Any) -> None:
    await fault(error_in_stream="overloaded_error")
    with pytest.raises(anthropic.APIStatusError) as raised:
        await _streamed(client)
    assert (raised.value.status_code, raised.value.type) == (200, "overloaded_error")


async def test_the_first_byte_may_be_late(endpoint: Endpoint, fault: Any) -> None:
    await fault(delay_first_byte_s=30)
    async with AsyncAnthropic(base_url=endpoint.url, api_key="x", max_retries=0, timeout=0.2) as impatient:
        with pytest.raises(anthropic.APITimeoutError):
            await _streamed(impatient)


async def test_a_stream_may_stall(endpoint: Endpoint, fault: Any) -> None:
    await fault(stall_after_events=3)
    seen = []
    async with AsyncAnthropic(base_url=endpoint.url, api_key="x", max_retries=0, timeout=0.3) as impatient:
        with pytest.raises(httpx2.ReadTimeout):
            async with impatient.messages.stream(**FIELDS) as stream:
                async for event in stream:
                    seen.append(event.type)  # noqa: PERF401 - what came before the stall is what we want
    assert seen == ["message_start", "content_block_start"]  # the SDK keeps pings to itself


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "model_context_window_exceeded", "pause_turn"])
async def test_a_message_may_end_for_another_reason(client: AsyncAnthropic, fault: Any, reason: str) -> None:
    await fault(stop_reason=reason)
    answered = await Office(client, "cto").told(message("Attachments."))
    assert answered.stop_reason == reason
    assert any(block.type == "tool_use" for block in answered.content) == (reason == "pause_turn")


@pytest.mark.parametrize(
    "body", [{}, {"faults": [{"statsu": 500}]}, {"faults": [{"status": 200}]}, {"faults": [{"times": 0}]}]
)
async def test_a_misspelt_fault_is_refused(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    assert (await http.post("/rehearsal/faults", json=body)).status_code == 400
    assert (await http.get("/rehearsal/faults")).json() == {"faults": []}


async def test_faults_can_be_taken_back(client: AsyncAnthropic, http: httpx2.AsyncClient, fault: Any) -> None:
    await fault(status=500, times=None)
    for _ in range(3):
        with pytest.raises(anthropic.InternalServerError):
            await _streamed(client)
    await http.delete("/rehearsal/faults")
    assert "message_stop" in await _streamed(client)


async def test_writing_takes_the_time_of_its_tokens() -> None:
    loop = asyncio.get_running_loop()
    async with (
        start_rehearsal(speed=0.5) as endpoint,
        AsyncAnthropic(base_url=endpoint.url, api_key="x", max_retries=0) as client,
    ):
        began = loop.time()
        async with client.messages.stream(**FIELDS) as stream:
            tokens = (await stream.get_final_message()).usage.output_tokens
        assert loop.time() - began >= 0.9 * tokens / (0.5 * TOKENS_PER_S)


async def test_slow_spreads_the_first_answer_over_the_seconds(client: AsyncAnthropic) -> None:
    loop = asyncio.get_running_loop()
    office = Office(client, "backend")
    began = loop.time()
    await office.told(message("Attachments. rehearse: slow 0.5"))
    assert loop.time() - began >= 0.45
    office.history.append({"role": "user", "content": office._results()})
    began = loop.time()
    await office.goes_on()
    assert loop.time() - began < 0.45


async def test_stopping_drops_what_is_in_flight() -> None:
    async with AsyncAnthropic(base_url="http://127.0.0.1", api_key="x", max_retries=0) as client:
        async with start_rehearsal(speed=math.inf) as endpoint:
            await _post_fault(endpoint, stall_after_events=2)
            there = client.with_options(base_url=endpoint.url)
            stream = await there.messages.create(**FIELDS, stream=True)
            first = await anext(aiter(stream))
        assert first.type == "message_start"
        with pytest.raises(httpx2.RemoteProtocolError):
            async for _ in stream:
                pass


async def test_it_serves_until_it_is_told_to_stop_and_leaves_signals_alone() -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(port=0, seed=1, speed=0, ready=ready.set_result, stop=stop))
        async with asyncio.timeout(30):
            url = await ready
        assert {number: signal.getsignal(number) for number in handlers} == handlers
        async with AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as client:
            assert said(await client.messages.create(**FIELDS))
        stop.set()
    async with AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as client:
        with pytest.raises(anthropic.APIConnectionError):
            await client.messages.create(**FIELDS)


async def test_what_clients_do_is_not_logged(
    client: AsyncAnthropic, http: httpx2.AsyncClient, fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await fault(cut_after_events=2)
    with pytest.raises(httpx2.RemoteProtocolError):
        await _streamed(client)
    host, port = str(http.base_url.host), http.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"\x00\xff nonsense\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert [record for record in caplog.records if record.name.startswith(("uvicorn", "agenthub"))] == []


async def _post_fault(endpoint: Endpoint, **fields: Any) -> None:
    async with httpx2.AsyncClient(base_url=endpoint.url) as http:
        await http.post("/rehearsal/faults", json={"faults": [fields]})
