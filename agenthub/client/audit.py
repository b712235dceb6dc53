"""Read the record of who did what from the broker, write it into a file, and see whether it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from agenthub import subjects
from agenthub.audit import MOST_GAPS, Continuity, Entry, Gap, Verdict, chained, head, verify_export
from agenthub.bus.connection import Bus
from agenthub.bus.reading import read_stream
from agenthub.bus.received import Received
from agenthub.errors import ConfigError, MessageError
from agenthub.messages import Event, Message

_GUARDS = "agent-hub.audit.guards."


async def entries(bus: Bus, *, since: datetime | None = None, after: int = 0) -> AsyncGenerator[Entry]:
    """What is in the record, oldest first."""
    async for received in read_stream(bus, subjects.AUDIT, subjects.ALL_AUDIT, since=since, after=after):
        yield _entry(received)


def _entry(received: Received) -> Entry:
    source = int(received.headers.get(subjects.COPY_SEQUENCE) or 0)
    who, what, to, identity, title = _told(received, source)
    assert received.stored_at is not None
    return Entry(
        received.sequence, received.stored_at, who, what, to, identity, title, received.subject, received.headers,
        received.data, source,
    )  # fmt: skip


def _told(received: Received, source: int) -> tuple[str, str, str, str, str]:
    """Who did what to whom about which message; who is what the broker let stand in the subject."""
    if received.subject.startswith(_GUARDS):
        *_, kind, role = received.subject.split(".")
        try:
            event = Event.decode(received.data)
        except MessageError:
            return role, kind, "", "", "(cannot be read)"
        return role, kind, event.role if event.role != role else "", event.message_id or "", event.text
    place = subjects.place_of(received.subject)
    to, sender = (place.role, place.sender) if place else ("", "")
    try:
        default_id = received.headers.get(subjects.ID) or f"{subjects.AGENTS}-{source}"  # as its role calls it
        message = Message.read(received.data, default_id=default_id)
    except MessageError as error:
        return sender or "(a stranger)", "garbage", to, "", str(error)
    title = message.title
    if place and sender == to and message.from_role not in ("", to):  # it took this in by a topic, or the public door
        title = f"{title} (it says: from {message.from_role})"
    return sender or "(a stranger)", message.type, to, message.id, title


async def verify(bus: Bus) -> Verdict:
    """Look through the whole record at the broker: no entry and no message is missing."""
    continuity, gaps, last = Continuity(), list[Gap](), 0
    async for entry in entries(bus):
        gaps += continuity.look(entry.sequence, entry.source)
        last = entry.sequence
        if len(gaps) >= MOST_GAPS:
            break
    newest = await bus.newest(subjects.AUDIT)
    if not gaps and newest and last < newest and last:
        gaps.append(Gap(f"entry {newest}", f"{newest - last} entries up to here are missing, or could not be read"))
    return Verdict(continuity.count, tuple(gaps), last, "")


class Exported(NamedTuple):
    """What came of an export."""

    added: int
    last_sequence: int
    last_hash: str


async def export(bus: Bus, path: Path, *, org: str) -> Exported:
    """Write the record into a file, a JSON line for each entry, chained by hashes; goes on where the file ends.

    Raises:
        ConfigError: If there is a file that is no whole export of this organization, or cannot be written.
    """
    try:
        known = _known(path, org)
        added, last, hashed = 0, known.last_sequence, known.last_hash
        with path.open("a", encoding="utf-8", errors="surrogatepass") as file:
            if not hashed:
                hashed = _write(file, head(org), "")
            async for entry in entries(bus, after=last):
                hashed = _write(file, entry.as_json(), hashed)
                added, last = added + 1, entry.sequence
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error
    return Exported(added, last, hashed)


def _known(path: Path, org: str) -> Verdict:
    if not path.exists() or not path.stat().st_size:
        return Verdict(0, (), 0, "")
    found = verify_file(path)
    if found.gaps:
        raise ConfigError(f"{path} is not whole ({found.gaps[0]}). Export into another file, and keep this one.")
    with path.open(encoding="utf-8") as file:
        of = json.loads(file.readline()).get("org")
    if of != org:
        raise ConfigError(f"{path} is of the organization `{of}`, not of `{org}`. Export into another file.")
    return found


def verify_file(path: Path) -> Verdict:
    """Look through an export.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogatepass") as file:
            return verify_export(line.rstrip("\n") for line in file)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def _write(file: object, line: dict[str, object], previous: str) -> str:
    hashed = chained(previous, line)
    file.write(json.dumps({**line, "hash": hashed}, ensure_ascii=False) + "\n")  # type: ignore[attr-defined]
    return hashed
