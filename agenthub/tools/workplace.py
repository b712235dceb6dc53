"""Where a role's tools work: one folder for all it does, or a working copy of its repository for each task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from agenthub.messages import Message
from agenthub.sessions.session import TurnResult


class Workplace(Protocol):
    """Gives the folder in which the tools work on a task."""

    @property
    def reads(self) -> tuple[Path, ...]:
        """Folders outside of it that its files refer to; commands may read them too."""

    async def folder(self, task: Message) -> Path:
        """The workspace of a task; there when this returns.

        Raises:
            RefusedError: If it cannot be had; says why.
        """

    async def hand_in(self, task: Message, result: TurnResult) -> TurnResult:
        """What becomes of the workspace of a task that is over; gives how it ended, with where its work is now."""

    async def sweep(self, *, still_open: Sequence[str]) -> None:
        """Put away what tasks left that never came to their end, but those whose ids are given."""


class OneFolder:
    """The same folder for every task."""

    reads: tuple[Path, ...] = ()

    def __init__(self, path: Path) -> None:
        """Makes the folder."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    async def folder(self, task: Message) -> Path:
        self.path.mkdir(parents=True, exist_ok=True)
        return self.path

    async def hand_in(self, task: Message, result: TurnResult) -> TurnResult:
        return result

    async def sweep(self, *, still_open: Sequence[str]) -> None: ...
