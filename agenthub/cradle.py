"""Starts the nursery before anything else is imported, since importing is what a start waits for longest.

Imports nothing but a little of the standard library. What starts a hub begins with `begin_nursery()`, imports
the rest and reads its settings meanwhile, and hands the nursery to the supervisor.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

RUN_VARIABLE = "_AGENTHUB_RUN"
"""Environment variable that every process of a run carries, so that none can hide from `down`."""

_PROGRAM = "import gc; gc.disable(); from agenthub.nursery import main; main()"


class Nursery:
    """A nursery that has begun to import, and our end of the pipe to it."""

    def __init__(self) -> None:
        self.run_id = uuid.uuid4().hex
        """Of the run that it is for; in its environment, and so in that of all it forks."""
        self.pipe, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2,
                env={**os.environ, RUN_VARIABLE: self.run_id},
                start_new_session=True, preexec_fn=die_with_parent(),
            )  # fmt: skip

    def end(self) -> None:
        """End it at once, if it has not ended; it must have no children any more."""
        self.pipe.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def begin_nursery() -> Iterator[Nursery]:
    """A nursery for the length of the block, whatever else the block comes to."""
    nursery = Nursery()
    try:
        yield nursery
    finally:
        nursery.end()


def die_with_parent() -> Callable[[], None] | None:
    """What a child runs before it becomes another program, so that it never outlives this process.

    None where the system cannot promise that (only Linux can).
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return ask
