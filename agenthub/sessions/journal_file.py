"""The file of a journal: its tables, how an older one is brought up to date, and what a commit survives.

SQLite, WAL, `synchronous=FULL`: a commit survives power loss.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agenthub.errors import ConfigError

_VERSION = 3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS turn (
  id TEXT PRIMARY KEY, message_id TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('open', 'done')),
  attempts INTEGER NOT NULL, failures INTEGER NOT NULL, ack_subject TEXT NOT NULL,
  opened_at REAL NOT NULL, ended_at REAL, result TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS turn_message ON turn (message_id);
CREATE TABLE IF NOT EXISTS entry (
  seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, turn_id TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('user', 'assistant')), content TEXT NOT NULL, at REAL NOT NULL,
  stop_reason TEXT NOT NULL DEFAULT '', conversation TEXT NOT NULL DEFAULT '', tokens INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS entry_turn ON entry (turn_id);
CREATE INDEX IF NOT EXISTS entry_conversation ON entry (conversation, epoch);
CREATE TABLE IF NOT EXISTS step (
  turn_id TEXT NOT NULL, number INTEGER NOT NULL, tool TEXT NOT NULL, state TEXT NOT NULL
  CHECK (state IN ('intent', 'done')), result TEXT, at REAL NOT NULL, PRIMARY KEY (turn_id, number)
) STRICT;
CREATE TABLE IF NOT EXISTS usage (
  at REAL NOT NULL, turn_id TEXT NOT NULL, message_id TEXT NOT NULL, model TEXT NOT NULL, input INTEGER NOT NULL,
  output INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL, cost_usd REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS usage_at ON usage (at);
CREATE INDEX IF NOT EXISTS usage_message ON usage (message_id);
CREATE TABLE IF NOT EXISTS note (id TEXT PRIMARY KEY, text TEXT NOT NULL, at REAL NOT NULL, turn_id TEXT) STRICT;
"""
_SINCE_2 = """
ALTER TABLE entry ADD COLUMN conversation TEXT NOT NULL DEFAULT '';
ALTER TABLE entry ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0;
"""
_UPGRADES = {1: f"ALTER TABLE entry ADD COLUMN stop_reason TEXT NOT NULL DEFAULT ''; {_SINCE_2}", 2: _SINCE_2}
"""What an older version lacks; tables and indexes that are new are made anyway."""


def open_file(path: Path) -> sqlite3.Connection:
    """The journal at `path`, made if there is none, with the tables of this version. Commits by itself.

    Raises:
        ConfigError: If a newer agenthub wrote it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    _prepare(db, path)
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring those of an older version up to date. Writes nothing if all is right."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == _VERSION:
        return
    if version > _VERSION:
        raise ConfigError(
            f"{path} was written by a newer agenthub (journal version {version}, this one knows {_VERSION}). "
            "Run that version, or move the file away to begin a new journal."
        )
    upgrade = _UPGRADES.get(version, "")
    db.executescript(f"BEGIN IMMEDIATE; {upgrade} {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")


def is_writable(db: sqlite3.Connection) -> bool:
    """True if the disk takes a record of some size."""
    try:
        with db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO note VALUES ('probe', hex(zeroblob(32768)), 0, '')")
            db.execute("DELETE FROM note WHERE id = 'probe'")
    except sqlite3.OperationalError:
        return False
    return True


class JournalFile:
    """A connection to the file of a journal, by what a commit is to survive.

    SQLite has that as a mode of the connection, which is changed when it must be and not for each record.
    """

    def __init__(self, path: Path) -> None:
        self.reading = open_file(path)
        """For questions."""
        self._is_synced = True

    @property
    def synced(self) -> sqlite3.Connection:
        """For records that survive power loss."""
        if not self._is_synced:
            self.reading.execute("PRAGMA synchronous = FULL")
            self._is_synced = True
        return self.reading

    @property
    def unsynced(self) -> sqlite3.Connection:
        """For records that survive the death of this process, but not of the machine until the next synced one."""
        if self._is_synced:
            self.reading.execute("PRAGMA synchronous = NORMAL")
            self._is_synced = False
        return self.reading
