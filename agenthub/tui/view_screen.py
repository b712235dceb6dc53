"""A view on a screen of its own, over the others: one agent, one message."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.screen import Screen

from agenthub.tui.key_line import KeyLine
from agenthub.tui.view import View


class ViewScreen(Screen[None]):
    """A view on a screen of its own."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def compose(self) -> ComposeResult:
        yield self.view
        yield KeyLine()

    def on_mount(self) -> None:
        app = self.view.hub
        if app.picture is not None:
            self.view.see(app.picture)
        self.view.take_focus()
        app.refresh_front()
        app.show_keys()
