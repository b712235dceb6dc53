"""The model of the Messages API against the rehearsal endpoint: over HTTP, with the real SDK, faults included."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest

from agenthub.errors import ContextOverflowError, LeaseLostError, ModelRefusedError, ModelUnavailableError, SessionError
from agenthub.messages import Usage
from agenthub.rehearsal import Endpoint, start_rehearsal
from agenthub.rehearsal.faults import Fault
from agenthub.sessions.anthropic import LONGEST_WAIT_S, TRIES, AnthropicModel, _retry_after
from agenthub.sessions.conversation import Conversation
from agenthub.sessions.journal import Journal
from agenthub.sessions.model_calls import Answer
from agenthub.sessions.session import Prompt, TextDelta, Tool, TurnResult
from tests.organization import until
from tests.sessions.scripted import Toolbox, task

KEY = "sk-ant-secret-of-this-test"
GREETING = [{"role": "user", "content": [{"type": "text", "text": "Good morning"}]}]
TOOLS = [{"name": "finish", "description": "End.", "input_schema": {"type": "object", "properties": {"outcome": {}}}}]

Models = Callable[..., AnthropicModel]


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with start_rehearsal(seed=7, speed=0) as endpoint:
        yield endpoint


@pytest.fixture
async def models(endpoint: Endpoint) -> AsyncIterator[Models]:
    """Makes models of this endpoint that wait next to nothing between tries."""
    opened: list[AnthropicModel] = []

    def make(name: str = "claude-sonnet-5-5", **terms: Any) -> AnthropicModel:
        more: dict[str, Any] = {"api_key": KEY, "base_url": endpoint.url, "first_retry_s": 0.001} | terms
        opened.append(AnthropicModel(name, **more))
        return opened[-1]

    yield make
    for one in opened:
        await one.close()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were slept between tries, none of which are really slept."""
    seconds: list[float] = []

    async def pause(model: AnthropicModel, wait_s: float, error: Exception) -> None:
        seconds.append(wait_s)

    monkeypatch.setattr(AnthropicModel, "_pause", pause)
    return seconds


def goes_wrong(endpoint: Endpoint, *faults: Fault) -> None:
    for fault in faults:
        endpoint.model.faults.add(f'{{"faults": [{fault.model_dump_json()}]}}'.encode())


async def asked(model: AnthropicModel, messages: Any = GREETING) -> tuple[Answer, list[Usage]]:
    """The answer, and what the tries before it took."""
    spent: list[Usage] = []
    async for item in model.answer(system="You are a test.", tools=TOOLS, messages=messages):
        if isinstance(item, Usage):
            spent.append(item)
        elif isinstance(item, Answer):
            return item, spent
    raise AssertionError("no answer")


def statuses(endpoint: Endpoint) -> list[int]:
    return [request["status"] for request in endpoint.model.journal]


# ── how it goes well ───────────────────────────────────────────────────────────────────────────────
async def test_an_answer_streams_and_ends_with_its_blocks_and_its_price(endpoint: Endpoint, models: Models) -> None:
    items = [item async for item in models().answer(system="You are a test.", tools=TOOLS, messages=GREETING)]
    answer = items[-1]
    assert isinstance(answer, Answer)
    assert "".join(item.text for item in items[:-1]) == answer.blocks[0]["text"]  # type: ignore[union-attr]
    assert answer.stop_reason == "end_turn"
    noted = endpoint.model.journal[0]["usage"]
    assert answer.usage.model_copy(update={"cost_usd": 0.0}) == Usage(
        calls=1,
        input_tokens=noted["input_tokens"],
        output_tokens=noted["output_tokens"],
        cache_read_tokens=noted["cache_read_input_tokens"],
        cache_write_tokens=noted["cache_creation_input_tokens"],
    )
    assert 0 < answer.usage.cost_usd < 0.01


async def test_what_a_model_without_a_price_costs_is_not_counted_as_nothing(models: Models) -> None:
    unknown, _ = await asked(models("rehearsal"))
    known, _ = await asked(models())
    assert unknown.usage.cost_usd > known.usage.cost_usd


# ── how it goes wrong ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=529),
        Fault(status=500),
        Fault(status=503),
        Fault(status=408),
        Fault(status=429),
        Fault(status=429, retry_after=0),
        Fault(error_in_stream="overloaded_error"),
        Fault(error_in_stream="api_error"),
        Fault(cut_after_events=0),
        Fault(cut_after_events=1),
        Fault(cut_after_events=4),
        Fault(end_after_events=0),
        Fault(end_after_events=4),
        Fault(stall_after_events=3),
        Fault(delay_first_byte_s=30),
    ],
    ids=lambda fault: fault.model_dump_json(exclude_defaults=True),
)
async def test_a_stumble_is_asked_again_and_is_never_an_answer(
    endpoint: Endpoint, models: Models, fault: Fault
) -> None:
    impatient = models(no_event_s=0.3)
    goes_wrong(endpoint, fault)
    answer, _ = await asked(impatient)
    right, _ = await asked(models())
    assert answer.blocks == right.blocks
    assert len(statuses(endpoint)) == 3


