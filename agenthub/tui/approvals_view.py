"""What waits for a person: tool calls that need a yes, and questions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal

from agenthub.asks import Ask
from agenthub.tui.decisions import as_blocks, body, kind_of, why
from agenthub.tui.event_list import filter_title
from agenthub.tui.facts import Picture, fits
from agenthub.tui.listing import Column, Listing
from agenthub.tui.palette import Palette, entitle
from agenthub.tui.pane import Pane
from agenthub.tui.view import Selection, View
from agenthub.tui.wording import age, plain, until


class _Row(NamedTuple):
    ask: Ask
    at: datetime


class ApprovalsView(View):
    """The list, and all of the one under the cursor beside it."""

    name_of_view = "approvals"
    DEFAULT_CSS = """
    ApprovalsView Horizontal { height: 1fr; }
    ApprovalsView #asks { width: 3fr; }
    ApprovalsView #ask { width: 2fr; }
    .-narrow ApprovalsView #ask { display: none; }
    """

    def __init__(self) -> None:
        super().__init__(id="approvals")
        self._asks: Sequence[Ask] = ()
        self._filter = ""
        self._shown = ""

    def compose(self) -> ComposeResult:
        columns = [
            Column[_Row]("ROLE", 13, lambda row, p: p.text((plain(row.ask.role), "bold"))),
            Column[_Row]("WANTS", 12, _wants),
            Column[_Row]("WHAT", 0, _what),
            Column[_Row]("RULE", 14, lambda row, p: p.text((why(row.ask), "cool")), from_width=80),
            Column[_Row]("ASKED", 5, lambda row, p: p.text((age(row.ask.opened_at, row.at), "dim")), is_right=True),
            Column[_Row]("ENDS IN", 7, lambda row, p: p.text((until(row.ask.deadline, row.at), "warn")), is_right=True),
        ]
        with Horizontal():
            asks = Listing(columns, key=lambda row: row.ask.id, empty="nothing waits for you", id="asks")
            asks.add_class("framed")
            yield asks
            pane = Pane(id="ask")
            pane.add_class("framed")
            yield pane

    @property
    def _list(self) -> Listing[_Row]:
        return self.query_one("#asks", Listing)

    @property
    def is_filtered(self) -> bool:
        return bool(self._filter)

    @property
    def selection(self) -> Selection:
        row = self._list.row
        if row is None:
            return Selection()
        ask = row.ask
        return Selection(
            role=ask.role, message_id=ask.task.id, ask=ask, copied=ask.id, title=f"{ask.role} · {kind_of(ask)}",
            body=body(ask),
        )  # fmt: skip

    def see(self, picture: Picture) -> None:
        self._asks = picture.decisions
        self._show(picture.at)

    def filtered(self, filter_: str) -> None:
        self._filter = filter_
        self._show(self.hub.clock())

    def _show(self, at: datetime) -> None:
        rows = [_Row(ask, at) for ask in self._asks if fits(self._filter, ask.role, ask.id, kind_of(ask), body(ask))]
        self._list.show(rows)
        p = self.palette
        entitle(
            self._list,
            filter_title(p, "waiting for you", self._filter),
            p.text((" nobody decides: that is a no, and is said ", "dim")),
        )
        self._show_one()

    def on_listing_moved(self, event: Listing.Moved) -> None:
        self._show_one()

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        self.hub.action_act("look.peek")

    def _show_one(self) -> None:
        row, p, pane = self._list.row, self.palette, self.query_one("#ask", Pane)
        shown = row.ask.id if row else ""
        if shown != self._shown or row is None:
            self._shown = shown
            pane.show(as_blocks(body(row.ask), p) if row else [])
        title = f" {plain(row.ask.role)} " if row else " "
        entitle(pane, p.text((title, "hot bold")), p.text((f" {row.ask.id[:8]} " if row else "", "dim")))


def _wants(row: _Row, p: Palette) -> Text:
    is_question = kind_of(row.ask) == "question"
    return p.text(("? asks" if is_question else f"◆ {kind_of(row.ask)}", "warn" if is_question else "violet"))


def _what(row: _Row, p: Palette) -> Text:
    assert row.ask.approval is not None
    title = row.ask.approval.title
    return p.text((plain(title if row.ask.approval.kind == "question" else title.partition(": ")[2]), ""))
