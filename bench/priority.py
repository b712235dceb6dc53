"""Priority: a critical message behind 100,000 waiting low ones, against the same with an empty inbox.

When the message comes, the role with a backlog is in the middle of a turn and the other one is not. With turns that
are done at once the ratio is mostly what is left of that turn; with turns of a known length, and against a role
whose backlog is short, it shows what the length of the backlog itself costs.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from agenthub import subjects
from bench import ours
from bench.children import Job, running
from bench.drain import ours_side
from bench.hub import Hub, Side, directive, empty_folder, open_hub
from bench.table import Result

_WAITING, _FEW, _CRITICAL, _WARM = 100_000, 1_000, 60, 5
_SENDERS = ("sender-0", "sender-1")
_TURN_S = 0.02
_BUSY, _SHORT, _IDLE = "backend", "frontend", "qa"
_ROLES = [_BUSY, _SHORT, _IDLE]


class Block(NamedTuple):
    """What one process of a role showed."""

    latency_ms: float
    """Median, from the broker's acknowledgement of the message to its completion seen."""
    resident_mib: float


async def measure(rounds: int = 3) -> list[Result]:
    """Latency of critical messages, and the memory of a process that has the backlog."""
    at_once: dict[str, list[Block]] = {_BUSY: [], _IDLE: []}
    slow: dict[str, list[Block]] = {role: [] for role in _ROLES}
    with empty_folder() as folder:
        # Filled without a sync for each message, else it takes two minutes; then the server as it always is.
        async with open_hub(folder, _ROLES, durable=False) as hub:
            for sender in _SENDERS:
                for role, number in ((_BUSY, _WAITING), (_SHORT, _FEW * max(1, rounds // 3))):
                    lane, each = subjects.lane(role, "low", sender), number // len(_SENDERS)
                    await hub.fill(lane, f"low-{sender}", each, priority="low", sender=sender)
        async with open_hub(folder, _ROLES) as hub:
            for turn in range(rounds):
                for role, blocks in _shuffled(at_once):
                    blocks.append(await block(hub, ours_side(hub, role, priority="critical"), f"c{turn}"))
                for role, blocks in _shuffled(slow):
                    job = Job(ours.sleep, (hub.settings, hub.organization, role, _TURN_S))
                    blocks.append(await block(hub, ours_side(hub, role, priority="critical", job=job), f"s{turn}"))
    pairs = zip(at_once[_BUSY], at_once[_IDLE], strict=True)
    return [
        _compared("critical behind 100,000 low, against an empty inbox", at_once[_BUSY], at_once[_IDLE], 1.5),
        _compared("the same with turns of 20 ms", slow[_BUSY], slow[_IDLE], 1.5),
        _compared("the same with turns of 20 ms, against behind 1,000", slow[_BUSY], slow[_SHORT], 1.1),
        Result(
            "memory that a backlog of 100,000 takes", "MiB",
            [busy.resident_mib - idle.resident_mib for busy, idle in pairs], [], 20, is_at_least=False,
        ),
    ]  # fmt: skip


def _shuffled(sides: dict[str, list[Block]]) -> list[tuple[str, list[Block]]]:
    return random.sample(list(sides.items()), len(sides))


def _compared(name: str, mine: Sequence[Block], theirs: Sequence[Block], target: float) -> Result:
    return Result(
        name, "ms", [block.latency_ms for block in mine], [block.latency_ms for block in theirs], target,
        is_at_least=False,
    )  # fmt: skip


async def block(hub: Hub, side: Side, prefix: str) -> Block:
    """Have a process of the role work off critical messages, one after the other."""
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
