"""What the organization learned: whom it convinces, and what a person decides about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.text import Text

from agenthub.client.learnings import Shared
from agenthub.org.trust import State
from agenthub.tui.list_view import ListView
from agenthub.tui.listing import Column
from agenthub.tui.palette import Palette
from agenthub.tui.view import Selection
from agenthub.tui.wording import age, plain

_LINE = 0.7
"""From here on a role takes it into its policy."""
_STATES = {
    State.PROMOTED: ("★ promoted", "good"), State.HINT: ("○ hint", "cool"),
    State.QUARANTINED: ("✖ held back", "bad"), State.ARCHIVED: ("· archived", "dim"),
}  # fmt: skip


class _Row(NamedTuple):
    shared: Shared
    at: datetime


class LearningsView(ListView[_Row]):
    """Learnings, the newest first."""

    name_of_view = title_of_list = "learnings"
    empty = "nobody has learned anything yet"

    def columns(self) -> Sequence[Column[_Row]]:
        return [
            Column[_Row]("STATE", 11, lambda row, p: p.text(_STATES.get(row.shared.state, ("?", "dim")))),
            Column[_Row]("TRUST", 15, _trust),
            Column[_Row]("+", 3, lambda row, p: _number(row.shared.confirmations, "good", p), is_right=True),
            Column[_Row]("-", 3, lambda row, p: _number(row.shared.contradictions, "bad", p), is_right=True),
            Column[_Row]("BY", 12, lambda row, p: p.text((plain(row.shared.authors[0]), "bold")), from_width=70),
            Column[_Row]("AGE", 4, lambda row, p: p.text((age(row.shared.shared_at, row.at), "dim")), is_right=True),
            Column[_Row]("WHEN, AND WHAT TO DO THEN", 0, _what),
        ]

    def key(self, row: _Row) -> str:
        return row.shared.id

    def words(self, row: _Row) -> Sequence[str]:
        one = row.shared
        return one.id, *one.authors, *one.learning.domain, one.learning.trigger, one.learning.approach

    def note(self, rows: Sequence[_Row]) -> str:
        promoted = sum(row.shared.state is State.PROMOTED for row in rows)
        return f"{promoted} promoted · trust begins at 50 %, counts from 70 % on"

    def chosen(self, row: _Row) -> Selection:
        one, said = row.shared, row.shared.learning
        text = (
            f"When    {said.trigger}\nDo      {said.approach}\nThen    {said.outcome}\nAbout   {', '.join(said.domain)}"
        )
        text += (
            f"\n\nby {', '.join(one.authors)}, confidence {said.confidence:.0%}\nshown by {', '.join(said.evidence)}"
        )
        if one.suspicion:
            text += f"\n\nheld back: {one.suspicion}"
        text += "\n"
        for role, opinion in one.roles.items():
            text += (
                f"\n{role:<14} {opinion.trust:.0%}  +{opinion.confirmations} -{opinion.contradictions}  {opinion.state}"
            )
        return Selection(role=one.authors[0], learning_id=one.id, copied=one.id, title=said.trigger, body=text)

    async def refreshed(self) -> None:
        found, at = await self.hub.source.learnings(), self.hub.clock()
        self.show([_Row(one, at) for one in found])


def _trust(row: _Row, p: Palette) -> Text:
    trust = row.shared.trust
    style = "good" if trust >= _LINE else "warn" if trust >= 0.5 else "bad"
    bar = p.bar(trust, 10, style)
    bar.append_text(p.text((f" {trust:>4.0%}", style)))
    return bar


def _number(count: int, style: str, p: Palette) -> Text:
    return p.text((str(count), style) if count else ("·", "faint"))


def _what(row: _Row, p: Palette) -> Text:
    said = row.shared.learning
    return p.text((plain(said.trigger), ""), (" → ", "dim"), (plain(said.approach), "dim"))
