"""A real nats-server for each test that asks for one: an empty folder, a free port, 20 ms."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from multiprocessing import forkserver
from pathlib import Path

import anyio
import pytest

from agenthub.bus.access import access_for
from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus
from agenthub.bus.identity import SYSTEM
from agenthub.bus.server import NatsServer, start_server
from tests import commands
from tests.organization import QUICK_PROCESS, Hub, keys_of, write_organization
from tests.test_hub import Folder

# A shell lets what it starts in the background ignore Ctrl-C, and programs hand that on to those that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# anyio loads its parts when they are asked for, and pytest compiles them anew then, which now and then fails within a
# test: until 3.11.8 Python loses count of its recursion if it collects garbage meanwhile (python/cpython#106905).
for part in dir(anyio):
    getattr(anyio, part)


@pytest.fixture(scope="session", autouse=True)
def forks() -> None:
    """What processes of tests are forked from begins here, not amid the folder and the variables of a test."""
    commands.FORK.set_forkserver_preload(["tests.preloaded"])
    forkserver.ensure_running()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server of this test's own, which admits who has a key of `keys_of`, and strangers at the doors."""
    async with start_server(tmp_path / "nats", access=access_for(keys_of(tmp_path), [])) as running:
        yield running


@pytest.fixture
async def bus(server: NatsServer, tmp_path: Path) -> AsyncIterator[Bus]:
    """A connection to it that may do everything, and gives up soon."""
    async with connect(server.url, name="test", identity=keys_of(tmp_path).find(SYSTEM), patience_s=5) as connected:
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
        start_server(tmp_path / "nats", durable=False, access=access_for(keys_of(tmp_path), [])) as server,
        connect(server.url, name="test", identity=keys_of(tmp_path).find(SYSTEM), patience_s=5) as bus,
    ):
        hub = Hub(server, bus, tmp_path)
        await hub.provision()
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """An organization whose processes are missed after two seconds; `up` has them run."""
    write_organization(tmp_path, QUICK_PROCESS)
    folder = Folder(tmp_path)
    yield folder
    folder.clean()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-screens", action="store_true", help="draw tests/tui/screens anew")
