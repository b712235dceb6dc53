"""Colours by what they mean, taken from whatever theme is on; and our own theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from rich.style import Style
from rich.text import Span, Text
from textual.color import Color
from textual.theme import Theme
from textual.widget import Widget

NIGHT = Theme(
    name="agenthub", primary="#7aa2f7", secondary="#7dcfff", accent="#ff9e64", success="#9ece6a", warning="#e0af68",
    error="#f7768e", foreground="#c0caf5", background="#16161e", surface="#16161e", panel="#1f2335", dark=True,
    variables={
        "hub-violet": "#bb9af7", "hub-dim": "#737aa2", "hub-faint": "#3b4261", "hub-cursor": "#2a3556",
        "footer-background": "#1f2335", "footer-key-foreground": "#7aa2f7", "footer-description-foreground": "#a9b1d6",
        "border": "#3b4261", "border-blurred": "#2a2f45",
        "input-cursor-background": "#c0caf5", "input-selection-background": "#7aa2f7 35%",
    },
)  # fmt: skip

PRIORITY_COLOURS = ("bad", "hot", "accent", "dim")
"""Critical, high, medium, low."""


_FACES = ("bold", "italic", "underline")
_OF_ANSI = {"red": "bad", "green": "good", "yellow": "warn", "blue": "accent", "magenta": "violet", "cyan": "cool"}
"""What the colours of a terminal mean in the CLI."""


class Palette:
    """Styles by name: text, dim, faint, accent, hot, good, warn, bad, cool, violet."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        found = {name: Color.parse(value) for name, value in variables.items() if _is_colour(value)}
        back, fore = found["background"], found["foreground"]
        is_ansi = back.ansi is not None or fore.ansi is not None
        self.faint_hex = variables.get("hub-faint", "" if is_ansi else fore.blend(back, 0.75).hex)

        def style(name: str, other: str = "") -> Style:
            return Style(color=found.get(name, found.get(other, fore)).rich_color)

        dim = Style(dim=True) if is_ansi else Style(color=found.get("hub-dim", fore.blend(back, 0.5)).rich_color)
        faint = Style(dim=True) if is_ansi else Style(color=found.get("hub-faint", fore.blend(back, 0.75)).rich_color)
        self._styles = {
            "": Style(), "text": Style(), "dim": dim, "faint": faint, "accent": style("primary"),
            "hot": style("accent"), "good": style("success"), "warn": style("warning"), "bad": style("error"),
            "cool": style("secondary"), "violet": style("hub-violet", "secondary"),
        }  # fmt: skip
        cursor = found.get("hub-cursor") or (None if is_ansi else back.blend(found["primary"], 0.25))
        still = found.get("hub-still") or (None if is_ansi else back.blend(found["primary"], 0.12))
        self.cursor = Style(reverse=True) if cursor is None else Style(bgcolor=cursor.rich_color)
        self.cursor_blurred = Style(underline=True) if still is None else Style(bgcolor=still.rich_color)

    @cache  # noqa: B019  # a palette lives as long as its theme
    def style(self, names: str) -> Style:
        """The style of a name; `bold`, `italic` and `underline` may stand beside it."""
        result = Style()
        for name in names.split():
            result += Style.parse(name) if name in _FACES else self._styles.get(name, Style())
        return result

    def text(self, *parts: str | tuple[str, str]) -> Text:
        """A line put together of words, each with the name of its style: `("done", "good")`."""
        result = Text(no_wrap=True, end="")
        for part in parts:
            words, names = (part, "") if isinstance(part, str) else part
            result.append(words, self.style(names))
        return result

    def retold(self, line: Text) -> Text:
        """A line that the CLI has coloured, in the colours of the theme."""
        result = line.copy()
        result.spans = [
            Span(
                span.start, span.end, self.style(" ".join(_OF_ANSI.get(word, word) for word in str(span.style).split()))
            )
            for span in line.spans
        ]
        return result

    def bar(self, share: float | None, width: int, names: str = "accent") -> Text:
        """A thin bar of `width` cells; nothing is known: a dot."""
        if share is None:
            return self.text((f"{'·':<{width}}", "faint"))
        full = min(width, max(0, round(share * width)))
        full = full or (1 if share > 0.01 else 0)
        return self.text(("━" * full, names), ("─" * (width - full), "faint"))


def below(lines: Sequence[Text]) -> Text:
    """Lines below each other as one text."""
    return Text("\n").join(lines)


def entitle(widget: Widget, title: Text, subtitle: Text) -> None:
    """Put words into the upper and the lower border of a widget; nothing in them is read as markup."""
    title, subtitle = _stripped(title), _stripped(subtitle)  # a border leaves room itself
    if subtitle:
        subtitle = Text(" ") + subtitle
    if getattr(widget, "_entitled", None) != (title, subtitle):
        widget._entitled = (title, subtitle)  # type: ignore[attr-defined]
        widget.border_title, widget.border_subtitle = title, subtitle


def _stripped(line: Text) -> Text:
    before = len(line.plain) - len(line.plain.lstrip())
    result = line[before:]
    result.rstrip()
    return result


def load_style(share: float | None) -> str:
    """The colour of how full something is."""
    if share is None or share < 0.6:
        return "accent"
    return "bad" if share >= 0.9 else "warn" if share >= 0.75 else "accent"


def _is_colour(value: Any) -> bool:
    try:
        Color.parse(value)
    except Exception:  # noqa: BLE001  # a variable that is no colour
        return False
    return True
