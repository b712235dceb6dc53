"""Drain: directives wait in one inbox and are worked off one at a time, with the full guarantee."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agenthub import subjects
from bench import floors, ours
from bench.children import Job, running
from bench.hub import SENDER, Hub, Side, empty_folder, open_hub
from bench.table import Result

_ROLE = "backend"
_EMPTY, _STEPPED, _TALKED = 400, 150, 100  # short rounds, many of them: both sides of one see the same machine
_WARM = 120
"""So many come before those that are measured: until then the log of a journal grows, and a growing file is
synced at half the speed; then SQLite writes it over. Who does not close its journal, as the floor, leaves
the log as it is."""


def ours_side(hub: Hub, role: str = _ROLE, *, priority: str = "medium", job: Job | None = None) -> Side:
    """Our side with one role, by default one whose turns are done at once."""
    job = job or Job(ours.work, (hub.settings, hub.organization, role))
    return Side("ours", subjects.lane(role, priority, SENDER), subjects.DONE, subjects.done(role, "*"), (job,))


def floor_side(hub: Hub, *, steps: int = 0, journal: Path | None = None) -> Side:
    """Floor C, or D with steps."""
    job = Job(floors.work, (hub.server.url, "floor", journal, steps))
    return Side("floor", floors.inbox("floor"), floors.DONE, floors.done("floor", "*"), (job,))


async def empty(rounds: int = 9) -> list[Result]:
    """A no-op session against floor C."""
    return [await _measure("drain, no-op session, against C", rounds, _EMPTY, 0.7, ours_side, floor_side)]


async def stepped(rounds: int = 9) -> list[Result]:
    """Five recorded steps, and five model calls with a tool call each, against floor D with as many records."""

    def five(hub: Hub) -> Side:
        return ours_side(hub, job=Job(ours.work, (hub.settings, hub.organization, _ROLE, 5)))

    def talking(hub: Hub) -> Side:
        return ours_side(hub, job=Job(ours.converse, (hub.settings, hub.organization, _ROLE, 5)))

    def floor(steps: int) -> Callable[[Hub], Side]:
        return lambda hub: floor_side(hub, steps=steps, journal=hub.settings.folder / "floor.db")

    return [
        await _measure("drain, 5 recorded steps, against D", rounds, _STEPPED, 0.8, five, floor(5)),
        await _measure("drain, 5 model + 5 tool calls, D of 10", rounds, _TALKED, 0.8, talking, floor(10)),
    ]


async def _measure(
    name: str, rounds: int, number: int, target: float, our: Callable[[Hub], Side], floor: Callable[[Hub], Side]
) -> Result:
    with empty_folder() as folder:
        async with open_hub(folder, [_ROLE]) as hub:
            sides = [our(hub), floor(hub)]
            rates: dict[str, list[float]] = {side.name: [] for side in sides}
            for turn in range(rounds):
                for side in sides if turn % 2 == 0 else reversed(sides):
                    rates[side.name].append(await drained(hub, side, f"d{turn}", number))
            return Result(name, "msg/s", rates["ours"], rates["floor"], target, is_at_least=True)


async def drained(hub: Hub, side: Side, prefix: str, number: int) -> float:
    """Completions a second, from the first to the last behind the warm-up, by the server's clock."""
    await hub.fill(side.inbox, prefix, _WARM + number)
    before = await hub.last_sequence(side.done_stream) + _WARM
    async with running(*side.jobs):
        await hub.until_stored(side.done_stream, before + number)
    first = await hub.stored_at(side.done_stream, before + 1)
    last = await hub.stored_at(side.done_stream, before + number)
    return (number - 1) / (last - first).total_seconds()
