"""Which copy of a role a process is, where a platform starts several that are told the same."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from agenthub.errors import HubError


@contextlib.contextmanager
def free_replica(state: Path, role: str, end: int, begin: int = 0) -> Iterator[int]:
    """The lowest number from `begin` to below `end` that no process of this state folder has; ours for the block.

    A lock and no entry: it ends with the process, whatever ends that.

    Raises:
        HubError: If all have somebody.
    """
    folder = state / "replicas"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(begin, end):
        with (folder / f"{role}.{number}").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    raise HubError(
        f"All {end - begin} of `{role}` run here already. For more, set its `replicas`, run `agenthub provision`."
    )
