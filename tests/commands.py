"""Commands as a user types them: each a process of its own, forked from one that has imported the program already.

Imports are most of what a short command costs, and the suite gives hundreds. What a command does while it imports is
looked at where a shell starts it: `program` and `started`.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing import reduction
from pathlib import Path
from typing import IO, Any, NamedTuple

from agenthub.cradle import RUN_VARIABLE
from tests.organization import Hub

FORK = multiprocessing.get_context("forkserver")
"""What processes of tests are forked from: one such for each worker, which has imported what most of them need."""

_HIDDEN = ("ANTHROPIC_API_KEY", "PYTHONDONTWRITEBYTECODE", RUN_VARIABLE)
_BRING_UP = (("up",), ("demo",))
_WITHIN_S = 100.0


class Ran(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment() -> dict[str, str]:
    """What a command finds there: no key, and no hub that it would be part of."""
    return {name: value for name, value in os.environ.items() if name not in _HIDDEN}


def program(*words: str, folder: Path) -> subprocess.Popen[str]:
    """The program as a shell starts it, to be waited for, or to be sent signals."""
    return subprocess.Popen(
        [sys.executable, "-m", "agenthub", *words],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip


def started(*words: str, folder: Path) -> Ran:
    """What a command came to that a shell started in `folder`."""
    process = program(*words, folder=folder)
    try:
        out, err = process.communicate(timeout=_WITHIN_S)
    finally:
        process.kill()
    return Ran(process.returncode, out, err)


def command(*words: str, folder: Path, stdin: bytes | None = None) -> Ran:
    """What a command came to that was given in `folder`: forked, or as it is where it brings up an organization."""
    if words[:1] in _BRING_UP:
        return started(*words, folder=folder)
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin or b"")
        given.seek(0)
        streams = tuple(_Stream(file) for file in (given, out, err))
        process = FORK.Process(target=_run, args=(words, str(folder), environment(), streams))
        process.start()
        process.join(_WITHIN_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"`agenthub {' '.join(words)}` has not ended")
        return Ran(process.exitcode, _read(out), _read(err))


async def agenthub(*words: str, folder: Path, stdin: bytes | None = None) -> Ran:
    """The same, while the test does other things."""
    return await asyncio.to_thread(command, *words, folder=folder, stdin=stdin)


async def in_hub(hub: Hub, *words: str, stdin: bytes | None = None) -> Ran:
    """The same of the organization of a test."""
    return await agenthub(*words, "--nats", hub.server.url, folder=hub.folder, stdin=stdin)


class _Stream:
    """A file that another process gets; there it is the number of its descriptor."""

    def __init__(self, file: IO[bytes]) -> None:
        self._fd = file.fileno()

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (reduction.DupFd(self._fd),)


def _detached(fd: Any) -> int:
    return int(fd.detach())


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _run(words: tuple[str, ...], folder: str, variables: dict[str, str], streams: tuple[int, int, int]) -> None:
    """Become the command."""
    from agenthub.__main__ import main

    for of_its_own, fd in enumerate(streams):
        os.dup2(fd, of_its_own)
        os.close(fd)
    given = os.fdopen(0)
    vars(sys).update(stdin=given, __stdin__=given)  # multiprocessing has closed what was there
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["agenthub", *words]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends a process without
