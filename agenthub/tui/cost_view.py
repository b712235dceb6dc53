"""What each agent costs: today against its limit, the last day as a line, and how much the cache saved."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.text import Text
from textual.app import ComposeResult

from agenthub.cli.output import tokens
from agenthub.messages import Completion, Usage
from agenthub.tui.cost_chart import SPAN, CostChart, Spendings
from agenthub.tui.facts import Money, Picture
from agenthub.tui.list_view import ListView
from agenthub.tui.listing import Column
from agenthub.tui.palette import Palette
from agenthub.tui.view import Selection
from agenthub.tui.wording import money, plain

_LINE = 24
_EIGHTHS = "▁▂▃▄▅▆▇█"


class _Row(NamedTuple):
    role: str
    money: Money
    usage: Usage
    """Of the last day."""
    hours: tuple[float, ...]
    model: str
    messages: int


class CostView(ListView[_Row]):
    """The chart of all, and a line for each agent, the dearest first."""

    name_of_view = "cost"
    title_of_list = "cost by role"
    empty = "nothing was spent"
    DEFAULT_CSS = """
    CostView #big-chart { height: 12; border: round $border; padding: 0 1; }
    CostView #cost-list { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._ended: Sequence[Completion] = ()
        self._picture: Picture | None = None

    def compose(self) -> ComposeResult:
        yield CostChart(id="big-chart")
        yield self.make_list()

    def columns(self) -> Sequence[Column[_Row]]:
        return [
            Column[_Row]("ROLE", 15, lambda row, p: p.text((plain(row.role), "bold"))),
            Column[_Row]("TODAY", 8, _today, is_right=True),
            Column[_Row]("OF", 7, _limit, is_right=True),
            Column[_Row]("", 10, _share),
            Column[_Row]("LAST 24 H", _LINE, _line, from_width=100),
            Column[_Row]("$ 24 H", 8, lambda row, p: p.text((money(row.usage.cost_usd), "")), is_right=True),
            Column[_Row]("MSGS", 5, lambda row, p: _dim(row.messages, p), is_right=True, from_width=70),
            Column[_Row]("CALLS", 5, lambda row, p: _dim(row.usage.calls, p), is_right=True, from_width=90),
            Column[_Row]("TOKENS", 8, lambda row, p: _dim(row.usage.tokens, p), is_right=True),
            Column[_Row]("CACHE", 5, _cache, is_right=True),
            Column[_Row]("MODEL", 0, lambda row, p: p.text((plain(row.model), "dim")), from_width=136),
        ]  # fmt: skip

    def key(self, row: _Row) -> str:
        return row.role

    def words(self, row: _Row) -> Sequence[str]:
        return row.role, row.model

    def note(self, rows: Sequence[_Row]) -> str:
        return "list prices · limits: agenthub budget set"

    def chosen(self, row: _Row) -> Selection:
        return Selection(role=row.role, copied=row.role, title=row.role)

    async def refreshed(self) -> None:
        at = self.hub.clock()
        self._ended = await self.hub.source.completions(at - SPAN)
        self.query_one(CostChart).show(Spendings.of(self._ended, at))
        self._fill(at)

    def see(self, picture: Picture) -> None:
        self._picture = picture
        self.query_one(CostChart).see(picture)
        self._fill(picture.at)

    def _fill(self, at: datetime) -> None:
        picture = self._picture
        if picture is None:
            return
        by_role: dict[str, list[Completion]] = {}
        for done in self._ended:
            by_role.setdefault(done.role, []).append(done)
        rows = []
        for role in self.hub.source.reports_to:
            beats = [s.heartbeat for s in picture.statuses if s.role.partition(".")[0] == role and s.heartbeat]
            spent = picture.money.get(role, Money(0.0))
            spent = spent._replace(usd=max(spent.usd, sum(beat.usage_today.cost_usd for beat in beats)))
            ended = by_role.get(role, [])
            usage = sum((done.usage for done in ended), Usage())
            steps = Spendings.of(ended, at).steps
            each = len(steps) // _LINE
            hours = tuple(sum(steps[place : place + each]) for place in range(0, len(steps), each))
            rows.append(_Row(role, spent, usage, hours, beats[0].model if beats else "", len(ended)))
        rows.sort(key=lambda row: (-row.money.usd, -row.usage.cost_usd))
        self.show(rows)


def _dim(count: int, p: Palette) -> Text:
    return p.text((tokens(count), "dim") if count else ("·", "faint"))


def _today(row: _Row, p: Palette) -> Text:
    return p.text((money(row.money.usd), "bold" if row.money.usd else "faint"))


def _limit(row: _Row, p: Palette) -> Text:
    limit = row.money.limit_usd
    return p.text(("·", "faint") if limit is None else (f"{limit:.2f}", "dim"))


def _share(row: _Row, p: Palette) -> Text:
    share = row.money.share
    style = "bad" if (share or 0) >= 1 else "warn" if (share or 0) >= 0.8 else "accent"
    return p.bar(share, 10, style)


def _line(row: _Row, p: Palette) -> Text:
    most = max(row.hours, default=0.0)
    if not most:
        return p.text(("▁" * len(row.hours), "faint"))
    return p.text(*((_EIGHTHS[min(7, round(hour / most * 7))], "accent" if hour else "faint") for hour in row.hours))


def _cache(row: _Row, p: Palette) -> Text:
    usage = row.usage
    whole = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return p.text((f"{usage.cache_read_tokens / whole:.0%}", "good") if whole else ("·", "faint"))
