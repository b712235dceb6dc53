"""What views that are one list have in common: the list, its filter, its title, and what is under the cursor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from textual.app import ComposeResult

from agenthub.tui.event_list import filter_title
from agenthub.tui.facts import fits
from agenthub.tui.listing import Column, Listing
from agenthub.tui.palette import entitle
from agenthub.tui.view import Selection, View

Row = TypeVar("Row")


class ListView(View, Generic[Row]):
    """One list on the whole screen."""

    title_of_list = ""
    empty = ""
    """What is said when there are no rows."""

    def __init__(self) -> None:
        super().__init__(id=self.name_of_view)
        self._found: Sequence[Row] = ()
        self._filter = ""

    # ── what a view says of its rows ───────────────────────────────────────────────────────────────
    @abstractmethod
    def columns(self) -> Sequence[Column[Row]]:
        """From left to right."""

    @abstractmethod
    def key(self, row: Row) -> str:
        """What the cursor finds a row again by."""

    @abstractmethod
    def words(self, row: Row) -> Sequence[str]:
        """What a filter looks at."""

    def note(self, rows: Sequence[Row]) -> str:
        """What stands under the rows that are shown."""
        return ""

    @abstractmethod
    def chosen(self, row: Row) -> Selection:
        """What keys may do with a row."""

    # ── the list ───────────────────────────────────────────────────────────────────────────────────
    def compose(self) -> ComposeResult:
        yield self.make_list()

    def make_list(self) -> Listing[Row]:
        """The list, for views that put something beside it."""
        made = Listing(self.columns(), key=self.key, empty=self.empty, id=f"{self.name_of_view}-list")
        made.add_class("framed")
        return made

    @property
    def listing(self) -> Listing[Row]:
        return self.query_one(f"#{self.name_of_view}-list", Listing)

    @property
    def row(self) -> Row | None:
        """The one under the cursor."""
        return self.listing.row

    @property
    def is_filtered(self) -> bool:
        return bool(self._filter)

    @property
    def selection(self) -> Selection:
        row = self.row
        return Selection() if row is None else self.chosen(row)

    def filtered(self, filter_: str) -> None:
        self._filter = filter_
        self.show(self._found)

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        self.hub.action_act("look.peek")

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows, as far as the filter lets them pass."""
        self._found = rows
        shown = [row for row in rows if fits(self._filter, *self.words(row))]
        self.listing.show(shown)
        p = self.palette
        title = filter_title(p, self.title_of_list, self._filter)
        entitle(self.listing, title, p.text((f" {self.note(shown)} ", "dim")))
