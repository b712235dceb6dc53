"""We beside the peers: the same directives, one at a time, on storage that survives power loss, in one run.

FastStream works on the server that we work on. Celery has Redis, DBOS has SQLite or Postgres; a DBOS workflow is
started where its directive is at hand, which spares it the fetching. None but DBOS records steps or goes on with
a turn after a crash; none has priorities, a lease, events, or an audit copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench import floors, ours
from bench.children import Job, environment
from bench.drain import drained, ours_side
from bench.hub import Hub, Side, empty_folder, open_hub
from bench.paced import RATE, latencies_s, percentile
from bench.peers.environment import PROGRAMS, installed, versions
from bench.peers.servers import postgres, redis
from bench.table import Result

_ROLE = "backend"
_EMPTY, _STEPPED, _PACED, _STEPS = 400, 100, 400, 5
_STEPPED_TARGET = 1.5

T = TypeVar("T")


async def measure(rounds: int = 3) -> list[Result]:
    """Empty turns and paced ones against all peers, turns of five recorded steps against the better DBOS."""
    try:
        python = await installed()
    except RuntimeError as error:
        print(f"peers: skipped. {error}", file=sys.stderr)
        return []
    with empty_folder() as hub_folder, empty_folder() as redis_folder, empty_folder() as pg_folder:
        async with (
            open_hub(hub_folder, [_ROLE]) as hub,
            redis(python, redis_folder) as redis_url,
            postgres(python, pg_folder) as pg_url,
        ):
            bench = _Bench(hub, python, redis_url, pg_url, hub_folder)
            return [*await bench.empty(rounds), *await bench.stepped(rounds), *await bench.paced(rounds)]


class _Bench:
    """All sides on running servers."""

    def __init__(self, hub: Hub, python: Path, redis_url: str, pg_url: str, folder: Path) -> None:
        self._hub, self._python = hub, python
        self._redis_url, self._pg_url, self._sqlite_url = redis_url, pg_url, f"sqlite:///{folder}/dbos.db"
        version = versions()
        self._faststream, self._celery = f"FastStream {version['faststream']}", f"Celery {version['celery']} on Redis"
        self._dbos = f"DBOS {version['dbos']}"

    async def empty(self, rounds: int) -> list[Result]:
        """Turns that are done at once."""
        rates = await _in_turn(
            rounds,
            {
                "ours": lambda name: drained(self._hub, ours_side(self._hub), name, _EMPTY),
                self._faststream: lambda name: drained(self._hub, self._faststream_side(), name, _EMPTY),
                self._celery: lambda _: self._rate("celery_peer", "drain", self._redis_url, _EMPTY),
                f"{self._dbos} on SQLite": lambda _: self._rate("dbos_peer", "drain", self._sqlite_url, _STEPPED, 0),
                f"{self._dbos} on Postgres": lambda _: self._rate("dbos_peer", "drain", self._pg_url, _EMPTY, 0),
            },
        )
        mine = rates.pop("ours")
        return [
            Result(f"drain, no-op session, beside {name}", "msg/s", mine, theirs, None, is_at_least=True)
            for name, theirs in rates.items()
        ]

    async def stepped(self, rounds: int) -> list[Result]:
        """Turns of five steps, each on disk before the next begins."""
        job = Job(ours.work, (self._hub.settings, self._hub.organization, _ROLE, _STEPS))
        rates = await _in_turn(
            rounds,
            {
                "ours": lambda name: drained(self._hub, ours_side(self._hub, job=job), f"s{name}", _STEPPED),
                "SQLite": lambda _: self._rate("dbos_peer", "drain", self._sqlite_url, _STEPPED // 2, _STEPS),
                "Postgres": lambda _: self._rate("dbos_peer", "drain", self._pg_url, _STEPPED, _STEPS),
            },
        )
        mine = rates.pop("ours")
        best = [max(both) for both in zip(*rates.values(), strict=True)]
        sides = [(f"{self._dbos} on {name}", theirs, None) for name, theirs in rates.items()]
        return [
            Result(f"drain, {_STEPS} recorded steps, beside {name}", "msg/s", mine, theirs, target, is_at_least=True)
            for name, theirs, target in [*sides, ("the better of the two", best, _STEPPED_TARGET)]
        ]

    async def paced(self, rounds: int) -> list[Result]:
        """A hundred a second, whatever comes back."""
        sides: dict[str, Callable[[str], Awaitable[list[float]]]] = {
            "ours": lambda name: self._latencies(ours_side(self._hub), name),
            self._faststream: lambda name: self._latencies(self._faststream_side(), name),
            self._celery: lambda _: self._milliseconds("celery_peer", self._redis_url, _PACED, RATE),
        }
        found = await _in_turn(rounds, sides)
        mine = found.pop("ours")
        return [
            Result(
                f"paced {RATE}/s, p{percent}, beside {name}", "ms",
                [percentile(one, percent) for one in mine], [percentile(one, percent) for one in theirs],
                None, is_at_least=False,
            )
            for name, theirs in found.items()
            for percent in (50, 99)
        ]  # fmt: skip

    def _faststream_side(self) -> Side:
        program = str(PROGRAMS / "faststream_peer.py")
        inbox, done = floors.inbox("faststream"), floors.done("faststream", "*")
        words = [self._hub.server.url, floors.INBOX, inbox, floors.DONE, done.removesuffix(".*"), "faststream"]
        return Side(
            "faststream", inbox, floors.DONE, done, (Job(run_program, ([str(self._python), program, *words],)),)
        )

    async def _latencies(self, side: Side, name: str) -> list[float]:
        return [1000 * value for value in await latencies_s(self._hub, side, f"p{name}")]

    async def _rate(self, program: str, *words: str | int) -> float:
        return float((await self._said(program, *words))["rate"])

    async def _milliseconds(self, program: str, *words: str | int) -> list[float]:
        found: list[float] = (await self._said(program, "paced", *words))["ms"]
        return found

    async def _said(self, program: str, *words: str | int) -> dict[str, Any]:
        """What a peer's program printed at its end."""
        process = await asyncio.create_subprocess_exec(
            str(self._python), str(PROGRAMS / f"{program}.py"), *map(str, words), env=environment(),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, _ = await process.communicate()
        finally:
            await _end(process)
        if process.returncode:
            raise RuntimeError(f"{program} ended with {process.returncode}; what it said is above")
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found


async def run_program(stop: asyncio.Event, words: Sequence[str]) -> None:
    """Run a program until `stop`; ends with it, if it ends by itself."""
    process = await asyncio.create_subprocess_exec(*words, env=environment(), stdout=asyncio.subprocess.DEVNULL)
    stopping, ending = asyncio.create_task(stop.wait()), asyncio.create_task(process.wait())
    try:
        await asyncio.wait([stopping, ending], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


async def _in_turn(rounds: int, sides: Mapping[str, Callable[[str], Awaitable[T]]]) -> dict[str, list[T]]:
    """What each side brought in each round; they take turns in shuffled order."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in random.sample(list(sides), len(sides)):
            found[name].append(await sides[name](f"r{turn}"))
    return found
