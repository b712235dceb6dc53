"""Texts that are too long to be put before a model at once: kept in files of the role, to be read in parts."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from agenthub.errors import NotFoundError
from agenthub.messages import Message
from agenthub.whole_files import write_whole

KEPT_S = 30 * 24 * 3600.0
MESSAGE_CHARACTERS = 12_000
"""Of a message that stand in its frame."""
ANSWER_CHARACTERS = 8_000
"""Of each answer to an ask."""


class LongTexts:
    """The long texts of one role, by the id of the message; of an answer, of what was asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, message: Message) -> None:
        """Keep what the message says if it is too long for a frame. Again changes nothing."""
        text, identity = message.payload.message, message.causation_id if message.is_answer else message.id
        if len(text) <= min(MESSAGE_CHARACTERS, ANSWER_CHARACTERS):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / identity
        write_whole(target, text.encode(errors="replace"))

    def read(self, identity: str) -> str:
        """The whole text.

        Raises:
            NotFoundError: If none is kept under this id.
        """
        target = self._folder / identity
        if target.parent != self._folder or not target.is_file():
            raise NotFoundError(f"No long message `{identity[:80]}` is kept here; what is short stands in its frame.")
        return target.read_text()

    def let_go(self) -> None:
        """Remove what is older than thirty days."""
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if path.stat().st_mtime < time.time() - KEPT_S:
                    path.unlink()
