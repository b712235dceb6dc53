"""What was buried and why; one key gives it another life."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.text import Text

from agenthub.client.letters import Buried
from agenthub.letters import publisher
from agenthub.tui.list_view import ListView
from agenthub.tui.listing import Column
from agenthub.tui.palette import Palette
from agenthub.tui.view import Selection
from agenthub.tui.wording import age, plain, plural


class _Row(NamedTuple):
    buried: Buried
    at: datetime


class DeadView(ListView[_Row]):
    """The dead letters of all roles, the newest first."""

    name_of_view = "dead"
    title_of_list = "dead letters"
    empty = "there are no dead letters"

    def columns(self) -> Sequence[Column[_Row]]:
        return [
            Column[_Row]("ID", 8, lambda row, p: p.text((row.buried.letter.message_id[:8], "dim"))),
            Column[_Row]("ROLE", 13, lambda row, p: p.text((plain(row.buried.letter.role), "bold"))),
            Column[_Row](
                "AGE", 4, lambda row, p: p.text((age(row.buried.letter.buried_at, row.at), "dim")), is_right=True
            ),
            Column[_Row]("TRIES", 5, lambda row, p: p.text((str(row.buried.letter.attempts), "")), is_right=True),
            Column[_Row]("FROM", 12, lambda row, p: p.text((_sender(row.buried), "")), from_width=90),
            Column[_Row]("SUBJECT", 28, lambda row, p: p.text((_title(row.buried), "")), from_width=110),
            Column[_Row]("WHY", 0, _why),
        ]

    def key(self, row: _Row) -> str:
        return f"{row.buried.letter.role}/{row.buried.letter.message_id}"

    def words(self, row: _Row) -> Sequence[str]:
        letter = row.buried.letter
        return letter.role, letter.message_id, letter.reason, _title(row.buried)

    def note(self, rows: Sequence[_Row]) -> str:
        return f"{sum(not row.buried.replays for row in rows)} not replayed yet"

    @property
    def unreplayed(self) -> list[Buried]:
        """What is shown and has had no other life."""
        return [row.buried for row in self.listing.rows if not row.buried.replays]

    def chosen(self, row: _Row) -> Selection:
        letter = row.buried.letter
        text = f"{letter.role}  {letter.message_id}\nburied {letter.buried_at.astimezone():%Y-%m-%d %H:%M:%S} "
        text += f"after {plural(letter.attempts, 'try', 'tries')}"
        text += f"\n\n{letter.reason}\n\n{letter.data[:20_000].decode(errors='replace')}\n\n{letter.traceback}"
        return Selection(role=letter.role, message_id=letter.message_id, letter=row.buried, copied=letter.message_id,
                         title=f"dead letter {letter.message_id[:8]}", body=text)  # fmt: skip

    async def refreshed(self) -> None:
        found, at = await self.hub.source.letters(), self.hub.clock()
        self.show([_Row(buried, at) for buried in reversed(found)])


def _sender(buried: Buried) -> str:
    letter = buried.letter
    return plain(publisher(letter.subject, letter.headers, letter.data) or "·")


def _title(buried: Buried) -> str:
    message = buried.letter.message()
    return plain(message.title) if message else "(cannot be read)"


def _why(row: _Row, p: Palette) -> Text:
    replays, reason = row.buried.replays, plain(row.buried.letter.reason)
    if replays:
        return p.text((f"replayed as {replays[-1].new_id[:8]}  ", "good"), (reason, "dim"))
    return p.text((reason, "bad"))
