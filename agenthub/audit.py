"""The record of who did what: its entries, how an export is chained, and where something is missing.

The broker writes it, a copy of each message in the order in which it stored them, and roles add what their guards
and people decided. Pure functions: what is wrong is found from the entries alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

VERSION = 1
"""Of the format of an export."""


class Entry(NamedTuple):
    """One thing that happened."""

    sequence: int
    """Place in the record; without a hole."""
    at: datetime
    """When the broker stored it."""
    who: str
    """Who did it, as the broker knows it."""
    what: str
    """Type of a message, or what was decided: `budget`, `breaker`, `cancelled` ..."""
    to: str
    """Whose inbox it went to; empty for a decision."""
    message_id: str
    title: str
    subject: str
    headers: Mapping[str, str]
    data: bytes
    source: int = 0
    """Place of the message in the stream of inboxes, without a hole either; 0 for a decision."""

    def as_json(self) -> dict[str, Any]:
        """It as a line of an export, without its hash."""
        try:
            body: dict[str, str] = {"text": self.data.decode()}
        except UnicodeDecodeError:
            body = {"base64": base64.b64encode(self.data).decode()}
        return {
            "sequence": self.sequence, "at": self.at.isoformat(), "who": self.who, "what": self.what, "to": self.to,
            "message_id": self.message_id, "title": self.title, "source": self.source, "subject": self.subject,
            "headers": dict(self.headers), "data": body,
        }  # fmt: skip


class Gap(NamedTuple):
    """What is wrong at one place."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class Continuity:
    """Looks at entries one after the other, and says where some are missing."""

    def __init__(self) -> None:
        self._sequence = self._source = 0
        self.count = 0

    def look(self, sequence: int, source: int) -> Iterator[Gap]:
        """What is missing before this entry."""
        if self._sequence and sequence != self._sequence + 1:
            yield Gap(f"entry {sequence}", _missing("entry", self._sequence, sequence))
        if source and self._source and source != self._source + 1:
            yield Gap(f"entry {sequence}", _missing("message", self._source, source))
        self._sequence, self._source = sequence, source or self._source
        self.count += 1


_PLURAL = {"entry": "entries", "message": "messages"}


def _missing(what: str, last: int, found: int) -> str:
    if found <= last:
        return f"{what} {found} stands behind {what} {last}"
    count = found - last - 1
    return f"{what} {last + 1} is missing" if count == 1 else f"{count} {_PLURAL[what]} from {last + 1} on are missing"


def chained(previous: str, line: Mapping[str, Any]) -> str:
    """Hash of a line of an export, over the hash of the line before: SHA-256 of both, the line as sorted JSON."""
    said = json.dumps(line, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(f"{previous}\n{said}".encode(errors="surrogatepass")).hexdigest()


def head(org: str) -> dict[str, Any]:
    """First line of an export."""
    return {"audit": VERSION, "org": org}


class Verdict(NamedTuple):
    """What came of looking through a record."""

    looked_at: int
    gaps: tuple[Gap, ...]
    last_sequence: int
    last_hash: str
    """Of an export: note it down elsewhere, and nobody can change or shorten the file without it showing."""


MOST_GAPS = 100


def verify_export(lines: Iterable[str]) -> Verdict:
    """Look through an export: every line is as it was written, none is missing, none was moved or added.

    That its end was not cut off shows only by the hash of its last line, noted down elsewhere.
    """
    gaps: list[Gap] = []
    continuity, known, sequence = Continuity(), "", 0
    for number, text in enumerate(lines, start=1):
        if len(gaps) >= MOST_GAPS:
            break
        try:
            line = json.loads(text)
            said = str(line.pop("hash"))
            if number > 1:
                sequence = int(line["sequence"])
                gaps += continuity.look(sequence, int(line["source"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            gaps.append(Gap(f"line {number}", f"cannot be read: {error!r}"))
            known = ""
            continue
        if number == 1 and line.get("audit") != VERSION:
            gaps.append(Gap("line 1", f"is no head of an export of version {VERSION}"))
        if chained(known, line) != said:
            gaps.append(Gap(f"line {number}", "was changed, or the line before it was"))
        known = said
    if not known and not gaps:
        gaps.append(Gap("line 1", "there is none"))
    return Verdict(continuity.count, tuple(gaps), sequence, known)
