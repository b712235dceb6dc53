"""The same words between the same two roles, again and again, while nothing changes: that is a circle.

A role remembers what it heard in a small file beside its journal, so that a restart forgets nothing. Replicas
of a role have a file each: before one of N has heard the same words three times, they may come 2 N + 1 times.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
import unicodedata
from pathlib import Path

from agenthub.messages import Message

_KEPT_S = 7 * 24 * 3600.0
_ANSWER_MARKS = re.compile(r"^(?:re|fwd?|aw|wg): ", re.IGNORECASE)
_NUMBERS = re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b|\d+(?:[.,:]\d+)*")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS heard (
  trace TEXT NOT NULL, words TEXT NOT NULL, occasion TEXT NOT NULL, sender TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (trace, words, occasion)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counted (id TEXT PRIMARY KEY, at REAL NOT NULL) STRICT, WITHOUT ROWID;
"""


def fingerprint(message: Message, to: str) -> str:
    """Short name of who says what to whom: the same for words that differ in case, space, numbers or ids only."""
    words = unicodedata.normalize("NFKC", f"{message.payload.subject} {message.payload.message}").casefold()
    words = " ".join(words.split())
    while (shorter := _ANSWER_MARKS.sub("", words)) != words:
        words = shorter
    words = _NUMBERS.sub("#", words)
    return hashlib.sha256(f"{message.from_role}/{to}/{words}".encode(errors="replace")).hexdigest()[:32]


def occasion(message: Message) -> str:
    """What makes words count as said once: one message, or all parts of one delegation."""
    return message.correlation_id or message.id


class Memory:
    """What the guards of one role process must remember: words that it heard, and what it has counted already.

    A record survives the death of the process, not that of the machine: then a circle begins to be counted anew.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._db.execute("DELETE FROM heard WHERE at < ?", (time.time() - _KEPT_S,))
        self._db.execute("DELETE FROM counted WHERE at < ?", (time.time() - _KEPT_S,))

    def close(self) -> None:
        self._db.close()

    def hear(self, trace: str, words: str, *, on: str, sender: str) -> int:
        """Note words; on how many occasions they were heard since something changed, this one included."""
        self._db.execute(
            "INSERT INTO heard VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", (trace, words, on, sender, time.time())
        )
        row = self._db.execute("SELECT count(*) FROM heard WHERE trace = ? AND words = ?", (trace, words)).fetchone()
        return int(row[0])

    def forget(self, trace: str, *, besides: str = "") -> None:
        """Begin to count anew: something changed. What `besides` said stays counted: an answer is no news to it."""
        self._db.execute("DELETE FROM heard WHERE trace = ? AND sender != ?", (trace, besides))

    def has_counted(self, identity: str) -> bool:
        """True if `count` was called for it."""
        return self._db.execute("SELECT 1 FROM counted WHERE id = ?", (identity,)).fetchone() is not None

    def count(self, identity: str) -> None:
        """Remember that something is counted; what waits for days would be counted again each time."""
        self._db.execute("INSERT INTO counted VALUES (?, ?) ON CONFLICT DO NOTHING", (identity, time.time()))
