"""A model behind an API, and one call of it: allowed, paid for from the budget, and settled with what it took."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol

from agenthub.failpoints import Failpoint, reach
from agenthub.messages import Usage
from agenthub.sessions.journal import Block
from agenthub.sessions.session import Meter, TextDelta

_BYTES_PER_TOKEN = 3
"""Few, so that the size of what nobody has counted yet is rather taken for too large."""


class Answer(NamedTuple):
    """What one model call gave."""

    blocks: list[Block]
    stop_reason: str
    usage: Usage


class Model(Protocol):
    """A model behind an API; raises the `SessionError` that fits each failure."""

    name: str

    @property
    def window(self) -> int:
        """Tokens that fit into a request; 0 if unknown."""

    async def start(self) -> None:
        """Learn about the model; called once."""

    def answer(
        self, *, system: str, tools: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]]
    ) -> AsyncGenerator[TextDelta | Usage | Answer]:
        """Stream an answer; the last item is the `Answer`. A `Usage` is what a try took that brought none."""

    def interrupt(self) -> None:
        """Do not wait for the next try of a request that failed: raise `ModelUnavailableError` instead."""

    async def close(self) -> None:
        """Let go of connections."""


class ModelCalls:
    """Calls of one model with always the same instructions and tools."""

    def __init__(
        self,
        model: Model,
        *,
        system: str,
        tools: Sequence[dict[str, Any]],
        before_effect: Callable[[], Awaitable[None]],
        meter: Meter | None,
    ) -> None:
        """Calls of `model`.

        Args:
            before_effect: Awaited before each call; raises if this process may not act.
            meter: Asked before each call, and told what it took.
        """
        self._model, self._system, self._tools = model, system, tools
        self._before_effect, self._meter = before_effect, meter

    async def call(
        self, request: list[dict[str, Any]], turn_id: str, *, context_tokens: int
    ) -> AsyncGenerator[TextDelta | Usage | Answer]:
        """Ask; what streams, what each try took that brought no answer, and last the answer.

        Args:
            context_tokens: Size of the conversation at its last answer, without the last message of the request;
                0 if there was none.
        """
        await self._before_effect()
        if self._meter is not None:
            await self._meter.reserve(turn_id, input_tokens=self._expected_tokens(request, context_tokens))
        took: Usage | None = None
        try:
            if self._meter is not None:  # it waited for the broker, and the process may have stood still meanwhile
                await self._before_effect()
            reach(Failpoint.MODEL_ASKED)
            answering = self._model.answer(system=self._system, tools=self._tools, messages=request)
            async with aclosing(answering) as items:
                async for item in items:
                    if not isinstance(item, TextDelta):
                        took = (took or Usage()) + (item.usage if isinstance(item, Answer) else item)
                    yield item
        except Exception:
            took = took or Usage()  # the provider gave nothing
            raise
        finally:
            if self._meter is not None:
                self._meter.settle(took)

    def _expected_tokens(self, request: list[dict[str, Any]], context_tokens: int) -> int:
        """How large a request is: as the last one and its answer were, and what is new."""
        if context_tokens:
            return context_tokens + _size(request[-1:]) // _BYTES_PER_TOKEN
        known = len(self._system) + _size(self._tools) + _size(request)
        return known // _BYTES_PER_TOKEN


def _size(values: Sequence[dict[str, Any]]) -> int:
    return len(json.dumps(list(values), ensure_ascii=False).encode(errors="replace"))
