"""What a journal may forget, so that its file stays bounded however long a role works."""

from __future__ import annotations

import sqlite3

MAX_RECORD_BYTES = 4 * 1024**2
"""What is kept of conversations that were handed over or are over."""
KEEP_TURNS_S = 35 * 24 * 3600.0
"""A message may come again as long as the broker remembers its completion, which is 30 days."""
KEEP_USAGE_S = 90 * 24 * 3600.0


def prune(db: sqlite3.Connection, *, conversation: str, epoch: int, now_s: float) -> None:
    """Delete what is neither needed nor recent: one commit.

    Needed is the present conversation, all of turns that are open (their tool calls are counted through), and the
    newest entry, by which a process sees whether it is alone.
    """
    with db:
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "DELETE FROM entry WHERE seq IN (SELECT seq FROM (SELECT seq, sum(length(content)) OVER (ORDER BY seq DESC)"
            " AS size FROM entry) WHERE size > ?) AND NOT (conversation = ? AND epoch = ?)"
            " AND turn_id NOT IN (SELECT id FROM turn WHERE state = 'open') AND seq < (SELECT max(seq) FROM entry)",
            (MAX_RECORD_BYTES, conversation, epoch),
        )
        db.execute(
            "DELETE FROM step WHERE turn_id NOT IN (SELECT turn_id FROM entry)"
            " AND turn_id NOT IN (SELECT id FROM turn WHERE state = 'open')"
        )
        db.execute("DELETE FROM turn WHERE state = 'done' AND ended_at < ?", (now_s - KEEP_TURNS_S,))
        db.execute("DELETE FROM note WHERE turn_id IS NOT NULL AND at < ?", (now_s - KEEP_TURNS_S,))
        db.execute("DELETE FROM usage WHERE at < ?", (now_s - KEEP_USAGE_S,))
