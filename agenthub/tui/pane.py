"""Text that wraps and scrolls: transcripts, messages, traces. Only what is on the screen is drawn."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from textual.binding import Binding
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

_MOST_BLOCKS = 2000


class Pane(ScrollView, can_focus=True, inherit_bindings=False):
    """Blocks of text below each other; the last one may grow. It stays at its end while it `follows`."""

    BINDINGS = [
        Binding("up,k", "scroll_up", "up", show=False, id="pane.up"),
        Binding("down,j", "scroll_down", "down", show=False, id="pane.down"),
        Binding("pageup", "page_up", "page up", show=False, id="pane.page_up"),
        Binding("pagedown", "page_down", "page down", show=False, id="pane.page_down"),
        Binding("home,g", "scroll_home", "begin", show=False, id="pane.begin"),
        Binding("end,G", "scroll_end", "end", show=False, id="pane.end"),
        Binding("left", "app.act('app.back')", "back", show=False),
    ]
    DEFAULT_CSS = "Pane { overflow-x: hidden; scrollbar-gutter: stable; }"

    def __init__(self, *, follows: bool = False, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.follows = follows
        self._blocks: list[Text] = []
        self._lines: list[list[Strip]] = []
        """The lines of each block, at the width of the pane."""
        self._flat: list[Strip] = []
        self._width = 0

    def show(self, blocks: Iterable[Text]) -> None:
        """Show other text."""
        self._blocks = list(blocks)[-_MOST_BLOCKS:]
        self._lay_out()

    def add(self, blocks: Iterable[Text]) -> None:
        """Add blocks at the end."""
        for block in blocks:
            self._blocks.append(block)
            lines = self._wrapped(block)
            self._lines.append(lines)
            self._flat += lines
        if len(self._blocks) > _MOST_BLOCKS:
            self.show(self._blocks[-_MOST_BLOCKS // 2 :])
        else:
            self._changed()

    def replace_last(self, block: Text) -> None:
        """Put another block in the place of the last one."""
        if not self._blocks:
            self.add([block])
            return
        self._blocks[-1] = block
        del self._flat[len(self._flat) - len(self._lines[-1]) :]
        self._lines[-1] = self._wrapped(block)
        self._flat += self._lines[-1]
        self._changed()

    @property
    def text(self) -> str:
        """All of it, for the clipboard."""
        return "\n".join(block.plain for block in self._blocks)

    def _wrapped(self, block: Text) -> list[Strip]:
        """The lines of a block: what a line has before its words, the folded rest of it has as spaces."""
        if self._width < 4:
            return []
        console, strips = self.app.console, []
        if block.overflow == "ellipsis":
            block = block.copy()
            block.truncate(self._width, overflow="ellipsis")
            return [Strip(block.render(console))]
        for whole in block.split("\n", allow_blank=True) or [Text("")]:
            words = whole.plain.lstrip(" ")
            hanging = len(whole.plain) - len(words) + (2 if words[1:2] == " " and not words[:1].isalnum() else 0)
            hanging = min(hanging, self._width // 2)
            first = whole[:hanging]
            folded = whole[hanging:].wrap(console, self._width - hanging) or [Text("")]
            for number, line in enumerate(folded):
                line.rstrip()
                before = first if number == 0 else Text(" " * hanging)
                joined = before + line
                joined.end = ""
                strips.append(Strip(joined.render(console)))
        return strips

    def _lay_out(self) -> None:
        self._width = self.scrollable_content_region.width
        self._lines = [self._wrapped(block) for block in self._blocks]
        self._flat = [strip for lines in self._lines for strip in lines]
        self._changed()

    def _changed(self) -> None:
        self.virtual_size = Size(0, len(self._flat))
        if self.follows:
            self.scroll_to(y=max(0, len(self._flat) - self.size.height), animate=False, force=True)
        self.refresh()

    def on_resize(self) -> None:
        if self.scrollable_content_region.width != self._width:
            self._lay_out()
        else:
            self._changed()

    def on_mouse_scroll_up(self) -> None:
        self.follows = False

    def action_scroll_up(self) -> None:
        self.follows = False
        super().action_scroll_up()

    def action_page_up(self) -> None:
        self.follows = False
        super().action_page_up()

    def action_scroll_home(self) -> None:
        self.follows = False
        super().action_scroll_home()

    def action_scroll_end(self) -> None:
        self.follows = True
        super().action_scroll_end()

    def render_line(self, y: int) -> Strip:
        place, width = y + self.scroll_offset.y, self.scrollable_content_region.width
        if place >= len(self._flat):
            return Strip.blank(width, self.rich_style)
        return self._flat[place].adjust_cell_length(width).apply_style(self.rich_style)
