"""What a running hub leaves for other commands to find it, in `.agenthub/run/` of the organization's folder."""

from __future__ import annotations

import contextlib
import fcntl
import time
from pathlib import Path
from typing import IO

import psutil
from pydantic import BaseModel, Field

from agenthub.cradle import RUN_VARIABLE
from agenthub.errors import HubRunningError
from agenthub.messages import Moment
from agenthub.whole_files import write_whole

_TRIES, _PAUSE_S = 25, 0.02


class RunFile(BaseModel):
    """A running hub: who, where, since when."""

    run_id: str
    pid: int
    org: str
    nats_url: str
    """Of several servers separated by commas."""
    nats_context: str = ""
    """Context of the `nats` command by which they are reached; empty: by none."""
    servers: dict[str, int] = Field(default_factory=dict)
    """The servers that the hub runs itself: name and monitoring port. Empty if it uses somebody else's."""
    model: str
    """What the roles talk to, for people."""
    is_rehearsal: bool
    started_at: Moment
    is_ready: bool = False
    """True once all roles work, but those that are left alone."""
    left_alone: list[str] = Field(default_factory=list)
    """Roles that did not come up and are not tried again."""
    held: list[str] = Field(default_factory=list)
    """Roles that a person held when all were up, in lines for people."""

    @staticmethod
    def path(state: Path) -> Path:
        return state / "run" / "hub.json"

    @classmethod
    def read(cls, state: Path) -> RunFile | None:
        """What runs in this folder; None if nothing does. What a crash left behind does not count."""
        return cls.last(state) if is_locked(state) else None

    @classmethod
    def last(cls, state: Path) -> RunFile | None:
        """What runs in this folder, or what a crash left behind; None if nothing did."""
        with contextlib.suppress(OSError, ValueError):
            return cls.model_validate_json(cls.path(state).read_text())
        return None

    def write(self, state: Path) -> None:
        """Replace the file in one step: a reader finds the old one or the new one."""
        write_whole(self.path(state), self.model_dump_json(indent=2))


def lock(state: Path, org: str) -> IO[str]:
    """Make this process the one that runs a hub in this folder; it is until the file is closed or it ends.

    Raises:
        HubRunningError: If one runs already; says which and where.
    """
    path = state / "run" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    (state / ".gitignore").write_text("*\n")  # it lies in people's repositories
    file = path.open("a+")
    if not _took(file):
        file.close()
        found = RunFile.read(state)
        what = "is starting"
        if found is not None:
            org, what = found.org, f"runs: process {found.pid}, {found.nats_url}, since {found.started_at:%H:%M:%S} UTC"
        raise HubRunningError(
            f"`{org}` already {what}, in {state}. See it with `agenthub ps`, stop it with `agenthub down`."
        )
    return file


def _took(file: IO[str]) -> bool:
    """Take the lock. Who only looks holds it for a moment as well: that moment is waited for."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_PAUSE_S)
    return False


def is_locked(state: Path) -> bool:
    """True if a hub runs in this folder."""
    path = state / "run" / "lock"
    if not path.exists():
        return False
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may look at the same moment
        except OSError:
            return True
    return False


def processes_of(run_id: str) -> list[psutil.Process]:
    """Every process of a run that is alive: found by what it inherited, not by what somebody wrote down."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(RUN_VARIABLE) == run_id and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
