"""Processes of a measure: forked from a preloaded parent, so that they start at once, and always ended by pid."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from agenthub.runtime import stop_on_signals

REPOSITORY = Path(__file__).parent.parent
_END_WITHIN_S = 8.0
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
_forks = multiprocessing.get_context("forkserver")


class Job(NamedTuple):
    """What a process shall do: `work(stop, *arguments)`, until `stop` is set."""

    work: Callable[..., Awaitable[None]]
    """A function of a module, since the process finds it by its name."""
    arguments: tuple[Any, ...]


def environment() -> dict[str, str]:
    """For programs that are measured: no key, no setting, and Python may write its .pyc files as it usually does."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONPATH": str(REPOSITORY)}


def preload() -> None:
    """Have processes forked from one that has imported everything."""
    _forks.set_forkserver_preload(["bench.ours", "bench.floors", "bench.paced", "bench.peers.measure"])


@contextlib.asynccontextmanager
async def running(*jobs: Job) -> AsyncIterator[list[int]]:
    """A process for each job for the length of the block; their pids.

    Raises:
        RuntimeError: As soon as one of them ends by itself: nobody need wait for what it would have done.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    processes: list[BaseProcess] = []
    ended: list[BaseProcess] = []

    def has_ended(process: BaseProcess) -> None:
        loop.remove_reader(process.sentinel)
        ended.append(process)
        task.cancel()

    try:
        for job in jobs:
            child = _forks.Process(target=_live, args=(job,), daemon=True)
            child.start()
            processes.append(child)
            loop.add_reader(child.sentinel, has_ended, child)
        yield [process.pid or 0 for process in processes]
    except asyncio.CancelledError:
        if not ended:
            raise
        task.uncancel()
        raise RuntimeError(f"process {ended[0].pid} ended by itself; what it said is above") from None
    finally:
        for process in processes:
            loop.remove_reader(process.sentinel)
        _end(processes)


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_END_WITHIN_S)
        if process.exitcode is None:
            process.kill()
            process.join(_END_WITHIN_S)


def _live(job: Job) -> None:
    """What the process does. It ends with its parent, whatever ends the parent."""

    async def live() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        parent = multiprocessing.parent_process()
        if parent is not None:
            loop = asyncio.get_running_loop()

            def orphaned() -> None:
                loop.remove_reader(parent.sentinel)
                stop.set()

            loop.add_reader(parent.sentinel, orphaned)
        await job.work(stop, *job.arguments)

    asyncio.run(live())
