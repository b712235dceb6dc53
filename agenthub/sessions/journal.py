"""The journal of one role: turns, the conversation, every step. On disk before anything is published.

One SQLite file; a commit survives power loss. Calls block for one fsync (0.2 ms on
a local disk), which is less than a thread costs. What was answered is never paid again, what was done is
never done again: after a crash a turn goes on from the last record here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from agenthub.errors import LeaseLostError
from agenthub.messages import Usage
from agenthub.sessions.journal_file import JournalFile, is_writable
from agenthub.sessions.pruning import prune

Block = dict[str, Any]
"""One content block of the Messages API, as JSON."""

_INSERT_ENTRY = (
    "INSERT INTO entry (conversation, epoch, turn_id, role, content, at, stop_reason, tokens)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

_SUMS = (
    "count(*), coalesce(sum(input), 0), coalesce(sum(output), 0), coalesce(sum(cache_read), 0),"
    " coalesce(sum(cache_write), 0), coalesce(sum(cost_usd), 0.0)"
)


class Turn(NamedTuple):
    """What the journal knows of a turn when it is taken up."""

    is_done: bool
    attempts: int
    """How often it was taken up, this time included; more than once after a crash."""
    failures: int
    """How often it failed with an error before."""
    result: dict[str, Any] | None
    """What `finish` recorded, if it is done."""


class Entry(NamedTuple):
    """One message of the conversation."""

    turn_id: str
    role: str
    content: list[Block]


class Answered(NamedTuple):
    """One answer of the model: what it said, and why it stopped there."""

    blocks: list[Block]
    stop_reason: str


class Step(NamedTuple):
    """One tool call: its result, or None if it was begun and nobody knows how it ended."""

    result: dict[str, Any] | None


class Account(NamedTuple):
    """What was done for a message."""

    started_at: datetime | None
    """When its first turn was opened; None if there was none."""
    turns: int
    usage: Usage


def _usage(sums: Sequence[Any]) -> Usage:
    return Usage(
        calls=sums[0], input_tokens=sums[1], output_tokens=sums[2], cache_read_tokens=sums[3],
        cache_write_tokens=sums[4], cost_usd=sums[5],
    )  # fmt: skip


class Journal:
    """See the module. One process at a time writes; others may read the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = JournalFile(path)
        self._conversation = ""
        self._epoch = self._newest_epoch()
        self._end: int | None = None
        """Number of the last entry that this process knows; None until it has read the conversation."""

    def close(self) -> None:
        self._file.reading.close()

    def is_writable(self) -> bool:
        """True if the disk takes a record of some size."""
        return is_writable(self._file.synced)

    # ── turns ──────────────────────────────────────────────────────────────────────────────────────
    def open_turn(self, turn_id: str, *, message_id: str, ack_subject: str, failures_before: int = 0) -> Turn:
        """Take up a turn: a new one, or one that a crash or an error left open, or one that is done already.

        What power loss could take of this is a count of crashes.
        """
        (state, attempts, failures, result), = self._file.unsynced.execute(
            "INSERT INTO turn VALUES (?, ?, 'open', 1, ?, ?, ?, NULL, NULL) ON CONFLICT (id) DO UPDATE"
            " SET attempts = attempts + (state = 'open'), failures = max(failures, excluded.failures),"
            " ack_subject = excluded.ack_subject RETURNING state, attempts, failures, result",
            (turn_id, message_id, failures_before, ack_subject, time.time()),
        ).fetchall()  # fmt: skip
        return Turn(state == "done", attempts, failures, json.loads(result) if result else None)

    def open_deliveries(self) -> list[str]:
        """Where the deliveries of the turns that are open can be acknowledged, oldest first."""
        rows = self._file.reading.execute(
            "SELECT ack_subject FROM turn WHERE state = 'open' ORDER BY opened_at"
        ).fetchall()
        return [subject for (subject,) in rows]

    def is_done(self, turn_id: str) -> bool:
        """True if the turn was closed for good."""
        row = self._file.reading.execute("SELECT state = 'done' FROM turn WHERE id = ?", (turn_id,)).fetchone()
        return bool(row and row[0])

    def finish(self, turn_id: str, result: dict[str, Any] | str) -> None:
        """Close a turn for good; `result` is what a repeated delivery is answered with, or that as JSON.

        The record survives the death of the process at once, and power loss soon after. It may do so: what it says
        is published next, and a turn that is found open is held against that.
        """
        self._file.unsynced.execute(
            "UPDATE turn SET state = 'done', ended_at = ?, result = ? WHERE id = ? AND state = 'open'",
            (time.time(), result if isinstance(result, str) else json.dumps(result), turn_id),
        )

    def fail(self, turn_id: str) -> int:
        """Count a try that failed; how many there were. It is then no sign of a crash to be taken up again."""
        rows = self._file.synced.execute(
            "UPDATE turn SET failures = failures + 1, attempts = attempts - 1 WHERE id = ? RETURNING failures",
            (turn_id,),
        ).fetchall()
        return int(rows[0][0]) if rows else 1

    def put_back(self, turn_id: str) -> None:
        """Note that the turn was left on purpose: being taken up again is then no sign of a crash."""
        self._file.synced.execute("UPDATE turn SET attempts = attempts - 1 WHERE id = ? AND state = 'open'", (turn_id,))

    # ── the conversation ───────────────────────────────────────────────────────────────────────────
    def enter(self, conversation: str) -> list[Entry]:
        """Go to another conversation; what follows is about this one. The role's usual one is called ``""``.

        Raises:
            LeaseLostError: As `record_answer`.
        """
        self.check_alone()
        self._conversation = conversation
        self._epoch = self._newest_epoch()
        return self.history()

    def history(self) -> list[Entry]:
        """The conversation since its last hand-over, oldest first. From now on only this process may add to it."""
        rows = self._file.reading.execute(
            "SELECT turn_id, role, content FROM entry WHERE conversation = ? AND epoch = ? ORDER BY seq", self._here
        )
        entries = [Entry(turn, role, json.loads(content)) for turn, role, content in rows]
        self._end = self._last_entry()
        return entries

    def context_tokens(self) -> int:
        """Size of the conversation at its last answer; 0 if there was none."""
        row = self._file.reading.execute(
            "SELECT tokens FROM entry WHERE conversation = ? AND epoch = ? ORDER BY seq DESC LIMIT 1", self._here
        ).fetchone()
        return int(row[0]) if row else 0

    def shows(self, message_id: str) -> bool:
        """True if work on the message stands in the conversation, and not only in what was handed over."""
        row = self._file.reading.execute(
            "SELECT 1 FROM turn JOIN entry ON entry.turn_id = turn.id"
            " WHERE turn.message_id = ? AND conversation = ? AND epoch = ? LIMIT 1",
            (message_id, *self._here),
        ).fetchone()
        return row is not None

    def unfinished(self) -> list[tuple[str, list[Block]]]:
        """Messages that were begun and have no end yet, oldest first: ids, and how they were put to the model."""
        rows = self._file.reading.execute(
            "SELECT message_id, content FROM (SELECT message_id, id, state, result, max(rowid) AS at FROM turn"
            " GROUP BY message_id) AS newest JOIN entry ON entry.seq ="
            " (SELECT min(seq) FROM entry JOIN turn ON turn_id = turn.id"
            " WHERE turn.message_id = newest.message_id AND role = 'user')"
            " WHERE state = 'open' OR json_type(result, '$.parked') IS NOT NULL ORDER BY newest.at"
        )
        return [(message, json.loads(content)) for message, content in rows]

    @property
    def _here(self) -> tuple[str, int]:
        return self._conversation, self._epoch

    def _newest_epoch(self) -> int:
        row = self._file.reading.execute(
            "SELECT max(epoch) FROM entry WHERE conversation = ?", (self._conversation,)
        ).fetchone()
        return int(row[0] or 0)

    def _last_entry(self) -> int:
        return int(self._file.reading.execute("SELECT coalesce(max(seq), 0) FROM entry").fetchone()[0])

    def last_turn(self) -> str:
        """The turn at the end of the conversation; empty if nothing was said yet."""
        row = self._file.reading.execute(
            "SELECT turn_id FROM entry WHERE conversation = ? AND epoch = ? ORDER BY seq DESC LIMIT 1", self._here
        ).fetchone()
        return str(row[0]) if row else ""

    def answers(self, turn_id: str) -> list[Answered]:
        """What the model answered in a turn so far, oldest first."""
        rows = self._file.reading.execute(
            "SELECT content, stop_reason FROM entry WHERE turn_id = ? AND role = 'assistant' ORDER BY seq", (turn_id,)
        )
        return [Answered(json.loads(content), stop_reason) for content, stop_reason in rows]

    def record_answer(
        self, turn_id: str, *, message_id: str, asked: Sequence[Block], answered: Sequence[Block], model: str,
        usage: Usage, stop_reason: str = "", notes: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """Record a model call: what was asked, what it answered, what it cost. One commit, before any tool runs.

        Raises:
            LeaseLostError: If another process added to the conversation; two of them would tangle it for good.
        """
        moment = time.time()
        with self._file.synced as db:
            db.execute("BEGIN IMMEDIATE")
            self.check_alone()
            db.executemany(
                _INSERT_ENTRY,
                [
                    (*self._here, turn_id, "user", json.dumps(list(asked)), moment, "", 0),
                    (*self._here, turn_id, "assistant", json.dumps(list(answered)), moment, stop_reason, usage.tokens),
                ],
            )
            self._insert_usage(turn_id, message_id, model, usage, moment)
            # Progress: what kills the process now is something else than what did before.
            db.execute("UPDATE turn SET attempts = 1 WHERE id = ?", (turn_id,))
            db.executemany("UPDATE note SET turn_id = ? WHERE id = ?", [(turn_id, note) for note in notes])
            end = self._last_entry()
        self._end = end if self._end is not None else None

    def begin_anew(
        self, turn_id: str, *, message_id: str, hand_over: Sequence[Block], tokens: int, model: str, usage: Usage
    ) -> None:
        """Have the conversation begin with `hand_over` from now on, in one commit. What was before stays on record.

        Args:
            tokens: Size of the conversation that begins, as far as it is known.

        Raises:
            LeaseLostError: As `record_answer`.
        """
        moment = time.time()
        with self._file.synced as db:
            db.execute("BEGIN IMMEDIATE")
            self.check_alone()
            new = (self._conversation, self._epoch + 1)
            db.execute(_INSERT_ENTRY, (*new, "", "user", json.dumps(list(hand_over)), moment, "", tokens))
            if usage.calls:
                self._insert_usage(turn_id, message_id, model, usage, moment)
            end = self._last_entry()
        self._epoch += 1
        self._end = end if self._end is not None else None

    def prune(self) -> None:
        """Let go of what is too old or too much to be kept for the record; nothing that is still needed."""
        prune(self._file.synced, conversation=self._conversation, epoch=self._epoch, now_s=time.time())

    def check_alone(self) -> None:
        """Return if what this process knows of the conversation is all of it.

        Raises:
            LeaseLostError: If another process added to it, as after this one stood still for long.
        """
        if self._end not in (None, self._last_entry()):
            raise LeaseLostError(f"another process wrote into {self.path}; this one must not act any more")

    def record_usage(self, turn_id: str, *, message_id: str, model: str, usage: Usage) -> None:
        """Record what a model call took that brought no answer."""
        self._insert_usage(turn_id, message_id, model, usage, time.time())

    def _insert_usage(self, turn_id: str, message_id: str, model: str, usage: Usage, moment: float) -> None:
        self._file.synced.execute(
            "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                moment, turn_id, message_id, model, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
                usage.cache_write_tokens, usage.cost_usd,
            ),
        )  # fmt: skip

    # ── steps ──────────────────────────────────────────────────────────────────────────────────────
    def intend(self, turn_id: str, number: int, tool: str) -> None:
        """Record that a tool call is about to be made that must not be made twice."""
        self._file.synced.execute(
            "INSERT INTO step VALUES (?, ?, ?, 'intent', NULL, ?)", (turn_id, number, tool, time.time())
        )

    def record_step(
        self, turn_id: str, number: int, tool: str, result: dict[str, Any], *, may_repeat: bool = False
    ) -> None:
        """Record how a tool call ended. Of one that `may_repeat` the record need not survive power loss."""
        db = self._file.unsynced if may_repeat else self._file.synced
        db.execute(
            "INSERT INTO step VALUES (?, ?, ?, 'done', ?, ?)"
            " ON CONFLICT (turn_id, number) DO UPDATE SET state = 'done', result = excluded.result",
            (turn_id, number, tool, json.dumps(result), time.time()),
        )

    def step(self, turn_id: str, number: int) -> Step | None:
        """What is known of a tool call; None if it was never begun."""
        row = self._file.reading.execute(
            "SELECT result FROM step WHERE turn_id = ? AND number = ?", (turn_id, number)
        ).fetchone()
        return None if row is None else Step(json.loads(row[0]) if row[0] else None)

    def steps_of(self, message_id: str, name: str) -> list[dict[str, Any]]:
        """What all steps of that name came to in the turns for one message, oldest first."""
        rows = self._file.reading.execute(
            "SELECT step.result FROM step JOIN turn ON turn.id = step.turn_id"
            " WHERE turn.message_id = ? AND step.tool = ? AND step.result IS NOT NULL ORDER BY step.at, step.rowid",
            (message_id, name),
        )
        return [json.loads(result) for (result,) in rows]

    # ── usage ──────────────────────────────────────────────────────────────────────────────────────
    def usage_of(self, message_id: str) -> Usage:
        """What all turns for one message took."""
        return self._usage("message_id = ?", message_id)

    def usage_of_turn(self, turn_id: str, *, message_id: str) -> Usage:
        """What one turn for a message took, failed tries included."""
        return self._usage("message_id = ? AND turn_id = ?", message_id, turn_id)

    def usage_since(self, moment: datetime) -> Usage:
        """What all model calls since `moment` took."""
        return self._usage("at >= ?", moment.timestamp())

    def account(self, message_id: str) -> Account:
        """What was done for one message so far."""
        row = self._file.reading.execute(
            "SELECT (SELECT min(opened_at) FROM turn WHERE message_id = ?1),"
            f" (SELECT count(*) FROM turn WHERE message_id = ?1), {_SUMS} FROM usage WHERE message_id = ?1",
            (message_id,),
        ).fetchone()
        started_at = None if row[0] is None else datetime.fromtimestamp(row[0], UTC)
        return Account(started_at, row[1], _usage(row[2:]))

    def turns_of(self, message_id: str) -> int:
        """How many turns were taken for one message."""
        return int(
            self._file.reading.execute("SELECT count(*) FROM turn WHERE message_id = ?", (message_id,)).fetchone()[0]
        )

    def _usage(self, where: str, *values: object) -> Usage:
        # `where` is one of the above
        return _usage(self._file.reading.execute(f"SELECT {_SUMS} FROM usage WHERE {where}", values).fetchone())

    # ── notes ──────────────────────────────────────────────────────────────────────────────────────
    def add_note(self, note_id: str, text: str) -> None:
        """Keep something for the next turn to read; the same id twice is kept once."""
        self._file.synced.execute(
            "INSERT INTO note VALUES (?, ?, ?, NULL) ON CONFLICT DO NOTHING", (note_id, text, time.time())
        )

    def unread_notes(self, most: int = 20) -> list[tuple[str, str]]:
        """Ids and texts that no turn has shown to the model yet, oldest first."""
        return self._file.reading.execute(
            "SELECT id, text FROM note WHERE turn_id IS NULL ORDER BY rowid LIMIT ?", (most,)
        ).fetchall()
