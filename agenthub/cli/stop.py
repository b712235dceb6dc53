"""The command that stops a hub, and proves that nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_FAILED, EXIT_OK
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import counted, print_json, say

if TYPE_CHECKING:
    import psutil

    from agenthub.run_file import RunFile

_BEYOND_GRACE_S = 40.0


async def down(
    *,
    now: Annotated[bool, Parameter(negative="")] = False,
    options: Options = DEFAULT,
) -> int:
    """Let each role finish the message it works on, then stop everything and prove that nothing is left.

    Args:
        now: Do not wait for the messages in hand.
    """
    import psutil

    from agenthub.run_file import RunFile, is_locked, processes_of

    settings = options.settings()
    run = RunFile.last(settings.state)
    if run is None or not (is_locked(settings.state) or processes_of(run.run_id)):
        return _nothing_runs(settings.folder.name, options)
    started = time.monotonic()
    processes = processes_of(run.run_id)
    with contextlib.suppress(psutil.NoSuchProcess):
        supervisor = _supervisor(run, settings.state)
        processes.append(supervisor)
        if not options.json:
            say(f"stopping {run.org}: each role finishes its message ..." if not now else f"stopping {run.org} now ...")
        supervisor.send_signal(signal.SIGUSR1 if now else signal.SIGTERM)
        with contextlib.suppress(psutil.TimeoutExpired):
            supervisor.wait(settings.grace_s + _BEYOND_GRACE_S)
    # The supervisor is gone, perhaps since before: what it started ends by itself, but not for ever.
    await asyncio.to_thread(psutil.wait_procs, processes, timeout=0 if now else settings.grace_s + _BEYOND_GRACE_S)
    left = [process for process in {*processes, *processes_of(run.run_id)} if _is_alive(process)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    survivors = processes_of(run.run_id)
    took_s = time.monotonic() - started
    if options.json:
        data = {"org": run.org, "processes": len(processes), "left": [p.pid for p in survivors], "seconds": took_s}
        print_json(data, options)
    else:
        killed = f", {len(left)} of them killed" if left else ""
        ended = counted(len(processes), "process", "processes")
        say(f"{run.org} is down after {took_s:.1f} s: {ended} ended{killed}, {len(survivors)} left")
    return EXIT_FAILED if survivors else EXIT_OK


def _nothing_runs(name: str, options: Options) -> int:
    if options.json:
        print_json({"org": name, "processes": 0, "left": [], "seconds": 0}, options)
    else:
        say("no hub runs here")
    return EXIT_OK


def _supervisor(run: RunFile, state: Path) -> psutil.Process:
    """The process that holds the lock; its number alone could belong to somebody else by now."""
    import psutil

    from agenthub.run_file import is_locked

    if not is_locked(state):
        raise psutil.NoSuchProcess(run.pid)
    return psutil.Process(run.pid)


def _is_alive(process: psutil.Process) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
