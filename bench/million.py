"""A million messages wait: a critical one is still next, and neither the role nor the server grows with the backlog.

On a server that does not sync each message while it is filled, else filling takes an hour; then on one as it is.
"""

from __future__ import annotations

import psutil

from agenthub import subjects
from bench.drain import ours_side
from bench.hub import empty_folder, open_hub
from bench.priority import block
from bench.table import Result

_SENDERS, _EACH = 20, 50_000
_BUSY, _IDLE = "backend", "qa"


async def measure(rounds: int = 2) -> list[Result]:
    """Latency of critical messages with and without the backlog, and the memory it takes."""
    with empty_folder() as folder:
        async with open_hub(folder, [_BUSY, _IDLE], durable=False) as hub:
            for number in range(_SENDERS):
                sender = f"sender-{number}"
                await hub.fill(subjects.lane(_BUSY, "low", sender), sender, _EACH, priority="low", sender=sender)
        async with open_hub(folder, [_BUSY, _IDLE]) as hub:
            waiting = (await hub.bus.js.stream_info(subjects.AGENTS)).state.messages
            assert waiting == _SENDERS * _EACH, waiting
            blocks = {role: [] for role in (_BUSY, _IDLE)}  # type: ignore[var-annotated]
            for turn in range(rounds):
                for role, found in blocks.items():
                    found.append(await block(hub, ours_side(hub, role, priority="critical"), f"m{turn}"))
            server_mib = psutil.Process(hub.server.pid).memory_info().rss / 2**20
    busy, idle = blocks[_BUSY], blocks[_IDLE]
    return [
        Result(
            "critical behind 1,000,000 low, against an empty inbox", "ms", [b.latency_ms for b in busy],
            [b.latency_ms for b in idle], 2.0, is_at_least=False,
        ),
        Result(
            "memory that a backlog of 1,000,000 takes at the role", "MiB",
            [b.resident_mib - i.resident_mib for b, i in zip(busy, idle, strict=True)], [], 20, is_at_least=False,
        ),
        Result("memory of the server with it", "MiB", [server_mib], [], None, is_at_least=False),
    ]  # fmt: skip