async def test_a_short_retry_after_is_waited_for_in_the_turn(
    endpoint: Endpoint, models: Models, slept: list[float]
) -> None:
    goes_wrong(endpoint, Fault(status=429, retry_after=LONGEST_WAIT_S))
    await asked(models())
    assert slept == [LONGEST_WAIT_S]


@pytest.mark.parametrize(
    ("said", "waits_s"), [(LONGEST_WAIT_S + 1, LONGEST_WAIT_S + 1), (3600, 3600), (1e9, 24 * 3600)]
)
async def test_a_long_retry_after_is_not_slept_but_told(
    endpoint: Endpoint, models: Models, slept: list[float], said: float, waits_s: float
) -> None:
    goes_wrong(endpoint, Fault(status=429, retry_after=said))
    with pytest.raises(ModelUnavailableError) as raised:
        await asked(models())
    assert raised.value.retry_after_s == waits_s
    assert slept == []
    assert statuses(endpoint) == [429]


@pytest.mark.parametrize(
    ("said", "waits_s"),
    [
        ("2.5", 2.5),
        ("-5", 0.0),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Sat, 21 Nov 2026 08:01:30 GMT", 90.0),
        ("Sat, 21 Nov 2026 07:00:00 GMT", 0.0),
        ("Tue, 21 Nov 2028 08:00:00 GMT", 24 * 3600.0),
    ],
)
def test_a_retry_after_is_read_as_seconds_or_a_date_and_never_as_nonsense(said: str, waits_s: float | None) -> None:
    headers = {"retry-after": said, "date": "Sat, 21 Nov 2026 08:00:00 GMT"}
    response = httpx2.Response(429, headers=headers, request=httpx2.Request("POST", "http://model"))
    assert _retry_after(anthropic.APIStatusError("busy", response=response, body=None)) == waits_s


async def test_a_provider_that_stays_down_is_asked_only_so_often(
    endpoint: Endpoint, models: Models, slept: list[float]
) -> None:
    goes_wrong(endpoint, Fault(status=529, times=None))
    with pytest.raises(ModelUnavailableError, match="529 overloaded_error") as raised:
        await asked(models(first_retry_s=0.5))
    assert statuses(endpoint) == [529] * TRIES
    assert [0.75 <= wait / usual <= 1.25 for wait, usual in zip(slept, (0.5, 1, 2), strict=True)] == [True] * 3
    assert 3 <= raised.value.retry_after_s <= 10


async def test_a_provider_that_is_not_there_is_unavailable(models: Models) -> None:
    with pytest.raises(ModelUnavailableError, match="APIConnectionError"):
        await asked(models(base_url="http://127.0.0.1:9"))


@pytest.mark.parametrize("status", [400, 404])
async def test_what_asking_again_cannot_help_is_refused_at_once(
    endpoint: Endpoint, models: Models, status: int
) -> None:
    goes_wrong(endpoint, Fault(status=status, message="not like this"))
    with pytest.raises(ModelRefusedError, match=f"{status} .*not like this"):
        await asked(models())
    assert statuses(endpoint) == [status]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_is_no_fault_of_the_message(
    endpoint: Endpoint, models: Models, status: int
) -> None:
    goes_wrong(endpoint, Fault(status=status))
    with pytest.raises(ModelUnavailableError) as raised:
        await asked(models())
    assert raised.value.retry_after_s == 60
    assert len(statuses(endpoint)) == 1


@pytest.mark.parametrize(
    "fault", [Fault(status=402), Fault(status=429, error_code="enforced_spend_limit_reached", retry_after=1)]
)
async def test_a_provider_that_wants_money_is_not_pestered(endpoint: Endpoint, models: Models, fault: Fault) -> None:
    goes_wrong(endpoint, fault)
    with pytest.raises(ModelUnavailableError) as raised:
        await asked(models())
    assert raised.value.retry_after_s == 900
    assert len(statuses(endpoint)) == 1


