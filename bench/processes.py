"""Processes: how fast eleven roles are ready, and what they cost while nobody asks for anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from nats.js.api import StreamConfig

from agenthub.bus.connecting import connect
from agenthub.bus.server import start_server
from agenthub.cradle import die_with_parent
from agenthub.run_file import RunFile, processes_of
from bench.children import REPOSITORY, environment
from bench.fork_floor import BUCKET
from bench.hub import empty_folder
from bench.table import Result

_READY_WITHIN_S, _END_WITHIN_S = 60.0, 30.0
_SETTLE_S, _IDLE_S = 2.0, 15.0
_ROLES = 11


async def measure(rounds: int = 3) -> list[Result]:
    """Time to ready against the fork floor, then memory, CPU and model calls of the last hub while it is idle."""
    ours, floor = [], []
    memory: list[float] = []
    cpu_percent = calls = 0.0
    for turn in range(-1, rounds):  # the first warms the disk
        with empty_folder() as folder:
            copy_organization(folder)
            async with running_hub(folder) as (process, ready_s):
                if turn == rounds - 1:
                    await asyncio.sleep(_SETTLE_S)
                    memory, cpu_percent, calls = await _idle(folder, process)
        with empty_folder() as folder:
            floor_s = await _floor_s(folder)
        if turn >= 0:
            ours.append(ready_s)
            floor.append(floor_s)
    return [
        Result("up to eleven roles ready, against fork floor + server", "s", ours, floor, 1.5, is_at_least=False),
        Result("PSS of an idle role", "MiB", memory, [], 25, is_at_least=False),
        Result("CPU of all while idle", "% of a core", [cpu_percent], [], 2, is_at_least=False),
        Result("model calls while idle", "calls", [calls], [], 0, is_at_least=False),
    ]


def copy_organization(folder: Path) -> None:
    for name in ("config", "roles"):
        shutil.copytree(REPOSITORY / name, folder / name)


@contextlib.asynccontextmanager
async def _started(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process for the length of the block; stopped by SIGTERM, killed if that is not enough."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=folder, env=environment(), start_new_session=True, preexec_fn=die_with_parent(),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()  # its children end with it
            await process.wait()


@contextlib.asynccontextmanager
async def running_hub(folder: Path, *words: str) -> AsyncIterator[tuple[RunFile, float]]:
    """A rehearsing hub in this folder: its run file, and the seconds from its start to all roles ready."""
    state = folder / ".agenthub"
    started_s = time.monotonic()
    async with _started(folder, "-m", "agenthub", "up", "--rehearse", *words) as process:
        run: RunFile | None = None
        async with asyncio.timeout(_READY_WITHIN_S):
            while run is None or not run.is_ready:
                if process.returncode is not None:
                    raise RuntimeError(f"`agenthub up` ended with {process.returncode}")
                await asyncio.sleep(0.01)
                run = RunFile.read(state) if RunFile.path(state).exists() else None
        try:
            yield run, time.monotonic() - started_s
        finally:
            left = processes_of(run.run_id)
            process.terminate()
            await asyncio.to_thread(_end, left)


def _end(processes: Sequence[psutil.Process]) -> None:
    _, left = psutil.wait_procs(processes, timeout=_END_WITHIN_S)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


async def _idle(folder: Path, run: RunFile) -> tuple[list[float], float, float]:
    """MiB of each role, percent of a core of all processes but the model, and calls of the model."""
    everything = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    names = {path.stem for path in (folder / "roles").glob("*.md")}
    roles = [process for process in everything if title(process) in {name[:15] for name in names}]
    if len(roles) != _ROLES:
        raise RuntimeError(f"{len(roles)} of {_ROLES} role processes found below {run.pid}")
    model = model_of(run)
    watched = [process for process in everything if process.pid != model.pid]
    calls = len(await asyncio.to_thread(requests_of, model))
    before_s, started_s = sum(map(_cpu_s, watched)), time.monotonic()
    await asyncio.sleep(_IDLE_S)
    cpu_s, took_s = sum(map(_cpu_s, watched)) - before_s, time.monotonic() - started_s
    memory = [process.memory_full_info().pss / 2**20 for process in roles]
    return memory, 100 * cpu_s / took_s, len(await asyncio.to_thread(requests_of, model)) - calls


def title(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/comm").read_text().strip()


def _cpu_s(process: psutil.Process) -> float:
    """CPU of all threads of a process. The scheduler's own count: ticks of 10 ms miss short wake-ups."""
    return sum(
        int((thread / "schedstat").read_text().split()[0]) / 1e9
        for thread in Path(f"/proc/{process.pid}/task").iterdir()
    )


def model_of(run: RunFile) -> psutil.Process:
    """The process of the rehearsal model."""
    return next(p for p in psutil.Process(run.pid).children(recursive=True) if title(p) == "rehearsal")


def requests_of(model: psutil.Process) -> list[dict[str, Any]]:
    """The requests that the rehearsal model has had, oldest first."""
    port = next(found.laddr.port for found in model.net_connections("tcp") if found.status == psutil.CONN_LISTEN)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/rehearsal/requests", timeout=5) as answer:
        found: list[dict[str, Any]] = json.load(answer)["requests"]
    return found


async def _floor_s(folder: Path) -> float:
    """Seconds from nothing to a server, a bucket, and eleven heartbeats of processes forked from a bare one."""
    started_s = time.monotonic()
    async with start_server(folder / "nats") as server:
        async with connect(server.url, name="bench") as bus:
            await bus.js.add_stream(StreamConfig(name=f"KV_{BUCKET}", subjects=[f"$KV.{BUCKET}.>"]))
        async with _started(folder, "-m", "bench.fork_floor", server.url, str(_ROLES)) as process:
            assert process.stdout is not None
            async with asyncio.timeout(_READY_WITHIN_S):
                if await process.stdout.readline() != b"ready\n":
                    raise RuntimeError("the fork floor did not come up")
            return time.monotonic() - started_s
