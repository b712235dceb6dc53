"""What one role's own work has shown so far, in a SQLite file: it is still known after a restart.

Of tool calls those of a task from its first failure on are kept, until the task has ended; what may be a learning is
kept until it was shown, and then as known. All of it is bounded, the oldest leaves first. The file is opened when there
is something to keep. Processes of one role on one machine share it.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from agenthub.messages import Message
from agenthub.org.database import OwnDatabase

MOST_STEPS = 1000
"""Tool calls of all tasks that have not ended; one that is parked for ever does not fill the disk."""
MOST_WAITING = 10
"""Candidates that were not shown yet."""
MOST_KNOWN = 500
"""Candidates that were shown, and tasks that were reported as done."""
_NUMBERS = re.compile(r"\d+")
_TABLES: dict[str, dict[str, type]] = {
    "step": {"id": int, "task": str, "tool": str, "what": str, "is_error": int},
    "candidate": {"signature": str, "text": str, "task": str, "shown_with": str, "at": float},
    "done": {"trace": str, "sender": str, "task": str, "at": float},
}
_KEYS = {"step": ("id",), "candidate": ("signature",), "done": ("trace", "sender")}


class Step(NamedTuple):
    """A tool call and whether it failed."""

    tool: str
    what: str
    """The call in a few words."""
    is_error: bool

    @property
    def signature(self) -> str:
        """The same for the same action, whatever numbers are in it."""
        return f"{self.tool} {_NUMBERS.sub('#', self.what)[:120]}".strip()


class Candidate(NamedTuple):
    """Something that may be a learning."""

    signature: str
    text: str
    """What the host saw, for the agent."""
    task: str
    """Id of the task in which it did: the evidence."""


class OwnWork:
    """What is kept of one role's own work."""

    def __init__(self, path: Path) -> None:
        self._file = OwnDatabase(path, _TABLES, _KEYS)

    def close(self) -> None:
        self._file.close()

    # ── tool calls ─────────────────────────────────────────────────────────────────────────────────
    def acted(self, task: str, step: Step) -> None:
        """Keep a tool call, if it failed or one before it in the same task did: nothing else is ever asked for."""
        if not step.is_error and not self._rows("SELECT id FROM step WHERE task = ? LIMIT 1", task):
            return
        with self._db as db:
            db.execute(
                "INSERT INTO step (task, tool, what, is_error) VALUES (?, ?, ?, ?)",
                (task, step.tool[:80], step.what[:200], int(step.is_error)),
            )
            db.execute("DELETE FROM step WHERE id <= (SELECT max(id) FROM step) - ?", (MOST_STEPS,))

    def steps(self, task: str) -> list[Step]:
        """The tool calls of a task from its first failure on, in their order."""
        found = self._rows("SELECT * FROM step WHERE task = ? ORDER BY id", task)
        return [Step(str(row["tool"]), str(row["what"]), bool(row["is_error"])) for row in found]

    def ended(self, task: str, candidates: Iterable[Candidate]) -> None:
        """Forget the calls of a task, for what they came to."""
        with self._db as db:
            self._keep(db, candidates)
            db.execute("DELETE FROM step WHERE task = ?", (task,))

    # ── candidates ─────────────────────────────────────────────────────────────────────────────────
    def keep(self, candidate: Candidate) -> None:
        """Keep a candidate until it was shown; one of that signature that is known already stays as it is."""
        with self._db as db:
            self._keep(db, [candidate])

    def _keep(self, db: sqlite3.Connection, candidates: Iterable[Candidate]) -> None:
        db.executemany(
            "INSERT OR IGNORE INTO candidate (signature, text, task, shown_with, at) VALUES (?, ?, ?, '', ?)",
            [(*one, time.time()) for one in candidates],
        )
        for which, most in (("shown_with = ''", MOST_WAITING), ("shown_with != ''", MOST_KNOWN)):
            db.execute(
                "DELETE FROM candidate WHERE rowid IN "  # noqa: S608 - no word of anybody is in it
                f"(SELECT rowid FROM candidate WHERE {which} ORDER BY at DESC, rowid DESC LIMIT -1 OFFSET ?)",
                (most,),
            )

    def take(self, task: str) -> Candidate | None:
        """The candidate to be shown with a task: each with one, and a task that is begun again has the same."""
        found = self._rows(
            "SELECT * FROM candidate WHERE shown_with IN (?, '') ORDER BY shown_with = '', at, rowid LIMIT 1", task
        )
        if not found:
            return None
        row = found[0]
        with self._db as db:
            db.execute("UPDATE candidate SET shown_with = ? WHERE signature = ?", (task, row["signature"]))
        return Candidate(str(row["signature"]), str(row["text"]), str(row["task"]))

    # ── rework ─────────────────────────────────────────────────────────────────────────────────────
    def reported_done(self, task: Message) -> None:
        """Note that who asked was told that it is done."""
        with self._db as db:
            db.execute(  # what is told anew is the newest again: its row gets a new number
                "INSERT OR REPLACE INTO done (trace, sender, task, at) VALUES (?, ?, ?, ?)",
                (task.trace_id, task.from_role, task.id, time.time()),
            )
            db.execute("DELETE FROM done WHERE rowid <= (SELECT max(rowid) FROM done) - ?", (MOST_KNOWN,))

    def done_before(self, task: Message) -> str:
        """Id of what the same sender was told is done in the same trace; empty: nothing."""
        found = self._rows(
            "SELECT task FROM done WHERE trace = ? AND sender = ? AND task != ?",
            task.trace_id, task.from_role, task.id,
        )  # fmt: skip
        return str(found[0]["task"]) if found else ""

    @property
    def _db(self) -> sqlite3.Connection:
        return self._file.connection

    def has_something_for(self, task: Message) -> bool:
        """False if neither `take` nor `done_before` gives anything: asked for each task, of which most are so."""
        if self._file.is_empty:
            return False
        (found,) = self._db.execute(
            "SELECT EXISTS (SELECT 1 FROM candidate WHERE shown_with IN (?1, ''))"
            " OR EXISTS (SELECT 1 FROM done WHERE trace = ?2 AND sender = ?3 AND task != ?1)",
            (task.id, task.trace_id, task.from_role),
        ).fetchone()
        return bool(found)

    def _rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        return self._file.rows(statement, *values)
