"""What the supervisor and the nursery say to each other, and where their processes log. Imports nothing heavy."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path
from typing import NamedTuple

from agenthub.organization import Organization
from agenthub.settings import Settings

EXIT_CONFIG = 78
"""Exit status of a process that cannot work with its configuration: starting it again cannot help."""
EXIT_AWAY = 75
"""Exit status of a process that could not work because others were away: the broker, or the lease was taken."""
EXIT_STALLED = 76
"""Exit status of a process whose turn made no progress and could not be interrupted."""
EXIT_FAILED = 1


class Fork(NamedTuple):
    """Told to the nursery: start a process."""

    key: str
    """Name of the process, for logs and answers."""
    kind: str
    """`role` or `rehearsal`"""
    settings: Settings
    organization: Organization
    role: str = ""
    replica: int = 0
    port: int = 0


class Signal(NamedTuple):
    """Told to the nursery: send a signal to a process that it started."""

    pid: int
    number: int


class Started(NamedTuple):
    """Told by the nursery: the process runs."""

    key: str
    pid: int


class Ended(NamedTuple):
    """Told by the nursery: the process has ended."""

    key: str
    pid: int
    status: int
    """Exit status, or minus the number of the signal that ended it."""


def log_to_file(path: Path, level: str) -> None:
    """Have everything logged written to a file that rotates, and what crashes leave behind on stderr too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=10_000_000, backupCount=5)
    logging.basicConfig(
        handlers=[handler], level=level, force=True,
        format="%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S",
    )  # fmt: skip
    for chatty in ("httpx2", "httpcore2", "anthropic", "nats"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
