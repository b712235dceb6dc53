"""The calendar: what is due when, for whom, and what it did last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.text import Text

from agenthub.client.schedules import Scheduled
from agenthub.tui.list_view import ListView
from agenthub.tui.listing import Column
from agenthub.tui.palette import Palette
from agenthub.tui.view import Selection
from agenthub.tui.wording import age, plain, until


class _Row(NamedTuple):
    one: Scheduled
    at: datetime


class SchedulesView(ListView[_Row]):
    """All schedules, the next one first."""

    name_of_view = title_of_list = "schedules"
    empty = "there is no schedule; `agenthub schedule add --help`"

    def columns(self) -> Sequence[Column[_Row]]:
        return [
            Column[_Row]("STATE", 10, _state),
            Column[_Row]("NAME", 22, lambda row, p: p.text((plain(row.one.planned.id), "bold"))),
            Column[_Row]("TO", 12, lambda row, p: p.text((plain(row.one.planned.to), "")), from_width=70),
            Column[_Row]("WHEN", 22, lambda row, p: p.text((plain(row.one.planned.rule.rule), "cool")), from_width=90),
            Column[_Row]("LAST", 4, _last, is_right=True),
            Column[_Row]("IN", 4, lambda row, p: p.text((until(_next(row), row.at), "")), is_right=True),
            Column[_Row]("NEXT", 16, _due, from_width=100),
            Column[_Row]("WHAT", 0, lambda row, p: p.text((plain(row.one.planned.rule.text), "dim"))),
        ]

    def key(self, row: _Row) -> str:
        return row.one.planned.id

    def words(self, row: _Row) -> Sequence[str]:
        one = row.one.planned
        return one.id, one.to, one.rule.rule, one.rule.text, one.source

    def note(self, rows: Sequence[_Row]) -> str:
        paused = sum(row.one.is_paused for row in rows)
        return f"{len(rows) - paused} active, {paused} paused · a firing without news costs nothing"

    def chosen(self, row: _Row) -> Selection:
        one, rule = row.one.planned, row.one.planned.rule
        text = f"{rule.rule}\nfor {one.to}, from {one.source}\n\n{rule.text}\n"
        for name, said in (
            ("check", rule.check), ("news", ", ".join(rule.news)), ("news of", ", ".join(rule.news_of)),
        ):  # fmt: skip
            if said:
                text += f"\nonly with {name}: {said}"
        text += f"\nwhat was missed: {rule.misfire}; while the last one is at work: {rule.while_busy}\n\n"
        text += "\n".join(f"due {_local(moment, row)}" for moment in row.one.coming)
        if row.one.last and row.one.last.fired_at:
            text += f"\n\nfired last {_local(row.one.last.fired_at, row)} as {row.one.last.message_id}"
        return Selection(
            role=one.to, message_id=row.one.last.message_id if row.one.last else "", copied=one.id, title=one.id,
            body=text, schedule=one.id, is_paused=row.one.is_paused,
        )  # fmt: skip

    async def refreshed(self) -> None:
        found, at = await self.hub.source.schedules(), self.hub.clock()
        rows = [_Row(one, at) for one in found]
        self.show(sorted(rows, key=lambda row: (_next(row) is None, _next(row) or at, row.one.planned.id)))


def _next(row: _Row) -> datetime | None:
    return row.one.coming[0] if row.one.coming else None


def _local(moment: datetime, row: _Row) -> str:
    return f"{moment.astimezone(row.one.planned.when.zone):%a %d %b %H:%M}"


def _state(row: _Row, p: Palette) -> Text:
    if row.one.is_paused:
        return p.text(("‖ paused", "warn"))
    if row.one.last and row.one.last.is_waiting:
        return p.text(("● waits", "good"))
    return p.text(("○ active", "cool") if row.one.coming else ("· over", "dim"))


def _last(row: _Row, p: Palette) -> Text:
    return p.text((age(row.one.last.fired_at if row.one.last else None, row.at), "dim"))


def _due(row: _Row, p: Palette) -> Text:
    due = _next(row)
    return p.text(("·", "faint") if due is None else (_local(due, row), "dim"))
