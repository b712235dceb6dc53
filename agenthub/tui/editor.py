"""A window in which a text is changed before something is done with it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import TextArea

from agenthub.tui.dialogs import Dialog


class Edit(Dialog):
    """The text; Ctrl-S does what the title says with it, Escape does nothing."""

    BINDINGS = [Binding("ctrl+s", "save", "do it", show=False, priority=True)]
    DEFAULT_CSS = """
    Edit > #window { height: 80%; }
    Edit TextArea { height: 1fr; border: none; background: $panel; margin: 1 0; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with Vertical(id="window"):
            yield TextArea(self._text, soft_wrap=True, show_line_numbers=False)

    def on_mount(self) -> None:
        self.title_window(self._title, "ctrl-s does it · esc: nothing is done")
        self.query_one(TextArea).focus()

    def action_save(self) -> None:
        self.dismiss(self.query_one(TextArea).text)
