"""Claude, and whatever else speaks the Messages API: another base URL is another model.

The SDK's own retries are off, since it sleeps as long as a `retry-after` says, up to weeks. Which failure
means what was measured on anthropic 2.11; half of them are no errors of the SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import json
import logging
import math
import random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import anthropic
import httpx2
from anthropic.types import Message as ApiMessage

from agenthub.errors import AgenthubError, ContextOverflowError, ModelRefusedError, ModelUnavailableError, SessionError
from agenthub.messages import Usage
from agenthub.organization_file import Price
from agenthub.sessions.blocks import whole
from agenthub.sessions.caching import MARK, Diagnosis, marked
from agenthub.sessions.model_calls import Answer
from agenthub.sessions.prices import cost_usd
from agenthub.sessions.session import TextDelta
from agenthub.sessions.windows import Window

logger = logging.getLogger(__name__)

TRIES = 4
LONGEST_WAIT_S = 10.0
"""A longer wait than this is not spent in the turn: the message goes back until then."""
_DAY_S = 24 * 3600.0
_KEY_REFUSED_S = 60.0
_OUT_OF_MONEY_S = 900.0
_MONEY_CODES = {"enforced_spend_limit_reached", "contract_spend_limit_reached"}
_TRANSIENT_TYPES = {"overloaded_error", "api_error", "rate_limit_error", "timeout_error"}


class AnthropicModel:
    """One model of one endpoint."""

    def __init__(
        self,
        name: str,
        *,
        api_key: str,
        base_url: str | None = None,
        max_output_tokens: int = 16_000,
        no_event_s: float = 120.0,
        first_retry_s: float = 0.5,
        before_try: Callable[[], Awaitable[None]] | None = None,
        prices: Mapping[str, Price] | None = None,
        windows: Path | None = None,
        diagnoses: bool | None = None,
    ) -> None:
        """A model that is not asked anything yet.

        Args:
            no_event_s: How long a stream may be silent.
            first_retry_s: Pause before the second try; doubled for each further one.
            before_try: Awaited in the last moment before each try; raises if this process may not act any more.
            prices: Those of the organization, by model.
            windows: Folder that remembers how much fits into a model.
            diagnoses: Whether to ask with each request why the cache could not be used. None: only Anthropic's own
                API, since others may refuse what they do not know.
        """
        self.name = name
        self.diagnosis = Diagnosis() if (diagnoses if diagnoses is not None else not base_url) else None
        """What the API said about its cache; None if it is not asked."""
        self._prices = dict(prices or {})
        self._window = Window(name, base_url or "", folder=windows)
        self._interrupted = asyncio.Event()
        self._api_key = api_key
        self._max_output_tokens = max_output_tokens
        self._first_retry_s = first_retry_s
        self._before_try = before_try
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=httpx2.Timeout(no_event_s, connect=5.0),
            http_client=anthropic.DefaultAsyncHttpxClient(
                verify=_certificates(base_url), event_hooks={"request": [self._is_sent]}
            ),
        )

    @property
    def window(self) -> int:
        return self._window.tokens

    async def start(self) -> None:
        """Nothing yet: the first request tells whether the key and the model are right."""

    def interrupt(self) -> None:
        self._interrupted.set()

    async def close(self) -> None:
        await self._client.close()

    async def _is_sent(self, request: httpx2.Request) -> None:
        """A request is ready. Asked only now: the process may have stood still while it was made."""
        if self._before_try is not None and request.method == "POST":
            await self._before_try()

    async def answer(
        self, *, system: str, tools: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]]
    ) -> AsyncGenerator[TextDelta | Usage | Answer]:
        """Stream one answer, trying a few times if the provider stumbles. A try that broke off is paid as well.

        Raises:
            ModelUnavailableError: If the provider asks for more patience than a turn should have.
            ModelRefusedError: If the provider refuses for good.
            SessionError: If the provider answered in a way that another try of the turn may mend.
        """
        self._interrupted.clear()
        await self._window.learn(self._client)
        more: dict[str, Any] = {"diagnostics": self.diagnosis.request(messages)} if self.diagnosis else {}
        for attempt in range(1, TRIES + 1):
            begun: ApiMessage | None = None
            has_streamed = False
            try:
                async with self._client.messages.stream(
                    model=self.name,
                    max_tokens=self._max_output_tokens,
                    system=[{"type": "text", "text": system, "cache_control": MARK}],  # type: ignore[typeddict-item]
                    tools=list(tools),  # type: ignore[arg-type]
                    messages=marked(messages),  # type: ignore[arg-type]
                    cache_control=MARK,  # type: ignore[arg-type]
                    **more,
                ) as stream:
                    async for event in stream:
                        begun = stream.current_message_snapshot
                        if event.type == "text":
                            has_streamed = True
                            yield TextDelta(whole(event.text))
                        elif event.type in ("thinking", "input_json"):
                            yield TextDelta("")  # it gets on, though nobody reads this
                    message = await stream.get_final_message()
                if message.stop_reason is None:  # the stream ended cleanly, but early: this is not an answer
                    raise _CutShortError("the answer ended in the middle")
            except Exception as error:
                if isinstance(error.__cause__, AgenthubError):
                    raise error.__cause__ from None  # of `before_try`
                if begun is not None:
                    yield self._usage(begun)
                wait_s = _patience(error, self._first_retry_s * 2 ** (attempt - 1), self._what(error))
                if wait_s is None:
                    raise
                if attempt == TRIES or wait_s > LONGEST_WAIT_S:
                    raise ModelUnavailableError(self._what(error), retry_after_s=max(wait_s, 5.0)) from error
                logger.info("the model stumbled (%s); asking again in %.1f s", self._what(error), wait_s)
                if has_streamed:
                    yield TextDelta("", is_anew=True)
                await self._pause(wait_s, error)
            else:
                if self.diagnosis:
                    self.diagnosis.take(messages, message)
                yield self._read(message)
                return

    async def _pause(self, wait_s: float, error: Exception) -> None:
        """Wait before the next try.

        Raises:
            ModelUnavailableError: If the host cannot wait so long: the message goes back until then.
        """
        try:
            async with asyncio.timeout(wait_s):
                await self._interrupted.wait()
        except TimeoutError:
            return
        raise ModelUnavailableError(f"interrupted while {self._what(error)}", retry_after_s=max(wait_s, 5.0)) from error

    def _read(self, message: ApiMessage) -> Answer:
        blocks = [block.to_dict(mode="json") for block in message.content]
        for block in blocks:
            if block.get("type") == "text":
                block["text"] = whole(str(block.get("text", "")))
        if message.stop_reason == "max_tokens" and blocks and blocks[-1].get("type") == "tool_use":
            blocks.pop()  # its input may be cut off
        # The API does not take back a text of nothing but spaces.
        spoken = [block for block in blocks if block.get("type") != "text" or str(block.get("text", "")).strip()]
        if message.stop_reason == "max_tokens" and not spoken:  # nothing but the begin of a call: it goes on from here
            spoken = [{"type": "text", "text": "[...]"}]
        return Answer(spoken, str(message.stop_reason), self._usage(message))

    def _usage(self, message: ApiMessage) -> Usage:
        counted = message.usage
        usage = Usage(
            calls=1,
            input_tokens=counted.input_tokens,
            output_tokens=counted.output_tokens,
            cache_read_tokens=counted.cache_read_input_tokens or 0,
            cache_write_tokens=counted.cache_creation_input_tokens or 0,
        )
        written_1h = counted.cache_creation.ephemeral_1h_input_tokens if counted.cache_creation else 0
        cost = cost_usd(self.name, usage, own=self._prices, written_1h_tokens=written_1h or 0)
        return usage.model_copy(update={"cost_usd": cost})

    def _what(self, error: Exception) -> str:
        """The error in a few words. Replies carry them to others, so an echoed key is taken out."""
        if isinstance(error, anthropic.NotFoundError):
            text = (
                f"404 {error.type or ''}: {error.message}: there is no model `{self.name}` at {self._client.base_url}. "
                "Set `model` in the role's file or under `[defaults]` in agenthub.toml, or `url` under `[model]`"
            )
        elif isinstance(error, anthropic.APIStatusError):
            text = f"{error.status_code} {error.type or ''}: {error.message}"
        else:
            text = f"{type(error).__name__}: {error}".rstrip(": ")
        return text.replace(self._api_key, "[key]") if self._api_key else text


def preload() -> None:
    """Read the certificates and import what the first request needs, once for all roles forked from this process."""
    _certificates(None)
    AnthropicModel("", api_key="none")
    for late in ("anyio._backends._asyncio", "anyio.streams.stapled", "opentelemetry.propagate"):
        with contextlib.suppress(ImportError):  # the SDK's own affair, and another version may do without
            importlib.import_module(late)


@functools.lru_cache
def _certificates(base_url: str | None) -> ssl.SSLContext | bool:
    """Whom to trust; nothing needs reading for an endpoint on this machine."""
    if base_url is not None and base_url.startswith("http://"):
        return False
    return ssl.create_default_context()


class _CutShortError(Exception):
    """The stream ended without its end."""


def _patience(error: Exception, usual_s: float, what: str) -> float | None:
    """Seconds to wait before asking again; None if `error` is none of the provider's stumbles.

    Raises:
        ModelRefusedError: If asking again cannot help.
        SessionError: If another try of the turn may help, but not another try of this request.
    """
    usual: float = min(8.0, usual_s) * random.uniform(0.75, 1.25)
    if isinstance(error, anthropic.APIStatusError):
        asked = _retry_after(error)
        if error.status_code == 200:  # an error event inside a stream
            if error.type in _TRANSIENT_TYPES:
                return usual
            raise SessionError(f"The model broke off: {what}") from error
        if error.status_code == 402 or error.error_code in _MONEY_CODES:  # a person or the next month heals it
            return max(asked or 0.0, _OUT_OF_MONEY_S)
        if error.status_code in (401, 403):  # a person mends the key: until then nothing is wrong with the message
            return _KEY_REFUSED_S
        if error.status_code in (408, 409, 429) or error.status_code >= 500:
            return usual if asked is None else asked
        if "prompt is too long" in str(error.message) or error.status_code == 413:
            raise ContextOverflowError(f"The conversation is too long: {what}") from error
        raise ModelRefusedError(f"The model's provider refuses: {what}") from error
    transient = (
        anthropic.APIError, httpx2.RequestError, ConnectionError, json.JSONDecodeError, AssertionError, _CutShortError,
    )  # fmt: skip
    if isinstance(error, transient):
        return usual
    if isinstance(error, ValueError):  # a tool's input that is no JSON; or a request that cannot be encoded
        raise SessionError(f"The model's answer could not be read: {what}") from error
    return None


def _retry_after(error: anthropic.APIStatusError) -> float | None:
    """Seconds that the provider asks for, at most a day; None if it says nothing sensible."""
    said = str(error.response.headers.get("retry-after", ""))
    try:
        seconds = float(said)
    except ValueError:
        try:
            moment = parsedate_to_datetime(said)
            seconds = (moment - parsedate_to_datetime(error.response.headers["date"])).total_seconds()
        except (ValueError, KeyError, TypeError):
            return None
    return min(max(seconds, 0.0), _DAY_S) if math.isfinite(seconds) else None
