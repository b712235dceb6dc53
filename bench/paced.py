"""Paced: a hundred directives a second, whatever comes back. Latency counts from when each was due."""

from __future__ import annotations

import asyncio
import time

import nats

from bench.children import Job, running
from bench.drain import floor_side, ours_side
from bench.hub import Hub, Side, directive, empty_folder, open_hub
from bench.table import Result

RATE, _NUMBER, _WARM = 100, 400, 20
_LEAD_S = 0.5


async def measure(rounds: int = 3) -> list[Result]:
    """Median and 99th percentile of the latency against floor C."""
    with empty_folder() as folder:
        async with open_hub(folder, ["backend"]) as hub:
            sides = [ours_side(hub), floor_side(hub)]
            p50: dict[str, list[float]] = {side.name: [] for side in sides}
            p99: dict[str, list[float]] = {side.name: [] for side in sides}
            for turn in range(rounds):
                for side in sides if turn % 2 == 0 else reversed(sides):
                    found_s = await latencies_s(hub, side, f"p{turn}")
                    p50[side.name].append(1000 * percentile(found_s, 50))
                    p99[side.name].append(1000 * percentile(found_s, 99))
            return [
                Result("paced 100/s, p50, against C", "ms", p50["ours"], p50["floor"], 1.5, is_at_least=False),
                Result("paced 100/s, p99, against C", "ms", p99["ours"], p99["floor"], 2.0, is_at_least=False),
            ]


def percentile(values: list[float], percent: float) -> float:
    """Nearest rank: the smallest value that is at least as large as this share of all."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__int__() - 1)]


async def latencies_s(hub: Hub, side: Side, prefix: str) -> list[float]:
    async with hub.collector(side) as collector:
        async with running(*side.jobs):
            await hub.fill(side.inbox, f"{prefix}w", _WARM)
            await collector.until([f"{prefix}w-{n}" for n in range(_WARM)])
            start_s = time.monotonic() + _LEAD_S
            async with running(Job(pace, (hub.server.url, side.inbox, prefix, start_s))):
                await collector.until([f"{prefix}-{n}" for n in range(_NUMBER)])
        return [collector.seen_s[f"{prefix}-{n}"] - (start_s + n / RATE) for n in range(_NUMBER)]


async def pace(stop: asyncio.Event, url: str, subject: str, prefix: str, start_s: float) -> None:
    """Publish on time from a process of its own, without waiting for anything that comes back."""
    nc = await nats.connect(url)
    try:
        for number in range(_NUMBER):
            due_s = start_s + number / RATE
            await asyncio.sleep(max(0.0, due_s - time.monotonic() - 0.002))
            time.sleep(max(0.0, due_s - time.monotonic()))  # noqa: ASYNC251  # the loop's own timer is 1 ms late
            await nc.publish(subject, directive(f"{prefix}-{number}"))
            await nc.flush()
        await stop.wait()
    finally:
        await nc.close()
