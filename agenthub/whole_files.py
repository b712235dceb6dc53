"""Set the whole content of a file: who reads it, at any moment and after any crash, finds the old one or the new."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

BESIDE = ".agenthub-new-"
"""How the name of a file begins that is not complete yet; after a crash one may be left, until the next is written."""


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Processes that enter this with the same folder, which is made if it is not there, do so one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def write_whole(
    path: Path, data: str | bytes, *, mode: int = 0o666, is_durable: bool = False,
    before: Callable[[Path], None] | None = None,
) -> None:  # fmt: skip
    """Write a file, in place of the one that is there.

    Args:
        mode: Rights of the file, from its first moment on, less those that the process gives nobody.
        is_durable: Whether it is on disk when this returns.
        before: Gets the new file before it takes its place, to set owner or rights.

    Raises:
        OSError: If it cannot be written; then nothing is changed.
    """
    # Numbers of processes and threads alone are not enough: replicas in containers that share a folder have the same.
    beside = path.with_name(f"{BESIDE}{socket.gethostname()}-{threading.get_native_id()}")
    beside.unlink(missing_ok=True)  # what a crash left there
    try:
        # O_EXCL: a link that somebody put there is not followed.
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        if before is not None:
            before(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if is_durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
