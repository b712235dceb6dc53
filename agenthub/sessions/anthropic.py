"""Claude, and whatever else speaks the Messages API: another base URL is another model.

The SDK's own retries are off, since it sleeps as long as a `retry-after` says, up to weeks. Which failure
means what was measured on anthropic 2.11; half of them are no errors of the SDK.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anthropic
import httpx2
from anthropic.types import Message as ApiMessage

from agenthub.errors import ModelRefusedError, ModelUnavailableError, SessionError
from agenthub.messages import Usage
from agenthub.sessions.conversation import Answer
from agenthub.sessions.prices import cost_usd
from agenthub.sessions.session import TextDelta

logger = logging.getLogger(__name__)

TRIES = 4
LONGEST_WAIT_S = 10.0
"""A longer wait than this is not spent in the turn: the message goes back until then."""
_NO_EVENT_S = 120.0
_TRANSIENT_TYPES = {"overloaded_error", "api_error", "rate_limit_error", "timeout_error"}


class AnthropicModel:
    """One model of one endpoint."""

    def __init__(
        self, name: str, *, api_key: str, base_url: str | None = None, max_output_tokens: int = 16_000
    ) -> None:
        self.name = name
        self.window = 0
        self._max_output_tokens = max_output_tokens
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=httpx2.Timeout(_NO_EVENT_S, connect=5.0),
        )

    async def start(self) -> None:
        """Nothing to learn yet: the first request tells whether the key and the model are right."""

    async def close(self) -> None:
        await self._client.close()

    async def answer(
        self, *, system: str, tools: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]]
    ) -> AsyncIterator[TextDelta | Answer]:
        """Stream one answer, trying a few times if the provider stumbles.

        Raises:
            ModelUnavailableError: If the provider asks for more patience than a turn should have.
            ModelRefusedError: If the provider refuses for good.
            SessionError: If the provider answered in a way that another try of the turn may mend.
        """
        for attempt in range(1, TRIES + 1):
            try:
                async with self._client.messages.stream(
                    model=self.name,
                    max_tokens=self._max_output_tokens,
                    # An hour for what never changes: agents are often idle for longer than five minutes.
                    system=[{"type": "text", "text": system, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
                    tools=list(tools),  # type: ignore[arg-type]
                    messages=list(messages),  # type: ignore[arg-type]
                    cache_control={"type": "ephemeral"},
                ) as stream:
                    async for event in stream:
                        if event.type == "text":
                            yield TextDelta(event.text)
                    message = await stream.get_final_message()
                yield self._read(message)
                return
            except Exception as error:
                wait_s = _patience(error, attempt)
                if wait_s is None:
                    raise
                if attempt == TRIES or wait_s > LONGEST_WAIT_S:
                    raise ModelUnavailableError(_what(error), retry_after_s=max(wait_s, 5.0)) from error
                logger.info("the model stumbled (%s); asking again in %.1f s", _what(error), wait_s)
                await asyncio.sleep(wait_s)

    def _read(self, message: ApiMessage) -> Answer:
        if message.stop_reason is None:  # the stream ended cleanly, but early: this is not an answer
            raise _CutShortError("the answer ended in the middle")
        if message.stop_reason == "refusal":
            raise SessionError("The model refused to answer this.")
        counted = message.usage
        usage = Usage(
            calls=1,
            input_tokens=counted.input_tokens,
            output_tokens=counted.output_tokens,
            cache_read_tokens=counted.cache_read_input_tokens or 0,
            cache_write_tokens=counted.cache_creation_input_tokens or 0,
        )
        usage = usage.model_copy(update={"cost_usd": cost_usd(self.name, usage)})
        blocks = [block.to_dict(mode="json") for block in message.content]
        if message.stop_reason == "max_tokens" and blocks and blocks[-1].get("type") == "tool_use":
            blocks.pop()  # its input may be cut off
        return Answer([b for b in blocks if b.get("type") != "text" or b.get("text")], message.stop_reason, usage)


class _CutShortError(Exception):
    """The stream ended without its end."""


def _patience(error: Exception, attempt: int) -> float | None:
    """Seconds to wait before asking again; None if `error` is none of the provider's stumbles.

    Raises:
        ModelRefusedError: If asking again cannot help.
        SessionError: If the request is too long.
    """
    usual: float = min(8.0, 0.5 * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)
    if isinstance(error, anthropic.APIStatusError):
        asked = _retry_after(error)
        if error.status_code == 200:  # an error event inside a stream
            if error.type in _TRANSIENT_TYPES:
                return usual
            raise SessionError(f"The model ended with {error.type}: {error.message}") from error
        if error.status_code in (408, 409, 429) or error.status_code >= 500:
            return usual if asked is None else asked
        if "prompt is too long" in str(error.message) or error.status_code == 413:
            raise SessionError(f"The conversation is too long for {error.status_code}: {error.message}") from error
        raise ModelRefusedError(f"The model's provider refuses ({error.status_code}): {error.message}") from error
    transient = (
        anthropic.APIConnectionError, httpx2.TransportError, ConnectionError, json.JSONDecodeError, AssertionError,
        _CutShortError,
    )  # fmt: skip
    return usual if isinstance(error, transient) else None


def _retry_after(error: anthropic.APIStatusError) -> float | None:
    try:
        return float(str(error.response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _what(error: Exception) -> str:
    if isinstance(error, anthropic.APIStatusError):
        return f"{error.status_code} {error.type or ''}".strip()
    return f"{type(error).__name__}: {error}".rstrip(": ")
