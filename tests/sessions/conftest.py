from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.sessions.scripted import Desk, Reply, ScriptedModel

Opens = Callable[..., Awaitable[Desk]]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Opens]:
    """Opens a role's desk, whose model gives these replies."""
    opened: list[Desk] = []

    async def opens(*replies: Reply, max_steps: int = 10) -> Desk:
        opened.append(Desk(tmp_path / "journal.db", ScriptedModel(*replies), max_steps=max_steps))
        return await opened[-1].restart()

    yield opens
    for one in opened:
        one.journal.close()
