"""A list with columns: any number of rows, of which only those on the screen are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from agenthub.tui.palette import Palette

Row = TypeVar("Row")


class Column(NamedTuple, Generic[Row]):
    """One column of a list."""

    title: str
    width: int
    """In cells; 0: it takes what the others leave."""
    cell: Callable[[Row, Palette], Text | str]
    is_right: bool = False
    from_width: int = 0
    """Only shown in a list of at least so many cells."""


class Listing(ScrollView, Generic[Row], can_focus=True, inherit_bindings=False):
    """Rows under a line of titles, with a cursor that stays on its row whatever happens around it."""

    BINDINGS = [
        Binding("up,k", "cursor(-1)", "up", show=False, id="list.up"),
        Binding("down,j", "cursor(1)", "down", show=False, id="list.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="list.page_up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="list.page_down"),
        Binding("home,g", "end(-1)", "first", show=False, id="list.first"),
        Binding("end,G", "end(1)", "last", show=False, id="list.last"),
        Binding("enter,right", "choose", "open", show=False, id="list.open"),
        Binding("left", "app.act('app.back')", "back", show=False),
    ]
    DEFAULT_CSS = "Listing { overflow-x: hidden; scrollbar-gutter: auto; }"

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, listing: Listing[Any]) -> None:
            self.listing = listing
            super().__init__()

        @property
        def control(self) -> Listing[Any]:
            return self.listing

    class Chosen(Moved):
        """A row was opened."""

    def __init__(
        self, columns: Sequence[Column[Row]], *, key: Callable[[Row], str], empty: str = "", id: str | None = None,  # noqa: A002
        has_titles: bool = True,
    ) -> None:  # fmt: skip
        """
        Args:
            key: What a row is known by, so that the cursor finds it again.
            empty: What is said when there are no rows.
        """
        super().__init__(id=id)
        self._columns, self._key, self._empty = columns, key, empty
        self._top = 1 if has_titles else 0
        self.rows: list[Row] = []
        self.cursor = 0
        self.follows = False
        """True if the cursor stays on the last row when rows are added."""
        self._drawn: dict[int, Strip] = {}
        self._palette: Palette | None = None
        self._width = 0

    # ── rows ───────────────────────────────────────────────────────────────────────────────────────
    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    def show(self, rows: Sequence[Row]) -> None:
        """Show other rows; the cursor stays on the row that it was on, or else where it was."""
        before = self.row
        wanted = None if before is None else self._key(before)
        self.rows = list(rows)
        self._drawn.clear()
        if self.follows:
            place = len(self.rows) - 1
        else:
            place = next((at for at, row in enumerate(self.rows) if self._key(row) == wanted), self.cursor)
        self._changed(place, is_same=place < len(self.rows) and place >= 0 and self._key(self.rows[place]) == wanted)

    def add(self, rows: Sequence[Row], *, dropped: int = 0) -> None:
        """Add rows at the end, and drop as many of the oldest."""
        if dropped:
            del self.rows[:dropped]
            self._drawn.clear()
            if not self.follows:
                self.scroll_to(y=max(0, self.scroll_offset.y - dropped), animate=False, force=True)
        self.rows += rows
        place = len(self.rows) - 1 if self.follows else max(0, self.cursor - dropped)
        self._changed(place, is_same=not self.follows)

    def select(self, key: str) -> bool:
        """Put the cursor on a row; False if it is not there."""
        for place, row in enumerate(self.rows):
            if self._key(row) == key:
                self._go(place)
                return True
        return False

    def redraw(self) -> None:
        """Draw all rows again, since what they show depends on something else that has changed."""
        self._drawn.clear()
        self.refresh()

    def _changed(self, place: int, *, is_same: bool) -> None:
        self.cursor = min(max(0, place), max(0, len(self.rows) - 1))
        self.virtual_size = Size(0, len(self.rows) + self._top)
        if self.follows or not is_same:
            self._show_cursor()
        self.refresh()
        if not is_same:
            self.post_message(self.Moved(self))

    # ── moving ─────────────────────────────────────────────────────────────────────────────────────
    def action_cursor(self, by: int) -> None:
        self._go(self.cursor + by)

    def action_page(self, by: int) -> None:
        self._go(self.cursor + by * max(1, self.size.height - self._top - 1))

    def action_end(self, by: int) -> None:
        self._go(len(self.rows) - 1 if by > 0 else 0)

    def action_choose(self) -> None:
        if self.rows:
            self.post_message(self.Chosen(self))

    def on_click(self, event: events.Click) -> None:
        place = event.y - self._top + self.scroll_offset.y
        if event.y < self._top or not 0 <= place < len(self.rows):
            return
        is_again = place == self.cursor
        self._go(place)
        if is_again and event.chain == 2:
            self.action_choose()

    def _go(self, place: int) -> None:
        if not self.rows:
            return
        before, self.cursor = self.cursor, min(max(0, place), len(self.rows) - 1)
        self._show_cursor()
        if before != self.cursor:
            self.refresh()
            self.post_message(self.Moved(self))

    def _show_cursor(self) -> None:
        shown, first = max(1, self.size.height - self._top), self.scroll_offset.y
        if self.cursor < first:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= first + shown:
            self.scroll_to(y=self.cursor - shown + 1, animate=False, force=True)

    # ── drawing ────────────────────────────────────────────────────────────────────────────────────
    def on_resize(self) -> None:
        self._drawn.clear()
        self.virtual_size = Size(0, len(self.rows) + self._top)
        self._show_cursor()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn.clear()

    def render_line(self, y: int) -> Strip:
        palette: Palette = self.app.palette  # type: ignore[attr-defined]
        if palette is not self._palette:
            self._palette = palette
            self._drawn.clear()
        width, base = self.scrollable_content_region.width, self.rich_style
        if width != self._width:
            self._width = width
            self._drawn.clear()
        if y < self._top:
            return self._titles(palette, width).apply_style(base)
        place = y - self._top + self.scroll_offset.y
        if place >= len(self.rows):
            if not self.rows and y == self._top and self._empty:
                said = Strip(palette.text((self._empty, "dim")).render(self.app.console))
                return said.adjust_cell_length(width).apply_style(base)
            return Strip.blank(width, base)
        strip = self._drawn.get(place)
        if strip is None:
            strip = self._drawn[place] = self._line(self.rows[place], palette, width)
            if len(self._drawn) > 500:
                self._drawn = {place: strip}
        if place == self.cursor:
            mark = palette.cursor if self.has_focus else palette.cursor_blurred
            return strip.apply_style(base + mark)
        return strip.apply_style(base)

    def _titles(self, palette: Palette, width: int) -> Strip:
        cells = [(palette.text((column.title, "dim")), column, room) for column, room in self._widths(width)]
        return self._joined(cells, width)

    def _line(self, row: Row, palette: Palette, width: int) -> Strip:
        cells = []
        for column, room in self._widths(width):
            found = column.cell(row, palette)
            cells.append((palette.text(found) if isinstance(found, str) else found, column, room))
        return self._joined(cells, width)

    def _widths(self, width: int) -> list[tuple[Column[Row], int]]:
        shown = [column for column in self._columns if width >= column.from_width]
        fixed = sum(column.width for column in shown) + _gap(width) * max(0, len(shown) - 1)
        loose = sum(not column.width for column in shown)
        return [(column, column.width or max(4, (width - fixed) // max(1, loose))) for column in shown]

    def _joined(self, cells: Sequence[tuple[Text, Column[Row], int]], width: int) -> Strip:
        segments: list[Segment] = []
        for number, (text, column, room) in enumerate(cells):
            if number:
                segments.append(Segment(" " * _gap(width), Style()))
            if column.is_right and text.cell_len < room:
                segments.append(Segment(" " * (room - text.cell_len), Style()))
            elif text.cell_len > room or not column.is_right:
                text = text.copy()
                text.truncate(room, overflow="ellipsis", pad=True)
            segments += text.render(self.app.console)
        return Strip(segments).adjust_cell_length(width)


def _gap(width: int) -> int:
    """Cells between two columns."""
    return 2 if width >= 110 else 1
