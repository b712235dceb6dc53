"""The two lines at the top: how the organization is, and the views."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

from agenthub.cli.output import tokens
from agenthub.tui.facts import Picture
from agenthub.tui.keys import VIEWS
from agenthub.tui.palette import Palette
from agenthub.tui.wording import clock

_TITLES = ("Org", "Inbox", "Events", "Approvals", "Dead letters", "Learnings", "Schedules", "Cost")
_SHORT = ("Org", "Inbox", "Events", "Appr", "Dead", "Learn", "Sched", "Cost")


class _Part(NamedTuple):
    """A part of the first line. What matters least is left out first where there is no room."""

    text: Text
    weight: int


class Headline(Widget):
    """How the organization is, in one line."""

    DEFAULT_CSS = "Headline { height: 1; padding: 0 1; background: $panel; }"

    def __init__(self, org: str, *, is_read_only: bool) -> None:
        super().__init__()
        self._org, self._is_read_only = org, is_read_only
        self._picture: Picture | None = None
        self._at: datetime | None = None

    def see(self, picture: Picture | None, at: datetime) -> None:
        """Show another picture, or only a later time."""
        self._picture, self._at = picture, at
        self.refresh()

    def render(self) -> Text:
        p: Palette = self.app.palette  # type: ignore[attr-defined]
        parts = self._parts(p)
        width = self.size.width
        while sum(part.text.cell_len + 3 for part in parts) - 3 > width and len(parts) > 2:
            parts.remove(min(parts, key=lambda part: part.weight))
        line = Text("   ", end="", no_wrap=True).join(part.text for part in parts)
        line.truncate(width, overflow="ellipsis")
        return line

    def _parts(self, p: Palette) -> list[_Part]:
        name = p.text(("agenthub", "accent bold"), (f" {self._org}", "bold"))
        picture = self._picture
        parts = [_Part(name, 100)]
        if picture is None:
            return [*parts, _Part(p.text(("◌ looking", "dim")), 99)]
        if picture.round_trip_s is None:
            parts.append(_Part(p.text(("✖ broker away", "bad bold")), 99))
        else:
            trip = picture.round_trip_s * 1000
            parts.append(_Part(p.text(("● ", "good"), (f"nats {trip:.1f} ms", "dim")), 20))
        total = len(picture.statuses)
        good = "good bold" if picture.up == total else "bad bold"
        parts.append(_Part(p.text((f"{picture.up}", good), (f"/{total} up", "dim")), 90))
        need = len(picture.decisions)
        parts.append(_Part(p.text((f"◆ {need} need you" if need != 1 else "◆ 1 needs you", "hot bold")), 98)
                     if need else _Part(p.text(("◇ nothing needs you", "dim")), 40))  # fmt: skip
        parts.append(_Part(p.text(("inbox ", "dim"), (str(picture.inbox), "bold" if picture.inbox else "dim")), 60))
        dead = "bad bold" if picture.dead else "dim"
        parts.append(_Part(p.text(("dead ", "dim"), (str(picture.dead), dead)), 70))
        parts += self._money(picture, p)
        parts.append(_Part(p.text((f"{tokens(picture.tokens)} tok", "dim")), 15))
        if self._is_read_only:
            parts.append(_Part(p.text(("read-only", "warn bold")), 97))
        if self._at is not None:
            parts.append(_Part(p.text((clock(self._at), "dim")), 30))
        return parts

    def _money(self, picture: Picture, p: Palette) -> list[_Part]:
        spent = picture.spent
        share = spent.share
        style = "bad bold" if share is not None and share >= 1 else "warn bold"
        today = p.text(("today ", "dim"), (f"${spent.usd:.2f}", style))
        if spent.limit_usd is None or share is None:
            return [_Part(today, 80)]
        today.append(f" of ${spent.limit_usd:.2f}", p.style("dim"))
        return [_Part(today + Text(" ") + p.bar(min(1.0, share), 10, "warn"), 80)]


class ViewTabs(Widget):
    """The views by number, with what waits in them; a click goes there."""

    DEFAULT_CSS = "ViewTabs { height: 2; padding: 0 1; }"

    class Wanted(Message):
        """Somebody wants to see a view."""

        def __init__(self, view: str) -> None:
            self.view = view
            super().__init__()

    def __init__(self) -> None:
        super().__init__()
        self._shown = "org"
        self._counts: dict[str, int] = {}

    def see(self, picture: Picture) -> None:
        """Show what waits."""
        counts = {"inbox": picture.inbox, "approvals": len(picture.decisions), "dead": picture.dead}
        if counts != self._counts:
            self._counts = counts
            self.refresh()

    def shows(self, view: str) -> None:
        """Another view is on the screen."""
        self._shown = view
        self.refresh()

    def _labels(self) -> list[tuple[str, str]]:
        """Each view and what stands for it, as short as the width asks."""
        for titles in (_TITLES, _SHORT):
            labels = []
            for number, (view, title) in enumerate(zip(VIEWS, titles, strict=True), 1):
                count = self._counts.get(view, 0)
                labels.append((view, f"{number} {title}" + (f" {count}" if count else "")))
            if sum(cell_len(label) + 2 for _, label in labels) <= self.size.width + 2:
                break
        return labels

    def render(self) -> Text:
        p: Palette = self.app.palette  # type: ignore[attr-defined]
        line, rule = Text(end="", no_wrap=True), Text(end="", no_wrap=True)
        for view, label in self._labels():
            is_shown = view == self._shown
            hot = view in ("approvals", "dead") and self._counts.get(view, 0)
            style = "bold" if is_shown else ("hot" if view == "approvals" else "bad") if hot else "dim"
            line.append_text(p.text((label, style), ("  ", "")))
            rule.append_text(
                p.text(
                    ("━" * cell_len(label), "accent") if is_shown else ("─" * cell_len(label), "faint"), ("──", "faint")
                )
            )
        rule.append_text(p.text(("─" * max(0, self.size.width - rule.cell_len), "faint")))
        line.truncate(self.size.width)
        rule.truncate(self.size.width)
        return line + Text("\n") + rule

    def on_click(self, event: events.Click) -> None:
        at = event.x - 1
        for view, label in self._labels():
            if 0 <= at < cell_len(label) + 1:
                self.post_message(self.Wanted(view))
                return
            at -= cell_len(label) + 2
