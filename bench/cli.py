"""The command line: what one call of it costs before it does anything."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from agenthub.bus.connecting import connect
from agenthub.bus.provisioning import provision
from agenthub.bus.server import start_server
from agenthub.bus.topology import topology_of
from agenthub.client import role_queues
from agenthub.organization import load_organization
from agenthub.settings import Settings
from agenthub.starting import begin
from bench.children import REPOSITORY, environment
from bench.table import Result


async def measure(rounds: int = 15) -> list[Result]:
    """CPU of `agenthub send --help`, of `agenthub send`, and of a Python that does nothing: the machine's own speed."""
    await asyncio.to_thread(_cpu_s, "-m", "agenthub", "send", "--help")  # writes .pyc files, warms the disk
    helping, sending, bare = [], [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        begin(folder, template="pair", source=None, org="bench", force=False, dry_run=False)
        async with start_server(folder / "nats") as server, connect(server.url, name="bench") as bus:
            settings = Settings.load(config=folder / "agenthub.toml", nats_url=server.url)
            await provision(bus, await topology_of(bus, role_queues(load_organization(settings), settings)))
            send = ("-m", "agenthub", "send", "lead", "Ship it", "--config", str(settings.config), "--nats", server.url)
            for _ in range(rounds):
                helping.append(await asyncio.to_thread(_cpu_s, "-m", "agenthub", "send", "--help"))
                sending.append(await asyncio.to_thread(_cpu_s, *send))
                bare.append(await asyncio.to_thread(_cpu_s, "-c", "pass"))
    return [
        Result("agenthub send --help, CPU", "s", helping, [], 0.15, is_at_least=False),
        Result("agenthub send, CPU", "s", sending, [], None, is_at_least=False),
        Result("a Python that does nothing, CPU", "s", bare, [], None, is_at_least=False),
    ]


def _cpu_s(*arguments: str) -> float:
    """CPU of a Python process, all its threads, user and system."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, cwd=REPOSITORY, env=environment()
    )
    try:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime
