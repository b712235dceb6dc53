"""`python -m bench [names...] [--rounds N] [--json]`: measure, print one table."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

from bench import children, cli, day, drain, fan, learning, million, paced, priority, processes, recovery, tui
from bench.peers import measure as peers
from bench.table import Result, table

MEASURES: dict[str, Callable[..., Awaitable[list[Result]]]] = {
    "drain": drain.empty,
    "steps": drain.stepped,
    "paced": paced.measure,
    "priority": priority.measure,
    "million": million.measure,
    "fan": fan.measure,
    "processes": processes.measure,
    "recovery": recovery.measure,
    "cli": cli.measure,
    "day": day.measure,
    "learning": learning.measure,
    "tui": tui.measure,
    "peers": peers.measure,
}
_WITHIN_S = 300.0
"""Longest time that one measure may take at its usual number of rounds."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure agenthub against the raw floor and peers."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to measure: {', '.join(MEASURES)}; all")
    parser.add_argument("--rounds", type=int, help="how often; each measure has a usual number")
    parser.add_argument("--json", action="store_true", help="print JSON with the value of each round")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in MEASURES]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    try:
        results = asyncio.run(_run(options.names or list(MEASURES), options.rounds))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; everything that was started has been stopped", file=sys.stderr)
        return 130
    print(json.dumps([result.to_json() for result in results], indent=2) if options.json else table(results))
    return 0


async def _run(names: list[str], rounds: int | None) -> list[Result]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    children.preload()
    results: list[Result] = []
    began_s = time.monotonic()
    for name in names:
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(_WITHIN_S * max(1, (rounds or 5) / 5)):
                results += await MEASURES[name](*([rounds] if rounds else []))
            _say(f"{name}: {time.monotonic() - started_s:.0f} s")
        except TimeoutError:  # what the others brought is not thrown away for it
            _say(f"{name}: given up after {time.monotonic() - started_s:.0f} s; the machine does too much else")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    _say(f"{time.monotonic() - began_s:.0f} s in all, on {os.cpu_count()} cores, load {load}")
    return results


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
