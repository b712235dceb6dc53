"""What waits in all inboxes, most urgent first; looking takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.text import Text
from textual.app import ComposeResult

from agenthub.client import WaitingMessage
from agenthub.messages import Priority
from agenthub.tui.event_list import filter_title
from agenthub.tui.facts import Picture, fits
from agenthub.tui.listing import Column, Listing
from agenthub.tui.palette import PRIORITY_COLOURS, Palette, entitle
from agenthub.tui.view import Selection, View
from agenthub.tui.wording import age, plain, plural, until


class Waiting(NamedTuple):
    """One message in an inbox."""

    role: str
    item: WaitingMessage
    in_hand: bool
    """True if its role works on it."""
    at: datetime
    """When it was looked at."""

    @property
    def id(self) -> str:
        """Of the message; of one that cannot be read, where it lies."""
        return self.item.message.id if self.item.message else f"#{self.item.sequence}"

    @property
    def rank(self) -> int:
        return self.item.message.payload.priority.rank if self.item.message else len(Priority)


class InboxView(View):
    """All inboxes as one list."""

    name_of_view = "inbox"

    def __init__(self) -> None:
        super().__init__(id="inbox")
        self._found: list[Waiting] = []
        self._filter = ""

    def compose(self) -> ComposeResult:
        columns = [
            Column[Waiting]("PRIORITY", 10, _priority),
            Column[Waiting]("ID", 8, lambda row, p: p.text((row.id[:8], "dim"))),
            Column[Waiting]("AGE", 4, lambda row, p: p.text((age(row.item.stored_at, row.at), "")), is_right=True),
            Column[Waiting]("FOR", 14, lambda row, p: p.text((plain(row.role), "bold"))),
            Column[Waiting]("FROM", 14, _sender),
            Column[Waiting]("DUE IN", 6, _due, is_right=True, from_width=80),
            Column[Waiting]("SUBJECT", 0, _subject),
        ]
        listing = Listing(
            columns, key=lambda row: f"{row.role}/{row.item.sequence}", empty="nothing waits anywhere", id="waiting"
        )
        listing.add_class("framed")
        yield listing

    @property
    def _list(self) -> Listing[Waiting]:
        return self.query_one("#waiting", Listing)

    @property
    def row(self) -> Waiting | None:
        """The message under the cursor."""
        return self._list.row

    @property
    def is_filtered(self) -> bool:
        return bool(self._filter)

    @property
    def selection(self) -> Selection:
        row = self._list.row
        if row is None:
            return Selection()
        message = row.item.message
        if message is None:
            text = row.item.data[:20_000].decode(errors="replace")
            return Selection(role=row.role, title=f"{row.id} cannot be read", body=text, copied=row.id)
        head = f"{message.type}, {message.payload.priority}, from {message.from_role} to {row.role}\n{message.id}"
        said = f"{head}\n\n{message.payload.subject}\n\n{message.payload.message}"
        return Selection(role=row.role, message_id=message.id, copied=message.id, title=message.title, body=said,
                         waits=not row.in_hand)  # fmt: skip

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
            Waiting(role, item, bool(item.message and item.message.id in busy), at)
            for role, items in zip(wanted, found, strict=True)
            for item in items
        ]
        self._found = sorted(rows, key=lambda row: (row.rank, row.item.stored_at or at))
        self._show()

    def filtered(self, filter_: str) -> None:
        self._filter = filter_
        self._show()

    def _show(self) -> None:
        rows = [row for row in self._found if fits(self._filter, row.role, *_words(row))]
        self._list.show(rows)
        p = self.palette
        waits = sum(not row.in_hand for row in rows)
        said = f" {plural(waits, 'message waits', 'messages wait')} · nothing is taken by looking "
        entitle(self._list, filter_title(p, "inbox", self._filter), p.text((said, "dim")))


def _may_wait(picture: Picture, role: str, operator: str) -> bool:
    """False if it is known that nothing lies there: what is empty is not asked."""
    if role == operator:
        return picture.mail > 0
    return any(
        sum(s.waiting.values()) > 0 or s.unsorted > 0 or (s.heartbeat is not None and s.heartbeat.message_id != "")
        for s in picture.statuses
        if s.role.partition(".")[0] == role
    )


def _words(row: Waiting) -> Sequence[str]:
    message = row.item.message
    return (
        (row.id,)
        if message is None
        else (message.id, message.from_role, message.title, message.payload.priority, message.type)
    )


def _priority(row: Waiting, p: Palette) -> Text:
    if row.item.message is None:
        return p.text(("✖ broken", "bad"))
    priority = row.item.message.payload.priority
    glyph = "●" if row.in_hand else ("▲", "△", "·", " ")[priority.rank]
    return p.text((f"{glyph} {priority}", "good" if row.in_hand else PRIORITY_COLOURS[priority.rank]))


def _sender(row: Waiting, p: Palette) -> Text:
    return p.text((plain(row.item.message.from_role) if row.item.message else "·", ""))


def _due(row: Waiting, p: Palette) -> Text:
    deadline = row.item.message.deadline if row.item.message else None
    said = until(deadline, row.at)
    return p.text((said, "faint" if deadline is None else "bad" if said == "over" else "warn"))


def _subject(row: Waiting, p: Palette) -> Text:
    if row.item.message is None:
        return p.text(("cannot be read", "bad"))
    in_hand = ("in hand · ", "good") if row.in_hand else ("", "")
    return p.text(in_hand, (plain(row.item.message.title), ""))
