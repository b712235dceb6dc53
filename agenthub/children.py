"""The processes that a supervisor keeps, and the rule by which one that has ended is started again."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from agenthub.forks import EXIT_AWAY, EXIT_CONFIG, EXIT_RESTART
from agenthub.organization import Organization

CRASHES_IN_A_MINUTE = 5
"""So many, and the role is left alone until a person has mended it."""
FIRST_BACK_OFF_S = 0.1
LONGEST_BACK_OFF_S = 30.0
HEALTHY_AFTER_S = 60.0
AWAY_PAUSE_S = 2.0
START_WITHIN_S = 60.0
"""So long a process may take to its first heartbeat: it may have to wait for the lease of the one before it."""


class RoleState(Enum):
    """What the supervisor knows of a process."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    """It has ended and is started again after a pause."""
    KILLED = "killed"
    """It gave no sign of life and is being killed; that it has ended is not known yet."""
    QUARANTINED = "quarantined"
    STOPPED = "stopped"


class Verdict(Enum):
    """Why a process ended, as far as its restart is concerned."""

    AWAY = "away"
    """The broker was away, or another process had the role: no fault of its own."""
    ASKED = "asked"
    """A person wants it to be started again."""
    CRASHED = "crashed"
    CRASH_LOOP = "crash loop"
    MISCONFIGURED = "misconfigured"
    """Starting it again cannot help."""


@dataclass
class Child:
    """One process that is kept running."""

    key: str
    role: str
    replica: int = 0
    state: RoleState = RoleState.STARTING
    pid: int | None = None
    started_s: float = 0.0
    pause_s: float = 0.0
    """How long to wait before it is started again, if it is."""
    signing_off: asyncio.Task[None] | None = None
    """Notes for everybody that the last process has ended."""
    _crashes: deque[float] = field(default_factory=lambda: deque(maxlen=CRASHES_IN_A_MINUTE))
    _back_off_s: float = FIRST_BACK_OFF_S

    def has_ended(self, status: int, *, at_s: float) -> Verdict:
        """Take note that the process has ended, and say what becomes of it.

        The pause doubles with each crash and begins anew after a minute of health. Five crashes in a minute
        are a loop.
        """
        self.pid = None
        if status == EXIT_AWAY:
            self.state, self.pause_s = RoleState.WAITING, AWAY_PAUSE_S
            return Verdict.AWAY
        if status == EXIT_RESTART:
            self.state, self.pause_s = RoleState.WAITING, 0.0
            return Verdict.ASKED
        if at_s - self.started_s > HEALTHY_AFTER_S:
            self._back_off_s = FIRST_BACK_OFF_S
        self._crashes.append(at_s)
        if status == EXIT_CONFIG:
            self.state = RoleState.QUARANTINED
            return Verdict.MISCONFIGURED
        if len(self._crashes) == CRASHES_IN_A_MINUTE and at_s - self._crashes[0] < 60:
            self.state = RoleState.QUARANTINED
            return Verdict.CRASH_LOOP
        self.state, self.pause_s = RoleState.WAITING, self._back_off_s
        self._back_off_s = min(LONGEST_BACK_OFF_S, self._back_off_s * 2)
        return Verdict.CRASHED

    async def until_signed_off(self) -> None:
        """Return when nothing will be noted of the last process any more; it would be taken for the next one's."""
        if self.signing_off is not None:
            await asyncio.wait([self.signing_off])

    def forgive(self) -> None:
        """A person says that it can work again: what was before counts no more."""
        self._crashes.clear()
        self._back_off_s = FIRST_BACK_OFF_S


def children_of(organization: Organization) -> list[Child]:
    """The processes that an organization asks for: one for each role, or as many as it has replicas."""
    return [
        Child(name if replica == 0 else f"{name}.{replica}", name, replica)
        for name, role in organization.roles.items()
        for replica in range(role.settings.replicas)
    ]


def is_stuck(child: Child, *, has_beaten: bool, silent_s: float, patience_s: float, at_s: float) -> bool:
    """True if a process lives and does nothing any more: it was stopped, or its event loop is blocked.

    Args:
        has_beaten: Whether this very process ever gave a sign of life.
        silent_s: For how long it has certainly given none, while whoever looks could see the others.
        patience_s: The lease's time; after that another process could have the role anyway.
    """
    if child.state is not RoleState.RUNNING or child.pid is None:
        return False
    within_s = patience_s if has_beaten else max(patience_s, START_WITHIN_S)
    return min(silent_s, at_s - child.started_s) >= within_s
