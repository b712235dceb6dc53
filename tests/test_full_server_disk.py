"""The disk below the server is full, on a real file system of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agenthub import servers, subjects
from agenthub.bus.connecting import connect
from agenthub.cli.doctor import _server as server_finding
from agenthub.messages import Outcome
from agenthub.servers import Servers
from tests.organization import Hub, says, until

SIZE_MIB = 256
"""Three servers hold everything three times, and 64 MiB must be free again behind what was stored until it was full."""

MOST_STORED = 250
"""Messages of 50 KB, on three servers twice on each: or they fill the disk themselves when there is room again."""


@pytest.fixture
async def small_disk() -> AsyncIterator[Path]:
    """A file system of its own that is gone when the process that holds it ends: nothing is left mounted."""
    script = f"mount -t tmpfs -o size={SIZE_MIB}m tmpfs /mnt && echo mounted && exec sleep 300"
    try:
        holder = await asyncio.create_subprocess_exec(
            "unshare", "-rm", "sh", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here")
    assert holder.stdout is not None
    if await holder.stdout.readline() != b"mounted\n":
        await holder.wait()
        pytest.skip("nothing may be mounted here")
    try:
        yield Path(f"/proc/{holder.pid}/root/mnt")
    finally:
        holder.kill()
        await holder.wait()


def fill(path: Path) -> None:
    """Write until nothing more goes in."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("count", [1, 3])
async def test_a_full_disk_is_said_and_everything_goes_on_when_there_is_room(
    count: int, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "CHECK_EVERY_S", 0.1)
    said: list[str] = []
    told: list[str] = []
    failed: list[Exception] = []
    running = Servers(
        small_disk / "nats", count, say=said.append, tell=lambda kind, _: told.append(kind), fail=failed.append
    )
    async with running.running() as url, connect(url, name="test", patience_s=300) as bus:
        hub = Hub(running.nats, bus, tmp_path)
        await hub.provision()
        stored: list[int] = []

        async def publish() -> None:
            while ("storing" not in told or not stored) and len(stored) < MOST_STORED:
                kept = await bus.publish(subjects.inbox("qa"), os.urandom(50_000))
                stored.append(kept.sequence)
                if len(stored) % 10 == 0:
                    await asyncio.sleep(0)

        async with hub.role("backend", says("done")), asyncio.TaskGroup() as group:
            await hub.completion("backend", await hub.send("backend", "while there is room"))
            fill(small_disk / "ballast")
            publishing = group.create_task(publish())
            await until(lambda: "disk_full" in told, within_s=120)
            assert not running.can_store
            findings = [await server_finding(name, port, hub.settings) for name, port in running.monitor_ports.items()]
            assert any("does not store" in finding.found for finding in findings)
            (small_disk / "ballast").unlink()
            await until(lambda: "storing" in told, within_s=120)
            await publishing
            message = await hub.send("backend", "when there is room again")
            assert (await hub.completion("backend", message, within_s=120)).outcome is Outcome.DONE
        await until(lambda: running.can_store, within_s=120)
        assert not failed
        held = await bus.look(subjects.AGENTS, subjects.inbox("qa"), most=len(stored) + 1)
        assert {received.sequence for received in held} >= set(stored)
    assert "make room" in " ".join(said).lower()
