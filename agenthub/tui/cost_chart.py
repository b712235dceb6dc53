"""What was spent in each stretch of the last day, as bars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from agenthub.messages import Completion
from agenthub.tui.facts import Money, Picture
from agenthub.tui.palette import Palette, entitle
from agenthub.tui.wording import plain

SPAN = timedelta(hours=24)
STEPS = 96
"""Quarters of an hour."""
_EIGHTHS = " ▁▂▃▄▅▆▇█"


class Spendings(NamedTuple):
    """Money by time and by whom, of what has ended."""

    steps: Sequence[float]
    """US dollars in each of `STEPS` stretches, the oldest first."""
    by_role: dict[str, float]

    @classmethod
    def of(cls, found: Iterable[Completion], at: datetime) -> Spendings:
        """Of the last day before `at`."""
        steps, by_role = [0.0] * STEPS, defaultdict[str, float](float)
        length_s, begun = SPAN.total_seconds() / STEPS, at - SPAN
        for done in found:
            place = int((done.ended_at - begun).total_seconds() // length_s)
            if 0 <= place <= STEPS:
                steps[min(place, STEPS - 1)] += done.usage.cost_usd
                by_role[done.role] += done.usage.cost_usd
        return cls(steps, dict(by_role))


class CostChart(Widget):
    """Bars of what was spent, higher and warmer the more it was."""

    DEFAULT_CSS = "CostChart { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._spent = Money(0.0)
        self._spendings = Spendings([0.0] * STEPS, {})

    def see(self, picture: Picture) -> None:
        """Show what is spent now."""
        self._spent = picture.spent
        self._entitle()
        self.refresh()

    def show(self, spendings: Spendings) -> None:
        """Show other bars."""
        self._spendings = spendings
        self._entitle()
        self.refresh()

    def _entitle(self) -> None:
        p: Palette = self.app.palette  # type: ignore[attr-defined]
        spent = self._spendings.by_role
        whole = sum(spent.values())
        first = sorted(spent.items(), key=lambda item: -item[1])[:3]
        shares = " · ".join(f"{plain(role)} {usd / whole:.0%}" for role, usd in first if usd)
        entitle(self, p.text((" cost, last 24 h ", "accent bold")), p.text((f" {shares} " if shares else "", "dim")))

    def render_line(self, y: int) -> Strip:
        p: Palette = self.app.palette  # type: ignore[attr-defined]
        width, base = self.size.width, self.rich_style
        if y == 0:
            steps = self._spendings.steps
            peak = max(steps)
            words = [(f"${self._spent.usd:.2f}", "warn bold"), (" today", "dim")]
            if peak > 0:
                an_hour = STEPS / (SPAN.total_seconds() / 3600)
                words.append((f"   now ${steps[-1] * an_hour:.2f}/h · peak ${peak * an_hour:.2f}/h", "dim"))
            return Strip(p.text(*words).render(self.app.console)).adjust_cell_length(width).apply_style(base)
        height = self.size.height - 1
        bars = [sum(bar) for bar in _spread(self._spendings.steps, width)]
        most = max(bars, default=0.0)
        low, high = p.style("accent").color, p.style("hot").color
        segments = []
        for bar in bars:
            share = bar / most if most else 0.0
            eighths = round(share * height * 8) or (1 if bar else 0)
            above = height - y  # how many whole lines are below this one
            block = _EIGHTHS[max(0, min(8, eighths - above * 8))]
            if block == " " and y == height:
                segments.append(Segment("▁", p.style("faint")))
            else:
                segments.append(Segment(block, _blend(low, high, share)))
        return Strip(segments).adjust_cell_length(width).apply_style(base)


def _spread(steps: Sequence[float], width: int) -> list[list[float]]:
    """The steps dealt out to so many columns."""
    if width <= 0:
        return []
    columns: list[list[float]] = [[] for _ in range(width)]
    for place in range(max(width, len(steps))):
        columns[place * width // max(width, len(steps))].append(
            steps[place * len(steps) // max(width, len(steps))] if width > len(steps) else steps[place]
        )
    return columns


def _blend(low: RichColor | None, high: RichColor | None, share: float) -> Style:
    """A colour between two."""
    if low is None or high is None or low.triplet is None or high.triplet is None:
        return Style(color=high if share > 0.7 else low)
    mixed = (round(a + (b - a) * share) for a, b in zip(low.triplet, high.triplet, strict=True))
    return Style(color=RichColor.from_rgb(*mixed))
