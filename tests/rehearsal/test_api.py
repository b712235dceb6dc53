"""The Messages API that the endpoint speaks: streams, usage, the prefix cache, refusals."""

from __future__ import annotations

import math
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic

from agenthub.errors import ConfigError
from agenthub.rehearsal import Endpoint, start_rehearsal
from agenthub.rehearsal.requests import MAX_BODY_BYTES

from .conftest import Clock
from .office import MODEL, TOOLS, message, said, system

HELLO: list[Any] = [{"role": "user", "content": "Good morning"}]


async def test_streaming_and_plain_agree(endpoint: Endpoint) -> None:
    fields: Any = {"model": MODEL, "max_tokens": 4000, "system": system("cto"), "tools": TOOLS}
    fields["messages"] = [{"role": "user", "content": message("Attachments – naïve, 日本語 \u2028 and 🚀.")}]
    async with AsyncAnthropic(base_url=endpoint.url, api_key="rehearsal", max_retries=0) as client:
        plain = await client.messages.create(**fields)
        async with client.messages.stream(**fields) as stream:
            kinds = [event.type async for event in stream]
            streamed = await stream.get_final_message()
    assert streamed.model_dump() == plain.model_dump()
    assert [block.type for block in plain.content] == ["text", "tool_use"]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("input_json") > 3
    assert kinds.count("text") > 1


async def test_models_are_listed_and_described(client: AsyncAnthropic) -> None:
    listed = [model async for model in client.models.list()]
    assert MODEL in [model.id for model in listed]
    model = await client.models.retrieve(MODEL)
    assert (model.max_input_tokens, model.max_tokens, model.lifecycle) == (1_000_000, 128_000, "active")
    assert (await client.models.retrieve("rehearsal-8k")).max_input_tokens == 8000
    with pytest.raises(anthropic.NotFoundError, match="gpt"):
        await client.models.retrieve("gpt")


async def test_tokens_are_counted_as_they_are_billed(client: AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model=MODEL, system="x" * 40, messages=HELLO)
    assert counted.input_tokens == (40 + len("Good morning")) / 4
    answered = await client.messages.create(model=MODEL, max_tokens=100, system="x" * 40, messages=HELLO)
    assert answered.usage.input_tokens == counted.input_tokens


async def test_a_growing_conversation_is_read_from_the_cache(client: AsyncAnthropic) -> None:
    history: list[Any] = []
    before = 0
    for number in range(4):
        history.append({"role": "user", "content": f"Question {number} " + "x" * 389})
        answered = await client.messages.create(
            model=MODEL,
            max_tokens=500,
            system="y" * 800,
            messages=history,
            cache_control={"type": "ephemeral"},
        )
        usage = answered.usage
        assert usage.cache_read_input_tokens == before
        assert usage.input_tokens == 0
        assert usage.cache_creation_input_tokens
        counted = await client.messages.count_tokens(model=MODEL, system="y" * 800, messages=history)
        before += usage.cache_creation_input_tokens
        assert before == counted.input_tokens
        history.append({"role": "assistant", "content": [block.to_dict() for block in answered.content]})


async def test_what_is_cached_is_forgotten_after_its_time(client: AsyncAnthropic, clock: Clock) -> None:
    async def ask() -> tuple[int, int, int, int]:
        block: Any = {"type": "text", "text": "s" * 400, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
        usage = (
            await client.messages.create(
                model=MODEL,
                max_tokens=100,
                system=[block],
                messages=[{"role": "user", "content": "m" * 200}],
                cache_control={"type": "ephemeral"},
            )
        ).usage
        assert usage.cache_creation
        written = usage.cache_creation
        return (
            usage.cache_read_input_tokens or 0,
            written.ephemeral_1h_input_tokens,
            written.ephemeral_5m_input_tokens,
            usage.input_tokens,
        )

    assert await ask() == (0, 100, 50, 0)
    assert await ask() == (150, 0, 0, 0)
    for _ in range(3):  # reading renews it
        clock.now += 299
        assert await ask() == (150, 0, 0, 0)
    clock.now += 301
    assert await ask() == (100, 0, 50, 0)
    clock.now += 3601
    assert await ask() == (0, 100, 50, 0)


async def test_without_marks_nothing_is_cached(client: AsyncAnthropic) -> None:
    for _ in range(2):
        usage = (await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)).usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (3, 0, 0)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"model": "claude-opus-5-5"}, "model_changed"),
        ({"system": "You are somebody else."}, "system_changed"),
        ({"tools": TOOLS[1:]}, "tools_changed"),
        ({"messages": [{"role": "user", "content": "Rewritten"}]}, "messages_changed"),
        ({"diagnostics": {"previous_message_id": "msg_gone"}}, "previous_message_not_found"),
        ({"diagnostics": {"previous_message_id": None}}, None),
    ],
)
async def test_a_diagnosis_says_why_the_prefix_was_not_used(
    client: AsyncAnthropic, changed: dict[str, Any], reason: str | None
) -> None:
    fields: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "system": "You are a clerk.", "tools": TOOLS}
    first = await client.messages.create(messages=HELLO, **fields)
    grown = [*HELLO, {"role": "assistant", "content": said(first)}, {"role": "user", "content": "And now?"}]
    fields |= {"messages": grown, "diagnostics": {"previous_message_id": first.id}} | changed
    diagnosed = (await client.messages.create(**fields)).diagnostics
    found = diagnosed and diagnosed.cache_miss_reason and diagnosed.cache_miss_reason.type
    assert found == reason


