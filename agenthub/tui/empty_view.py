"""A view of which there is nothing to show."""

from __future__ import annotations

from textual.app import ComposeResult

from agenthub.tui.facts import Picture
from agenthub.tui.palette import entitle
from agenthub.tui.pane import Pane
from agenthub.tui.view import View


class EmptyView(View):
    """Says so, calmly."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(id=name)
        self.name_of_view = name
        self._said = said

    def compose(self) -> ComposeResult:
        pane = Pane()
        pane.add_class("framed")
        yield pane

    def see(self, picture: Picture) -> None:
        pane, p = self.query_one(Pane), self.palette
        entitle(pane, p.text((f" {self.name_of_view} ", "accent bold")), p.text(""))
        pane.show([p.text((self._said, "dim"))])
