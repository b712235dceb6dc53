"""What the supervisor and the nursery say to each other. Imports nothing heavy."""

from __future__ import annotations

from typing import NamedTuple

from agenthub.organization import Organization
from agenthub.settings import Settings

EXIT_CONFIG = 78
"""Exit status of a process that cannot work with its configuration: starting it again cannot help."""
EXIT_AWAY = 75
"""Exit status of a process that could not work because others were away: the broker, or the lease was taken."""
EXIT_STALLED = 76
"""Exit status of a process whose turn made no progress and could not be interrupted."""
EXIT_RESTART = 77
"""Exit status of a process that a person wants to be started again."""
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
