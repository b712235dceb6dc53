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
from agenthub.tui.facts import Picture
from agenthub.tui.list_view import ListView
from agenthub.tui.listing import Column, Listing
from agenthub.tui.palette import Palette, entitle
from agenthub.tui.pane import Pane
from agenthub.tui.view import Selection
from agenthub.tui.wording import age, plain, until


class _Row(NamedTuple):
    ask: Ask
    at: datetime


class ApprovalsView(ListView[_Row]):
    """The list, and all of the one under the cursor beside it."""

    name_of_view = "approvals"
    title_of_list = "waiting for you"
    empty = "nothing waits for you"
    DEFAULT_CSS = """
    ApprovalsView Horizontal { height: 1fr; }
    ApprovalsView #approvals-list { width: 3fr; }
    ApprovalsView #ask { width: 2fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown = ""

    def columns(self) -> Sequence[Column[_Row]]:
        return [
            Column[_Row]("ROLE", 13, lambda row, p: p.text((plain(row.ask.role), "bold"))),
            Column[_Row]("WANTS", 12, _wants),
            Column[_Row]("WHAT", 0, _what),
            Column[_Row]("RULE", 14, lambda row, p: p.text((why(row.ask), "cool")), from_width=80),
            Column[_Row]("ASKED", 5, lambda row, p: p.text((age(row.ask.opened_at, row.at), "dim")), is_right=True),
            Column[_Row]("ENDS IN", 7, lambda row, p: p.text((until(row.ask.deadline, row.at), "warn")), is_right=True),
        ]

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield self.make_list()
            pane = Pane(id="ask")
            pane.add_class("framed")
            yield pane

    def key(self, row: _Row) -> str:
        return row.ask.id

    def words(self, row: _Row) -> Sequence[str]:
        return row.ask.role, row.ask.id, kind_of(row.ask), body(row.ask)

    def note(self, rows: Sequence[_Row]) -> str:
        return "nobody decides: that is a no, and is said"

    def chosen(self, row: _Row) -> Selection:
        ask = row.ask
        return Selection(
            role=ask.role, message_id=ask.task.id, ask=ask, copied=ask.id, title=f"{ask.role} · {kind_of(ask)}",
            body=body(ask),
        )  # fmt: skip

    def see(self, picture: Picture) -> None:
        self.show([_Row(ask, picture.at) for ask in picture.decisions])

    def show(self, rows: Sequence[_Row]) -> None:
        super().show(rows)
        self._show_one()

    def on_listing_moved(self, event: Listing.Moved) -> None:
        self._show_one()

    def _show_one(self) -> None:
        row, p, pane = self.row, self.palette, self.query_one("#ask", Pane)
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
