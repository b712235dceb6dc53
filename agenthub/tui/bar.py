"""The line in which a person writes: to agents, or what a list shall be filtered by."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input

from agenthub.messages import Priority


class _Names(Suggester):
    """The rest of a name or a priority that was begun."""

    def __init__(self, roles: Sequence[str]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._roles = roles

    async def get_suggestion(self, value: str) -> str | None:
        word = value.rpartition(" ")[2]
        known = self._roles if word[:1] == "@" else [str(p) for p in Priority] if word[:1] == "!" else ()
        found = next((name for name in known if name.startswith(word[1:])), None)
        return None if found is None or len(word) < 2 else value[: len(value) - len(word) + 1] + found + " "


class Bar(Input):
    """Written to agents, unless it is a filter."""

    BINDINGS = [Binding("escape", "leave", "back", show=False), Binding("tab", "complete", "complete", show=False)]
    DEFAULT_CSS = """
    Bar { height: 3; border: round $border; padding: 0 1; background: $background; border-title-color: $primary; }
    Bar:focus { border: round $primary; }
    """
    HINT = "@role !priority text …"

    class Sent(Message):
        """Something was written to agents."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    class Filtered(Message):
        """Lists shall show only what fits."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    class Left(Message):
        """The person is done here."""

    def __init__(self, roles: Sequence[str]) -> None:
        self._names = _Names(roles)
        super().__init__(placeholder=self.HINT, suggester=self._names, id="bar", select_on_focus=False)
        self.is_filter = False

    def on_mount(self) -> None:
        self.border_title = "send"

    def write(self, text: str) -> None:
        """Begin to write to agents."""
        self._turn(is_filter=False, value=text)

    def filter(self, text: str) -> None:
        """Begin to write a filter."""
        self._turn(is_filter=True, value=text)

    def _turn(self, *, is_filter: bool, value: str) -> None:
        self.is_filter = is_filter
        self.border_title = "filter" if is_filter else "send"
        self.placeholder = "words; !words: lines without them" if is_filter else self.HINT
        self.suggester = None if is_filter else self._names
        with self.prevent(Input.Changed):
            self.value = value
        self.cursor_position = len(value)
        self.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.is_filter:
            self.post_message(self.Filtered(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not self.is_filter:
            self.post_message(self.Sent(event.value))
        self._leave()

    def action_complete(self) -> None:
        if self._suggestion:
            self.value = self._suggestion
            self.cursor_position = len(self.value)

    def action_leave(self) -> None:
        if self.is_filter:
            self.post_message(self.Filtered(""))
        self._leave()

    def _leave(self) -> None:
        self.is_filter = False
        self.border_title = "send"
        with self.prevent(Input.Changed):
            self.value = ""
        self.placeholder = self.HINT
        self.post_message(self.Left())
