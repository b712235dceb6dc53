"""The model under test conditions: the rehearsal endpoint in this process, and its own count of what it was asked."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from agenthub.rehearsal.model import Answered
from agenthub.rehearsal.server import Endpoint, start_rehearsal
from chaos.history import Asked

SPEED = 200.0
"""80,000 tokens a second: a turn takes a moment, so that it can be hit."""


SPOILT = 0
"""Status of a call whose answer was cut, delayed or changed: nobody can say whether it was paid."""


class Peer:
    """A model that outlives every process of the organization, so that its count is nobody else's."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.url = endpoint.url
        self.asked: list[Asked] = []
        self._model = endpoint.model
        answer = endpoint.model.answer

        def counted(body: bytes, *, version: str) -> Answered:
            at, is_spoilt = time.time(), False
            try:
                answered = answer(body, version=version)
                is_spoilt = answered.fault is not None
                return answered
            finally:
                noted = self._model.journal[-1]
                status = SPOILT if is_spoilt else int(noted["status"])
                self.asked.append(Asked(noted["role"], _position(body), at, status))

        endpoint.model.answer = counted  # type: ignore[method-assign]

    def spoil(self, fault: dict[str, Any]) -> None:
        """Have the next request that fits go wrong."""
        self._model.faults.add(json.dumps({"faults": [fault]}).encode())

    def heal(self) -> None:
        """Have nothing go wrong any more."""
        self._model.faults.clear()


def _position(body: bytes) -> int:
    try:
        return len(json.loads(body)["messages"])
    except (ValueError, KeyError, TypeError):
        return -1


@contextlib.asynccontextmanager
async def start_peer(seed: int) -> AsyncIterator[Peer]:
    """A model for the length of the block."""
    async with start_rehearsal(seed=seed, speed=SPEED) as endpoint:
        yield Peer(endpoint)
