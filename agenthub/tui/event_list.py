"""Events as lines: when, what kind, who to whom, what."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.text import Text
from textual.message import Message as TextualMessage

from agenthub.cli.lines import line
from agenthub.messages import Event
from agenthub.tui.facts import fits
from agenthub.tui.listing import Column, Listing
from agenthub.tui.palette import Palette
from agenthub.tui.store import EventStore
from agenthub.tui.wording import clock, plain, plural

_COLOURS = {
    "dim": "dim", "cyan": "cool", "blue": "accent", "magenta": "violet", "green": "good", "yellow": "warn",
    "red": "bad", "bold red": "bad bold", "bold yellow": "hot bold",
}  # fmt: skip
_WORDS = {"human?": "question", "noted": "noted"}


class EventList(Listing[Event]):
    """The events that fit a filter, newest at the bottom. While it is frozen, what comes is kept back."""

    class Still(TextualMessage):
        """It stands still now, or goes on."""

        def __init__(self, listing: EventList) -> None:
            self.listing = listing
            super().__init__()

    def __init__(self, *, who_width: int, id: str | None = None, has_titles: bool = False) -> None:  # noqa: A002
        columns = [
            Column[Event]("TIME", 8, lambda event, p: p.text((clock(event.at), "dim"))),
            Column[Event]("KIND", 9, _kind),
            Column[Event]("WHO", who_width, _who),
            Column[Event]("WHAT", 0, _what),
        ]
        self._who_width = who_width
        super().__init__(columns, key=_key, empty="nothing has happened yet", id=id, has_titles=has_titles)
        self.follows = True
        self.filter = ""
        self.is_frozen = False
        self._kept_back: list[Event] = []

    def on_resize(self) -> None:
        who = min(self._who_width, max(12, self.size.width // 4))
        self._columns = [column._replace(width=who) if column.title == "WHO" else column for column in self._columns]
        super().on_resize()

    @property
    def kept_back(self) -> int:
        """How many came while it stood still."""
        return len(self._kept_back)

    def hear(self, new: Sequence[Event], dropped: Sequence[Event]) -> None:
        """Show what is new and fits; forget what the store has dropped."""
        fitting = [event for event in new if self._fits(event)]
        if self.is_frozen:
            self._kept_back += fitting
            self.post_message(self.Still(self))
            return
        gone = 0
        if dropped:
            first = dropped[-1].at
            gone = sum(event.at <= first for event in self.rows[: len(dropped)])
        if fitting or gone:
            self.add(fitting, dropped=gone)

    def freeze(self, store: EventStore) -> None:
        """Stand still, or go on with everything that came meanwhile."""
        self.is_frozen = not self.is_frozen
        self._kept_back.clear()
        if not self.is_frozen:
            self.filter_by(self.filter, store)
        self.post_message(self.Still(self))

    def filter_by(self, filter_: str, store: EventStore) -> None:
        """Show only events in whose line the words occur; with `!` before them, only the others."""
        self.filter = filter_
        self.show([event for event in store.events if self._fits(event)])

    def _fits(self, event: Event) -> bool:
        if not self.filter:
            return True
        shown = line(event)
        return fits(self.filter, f"{shown.kind} {shown.who} {shown.text}", event.kind, event.message_id, event.trace_id)

    def action_cursor(self, by: int) -> None:
        super().action_cursor(by)
        self.follows = self.cursor == len(self.rows) - 1

    def action_page(self, by: int) -> None:
        super().action_page(by)
        self.follows = self.cursor == len(self.rows) - 1

    def action_end(self, by: int) -> None:
        super().action_end(by)
        self.follows = by > 0

    def on_mouse_scroll_up(self) -> None:
        self.follows = False


def _key(event: Event) -> str:
    return f"{event.at.timestamp()}{event.kind}{event.role}{event.message_id}{event.text[:40]}"


def _kind(event: Event, palette: Palette) -> Text:
    shown = line(event)
    word = _WORDS.get(shown.kind, shown.kind)
    return palette.text((plain(word), _COLOURS.get(shown.style, "")))


def _who(event: Event, palette: Palette) -> Text:
    parts = re.split(r"( → )", plain(line(event).who))
    return palette.text(*((part, "dim" if part == " → " else "bold") for part in parts))


def _what(event: Event, palette: Palette) -> Text:
    shown = line(event)
    names = "dim" if event.kind in ("step", "noted", "ready", "stopped") else ""
    return palette.text((plain(shown.text), names), (plain(shown.tail) and f"  {plain(shown.tail)}", "dim"))


def filter_title(palette: Palette, name: str, filter_: str) -> Text:
    """The title of a list, with what it is filtered by."""
    shown = (f"⟨/{plain(filter_)}⟩", "hot") if filter_ else ("⟨all⟩", "dim")
    return palette.text((f" {name} ", "accent bold"), shown, " ")


def feed_state(rate: float, palette: Palette, events: EventList) -> Text:
    """Whether the events follow, stand still, or are scrolled back; for the lower border."""
    if events.is_frozen:
        return palette.text((f" ‖ frozen · {plural(events.kept_back, 'new event')} · e goes on ", "warn"))
    if events.follows:
        return palette.text((" ● ", "good"), (f"live · {rate:.1f}/s ", "dim"))
    return palette.text((" ○ scrolled back · f follows ", "dim"))
