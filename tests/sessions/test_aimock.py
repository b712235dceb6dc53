"""The same faults against an endpoint that others wrote: @copilotkit/aimock from npm, a fake of the Messages API.

It is installed once into a cache folder, by version and hash, from whatever registry npm is set up for; without
node, npm or that package these tests are skipped and say so.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agenthub.errors import ContextOverflowError, ModelRefusedError, ModelUnavailableError, SessionError
from agenthub.messages import Usage
from agenthub.ports import Port
from agenthub.sessions.anthropic import TRIES, AnthropicModel
from agenthub.sessions.conversation import Conversation
from agenthub.sessions.journal import Journal
from agenthub.sessions.model_calls import Answer
from agenthub.sessions.session import ModelCalled, Prompt, TextDelta, TurnEnd, TurnResult
from tests.sessions.scripted import Toolbox, task

PACKAGE, VERSION = "@copilotkit/aimock", "1.43.0"
INTEGRITY = "sha512-V8D8cjSMtAR4rHaD2ulp3DR/ZguXQjDNOqwKDNvjb/OJL/KR1I0SDf5xpRCd+TYKjhmf9fM8Xpg3QBKPmV9Kmw=="
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agenthub-tests" / f"aimock-{VERSION}"
KEY = "sk-ant-secret-of-this-test"


def says(word: str, content: str = "Good morning to all of you who are here today.", **more: Any) -> dict[str, Any]:
    """A fixture: what is answered to a message that holds the word; with `whole` keys of the fixture itself."""
    whole = more.pop("whole", {})
    return {"match": {"userMessage": word}, "response": {"content": content, **more}, **whole}


FIXTURES = [
    says("hand-over-request", "What I know is little."),
    says("greet", usage={"input_tokens": 11, "output_tokens": 7}),
    says("be cut", whole={"truncateAfterChunks": 5, "latency": 20}),
    says("be slow to begin", whole={"streamingProfile": {"ttft": 5000}}),
    says("be slow amid", whole={"latency": 5000}),
    says("garble", whole={"chaos": {"malformedRate": 1}}),
    says("hang up", whole={"chaos": {"disconnectRate": 1}}),
    says("drop", whole={"chaos": {"dropRate": 1}}),
    says("limit", finishReason="length"),
    says("refuse", finishReason="refusal"),
    says("overflow", finishReason="model_context_window_exceeded"),
    {"match": {"userMessage": "you paused here"}, "response": {"content": "And that is all."}},
    says("pause", finishReason="pause_turn"),
    {
        "match": {"userMessage": "write it", "hasToolResult": False},
        "response": {
            "content": "I write.", "toolCalls": [{"id": "toolu_1", "name": "write", "arguments": '{"text": "x"}'}]
        },
    },
    {"match": {"toolCallId": "toolu_1"}, "response": {"content": "It is written."}},
]  # fmt: skip


def installed() -> Path:
    """The program; skips the test if it is not to be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("node and npm are not installed")
    program = CACHE / "node_modules" / PACKAGE / "dist" / "cli.js"
    if program.exists():
        return program
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        new = Path(folder) / "new"
        new.mkdir()
        wants = {"name": "agenthub-tests", "version": "1.0.0", "dependencies": {PACKAGE: VERSION}}
        packages = {"": wants, f"node_modules/{PACKAGE}": {"version": VERSION, "integrity": INTEGRITY}}
        lock = {"name": "agenthub-tests", "version": "1.0.0", "lockfileVersion": 3, "packages": packages}
        (new / "package.json").write_text(json.dumps(wants))
        (new / "package-lock.json").write_text(json.dumps(lock))
        try:
            done = subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0"], cwd=new,
                capture_output=True, text=True, timeout=90,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm did not install {PACKAGE} {VERSION} within 90 s")
        if done.returncode:
            pytest.skip(f"npm cannot install {PACKAGE} {VERSION}: {done.stderr.strip()[-300:]}")
        with contextlib.suppress(OSError):  # another test process was faster
            new.rename(CACHE)
    return program


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL, for as long as the tests of this file run."""
    program = installed()
    fixtures = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    fixtures.write_text(json.dumps({"fixtures": FIXTURES}))
    with Port() as held:
        url = f"http://127.0.0.1:{held.number}"
        command = ["node", str(program), "-p", str(held.number), "-f", str(fixtures), "--strict", "--log-level", "warn"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                _until_ready(url, process)
                yield url
            finally:
                process.terminate()


def _until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    given_up_at_s = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/ready", timeout=5):
            return
        if process.poll() is not None or time.monotonic() > given_up_at_s:
            pytest.skip(f"{PACKAGE} {VERSION} does not start here")
        time.sleep(0.02)


@pytest.fixture
async def model(aimock: str) -> AsyncIterator[AnthropicModel]:
    model = AnthropicModel("claude-sonnet-5-5", api_key=KEY, base_url=aimock, first_retry_s=0.001, no_event_s=0.5)
    yield model
    await model.close()


@pytest.fixture
def fails_once(aimock: str) -> Callable[..., None]:
    """Has the next request answered with this status."""

    def post(status: int, kind: str = "api_error", message: str = "not now", code: str | None = None) -> None:
        body = json.dumps({"status": status, "body": {"type": kind, "message": message, "code": code}}).encode()
        request = urllib.request.Request(f"{aimock}/__aimock/error", body, {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=5).close()

    return post


async def asked(model: AnthropicModel, text: str) -> list[TextDelta | Usage | Answer]:
    messages = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    return [item async for item in model.answer(system="You are a test.", tools=[], messages=messages)]


async def test_an_answer_streams_and_is_counted(model: AnthropicModel) -> None:
    *deltas, answer = await asked(model, "greet")
    assert isinstance(answer, Answer)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == answer.blocks[0]["text"]
    assert (answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens) == ("end_turn", 11, 7)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 504, 529])
async def test_a_stumble_is_asked_again(model: AnthropicModel, fails_once: Callable[..., None], status: int) -> None:
    fails_once(status)
    answer = (await asked(model, "greet"))[-1]
    assert isinstance(answer, Answer)
    assert answer.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("status", "message", "raised"),
    [
        (400, "not like this", ModelRefusedError),
        (400, "prompt is too long: 250000 tokens > 200000 maximum", ContextOverflowError),
        (401, "invalid key", ModelUnavailableError),
        (402, "no money", ModelUnavailableError),
        (403, "not yours", ModelUnavailableError),
        (404, "model: x", ModelRefusedError),
        (413, "too large", ContextOverflowError),
    ],
)
async def test_a_refusal_of_the_request_is_what_it_is(
    model: AnthropicModel, fails_once: Callable[..., None], status: int, message: str, raised: type[SessionError]
) -> None:
    fails_once(status, "invalid_request_error", message)
    with pytest.raises(SessionError, match=message.partition(":")[0]) as error:
        await asked(model, "greet")
    assert type(error.value) is raised
    assert KEY not in str(error.value)


@pytest.mark.parametrize("how", ["be cut", "be slow to begin", "be slow amid", "garble", "hang up", "drop"])
async def test_what_never_comes_to_an_end_is_unavailable_and_no_answer(model: AnthropicModel, how: str) -> None:
    items: list[Any] = []
    messages = [{"role": "user", "content": [{"type": "text", "text": how}]}]
    with pytest.raises(ModelUnavailableError):
        async for item in model.answer(system="You are a test.", tools=[], messages=messages):
            items.append(item)  # noqa: PERF401  # what came before it failed is kept
    assert not any(isinstance(item, Answer) for item in items)
    if how == "be cut":
        assert items.count(TextDelta("", is_anew=True)) == TRIES - 1
        assert sum(isinstance(item, Usage) for item in items) == TRIES  # each was begun, and is paid


async def test_a_peer_whose_models_have_another_shape_leaves_the_window_that_lists_know(model: AnthropicModel) -> None:
    await asked(model, "greet")
    assert model.window == 1_000_000


@pytest.fixture
async def talk(model: AnthropicModel, tmp_path: Path) -> AsyncIterator[Conversation]:
    async def allowed() -> None: ...

    journal = Journal(tmp_path / "journal.db")
    talk = Conversation(
        model, journal, system="You are a test.", tools=Toolbox().tools(), max_steps=5, before_effect=allowed
    )
    await talk.start()
    yield talk
    journal.close()


async def turn(talk: Conversation, text: str) -> tuple[TurnResult, int]:
    """How a turn ended, and its model calls."""
    events = [event async for event in talk.turn(Prompt(text, task()), turn_id=text.replace(" ", "-"))]
    assert isinstance(events[-1], TurnResult)
    return events[-1], sum(isinstance(event, ModelCalled) for event in events)


async def test_a_tool_loop_runs(talk: Conversation) -> None:
    assert await turn(talk, "write it") == (TurnResult(TurnEnd.STOPPED, text="It is written."), 2)


async def test_a_model_that_paused_goes_on(talk: Conversation) -> None:
    assert await turn(talk, "pause") == (TurnResult(TurnEnd.STOPPED, text="And that is all."), 2)


async def test_a_model_that_refuses_fails_the_turn_and_leaves_no_trace(talk: Conversation) -> None:
    with pytest.raises(SessionError, match="refused"):
        await turn(talk, "refuse")
    assert (await turn(talk, "greet"))[1] == 1


async def test_a_conversation_that_overflows_is_handed_over(talk: Conversation) -> None:
    await turn(talk, "greet")
    with pytest.raises(ModelRefusedError, match="does not fit"):  # this peer overflows again: it is not tried for ever
        await turn(talk, "overflow")
    assert "What I know is little." in str(talk._history[0])
    assert (await turn(talk, "greet"))[1] == 1
