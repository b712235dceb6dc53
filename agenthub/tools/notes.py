"""What a role keeps for later: notes of its own in a file that outlives compaction and restarts.

The file is Markdown, one note a list item, below the hub's state folder. A person may read and edit it at any time:
it is read anew at each call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from agenthub.errors import RefusedError
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome
from agenthub.tools.workspace import write_text
from agenthub.whole_files import alone_in

NOTES_TOOLS = ("remember", "recall_notes")
MAX_NOTES_BYTES = 64 * 1024
_SHOWN = 30
_HEAD = "# Notes of {role}\n\nOne list item each; the role reads and writes them, and so may you.\n\n"


class Remember(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = Field(min_length=1, max_length=2000, description="One fact that will be of use in other tasks.")
    instead_of: str = Field(
        default="",
        max_length=2000,
        description="Words of an older note that this one replaces; they must fit one only.",
    )


class RecallNotes(BaseModel):
    model_config = ConfigDict(extra="forbid")
    words: str = Field(default="", max_length=500, description="Words to look for. Empty: the latest notes.")
    of: str = Field(
        default="", max_length=64, description="Notes of this role instead; a person must have granted you that."
    )


def notes_in(text: str) -> list[str]:
    """The notes of a file: its list items, with the lines that go on below them."""
    notes: list[str] = []
    for line in text.splitlines():
        if line.startswith("- "):
            notes.append(line[2:].strip())
        elif notes and line.startswith("  "):
            notes[-1] += f"\n{line.strip()}"
    return notes


def best(notes: list[str], words: str, *, most: int) -> list[str]:
    """The notes that have the most of these words, the latest first among equals; without words the latest."""
    wanted = set(re.findall(r"\w+", words.casefold()))
    if not words.strip():
        return notes[::-1][:most]

    def hits(note: str) -> int:
        has = re.findall(r"\w+", note.casefold())
        return sum(any(one.startswith(word) for one in has) for word in wanted)

    ranked = sorted(((hits(note), at, note) for at, note in enumerate(notes)), reverse=True)
    return [note for count, _, note in ranked[:most] if count]


def notes_tools(
    file: Path, role: str, *, clock: Callable[[], datetime], readable: Callable[[], Collection[str]] = tuple
) -> list[Tool]:
    """The tools for one role's notes. Both may be repeated: a note that is there already is not written again.

    Args:
        readable: Roles whose notes a person lets it read at the moment; they lie beside its own.
    """

    async def remember(arguments: Remember, call: ToolCall) -> ToolOutcome:
        text = "\n  ".join(line.strip() for line in arguments.text.strip().splitlines() if line.strip())
        if not text:
            raise RefusedError("A note needs words.")
        with alone_in(file.parent):  # replicas of a role write one after the other; none is in it for longer than that
            notes = _read(file)
            folded = "\n".join(line.strip() for line in text.splitlines())
            if any(note == folded or note.partition(": ")[2] == folded for note in notes):
                return ToolOutcome("That is noted already.")
            if old := arguments.instead_of.strip():
                fitting = [note for note in notes if old.casefold() in note.casefold()]
                if len(fitting) != 1:
                    raise RefusedError(
                        f"{len(fitting)} notes have the words {old[:80]!r}. Copy more of the one you mean."
                    )
                notes.remove(fitting[0])
            notes.append(f"{clock():%Y-%m-%d}: {folded}")
            items = "".join("- " + note.replace("\n", "\n  ") + "\n" for note in notes)
            data = (_HEAD.format(role=role) + items).encode(errors="replace")
            if len(data) > MAX_NOTES_BYTES:
                raise RefusedError(
                    f"The notes may have {MAX_NOTES_BYTES // 1024} KiB and are full. Sum up older ones: `instead_of` "
                    "replaces one."
                )
            write_text(file, data, file.name)
        return ToolOutcome(f"Noted; there are {len(notes)} notes.", summary=folded.splitlines()[0][:80])

    async def recall_notes(arguments: RecallNotes, call: ToolCall) -> ToolOutcome:
        notes = _read(_whose(arguments.of))
        found = best(notes, arguments.words, most=_SHOWN)
        text = "\n".join("- " + note.replace("\n", "\n  ") for note in found)
        if len(found) < len(notes):
            text += f"\n[{len(found)} of {len(notes)} notes]"
        return ToolOutcome(text.strip() or "(no notes)", summary=f"{len(found)} of {len(notes)} notes")

    def _whose(other: str) -> Path:
        if not other or other == role:
            return file
        if other not in readable():
            raise RefusedError(
                f"The notes of `{other}` are its own. Ask it, or ask for a grant: `request_grant` with kind `memory` "
                f"and what `{other}`."
            )
        return file.with_name(f"{other}.md")

    return [
        Tool(
            "remember",
            "Keep a fact for later tasks: it outlives this conversation. Not for results; those are files.",
            Remember, remember,
            describe=lambda a: a.text.splitlines()[0][:80],
        ),
        Tool(
            "recall_notes", "Read what you kept for later, by words or the latest.", RecallNotes, recall_notes,
            describe=lambda a: a.words,
        ),
    ]  # fmt: skip


def _read(file: Path) -> list[str]:
    try:
        return notes_in(file.read_text("utf-8", errors="replace"))
    except FileNotFoundError:
        return []
