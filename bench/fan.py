"""Fan: a coordinator has ten specialists do a part of each directive and merges what they bring."""

from __future__ import annotations

from agenthub import subjects
from bench import floors, ours
from bench.children import Job, running
from bench.hub import SENDER, Hub, Side, empty_folder, open_hub
from bench.table import Result

_COORDINATOR = "lead"
_SPECIALISTS = [f"specialist{number}" for number in range(10)]
_NUMBER, _WARM = 30, 2


async def measure(rounds: int = 3) -> list[Result]:
    """Our delegation against raw nats-py: without a sync for each write (floor B), and with it."""
    return [
        await _measure("fan of 10, server does not sync, against B", rounds, durable=False),
        await _measure("fan of 10, server syncs each write", rounds, durable=True),
    ]


async def _measure(name: str, rounds: int, *, durable: bool) -> Result:
    with empty_folder() as folder:
        async with open_hub(folder, [_COORDINATOR, *_SPECIALISTS], durable=durable) as hub:
            sides = [_ours(hub), _floor(hub)]
            rates: dict[str, list[float]] = {side.name: [] for side in sides}
            for turn in range(rounds):
                for side in sides if turn % 2 == 0 else reversed(sides):
                    rates[side.name].append(await _fan(hub, side, f"f{turn}"))
            return Result(name, "msg/s", rates["ours"], rates["floor"], 0.6, is_at_least=True)


def _ours(hub: Hub) -> Side:
    place = (hub.settings, hub.organization)
    jobs = [Job(ours.work, (*place, name)) for name in _SPECIALISTS]
    coordinator = Job(ours.coordinate, (*place, _COORDINATOR, _SPECIALISTS))
    inbox = subjects.lane(_COORDINATOR, "medium", SENDER)
    return Side("ours", inbox, subjects.DONE, subjects.done(_COORDINATOR, "*"), (*jobs, coordinator))


def _floor(hub: Hub) -> Side:
    jobs = [Job(floors.specialise, (hub.server.url, name)) for name in _SPECIALISTS]
    coordinator = Job(floors.coordinate, (hub.server.url, _COORDINATOR, _SPECIALISTS))
    inbox = floors.inbox(_COORDINATOR)
    return Side("floor", inbox, floors.DONE, floors.done(_COORDINATOR, "*"), (*jobs, coordinator))


async def _fan(hub: Hub, side: Side, prefix: str) -> float:
    """Directives a second: from when they are there, all processes being ready, to the last completion.

    Not from the first completion: we ask for many directives before the first answers come, the floor works
    on one after the other.
    """
    async with hub.collector(side) as collector, running(*side.jobs):
        for number in range(_WARM):
            await hub.fill(side.inbox, f"{prefix}w{number}", 1)
            await collector.until([f"{prefix}w{number}-0"])
        started_s = _now(collector.seen_s)
        await hub.fill(side.inbox, prefix, _NUMBER)
        await collector.until([f"{prefix}-{n}" for n in range(_NUMBER)])
        ended_s = _now(collector.seen_s)
    return _NUMBER / (ended_s - started_s)


def _now(seen_s: dict[str, float]) -> float:
    """When the last completion so far was seen."""
    return max(seen_s.values())
