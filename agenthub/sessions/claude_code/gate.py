"""Whether the model may be asked now: while a turn runs, one question after the other, and while there is money.

What comes over the socket may come from Claude Code or from its shell; it is all the same here, since the role's key
pays for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from agenthub.errors import AgenthubError
from agenthub.messages import Usage
from agenthub.sessions.session import Meter

logger = logging.getLogger(__name__)

NO_TURN = "No turn of this role runs: its model is not asked."

_SAID = 300
"""Characters of a reason: what Claude Code says of it is cut off further behind."""
_REMEMBERED = 64


@dataclass
class Question:
    """A question to the model, from the moment when it is its turn."""

    refusal: str
    """Why it may not be asked; empty: it may."""
    took: Usage | None = None
    """What its answer took; None: it was cut off, and nobody knows. Whoever asks writes it here."""


class _Refusal(NamedTuple):
    said: str
    error: Exception


@dataclass(eq=False)
class OpenTurn:
    """The length of a turn, in which questions are asked."""

    turn_id: str
    refusals: deque[_Refusal] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def cause_of(self, error: BaseException) -> Exception | None:
        """Why a question was refused, if it is that what an error of Claude Code speaks of."""
        said = _one_line(str(error))
        return next((refusal.error for refusal in self.refusals if refusal.said in said), None)


class Gate:
    """Lets questions to the model of one role pass, or not; settles what each took."""

    def __init__(self, *, before_effect: Callable[[], Awaitable[None]], meter: Meter | None) -> None:
        """
        Args:
            before_effect: Awaited before each question; raises if this process may not act.
            meter: Asked before each question, and told what it took.
        """
        self._before_effect, self._meter = before_effect, meter
        self._turn: OpenTurn | None = None
        self._one_at_a_time = asyncio.Lock()  # as the meter has one reservation
        self._asking: asyncio.Task[object] | None = None

    @property
    def is_open(self) -> bool:
        """True while a turn runs."""
        return self._turn is not None

    async def open(self, turn_id: str, *, input_tokens: int) -> OpenTurn:
        """Let questions pass from now on, until `close`.

        Raises:
            SessionError: If not even the first one may be asked.
        """
        if self._meter is not None:
            await self._meter.reserve(turn_id, input_tokens=input_tokens)
            self._meter.settle(Usage())  # each question sets its own price aside
        self._turn = OpenTurn(turn_id)
        return self._turn

    async def close(self, turn: OpenTurn) -> None:
        """Let no question pass any more. One that is being answered is cut off, and settled when this comes back."""
        if self._turn is not turn:
            return
        self._turn = None
        if self._asking is not None:
            self._asking.cancel()
        async with self._one_at_a_time:
            pass

    @contextlib.asynccontextmanager
    async def question(self, *, input_tokens: int) -> AsyncIterator[Question]:
        """A question, as soon as those before it are answered; it is settled at the end of the block."""
        async with self._one_at_a_time:
            self._asking = asyncio.current_task()
            question: Question | None = None
            try:
                question = Question(await self._refusal(input_tokens))
                yield question
            finally:
                self._asking = None
                if question is not None and not question.refusal and self._meter is not None:
                    self._meter.settle(question.took)

    async def _refusal(self, input_tokens: int) -> str:
        """Why the model may not be asked; empty if it may, and then its price is set aside."""
        turn = self._turn
        if turn is None:
            return NO_TURN
        reserving = asyncio.create_task(self._reserve(turn.turn_id, input_tokens), name="reserve")
        try:
            await asyncio.shield(reserving)
        except asyncio.CancelledError:  # who asks has left; what is set aside for them must not stay so
            while not reserving.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({reserving})
            if reserving.exception() is None and self._meter is not None:
                self._meter.settle(Usage())
            raise
        except Exception as error:  # noqa: BLE001 - if Claude Code cannot go on without it, the turn raises it
            said = _one_line(str(error))[:_SAID] if isinstance(error, AgenthubError) else ""
            said = said or f"The host failed: {type(error).__name__}."
            turn.refusals.append(_Refusal(said, error))
            logger.info("the model is not asked: %s", said)
            return said
        return ""

    async def _reserve(self, turn_id: str, input_tokens: int) -> None:
        await self._before_effect()
        if self._meter is None:
            return
        await self._meter.reserve(turn_id, input_tokens=input_tokens)
        try:
            await self._before_effect()  # it waited for the broker, and the process may have stood still meanwhile
        except BaseException:
            self._meter.settle(Usage())
            raise


def _one_line(text: str) -> str:
    return " ".join(text.split())
