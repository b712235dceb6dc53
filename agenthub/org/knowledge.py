"""The knowledge base: what the organization decided, as Markdown files with an index, kept by plain code.

Each entry is one file that is written once and never touched again: it is the reader's to edit, move and delete (those
of learnings are brought up to date as long as nobody changed them, see `org.filed`).
`index.md` is made anew between its two marks, and only there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from agenthub.messages import Message
from agenthub.whole_files import write_whole

FOLDERS = ("decisions", "meetings")
_KNOWN = ".known"
_BEGIN, _END = "<!-- entries: kept by agenthub, from here -->", "<!-- to here -->"
_HEAD = "# What we know\n\nEntries are yours to edit; what you delete does not come back.\n\n"
MOST_FILES = 5000
_MOST_BYTES = 256 * 1024


class Found(NamedTuple):
    """A file that has the words that were looked for."""

    path: str
    """Below the folder of the knowledge base."""
    title: str
    excerpt: str


class Knowledge:
    """The files of one organization's knowledge."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, kind: str, message: Message) -> bool:
        """Write an entry for a message, if it never had one; True if it is new.

        Raises:
            OSError: If it cannot be written.
        """
        if self.knows(message.id):
            return False
        title = " ".join(message.title.split())[:120]
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:48] or "entry"
        path = self._folder / kind / f"{message.timestamp:%Y-%m-%d}-{slug}-{message.id[:6]}.md"
        about = {"from": message.from_role, "when": f"{message.timestamp:%Y-%m-%d %H:%M} UTC", "message": message.id}
        if by := decided_by(message):
            about["decided by"] = by
        lines = [
            f"# {title}",
            "",
            *(f"- {name}: {value}" for name, value in about.items()),
            "",
            message.payload.message,
        ]
        if not path.exists():  # a crash came between writing and noting: it may have been edited since
            _write(path, "\n".join(lines).rstrip() + "\n")
        self.pass_over(message)
        return True

    def knows(self, identity: str) -> bool:
        """True if a message of this id had an entry once, or was passed over."""
        known = self._folder / _KNOWN
        return known.exists() and identity in known.read_text("utf-8").split()

    def pass_over(self, message: Message) -> None:
        """Note that a message is seen to: it gets no entry any more.

        Raises:
            OSError: If it cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _KNOWN).open("a", encoding="utf-8") as file:
            file.write(f"{message.id}\n")

    def index(self) -> None:
        """Make the list of entries anew, the newest first; what stands around it stays."""
        items = [f"- [{title_of(path)}]({path.relative_to(self._folder).as_posix()})" for path in self.files()]
        block = "\n".join([_BEGIN, *items, _END])
        index = self._folder / "index.md"
        old = index.read_text("utf-8") if index.exists() else ""
        before, begin, rest = old.partition(_BEGIN)
        _, end, after = rest.partition(_END)
        text = f"{before}{block}{after}" if begin and end else f"{old or _HEAD}{block}\n"
        if text != old:
            _write(index, text)

    def files(self) -> list[Path]:
        """All entries, also those that people wrote; the newest names first."""
        found = [path for path in self._folder.rglob("*.md") if path.name != "index.md" and path.is_file()]
        found = [path for path in found if not path.is_symlink() and not path.name.startswith(".")]
        return sorted(found, key=lambda path: path.name, reverse=True)[:MOST_FILES]

    def search(self, words: str, *, most: int = 8) -> list[Found]:
        """The entries that have these words, best first, by full-text search (SQLite FTS5, BM25)."""
        import sqlite_utils  # imported late: only who looks something up needs it

        wanted = re.findall(r"\w+", words)
        if not wanted:
            return [Found(self._shown(path), title_of(path), "") for path in self.files()[:most]]
        database = sqlite_utils.Database(memory=True)
        rows = [
            {
                "path": self._shown(path),
                "title": title_of(path),
                "text": path.read_text("utf-8", "replace")[:_MOST_BYTES],
            }
            for path in self.files()
        ]
        if not rows:
            return []
        table = database.table("entries")
        table.insert_all(rows)
        table.enable_fts(["title", "text"], tokenize="porter")
        query = " OR ".join(f'"{word}"' for word in wanted)
        found = database.query(
            "select e.path, e.title, snippet(entries_fts, 1, '', '', ' … ', 40) as excerpt from entries_fts "
            "join entries e on e.rowid = entries_fts.rowid where entries_fts match ? order by rank limit ?",
            [query, most],
        )
        return [Found(str(row["path"]), str(row["title"]), " ".join(str(row["excerpt"]).split())) for row in found]

    def read(self, path: str) -> str | None:
        """The text of an entry; None if there is none of that name."""
        wanted = {self._shown(file): file for file in self.files()}.get(path)
        return wanted.read_text("utf-8", "replace")[:_MOST_BYTES] if wanted else None

    def _shown(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def decided_by(message: Message) -> str:
    """Who decided what a message reports; empty if it does not say."""
    said = (message.payload.model_extra or {}).get("decided_by")
    return " ".join(said.split())[:80] if isinstance(said, str) else ""


def title_of(path: Path) -> str:
    """The first heading of a file, else its name."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("# "):
                return line[2:].strip().replace("[", "(").replace("]", ")")
    return path.stem


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
