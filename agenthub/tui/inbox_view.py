"""What waits in all inboxes, most urgent first; looking takes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.text import Text

from agenthub.client import WaitingMessage
from agenthub.messages import Event, Priority
from agenthub.tui.facts import Picture
from agenthub.tui.list_view import ListView
from agenthub.tui.listing import Column
from agenthub.tui.palette import PRIORITY_COLOURS, Palette
from agenthub.tui.view import Selection
from agenthub.tui.wording import age, plain, plural, until


class Waiting(NamedTuple):
    """One message in an inbox."""

    role: str
    item: WaitingMessage
    in_hand: bool
    """True if its role works on it."""
    at: datetime
    """When it was looked at."""
    tries: int = 0
    """How often it was taken, as far as the events on this screen go back."""

    @property
    def id(self) -> str:
        """Of the message; of one that cannot be read, where it lies."""
        return self.item.message.id if self.item.message else f"#{self.item.sequence}"

    @property
    def waits(self) -> bool:
        """False if its role works on it, or has put it off."""
        return not self.in_hand and self.item.put_off is None

    @property
    def rank(self) -> int:
        return self.item.message.payload.priority.rank if self.item.message else len(Priority)


class InboxView(ListView[Waiting]):
    """All inboxes as one list."""

    name_of_view = title_of_list = "inbox"
    empty = "nothing waits anywhere"

    def __init__(self) -> None:
        super().__init__()
        self._tries: Counter[tuple[str, str]] = Counter()

    def columns(self) -> Sequence[Column[Waiting]]:
        return [
            Column[Waiting]("PRIORITY", 10, _priority),
            Column[Waiting]("ID", 8, lambda row, p: p.text((row.id[:8], "dim"))),
            Column[Waiting]("AGE", 4, lambda row, p: p.text((age(row.item.stored_at, row.at), "")), is_right=True),
            Column[Waiting]("FOR", 14, lambda row, p: p.text((plain(row.role), "bold"))),
            Column[Waiting]("FROM", 14, _sender),
            Column[Waiting]("TRIES", 5, _tries, is_right=True, from_width=90),
            Column[Waiting]("DUE IN", 6, _due, is_right=True, from_width=80),
            Column[Waiting]("SUBJECT", 0, _subject),
        ]

    def key(self, row: Waiting) -> str:
        return f"{row.role}/{'later/' if row.item.put_off else ''}{row.item.sequence}"

    def words(self, row: Waiting) -> Sequence[str]:
        message = row.item.message
        if message is None:
            return row.role, row.id
        return row.role, message.id, message.from_role, message.title, message.payload.priority, message.type

    def note(self, rows: Sequence[Waiting]) -> str:
        put_off = sum(row.item.put_off is not None for row in rows)
        waits = sum(row.waits for row in rows)
        later = f" · {put_off} put off" if put_off else ""
        return f"{plural(waits, 'message waits', 'messages wait')}{later} · nothing is taken by looking"

    def chosen(self, row: Waiting) -> Selection:
        message = row.item.message
        if message is None:
            text = row.item.data[:20_000].decode(errors="replace")
            return Selection(role=row.role, title=f"{row.id} cannot be read", body=text, copied=row.id)
        head = f"{message.type}, {message.payload.priority}, from {message.from_role} to {row.role}\n{message.id}"
        said = f"{head}\n\n{message.payload.subject}\n\n{message.payload.message}"
        return Selection(role=row.role, message_id=message.id, copied=message.id, title=message.title, body=said,
                         waits=row.waits, priority=message.payload.priority)  # fmt: skip

    def hear(self, new: Sequence[Event], dropped: Sequence[Event]) -> None:
        self._tries.update((event.role, event.message_id) for event in new if event.kind == "taken")
        self._tries.subtract((event.role, event.message_id) for event in dropped if event.kind == "taken")
        self._tries = +self._tries

    async def refreshed(self) -> None:
        picture = self.hub.picture
        if picture is None:
            return
        operator = self.hub.source.operator
        busy = {s.heartbeat.message_id for s in picture.statuses if s.heartbeat and s.heartbeat.message_id}
        wanted = [role for role in (*self.hub.source.reports_to, operator) if _may_wait(picture, role, operator)]
        found = await asyncio.gather(*(self.hub.source.inbox(role) for role in wanted))
        at = self.hub.clock()
        rows = [
            Waiting(role, item, bool(item.message and item.message.id in busy), at, self._tried(role, item))
            for role, items in zip(wanted, found, strict=True)
            for item in items
        ]
        self.show(sorted(rows, key=lambda row: (row.item.put_off is not None, row.rank, row.item.stored_at or at)))

    def _tried(self, role: str, item: WaitingMessage) -> int:
        return self._tries[role, item.message.id] if item.message else 0


def _may_wait(picture: Picture, role: str, operator: str) -> bool:
    """False if it is known that nothing lies there: what is empty is not asked."""
    if role == operator:
        return picture.mail > 0
    return any(
        sum(s.waiting.values()) > 0
        or s.unsorted > 0
        or s.delayed > 0
        or (s.heartbeat is not None and s.heartbeat.message_id != "")
        for s in picture.statuses
        if s.role.partition(".")[0] == role
    )


def _priority(row: Waiting, p: Palette) -> Text:
    if row.item.message is None:
        return p.text(("✖ broken", "bad"))
    priority = row.item.message.payload.priority
    glyph = "●" if row.in_hand else ("▲", "△", "·", " ")[priority.rank]
    return p.text((f"{glyph} {priority}", "good" if row.in_hand else PRIORITY_COLOURS[priority.rank]))


def _sender(row: Waiting, p: Palette) -> Text:
    return p.text((plain(row.item.message.from_role) if row.item.message else "·", ""))


def _tries(row: Waiting, p: Palette) -> Text:
    return p.text((str(row.tries), "warn" if row.tries > 1 else "dim") if row.tries else ("·", "faint"))


def _due(row: Waiting, p: Palette) -> Text:
    deadline = row.item.message.deadline if row.item.message else None
    said = until(deadline, row.at)
    return p.text((said, "faint" if deadline is None else "bad" if said == "over" else "warn"))


def _subject(row: Waiting, p: Palette) -> Text:
    if row.item.message is None:
        return p.text(("cannot be read", "bad"))
    state = ("in hand · ", "good") if row.in_hand else ("", "")
    if row.item.put_off is not None:
        state = (f"{row.item.put_off.words} · ", "warn")
    return p.text(state, (plain(row.item.message.title), ""))
