"""A real nats-server for each test that asks for one: an empty folder, a free port, 20 ms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agenthub.bus.connection import Bus, connect
from agenthub.bus.server import NatsServer, start_server
from tests.organization import Hub


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server of this test's own."""
    async with start_server(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def bus(server: NatsServer) -> AsyncIterator[Bus]:
    """A connection to it that gives up soon."""
    async with connect(server.url, name="test", patience_s=5) as connected:
        yield connected


@pytest.fixture
async def hub(server: NatsServer, bus: Bus, tmp_path: Path) -> Hub:
    """A provisioned organization of a ceo, a cto and two who report to the cto; no process runs yet."""
    hub = Hub(server, bus, tmp_path)
    await hub.provision()
    return hub


@pytest.fixture
async def quick_hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """The same on a server that does not sync each message to disk: for many messages."""
    async with (
        start_server(tmp_path / "nats", durable=False) as server,
        connect(server.url, name="test", patience_s=5) as bus,
    ):
        hub = Hub(server, bus, tmp_path)
        await hub.provision()
        yield hub