async def test_an_answer_is_cut_at_max_tokens(client: AsyncAnthropic) -> None:
    answered = await client.messages.create(model=MODEL, max_tokens=5, messages=HELLO)
    assert (answered.stop_reason, answered.usage.output_tokens) == ("max_tokens", 5)
    nothing = await client.messages.create(model=MODEL, max_tokens=0, messages=HELLO)
    assert nothing.content == []


async def test_a_prompt_beyond_the_window_is_refused(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: 8001 tokens > 8000 maximum"):
        await client.messages.create(
            model="rehearsal-8k", max_tokens=10, messages=[{"role": "user", "content": "x" * 32_001}]
        )


async def test_any_key_opens_and_no_key_does_not(endpoint: Endpoint) -> None:
    body = {"model": MODEL, "max_tokens": 10, "messages": HELLO}
    async with httpx2.AsyncClient(base_url=endpoint.url) as http:
        for headers in ({"authorization": "Bearer any"}, {"x-api-key": "thing"}):
            assert (await http.post("/v1/messages", json=body, headers=headers)).status_code == 200
        for headers in ({}, {"authorization": "Basic x"}):
            refused = await http.post("/v1/messages", json=body, headers=headers)
            assert refused.status_code == 401
            assert refused.json()["error"]["type"] == "authentication_error"
        assert (await http.get("/v1/models")).status_code == 401
        assert (await http.get("/")).status_code == 200
        assert (await http.head("/")).status_code == 200


_USE = {"type": "tool_use", "id": "t1", "name": "finish", "input": {}}
_RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}
_MARK = {"type": "ephemeral"}


def _turns(*contents: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model": 7}, "model: "),
        ({"model": None}, "model: "),
        ({"max_tokens": "many"}, "max_tokens: "),
        ({"max_tokens": True}, "max_tokens: "),
        ({"max_tokens": -1}, "max_tokens: "),
        ({"max_tokens": 128_001}, "128001 > 128000"),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"messages": []}, "messages: "),
        ({"messages": "hello"}, "messages: "),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role: "),
        ({"messages": [{"role": "user"}]}, "messages.0.content: "),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content: "),
        ({"messages": [{"role": "user", "content": [None]}]}, "messages.0.content.0: "),
        ({"messages": [{"role": "assistant", "content": "x"}, HELLO[0]]}, 'must use the "user" role'),
        (_turns("x", "y"), "must end with a user message"),
        (_turns(""), "non-empty content"),
        (_turns([{"type": "text", "text": " \n"}]), "non-whitespace"),
        (_turns([{"type": "text"}]), "messages.0.content.0.text.text: Field required"),
        ({"system": [{"type": "text", "text": ""}]}, "system.0: "),
        ({"system": 3}, "system: "),
        ({"system": [3]}, "system.0: "),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools.0.name: "),
        ({"tools": [{"name": "a"}]}, "tools.0.input_schema: "),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "names must be unique"),
        (_turns("x", [_USE], "and?"), "`tool_use` ids were found without `tool_result` blocks"),
        (_turns("x", [_USE], [{"type": "text", "text": "first"}, _RESULT]), "must come first"),
        (_turns("x", [_USE], [_RESULT, _RESULT]), "single result"),
        (_turns("x", [_USE, _USE], [_RESULT]), "ids must be unique"),
        (_turns("x", [_USE], [_RESULT], [_USE], [_RESULT]), "ids must be unique"),
        (_turns([_RESULT]), "unexpected `tool_use_id`"),
        (_turns("x", [{"type": "text", "text": "y"}], [_RESULT]), "unexpected `tool_use_id`"),
        (_turns([{**_USE}]), "can only be in `assistant` messages"),
        (_turns("x", [{**_USE, "input": "{}"}], [_RESULT]), "input: Input should be a valid dict"),
        (_turns([{"type": "text", "text": "x", "cache_control": _MARK}] * 5), "maximum of 4"),
        (
            _turns([{"type": "text", "text": "x", "cache_control": _MARK}] * 4) | {"cache_control": _MARK},
            "maximum of 4",
        ),
        (_turns([{"type": "text", "text": "x", "cache_control": {"type": "forever"}}]), "cache_control: "),
        (
            {
                "system": [{"type": "text", "text": "x", "cache_control": _MARK}],
                "cache_control": {**_MARK, "ttl": "1h"},
            },
            "must not come after",
        ),
    ],
)
async def test_a_wrong_request_is_refused_with_the_reason(
    http: httpx2.AsyncClient, changed: dict[str, Any], named: str
) -> None:
    refused = await http.post("/v1/messages", json={"model": MODEL, "max_tokens": 10, "messages": HELLO} | changed)
    assert refused.status_code == 400, refused.text
    body = refused.json()
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert named in body["error"]["message"]
    assert refused.headers["request-id"] == body["request_id"]


