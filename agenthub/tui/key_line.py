"""The line at the bottom: the keys that do something to what is chosen, as many as there is room for."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

from agenthub.tui.keys import Key
from agenthub.tui.palette import Palette

_NAMES = {"space": "space", "slash": "/", "colon": ":", "question_mark": "?", "escape": "esc", "exclamation_mark": "!",
          "plus": "+", "minus": "-"}  # fmt: skip
_LAST = ("app.command", "app.help", "app.back", "app.quit")
"""Always there: from them a person finds all others, and the way out."""


def shown_key(keys: str) -> str:
    """A key as it is printed on a keyboard: `slash` is `/`."""
    first = keys.split(",")[0].strip()
    return _NAMES.get(first, first.replace("ctrl+", "^"))


class KeyLine(Widget):
    """Keys and words."""

    DEFAULT_CSS = "KeyLine { height: 1; padding: 0 1; background: $panel; dock: bottom; }"

    class Pressed(Message):
        """A key of the line was clicked."""

        def __init__(self, identity: str) -> None:
            self.identity = identity
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self._keys: Sequence[tuple[Key, str]] = ()

    def see(self, keys: Sequence[tuple[Key, str]]) -> None:
        """Show other keys, each with what it is called on the keyboard."""
        if keys != self._keys:
            self._keys = keys
            self.refresh()

    def _placed(self) -> list[tuple[Key, str]]:
        """What fits."""
        last = [item for item in self._keys if item[0].id in _LAST]
        room = self.size.width - sum(_width(item) for item in last)
        result = []
        for item in self._keys:
            if item in last:
                continue
            if (room := room - _width(item)) < 0:
                break
            result.append(item)
        return [*result, *last]

    def render(self) -> Text:
        p: Palette = self.app.palette  # type: ignore[attr-defined]
        line = Text(end="", no_wrap=True)
        for key, name in self._placed():
            line.append_text(p.text((name, "accent bold"), (f" {key.word}  ", "dim")))
        return line

    def on_click(self, event: events.Click) -> None:
        at = event.x - 1
        for item in self._placed():
            if 0 <= at < _width(item):
                self.post_message(self.Pressed(item[0].id))
                return
            at -= _width(item)


def _width(item: tuple[Key, str]) -> int:
    return len(item[1]) + len(item[0].word) + 3
