"""What one role learned from others: a SQLite file with every learning, what was found, and full-text search.

Facts are kept, never a score: how far a learning is trusted is computed from them (`org.trust`), so that a replay, a
duplicate or another order of arrival changes nothing. The file is opened when there is something to keep or to find.
Processes of one role on one machine share it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agenthub.errors import NotFoundError
from agenthub.learnings import Judgement, Learning
from agenthub.org.database import OwnDatabase
from agenthub.org.trust import Finding, Standing, State, standing

if TYPE_CHECKING:  # two MB that a role without learnings does without
    from sqlite_utils import Database

MAX_LEARNINGS = 2000
MAX_HINTS = 5
_MOST_WORDS = 60
_COMMON = frozenset(
    [
        "the",
        "and",
        "for",
        "with",
        "that",
        "this",
        "from",
        "into",
        "have",
        "has",
        "are",
        "was",
        "were",
        "will",
        "shall",
        "must",
        "should",
        "can",
        "could",
        "not",
        "but",
        "you",
        "your",
        "our",
        "its",
        "their",
        "them",
        "then",
        "than",
        "when",
        "what",
        "which",
        "who",
        "how",
        "why",
        "all",
        "any",
        "one",
        "two",
        "please",
        "make",
        "made",
        "does",
        "did",
        "done",
        "add",
        "new",
    ]
)
_TABLES: dict[str, dict[str, type]] = {
    "learning": {
        "id": str, "trigger": str, "domain": str, "approach": str, "outcome": str, "ask": str, "confidence": float,
        "heard_at": float, "suspicion": str,
    },
    "author": {"learning": str, "author": str, "evidence": str},
    "finding": {
        "learning": str, "witness": str, "task": str, "is_confirmation": int, "at": float, "evidence": str,
    },
    "judgement": {"learning": str, "id": str, "verdict": str, "at": float, "reason": str, "deny": str},
    "offer": {"learning": str, "task": str, "at": float},
    "report": {"learning": str, "task": str, "result": str, "note": str, "at": float},
    "heard": {"sequence": int, "author": str, "at": float},
    "written": {"learning": str, "text": str},
}  # fmt: skip
_KEYS = {
    "learning": ("id",), "author": ("learning", "author"),
    "finding": ("learning", "witness", "task", "is_confirmation"), "judgement": ("learning", "id"),
    "offer": ("learning", "task"), "report": ("learning", "task"), "heard": ("sequence",), "written": ("learning",),
}  # fmt: skip


class Held(NamedTuple):
    """One learning as this role has it."""

    id: str
    learning: Learning
    authors: tuple[str, ...]
    heard_at: datetime
    standing: Standing
    state: State
    """What the role does with it: as a person decided, else as it stands."""
    reason: str
    """Why it is in quarantine, or what a person said."""
    deny: str
    """Rule that a person gave it."""
    tasks: tuple[str, ...]
    """Tasks in which it held."""


class Learned:
    """The learnings that one role knows."""

    def __init__(self, path: Path, *, role: str) -> None:
        self._role = role
        self._file = OwnDatabase(path, _TABLES, _KEYS, made=_searchable)

    @property
    def is_empty(self) -> bool:
        """True if nothing was ever kept; looking costs nothing."""
        return self._file.is_empty

    @property
    def _db(self) -> Database:
        return self._file.db

    def close(self) -> None:
        self._file.close()

    # ── facts ──────────────────────────────────────────────────────────────────────────────────────
    def keep(self, learning: Learning, author: str, *, heard_at: datetime, suspicion: str = "") -> bool:
        """Take a learning in; True if it is new here. Of the same said by two there is one, with two authors."""
        row = learning.model_dump(exclude={"evidence", "domain"}) | {
            "id": learning.id, "domain": " ".join(learning.domain), "heard_at": heard_at.timestamp(),
            "suspicion": suspicion,
        }  # fmt: skip
        known = self._rows("SELECT evidence FROM author WHERE learning = ? AND author = ?", learning.id, author)
        shown = sorted({*learning.evidence, *(json.loads(known[0]["evidence"]) if known else ())})
        is_new = not self._rows("SELECT id FROM learning WHERE id = ?", learning.id)
        with self._db.conn:
            self._db.table("learning").insert(row, pk="id", ignore=True)
            self._db.table("author").upsert(
                {"learning": learning.id, "author": author, "evidence": json.dumps(shown)}, pk=_KEYS["author"]
            )
        if is_new:
            self._make_room()
        return is_new

    def heard(self, author: str, sequence: int, at: datetime, *, within: timedelta) -> int:
        """Note that an author published something; how much it did in the time before, this one included."""
        with self._db.conn:
            self._db.table("heard").insert(
                {"sequence": sequence, "author": author, "at": at.timestamp()}, pk="sequence", ignore=True
            )
            self._db.conn.execute("DELETE FROM heard WHERE at < ?", ((at - 4 * within).timestamp(),))
        found = self._rows(
            "SELECT count(*) AS n FROM heard WHERE author = ? AND at > ? AND sequence <= ?",
            author, (at - within).timestamp(), sequence,
        )  # fmt: skip
        return int(found[0]["n"])

    def count_heard(self, author: str, *, since: datetime) -> int:
        """How much an author published since a moment, as far as it was heard."""
        found = self._rows("SELECT count(*) AS n FROM heard WHERE author = ? AND at > ?", author, since.timestamp())
        return int(found[0]["n"]) if found else 0

    def judge(self, judgement: Judgement, identity: str, *, at: datetime, operator: str) -> None:
        """Take in what a person decided. The same again changes nothing."""
        if judgement.verdict in ("confirm", "refute"):
            self.find(
                judgement.learning,
                Finding(operator, identity, judgement.verdict == "confirm", at, frozenset(judgement.evidence)),
            )
            return
        row = {
            "learning": judgement.learning, "id": identity, "verdict": judgement.verdict, "at": at.timestamp(),
            "reason": judgement.reason, "deny": judgement.deny,
        }  # fmt: skip
        with self._db.conn:
            self._db.table("judgement").insert(row, pk=_KEYS["judgement"], ignore=True)

    def find(self, learning: str, finding: Finding) -> None:
        """Take a finding in. The same again changes nothing."""
        row = {
            "learning": learning, "witness": finding.witness, "task": finding.task,
            "is_confirmation": int(finding.is_confirmation), "at": finding.at.timestamp(),
            "evidence": json.dumps(sorted(finding.evidence)),
        }  # fmt: skip
        with self._db.conn:
            self._db.table("finding").insert(row, pk=_KEYS["finding"], ignore=True)

    def offered(self, task: str, found: Iterable[str], *, at: datetime) -> None:
        """Note which learnings were offered with a task."""
        rows = [{"learning": identity, "task": task, "at": at.timestamp()} for identity in found]
        with self._db.conn:
            self._db.table("offer").insert_all(rows, pk=_KEYS["offer"], ignore=True)

    def offers(self, task: str) -> list[str]:
        """Learnings that were offered with a task."""
        return [str(row["learning"]) for row in self._rows("SELECT learning FROM offer WHERE task = ?", task)]

    def report(self, learning: str, task: str, result: str, note: str, *, at: datetime) -> None:
        """Note what the agent says of a learning in a task; a later word about the same replaces it."""
        row = {"learning": learning, "task": task, "result": result, "note": note, "at": at.timestamp()}
        with self._db.conn:
            self._db.table("report").upsert(row, pk=_KEYS["report"])

    def reported(self) -> dict[str, list[tuple[str, str, datetime]]]:
        """Reports about tasks whose end is not known yet: by task the learning, the result and when it was said."""
        found: dict[str, list[tuple[str, str, datetime]]] = {}
        for row in self._rows("SELECT learning, task, result, at FROM report"):
            moment = _moment(row["at"])
            found.setdefault(str(row["task"]), []).append((str(row["learning"]), str(row["result"]), moment))
        return found

    def settled(self, task: str) -> None:
        """Forget reports about a task: they have become findings, or nothing."""
        with self._db.conn:
            self._db.conn.execute("DELETE FROM report WHERE task = ?", (task,))

    # ── what follows from them ─────────────────────────────────────────────────────────────────────
    def all(self, *, at: datetime, only: Sequence[str] | None = None) -> list[Held]:
        """Every learning as it stands at a moment, or some of them, the newest first."""
        if self.is_empty:
            return []
        authors = _by_learning(self._rows("SELECT * FROM author"))
        findings = _by_learning(self._rows("SELECT * FROM finding"))
        judgements = _by_learning(self._rows("SELECT * FROM judgement"))
        rows = self._rows("SELECT * FROM learning ORDER BY heard_at DESC, id")
        wanted = None if only is None else set(only)
        return [
            _held(row, authors.get(row["id"], []), findings.get(row["id"], []), judgements.get(row["id"], []), at)
            for row in rows
            if wanted is None or row["id"] in wanted
        ]

    def get(self, prefix: str, *, at: datetime) -> Held:
        """The one learning whose id begins with `prefix`.

        Raises:
            NotFoundError: If there is none, or more than one.
        """
        found = [held for held in self.all(at=at) if held.id.startswith(prefix)] if prefix else []
        if len(found) != 1:
            many = f"{len(found)} learnings" if found else "no learning"
            raise NotFoundError(f"There is {many} whose id begins with `{prefix}`.")
        return found[0]

    def fitting(self, text: str, *, at: datetime, most: int = MAX_HINTS) -> list[Held]:
        """Unproven learnings of others that have words of `text`, the most fitting first."""
        wanted = _query(text)
        if self.is_empty or not wanted:
            return []
        found = self._rows(
            "SELECT learning.id AS id FROM learning_fts JOIN learning ON learning.rowid = learning_fts.rowid"
            " WHERE learning_fts MATCH ? ORDER BY bm25(learning_fts, 4.0, 3.0, 1.0) LIMIT 100",
            wanted,
        )
        ranks = {str(row["id"]): rank for rank, row in enumerate(found)}
        held = [
            one
            for one in self.all(at=at, only=list(ranks))
            if one.state is State.HINT and self._role not in one.authors
        ]
        return sorted(held, key=lambda one: ranks[one.id])[:most]

    # ── the policy file ────────────────────────────────────────────────────────────────────────────
    def written(self) -> dict[str, str]:
        """What was written into the policy file, by learning."""
        return {str(row["learning"]): str(row["text"]) for row in self._rows("SELECT * FROM written")}

    def set_written(self, texts: dict[str, str]) -> None:
        """Note what stands in the policy file now."""
        with self._db.conn:
            self._db.conn.execute("DELETE FROM written")
            rows = [{"learning": identity, "text": text} for identity, text in texts.items()]
            self._db.table("written").insert_all(rows, pk="learning")

    def _make_room(self) -> None:
        """The oldest of which nobody found anything make room: a flood cannot fill the disk."""
        with self._db.conn:
            self._db.conn.execute(
                "DELETE FROM learning WHERE id IN (SELECT id FROM learning WHERE id NOT IN"
                " (SELECT learning FROM finding UNION SELECT learning FROM judgement) ORDER BY heard_at DESC"
                " LIMIT -1 OFFSET ?)",
                (MAX_LEARNINGS,),
            )
            self._db.conn.execute("DELETE FROM author WHERE learning NOT IN (SELECT id FROM learning)")

    def _rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        return self._file.rows(statement, *values)


def _searchable(database: Database) -> None:
    database.table("learning").enable_fts(
        ["trigger", "domain", "approach"], tokenize="porter", create_triggers=True, replace=True
    )


def _held(
    row: dict[str, Any], authors: list[dict[str, Any]], findings: list[dict[str, Any]],
    judgements: list[dict[str, Any]], at: datetime,
) -> Held:  # fmt: skip
    names = tuple(sorted(str(one["author"]) for one in authors))
    shown = sorted({identity for one in authors for identity in json.loads(one["evidence"])})
    found = [
        Finding(
            str(one["witness"]), str(one["task"]), bool(one["is_confirmation"]), _moment(one["at"]),
            frozenset(json.loads(one["evidence"])),
        )
        for one in findings
    ]  # fmt: skip
    learning = Learning.model_construct(
        trigger=row["trigger"], domain=tuple(str(row["domain"]).split()), approach=row["approach"],
        outcome=row["outcome"], evidence=tuple(shown), confidence=float(row["confidence"]), ask=row["ask"],
    )  # fmt: skip
    stands = standing(found, authors=names, shown=shown, at=at)
    state, reason, deny = stands.state, "", ""
    if row["suspicion"]:
        state, reason = State.QUARANTINED, str(row["suspicion"])
    if judgements:
        last = max(judgements, key=lambda one: (one["at"], one["id"]))
        state = _DECIDED.get(str(last["verdict"]), stands.state)
        reason, deny = str(last["reason"]), str(last["deny"])
    tasks = tuple(sorted({one.task for one in found if one.is_confirmation}))
    return Held(str(row["id"]), learning, names, _moment(row["heard_at"]), stands, state, reason, deny, tasks)


_DECIDED = {"promote": State.PROMOTED, "demote": State.HINT, "quarantine": State.QUARANTINED}
"""What a person's word makes of a learning; `release` leaves it to what is found."""


def _query(text: str) -> str:
    """The telling words of a text, any of which a learning may have, as FTS5 takes them."""
    words = (word for word in re.findall(r"\w{3,40}", text.casefold()) if word not in _COMMON)
    return " OR ".join(f'"{word}"' for word in list(dict.fromkeys(words))[:_MOST_WORDS])


def _by_learning(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(str(row["learning"]), []).append(row)
    return found


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
