"""What a role must remember of Claude Code: its conversation, and which calls are repeats; in the journal's file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS claude_code_session (id TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS claude_code_repeat (
  turn_id TEXT NOT NULL, number INTEGER NOT NULL, of INTEGER NOT NULL, PRIMARY KEY (turn_id, number)
) STRICT;
"""


class Store:
    """See the module. Its tables stand beside those of the journal, which does not know them."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def session_id(self) -> str | None:
        """Id of the conversation; None if there is none."""
        row = self._db.execute("SELECT id FROM claude_code_session").fetchone()
        return str(row[0]) if row else None

    def keep_session(self, session_id: str) -> None:
        """Note the id of the conversation before anything is said in it."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM claude_code_session")
            self._db.execute("INSERT INTO claude_code_session VALUES (?)", (session_id,))

    def forget_session(self) -> None:
        """The next turn begins a new conversation."""
        self._db.execute("DELETE FROM claude_code_session")

    def keep_repeat(self, turn_id: str, number: int, *, of: int) -> None:
        """Note that a call is the same as an earlier one, which is what is made."""
        self._db.execute("INSERT OR REPLACE INTO claude_code_repeat VALUES (?, ?, ?)", (turn_id, number, of))

    def first_of(self, turn_id: str, number: int) -> int:
        """Number under which a call was made first."""
        row = self._db.execute(
            "SELECT of FROM claude_code_repeat WHERE turn_id = ? AND number = ?", (turn_id, number)
        ).fetchone()
        return int(row[0]) if row else number
