"""Recovery: kill -9 of a role in its turn, of the server, of a cluster's leader; how soon work goes on, at what cost.

The hub is one as a user runs it, with the rehearsal model. A role's work goes on with its first model call after the
kill; the broker's, when a directive that is sent right after the kill is done. What was asked of the model twice is
told by the model, which knows each prompt again.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from agenthub import subjects
from agenthub.bus.cluster import leader_of
from agenthub.client import Client, open_client
from agenthub.organization import load_organization
from agenthub.run_file import RunFile, processes_of
from agenthub.settings import Settings
from bench.hub import empty_folder
from bench.processes import copy_organization, model_of, requests_of, running_hub, title
from bench.table import Result

_ROLES = ("backend", "frontend", "qa", "docs", "security")
"""Of these one is killed in each round: five crashes of one role in a minute would put it in quarantine."""
_STEPS, _KILL_AFTER, _SPEED = 40, 10, "20"
_WITHIN_S = 60.0
_SETTLE_S = 1.0


async def measure(rounds: int = 3) -> list[Result]:
    """After kill -9: seconds to work, and model calls repeated."""
    from_start: list[float] = []
    from_kill: list[float] = []
    repeated: list[float] = []
    server: list[float] = []
    undisturbed: list[float] = []
    with empty_folder() as folder:
        copy_organization(folder)
        async with running_hub(folder, "--speed", _SPEED) as (run, _), _client(folder, run) as client:
            for turn in range(rounds):
                started_s, killed_s, calls = await _role(client, run, _ROLES[turn % len(_ROLES)], turn)
                from_start.append(started_s)
                from_kill.append(killed_s)
                repeated.append(calls)
            for _ in range(rounds):
                undisturbed.append(await _directive_s(client))
                server.append(await _server(client, run))
    return [
        Result("kill -9 of a role, from its new process to work", "s", from_start, [], 0.5, is_at_least=False),
        Result("kill -9 of a role, from the kill to work", "s", from_kill, [], None, is_at_least=False),
        Result("model calls made twice, for each such kill", "calls", repeated, [], 1, is_at_least=False),
        Result("kill -9 of nats-server, until a directive is done", "s", server, [], None, is_at_least=False),
        Result("kill -9 of the leader of three, the same", "s", await _leaders(rounds), [], None, is_at_least=False),
        Result("the same directive undisturbed", "s", undisturbed, [], None, is_at_least=False),
    ]


async def _leaders(rounds: int) -> list[float]:
    found = []
    for _ in range(rounds):
        with empty_folder() as folder:
            copy_organization(folder)
            async with (
                running_hub(folder, "--speed", _SPEED, "--cluster", "3") as (run, _),
                _client(folder, run) as hub,
            ):
                await _directive_s(hub)
                name = await leader_of(hub.bus, subjects.AGENTS)
                server = next(process for process in _servers(run) if f"{name}/" in " ".join(process.cmdline()))
                found.append(await _killed_s(hub, server))
    return found


def _client(folder: Path, run: RunFile) -> Any:
    settings = Settings.load(config=folder / "config" / "agenthub.toml", nats_url=run.nats_url)
    return open_client(settings, load_organization(settings))


async def _role(client: Client, run: RunFile, role: str, turn: int) -> tuple[float, float, float]:
    """Kill a role in the middle of a turn of many steps: seconds from its new process, from the kill; calls twice."""
    model = model_of(run)
    before = len(await asyncio.to_thread(requests_of, model))
    message = await client.send(role, f"rehearse: steps {_STEPS}\nWork {turn}, step by step.")

    async def calls() -> list[dict[str, Any]]:
        return (await asyncio.to_thread(requests_of, model))[before:]

    async with asyncio.timeout(_WITHIN_S):
        while len(await calls()) < _KILL_AFTER:  # noqa: ASYNC110  # nobody tells us
            await asyncio.sleep(0.02)
    await asyncio.sleep(random.uniform(0, 0.1))
    killed_at = time.time()
    os.kill(_process(run, role).pid, signal.SIGKILL)
    done = await client.completion(role, message.id, timeout_s=_WITHIN_S)
    if done.outcome != "done":
        raise RuntimeError(f"{role} ended in {done.outcome}: {done.text}")
    began_at = _began_at(_process(run, role))
    made = await calls()
    resumed_at = next(at for call in made if (at := datetime.fromisoformat(call["at"]).timestamp()) >= began_at)
    twice = sum(number - 1 for number in Counter(call["prompt"] for call in made).values())
    return resumed_at - began_at, resumed_at - killed_at, twice


async def _server(client: Client, run: RunFile) -> float:
    (server,) = _servers(run)
    return await _killed_s(client, server)


async def _killed_s(client: Client, server: psutil.Process) -> float:
    """Seconds from the kill of a server until a directive that is sent at once is done."""
    await asyncio.sleep(_SETTLE_S)
    server.kill()
    return await _directive_s(client)


async def _directive_s(client: Client) -> float:
    started_s = time.monotonic()
    message = await client.send("finance", "rehearse: say done")
    await client.completion("finance", message.id, timeout_s=_WITHIN_S)
    return time.monotonic() - started_s


def _servers(run: RunFile) -> Sequence[psutil.Process]:
    return [process for process in processes_of(run.run_id) if process.name() == "nats-server"]


def _process(run: RunFile, role: str) -> psutil.Process:
    return next(p for p in psutil.Process(run.pid).children(recursive=True) if title(p) == role[:15])


def _began_at(process: psutil.Process) -> float:
    """When a process was forked, to 10 ms. psutil's own is a second off, since it adds whole seconds."""
    ticks = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
