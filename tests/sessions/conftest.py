from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sessions.scripted import Desk, Reply, ScriptedModel

Opens = Callable[..., Awaitable[Desk]]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Opens]:
    """Opens a role's desk, whose model gives these replies."""
    opened: list[Desk] = []

    async def opens(*replies: Reply, **terms: Any) -> Desk:
        opened.append(Desk(tmp_path / "journal.db", ScriptedModel(*replies), **terms))
        return await opened[-1].restart()

    yield opens
    for one in opened:
        one.journal.close()
