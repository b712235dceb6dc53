"""What the organization learned: whom it convinces, and what a person decides about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.text import Text
from textual.app import ComposeResult

from agenthub.client.learnings import Shared
from agenthub.org.trust import State
from agenthub.tui.event_list import filter_title
from agenthub.tui.facts import fits
from agenthub.tui.listing import Column, Listing
from agenthub.tui.palette import Palette, entitle
from agenthub.tui.view import Selection, View
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


class LearningsView(View):
    """Learnings, the newest first."""

    name_of_view = "learnings"

    def __init__(self) -> None:
        super().__init__(id="learnings")
        self._found: Sequence[Shared] = ()
        self._filter = ""

    def compose(self) -> ComposeResult:
        columns = [
            Column[_Row]("STATE", 11, lambda row, p: p.text(_STATES.get(row.shared.state, ("?", "dim")))),
            Column[_Row]("TRUST", 15, _trust),
            Column[_Row]("+", 3, lambda row, p: _number(row.shared.confirmations, "good", p), is_right=True),
            Column[_Row]("-", 3, lambda row, p: _number(row.shared.contradictions, "bad", p), is_right=True),
            Column[_Row]("BY", 12, lambda row, p: p.text((plain(row.shared.authors[0]), "bold")), from_width=70),
            Column[_Row]("AGE", 4, lambda row, p: p.text((age(row.shared.shared_at, row.at), "dim")), is_right=True),
            Column[_Row]("WHEN, AND WHAT TO DO THEN", 0, _what),
        ]
        listing = Listing(columns, key=lambda row: row.shared.id, empty="nobody has learned anything yet", id="learned")
        listing.add_class("framed")
        yield listing

    @property
    def _list(self) -> Listing[_Row]:
        return self.query_one("#learned", Listing)

    @property
    def is_filtered(self) -> bool:
        return bool(self._filter)

    @property
    def selection(self) -> Selection:
        row = self._list.row
        if row is None:
            return Selection()
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
        self._found = await self.hub.source.learnings()
        self._show()

    def filtered(self, filter_: str) -> None:
        self._filter = filter_
        self._show()

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        self.hub.action_act("look.peek")

    def _show(self) -> None:
        at, p = self.hub.clock(), self.palette
        fitting = [
            _Row(one, at)
            for one in self._found
            if fits(
                self._filter, one.id, *one.authors, *one.learning.domain, one.learning.trigger, one.learning.approach
            )
        ]
        self._list.show(fitting)
        promoted = sum(row.shared.state is State.PROMOTED for row in fitting)
        said = f" {promoted} promoted · trust begins at 50 %, counts from 70 % on "
        entitle(self._list, filter_title(p, "learnings", self._filter), p.text((said, "dim")))


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
