"""One message as a time line: how long it waited, every try, model call and step, what it caused, what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult

from agenthub.causation import Node
from agenthub.cli.trace import lines
from agenthub.errors import NotFoundError
from agenthub.tui.palette import entitle
from agenthub.tui.pane import Pane
from agenthub.tui.view import Selection, View
from agenthub.tui.wording import plain


class MessageView(View):
    """Kept up to date until the message has ended."""

    name_of_view = "message"

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self._message_id = message_id
        self._trees: Sequence[Node] = ()

    def compose(self) -> ComposeResult:
        pane = Pane()
        pane.add_class("framed")
        yield pane

    def on_mount(self) -> None:
        p = self.palette
        entitle(
            self.query_one(Pane),
            p.text((f" message {self._message_id[:8]} ", "accent bold")),
            p.text((" reading … ", "dim")),
        )

    @property
    def selection(self) -> Selection:
        role = self._trees[0].role if self._trees else ""
        return Selection(role=role, message_id=self._message_id, copied=self._message_id, title=self._message_id,
                         body=self.query_one(Pane).text)  # fmt: skip

    async def refreshed(self) -> None:
        if self._trees and all(tree.is_settled for tree in self._trees):
            return
        try:
            self._trees = await self.hub.source.trace(self._message_id)
        except NotFoundError as error:
            self.query_one(Pane).show([self.palette.text((plain(str(error)), "warn"))])
            return
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        pane, p = self.query_one(Pane), self.palette
        width = pane.scrollable_content_region.width
        if not self._trees or not width:
            return  # nothing was read, or there is no place for it yet
        pane.show(p.retold(Text.from_markup(line, end="")) for tree in self._trees for line in lines(tree, width=width))
        is_over = all(tree.is_settled for tree in self._trees)
        said = " it has ended " if is_over else " ● goes on "
        entitle(
            pane,
            p.text((f" message {self._message_id[:8]} ", "accent bold")),
            p.text((said, "dim" if is_over else "good")),
        )
