"""Replicas share one inbox: none holds what another could begin with, and each goes on with its own turns."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agenthub.bus.connection import Bus
from agenthub.bus.server import NatsServer
from agenthub.messages import Priority
from agenthub.org.registry import Registry
from agenthub.organization import load_organization
from agenthub.runtime import RolePlace, run_role
from agenthub.sessions.session import Prompt, TurnResult
from tests.organization import Hub, ScriptedSession, says, until, write_organization


@pytest.fixture
async def pair(server: NatsServer, bus: Bus, tmp_path: Path) -> Hub:
    """A hub with two replicas of backend, where the broker waits long before it hands on what somebody holds."""
    hub = Hub(server, bus, tmp_path, ack_wait_s=60.0, heartbeat_s=10.0, lease_ttl_s=15.0)
    write_organization(hub.folder, "[roles.backend]\nreplicas = 2\n")
    hub.organization = load_organization(hub.settings)
    await hub.provision()
    return hub


@contextlib.asynccontextmanager
async def replica(hub: Hub, number: int, session: ScriptedSession) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    place = RolePlace(hub.settings, hub.organization, "backend", number)
    running = asyncio.create_task(run_role(place, stop=stop, session=session))
    try:
        yield running
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await asyncio.wait([running])


def blocked_until(event: asyncio.Event) -> ScriptedSession:
    async def script(prompt: Prompt) -> TurnResult | str:
        if prompt.task.payload.message == "long":
            await event.wait()
        return "done"

    return ScriptedSession(script)


async def test_what_waits_goes_to_the_replica_that_is_free(pair: Hub) -> None:
    over = asyncio.Event()
    first, second = blocked_until(over), blocked_until(over)
    async with replica(pair, 0, first), replica(pair, 1, second):
        long = await pair.send("backend", "long", priority="low")
        await until(lambda: first.prompts or second.prompts)
        ids = [await pair.send("backend", "short", priority=p) for p in Priority for _ in range(3)]
        for message_id in ids:
            await pair.completion("backend", message_id)
        busy, free = (first, second) if len(first.prompts) == 1 else (second, first)
        assert (len(busy.prompts), len(free.prompts)) == (1, 12)
        over.set()
        await pair.completion("backend", long)


async def test_two_messages_are_worked_on_at_the_same_time(pair: Hub) -> None:
    over = asyncio.Event()
    first, second = blocked_until(over), blocked_until(over)
    async with replica(pair, 0, first), replica(pair, 1, second):
        ids = [await pair.send("backend", "long") for _ in range(2)]
        await until(lambda: first.prompts and second.prompts)
        over.set()
        for message_id in ids:
            await pair.completion("backend", message_id)


async def test_a_critical_message_reaches_a_busy_replica_when_all_are_busy(pair: Hub) -> None:
    over = asyncio.Event()
    first, second = blocked_until(over), blocked_until(over)
    noticed = asyncio.Event()

    async def inject(notice: str) -> bool:
        noticed.set()
        return True

    first.inject = second.inject = inject  # type: ignore[method-assign]
    async with replica(pair, 0, first), replica(pair, 1, second):
        ids = [await pair.send("backend", "long") for _ in range(2)]
        await until(lambda: first.prompts and second.prompts)
        ids.append(await pair.send("backend", "fire", priority="critical"))
        async with asyncio.timeout(30):
            await noticed.wait()
        over.set()
        for message_id in ids:
            await pair.completion("backend", message_id)


async def test_a_replica_that_died_goes_on_with_its_own_turn_at_once(pair: Hub) -> None:
    """The other replica must not get it: the journal with what was paid for is here."""
    message_id = await pair.send("backend", "long")
    dying = await asyncio.create_subprocess_exec(sys.executable, "-c", _NEVER_ENDS, str(pair.folder), pair.server.url)
    try:
        await until(lambda: (pair.settings.state / "taken").exists())
    finally:
        dying.kill()
        await dying.wait()
    again, other = says("resumed"), says("begun anew")
    async with replica(pair, 1, other):
        await until(lambda: _beats(pair, "backend.1"))  # it is there first, and waits for what comes
        async with replica(pair, 0, again):
            done = await pair.completion("backend", message_id)
    assert (done.text, len(again.prompts), len(other.prompts)) == ("resumed", 1, 0)


async def _beats(hub: Hub, key: str) -> bool:
    return key in await Registry(hub.bus).all()


_NEVER_ENDS = """
import asyncio, sys
from pathlib import Path
from agenthub.organization import load_organization
from agenthub.bus.connection import Bus
from agenthub.bus.server import NatsServer
from agenthub.messages import Priority
from agenthub.org.registry import Registry
from agenthub.runtime import RolePlace, run_role
from agenthub.settings import Settings
from tests.organization import ScriptedSession

async def main():
    folder = Path(sys.argv[1])
    settings = Settings.load(config=folder / "agenthub.toml", nats_url=sys.argv[2])

    async def script(prompt):
        (settings.state / "taken").touch()
        await asyncio.Event().wait()

    place = RolePlace(settings, load_organization(settings), "backend", 0)
    await run_role(place, stop=asyncio.Event(), session=ScriptedSession(script))

asyncio.run(main())
"""