@pytest.mark.parametrize("is_real", [True, False])
async def test_a_conversation_that_is_too_long_fails_the_turn(
    endpoint: Endpoint, models: Models, is_real: bool
) -> None:
    if not is_real:
        goes_wrong(endpoint, Fault(status=413))
    long = [{"role": "user", "content": [{"type": "text", "text": "x" * 40_000 if is_real else "x"}]}]
    with pytest.raises(SessionError, match="The conversation is too long") as raised:
        await asked(models("rehearsal-8k", max_output_tokens=1000), long)
    assert type(raised.value) is ContextOverflowError
    assert len(statuses(endpoint)) == 1


async def test_an_error_amid_a_stream_that_waiting_does_not_mend_fails_the_turn(
    endpoint: Endpoint, models: Models
) -> None:
    goes_wrong(endpoint, Fault(error_in_stream="invalid_request_error"))
    with pytest.raises(SessionError, match="invalid_request_error") as raised:
        await asked(models())
    assert type(raised.value) is SessionError
    assert len(statuses(endpoint)) == 1


async def test_a_request_that_cannot_be_encoded_fails_the_turn_instead_of_the_process(models: Models) -> None:
    with pytest.raises(SessionError, match="could not be read"):
        await asked(models(), [{"role": "user", "content": [{"type": "text", "text": "\ud800"}]}])


