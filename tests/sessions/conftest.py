from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agenthub.rehearsal import Endpoint, start_rehearsal
from tests.sessions.scripted import Desk, Reply, ScriptedModel
from tests.sessions.sessions import Kind, Office, OpensOffice

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


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """A rehearsal model that answers at once."""
    async with start_rehearsal(speed=0) as endpoint:
        yield endpoint


@pytest.fixture
async def office(kind: Kind, tmp_path: Path, endpoint: Endpoint) -> AsyncIterator[OpensOffice]:
    """Opens a role's office with a real session of this `kind`."""
    opened: list[Office] = []

    async def opens(**settings: Any) -> Office:
        opened.append(Office(kind, tmp_path, endpoint, **settings))
        return await opened[-1].opens()

    yield opens
    for one in opened:
        await one.closes()
