"""Priority: a critical message behind 100,000 waiting low ones, against the same with an empty inbox."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from agenthub import subjects
from bench.children import running
from bench.drain import ours_side
from bench.hub import SENDER, Hub, Side, directive, empty_folder, open_hub
from bench.table import Result

_WAITING, _CRITICAL, _WARM = 100_000, 60, 5
_BUSY, _IDLE = "backend", "qa"


class Block(NamedTuple):
    """What one process of a role showed."""

    latency_ms: float
    """Median, from the broker's acknowledgement of the message to its completion seen."""
    resident_mib: float


async def measure(rounds: int = 3) -> list[Result]:
    """Latency of critical messages, and the memory of a process that has the backlog."""
    busy: list[Block] = []
    idle: list[Block] = []
    with empty_folder() as folder:
        # Filled without a sync for each message, else it takes two minutes; then the server as it always is.
        async with open_hub(folder, [_BUSY, _IDLE], durable=False) as hub:
            await hub.fill(subjects.lane(_BUSY, "low", SENDER), "low", _WAITING, priority="low")
        async with open_hub(folder, [_BUSY, _IDLE]) as hub:
            for turn in range(rounds):
                for role, blocks in ((_BUSY, busy), (_IDLE, idle)):
                    blocks.append(await _block(hub, ours_side(hub, role, priority="critical"), f"c{turn}"))
    return [
        Result(
            "critical behind 100,000 low, against an empty inbox", "ms", *_latencies(busy, idle), 1.5, is_at_least=False
        ),
        Result(
            "memory that a backlog of 100,000 takes", "MiB",
            [one.resident_mib - other.resident_mib for one, other in zip(busy, idle, strict=True)], [], 20,
            is_at_least=False,
        ),
    ]  # fmt: skip


def _latencies(busy: Sequence[Block], idle: Sequence[Block]) -> tuple[list[float], list[float]]:
    return [block.latency_ms for block in busy], [block.latency_ms for block in idle]


async def _block(hub: Hub, side: Side, prefix: str) -> Block:
    loop = asyncio.get_running_loop()
    latencies_s: list[float] = []
    async with hub.collector(side) as collector, running(*side.jobs) as (pid,):
        for number in range(_WARM + _CRITICAL):
            identity = f"{prefix}-{number}"
            await hub.bus.js.publish(side.inbox, directive(identity, "critical"), timeout=10)
            published_s = loop.time()
            await collector.until([identity])
            if number >= _WARM:
                latencies_s.append(collector.seen_s[identity] - published_s)
            await asyncio.sleep(random.uniform(0.01, 0.03))
        resident = psutil.Process(pid).memory_info().rss
    return Block(1000 * statistics.median(latencies_s), resident / 2**20)
