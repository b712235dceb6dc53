"""What was buried and why; one key gives it another life."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.text import Text
from textual.app import ComposeResult

from agenthub.client.letters import Buried
from agenthub.letters import publisher
from agenthub.tui.event_list import filter_title
from agenthub.tui.facts import fits
from agenthub.tui.listing import Column, Listing
from agenthub.tui.palette import Palette, entitle
from agenthub.tui.view import Selection, View
from agenthub.tui.wording import age, plain, plural


class _Row(NamedTuple):
    buried: Buried
    at: datetime


class DeadView(View):
    """The dead letters of all roles, the newest first."""

    name_of_view = "dead"

    def __init__(self) -> None:
        super().__init__(id="dead")
        self._found: Sequence[Buried] = ()
        self._filter = ""

    def compose(self) -> ComposeResult:
        columns = [
            Column[_Row]("ID", 8, lambda row, p: p.text((row.buried.letter.message_id[:8], "dim"))),
            Column[_Row]("ROLE", 13, lambda row, p: p.text((plain(row.buried.letter.role), "bold"))),
            Column[_Row](
                "AGE", 4, lambda row, p: p.text((age(row.buried.letter.buried_at, row.at), "dim")), is_right=True
            ),
            Column[_Row]("TRIES", 5, lambda row, p: p.text((str(row.buried.letter.attempts), "")), is_right=True),
            Column[_Row]("FROM", 12, lambda row, p: p.text((_sender(row.buried), "")), from_width=90),
            Column[_Row]("SUBJECT", 28, lambda row, p: p.text((_title(row.buried), "")), from_width=110),
            Column[_Row]("WHY", 0, _why),
        ]
        listing = Listing(columns, key=lambda row: f"{row.buried.letter.role}/{row.buried.letter.message_id}",
                          empty="there are no dead letters", id="letters")  # fmt: skip
        listing.add_class("framed")
        yield listing

    @property
    def _list(self) -> Listing[_Row]:
        return self.query_one("#letters", Listing)

    @property
    def is_filtered(self) -> bool:
        return bool(self._filter)

    @property
    def unreplayed(self) -> list[Buried]:
        """What is shown and has had no other life."""
        return [row.buried for row in self._list.rows if not row.buried.replays]

    @property
    def selection(self) -> Selection:
        row = self._list.row
        if row is None:
            return Selection()
        letter = row.buried.letter
        text = f"{letter.role}  {letter.message_id}\nburied {letter.buried_at.astimezone():%Y-%m-%d %H:%M:%S} "
        text += f"after {plural(letter.attempts, 'try', 'tries')}"
        text += f"\n\n{letter.reason}\n\n{letter.data[:20_000].decode(errors='replace')}\n\n{letter.traceback}"
        return Selection(role=letter.role, message_id=letter.message_id, letter=row.buried, copied=letter.message_id,
                         title=f"dead letter {letter.message_id[:8]}", body=text)  # fmt: skip

    async def refreshed(self) -> None:
        self._found = list(reversed(await self.hub.source.letters()))
        self._show()

    def filtered(self, filter_: str) -> None:
        self._filter = filter_
        self._show()

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        self.hub.action_act("look.peek")

    def _show(self) -> None:
        at, p = self.hub.clock(), self.palette
        fitting = [
            b for b in self._found if fits(self._filter, b.letter.role, b.letter.message_id, b.letter.reason, _title(b))
        ]
        self._list.show([_Row(buried, at) for buried in fitting])
        said = f" {len(self.unreplayed)} not replayed yet "
        entitle(self._list, filter_title(p, "dead letters", self._filter), p.text((said, "dim")))


def _sender(buried: Buried) -> str:
    letter = buried.letter
    return plain(publisher(letter.subject, letter.headers, letter.data) or "·")


def _title(buried: Buried) -> str:
    message = buried.letter.message()
    return plain(message.title) if message else "(cannot be read)"


def _why(row: _Row, p: Palette) -> Text:
    replays, reason = row.buried.replays, plain(row.buried.letter.reason)
    if replays:
        return p.text((f"replayed as {replays[-1].new_id[:8]}  ", "good"), (reason, "dim"))
    return p.text((reason, "bad"))