async def test_neighbouring_messages_of_one_role_and_host_messages_are_fine(http: httpx2.AsyncClient) -> None:
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [_USE]},
        {"role": "user", "content": [_RESULT]},
        {"role": "user", "content": "and more"},
        {"role": "system", "content": "The host says: be brief."},
    ]
    answered = await http.post("/v1/messages", json={"model": MODEL, "max_tokens": 10, "messages": turns})
    assert answered.status_code == 200, answered.text


async def test_sampling_is_refused_by_the_new_version_only(http: httpx2.AsyncClient) -> None:
    body = {"model": MODEL, "max_tokens": 10, "messages": HELLO, "temperature": 0.5}
    assert (await http.post("/v1/messages", json=body)).status_code == 200
    newer = {"anthropic-version": "2026-10-21"}
    assert (await http.post("/v1/messages", json=body, headers=newer)).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'"text"',
        b'{"max_tokens": NaN}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"model": "claude-x", "max_tokens": 1' + b"0" * 5000 + b', "messages": []}',
        b'{"model": "\\ud800", "max_tokens": 1, "messages": [{"role": "user", "content": "\\udfff"}]}',
    ],
)
async def test_bad_bytes_are_refused_and_harm_nobody(http: httpx2.AsyncClient, body: bytes) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens", "/rehearsal/faults"):
        refused = await http.post(path, content=body)
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    good = await http.post("/v1/messages", json={"model": MODEL, "max_tokens": 10, "messages": HELLO})
    assert good.status_code == 200


async def test_a_huge_body_is_refused(http: httpx2.AsyncClient) -> None:
    refused = await http.post("/v1/messages", content=b"x" * (MAX_BODY_BYTES + 1))
    assert (refused.status_code, refused.json()["error"]["type"]) == (413, "request_too_large")


async def test_other_paths_are_not_found_in_the_shape_of_the_api(http: httpx2.AsyncClient) -> None:
    missing = await http.get("/v1/complete")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")


async def test_the_journal_tells_what_was_asked(client: AsyncAnthropic, http: httpx2.AsyncClient) -> None:
    await client.messages.create(
        model=MODEL,
        max_tokens=4000,
        system=system("qa"),
        messages=[{"role": "user", "content": message("Attachments.")}],
    )
    await http.post("/v1/messages", content=b"{")
    seen = (await http.get("/rehearsal/requests")).json()["requests"]
    assert [entry["status"] for entry in seen] == [200, 400]
    assert (seen[0]["role"], seen[0]["model"]) == ("qa", MODEL)
    assert seen[0]["last_user_text"] == message("Attachments.")
    assert seen[0]["usage"]["input_tokens"] > 0
    await http.delete("/rehearsal/requests")
    assert (await http.get("/rehearsal/requests")).json()["requests"] == []


async def test_a_wrong_speed_and_a_taken_port_are_said(endpoint: Endpoint) -> None:
    for speed in (-1.0, math.nan):
        with pytest.raises(ConfigError, match="speed"):
            async with start_rehearsal(speed=speed):
                pass
    with pytest.raises(ConfigError, match="not free"):
        async with start_rehearsal(int(endpoint.url.rsplit(":", 1)[1])):
            pass