@contextlib.asynccontextmanager
async def streaming(*texts: str) -> AsyncIterator[str]:
    """The address of a provider that streams one text in these parts, half characters and all."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    begun = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": one}} for one in texts),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.write("".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answers, "127.0.0.1", 0) as provider:
        yield f"http://127.0.0.1:{provider.sockets[0].getsockname()[1]}"


async def test_half_a_character_in_an_answer_does_not_spoil_what_follows(models: Models) -> None:
    async with streaming("a \ud83d", "\ude00 and half of one: \ud83d") as url:
        answer, _ = await asked(models(base_url=url))
    assert [block["text"] for block in answer.blocks] == ["a \U0001f600 and half of one: \ufffd"]


async def test_a_refusal_is_an_answer_without_words_and_is_paid(endpoint: Endpoint, models: Models) -> None:
    goes_wrong(endpoint, Fault(stop_reason="refusal"))
    answer, _ = await asked(models())
    assert answer.stop_reason == "refusal"
    assert answer.usage.cost_usd > 0


@pytest.mark.parametrize("stop_reason", ["max_tokens", "tool_use"])
async def test_a_call_that_the_token_limit_cut_off_is_not_made(models: Models, stop_reason: str) -> None:
    from anthropic.types import Message as ApiMessage

    said = ApiMessage.model_validate(
        {
            "id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "stop_sequence": None,
            "stop_reason": stop_reason, "usage": {"input_tokens": 1, "output_tokens": 1},
            "content": [
                {"type": "text", "text": "\n "},
                {"type": "tool_use", "id": "1", "name": "write", "input": {"path": "a"}},
                {"type": "tool_use", "id": "2", "name": "write", "input": {"path": "b"}},
            ],
        }
    )  # fmt: skip
    answer = models()._read(said)
    assert [block["id"] for block in answer.blocks] == (["1"] if stop_reason == "max_tokens" else ["1", "2"])


async def test_an_interrupt_ends_the_wait_between_two_tries(endpoint: Endpoint, models: Models) -> None:
    goes_wrong(endpoint, Fault(status=429, retry_after=LONGEST_WAIT_S))
    model = models()
    asking = asyncio.create_task(asked(model))
    async with asyncio.timeout(LONGEST_WAIT_S - 1):
        await until(lambda: statuses(endpoint) == [429])
        await until(lambda: model.interrupt() or asking.done())  # type: ignore[func-returns-value]
    with pytest.raises(ModelUnavailableError, match="interrupted") as raised:
        await asking
    assert raised.value.retry_after_s == LONGEST_WAIT_S


async def test_what_was_streamed_of_an_answer_that_broke_off_is_said_to_be_void(
    endpoint: Endpoint, models: Models
) -> None:
    goes_wrong(endpoint, Fault(cut_after_events=4), Fault(status=529))
    items = [item async for item in models().answer(system="You are a test.", tools=TOOLS, messages=GREETING)]
    deltas = [item for item in items if isinstance(item, TextDelta)]
    assert [delta.is_anew for delta in deltas].count(True) == 1
    last = max(at for at, delta in enumerate(deltas) if delta.is_anew)
    assert isinstance(items[-1], Answer)
    assert "".join(delta.text for delta in deltas[last:]) == items[-1].blocks[0]["text"]
    assert any(delta.text for delta in deltas[:last])


async def test_a_model_that_the_provider_does_not_know_is_said_with_the_setting(models: Models) -> None:
    with pytest.raises(ModelRefusedError, match=r"no model `gpt-6` at .*Set `model` in the role's file"):
        await asked(models("gpt-6"))


async def test_a_call_that_is_all_the_token_limit_left_is_no_empty_answer(models: Models) -> None:
    from anthropic.types import Message as ApiMessage

    said = ApiMessage.model_validate(
        {
            "id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "stop_sequence": None,
            "stop_reason": "max_tokens", "usage": {"input_tokens": 1, "output_tokens": 1},
            "content": [{"type": "tool_use", "id": "1", "name": "write", "input": {"path": "a"}}],
        }
    )  # fmt: skip
    assert models()._read(said).blocks == [{"type": "text", "text": "[...]"}]


# ── the window ─────────────────────────────────────────────────────────────────────────────────────
async def test_the_window_is_learned_once_and_remembered(models: Models, tmp_path: Path) -> None:
    model = models("rehearsal-8k", windows=tmp_path, max_output_tokens=1000)
    assert model.window == 0  # no list knows it
    await asked(model)
    assert model.window == 8000
    assert models("rehearsal-8k", windows=tmp_path).window == 8000
    assert models("rehearsal-8k", windows=tmp_path, base_url="http://127.0.0.1:9").window == 0


async def test_a_provider_that_does_not_say_leaves_the_window_that_lists_know(tmp_path: Path) -> None:
    model = AnthropicModel("claude-haiku-4-5", api_key=KEY, base_url="http://127.0.0.1:9", windows=tmp_path)
    await model._window.learn(model._client)
    assert model.window == 200_000
    assert list(tmp_path.iterdir()) == []
    await model.close()


# ── the cache ──────────────────────────────────────────────────────────────────────────────────────
async def test_the_api_itself_says_that_the_prefix_stayed_the_same(models: Models, tmp_path: Path) -> None:
    model, journal = models(diagnoses=True), Journal(tmp_path / "journal.db")
    talk = conversation(model, journal, Toolbox().tools())
    await talk.start()
    for n in range(5):
        [_ async for _ in talk.turn(Prompt(f"Question {n}?", task(f"m{n}")), turn_id=f"m{n}")]
    assert model.diagnosis is not None
    assert (model.diagnosis.asked, model.diagnosis.misses) == (4, [])
    talk._model_calls._system += " It is now 10:31."
    [_ async for _ in talk.turn(Prompt("Question 5?", task("m5")), turn_id="m5")]
    assert model.diagnosis.misses == ["system_changed"]
    journal.close()


async def test_others_are_not_asked_for_a_diagnosis(models: Models) -> None:
    assert models().diagnosis is None
    assert models(base_url=None).diagnosis is not None


# ── what a try takes that brings nothing ───────────────────────────────────────────────────────────
async def test_a_stream_that_broke_off_is_paid(endpoint: Endpoint, models: Models) -> None:
    goes_wrong(endpoint, Fault(cut_after_events=4), Fault(status=529), Fault(end_after_events=4))
    answer, spent = await asked(models())
    assert len(spent) == 2  # a refused request costs nothing
    noted = [request["usage"] for request in endpoint.model.journal if request["usage"]]
    tokens = [one.input_tokens + one.cache_read_tokens + one.cache_write_tokens for one in (*spent, answer.usage)]
    assert tokens == [
        usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
        for usage in noted
    ]
    assert all(one.cost_usd > 0 for one in spent)


# ── cancelling ─────────────────────────────────────────────────────────────────────────────────────
async def test_a_call_that_is_cancelled_amid_its_stream_lets_go_of_the_connection(
    endpoint: Endpoint, models: Models
) -> None:
    goes_wrong(endpoint, Fault(stall_after_events=4))
    model = models()
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in model.answer(system="You are a test.", tools=TOOLS, messages=GREETING):
            begun.set()

    async with asyncio.timeout(30):
        listening = asyncio.create_task(listen())
        await begun.wait()
        before = time.monotonic()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        assert time.monotonic() - before < 1
        assert model._client._client._transport._pool.connections == []  # type: ignore[attr-defined]
        await asked(model)
    assert statuses(endpoint) == [200, 200]


# ── a conversation over the wire ───────────────────────────────────────────────────────────────────
def conversation(model: AnthropicModel, journal: Journal, tools: list[Tool]) -> Conversation:
    async def allowed() -> None: ...

    system = f"You are a test. {'Be brief. ' * 100}"
    return Conversation(model, journal, system=system, tools=tools, max_steps=9, before_effect=allowed)


async def test_most_of_a_long_conversation_is_read_from_the_cache(
    endpoint: Endpoint, models: Models, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal.db")
    talk = conversation(models(), journal, Toolbox().tools())
    await talk.start()
    for n in range(30):
        prompt = Prompt(f"Question {n}: {'and then ' * 50}?", task(f"m{n}"))
        *_, end = [event async for event in talk.turn(prompt, turn_id=f"m{n}")]
        assert isinstance(end, TurnResult)
    sums = [journal.usage_of(f"m{n}") for n in range(30)]
    total = sum(sums[1:], sums[0])
    whole_input = total.input_tokens + total.cache_read_tokens + total.cache_write_tokens
    assert total.calls == len(endpoint.model.journal) >= 30
    assert total.cache_read_tokens / whole_input >= 0.8
    assert total.cost_usd > 0
    journal.close()


async def test_an_answer_with_many_calls_does_not_push_the_conversation_out_of_the_cache(models: Models) -> None:
    model = models()
    talk: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "x" * 40_000}]}]
    first, _ = await asked(model, talk)
    assert first.usage.cache_write_tokens > 10_000
    names = [f"call_{n}" for n in range(25)]
    uses = [{"type": "tool_use", "id": name, "name": "finish", "input": {}} for name in names]
    done = [{"type": "tool_result", "tool_use_id": name, "content": "ok"} for name in names]
    talk += [{"role": "assistant", "content": uses}, {"role": "user", "content": done}]
    second, _ = await asked(model, talk)
    assert second.usage.cache_read_tokens >= first.usage.cache_write_tokens
    assert "cache_control" not in str(talk)  # the history itself is never touched


async def test_answers_of_the_sdk_can_be_stored_and_sent_back(models: Models, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    for n in range(3):  # each time from what is on disk
        talk = conversation(models(), journal, Toolbox().tools())
        await talk.start()
        *_, end = [event async for event in talk.turn(Prompt(f"Question {n}?", task(f"m{n}")), turn_id=f"m{n}")]
        assert isinstance(end, TurnResult)
    journal.close()


# ── secrets ────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=401, message=f"invalid key {KEY}"),
        Fault(status=413, message=f"too long for {KEY}"),
        Fault(status=529, message=f"overloaded {KEY}", times=None),
        Fault(error_in_stream="invalid_request_error", message=f"{KEY} is wrong"),
        Fault(cut_after_events=2, times=None),
    ],
    ids=lambda fault: str(fault.status),
)
async def test_the_key_is_in_no_error_and_in_no_log(
    endpoint: Endpoint, models: Models, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    goes_wrong(endpoint, fault)
    model = models()
    with caplog.at_level(logging.DEBUG), pytest.raises(SessionError) as raised:
        await asked(model)
    assert KEY not in str(raised.value)
    assert KEY not in repr(raised.value) + repr(model) + str(vars(raised.value))
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("agenthub")]
    assert KEY not in "\n".join(ours)


async def test_no_library_logs_the_key_even_when_it_is_asked_to_log_all(
    models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for name in ("anthropic", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        await asked(models())
    assert len(caplog.records) > 3
    assert KEY not in caplog.text


async def test_while_the_input_of_a_tool_is_written_it_is_seen_that_the_model_gets_on(models: Models) -> None:
    asks = [{"role": "user", "content": [{"type": "text", "text": "rehearse: fail"}]}]
    items = [item async for item in models().answer(system="You are a test.", tools=TOOLS, messages=asks)]
    answer = items[-1]
    assert isinstance(answer, Answer)
    assert answer.stop_reason == "tool_use"
    assert [item for item in items[:-1] if isinstance(item, TextDelta) and not item.text]


async def test_who_loses_the_role_while_a_question_is_made_ready_does_not_ask_it(
    endpoint: Endpoint, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_role, build = [True], anthropic.AsyncAnthropic._build_request

    async def before_try() -> None:
        if not has_role:
            raise LeaseLostError("another process has the role")

    def built(client: anthropic.AsyncAnthropic, options: Any, **more: Any) -> Any:
        if options.method.lower() == "post":
            has_role.clear()  # as if the process had been stopped here for a while
        return build(client, options, **more)

    monkeypatch.setattr(anthropic.AsyncAnthropic, "_build_request", built)
    with pytest.raises(LeaseLostError):
        await asked(models(before_try=before_try))
    assert statuses(endpoint) == []


async def test_who_lost_the_role_between_two_tries_does_not_try_again(endpoint: Endpoint, models: Models) -> None:
    goes_wrong(endpoint, Fault(status=529))
    lost = iter([False, True])

    async def before_try() -> None:
        if next(lost):
            raise LeaseLostError("another process has the role")

    with pytest.raises(LeaseLostError):
        await asked(models(before_try=before_try))
    assert statuses(endpoint) == [529]
