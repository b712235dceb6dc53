"""The agents as a list: who needs a person first; what each does, what waits for it, what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from rich.text import Text

from agenthub.tui.facts import Agent
from agenthub.tui.listing import Column, Listing
from agenthub.tui.palette import PRIORITY_COLOURS, Palette, load_style
from agenthub.tui.wording import age, money, plain

_LATE_S = 10.0
"""A heartbeat that is older is shown as such."""


_LIMITS_FROM = 94
"""So wide it shows the limit beside the money."""


class AgentList(Listing[Agent]):
    """Agents, one a line."""

    def __init__(self, *, clock: Callable[[], datetime], longest: int, id: str | None = None) -> None:  # noqa: A002
        self._clock = clock
        role = min(18, max(8, longest + 1))
        columns = [
            Column[Agent]("ROLE", role, _role),
            Column[Agent]("STATE", 11, _state),
            Column[Agent]("DOING", 0, _doing),
            *(
                Column[Agent](title, 2, _count(rank), is_right=True)
                for rank, title in enumerate(("C", "H", "M", "L"))
            ),
            Column[Agent]("", 1, lambda agent, p: "", from_width=70),
            Column[Agent]("CTX", 7, _context, from_width=70),
            Column[Agent]("$ TODAY", 11, _money, is_right=True),
            Column[Agent]("$", 6, _money_only, is_right=True),
            Column[Agent]("HB", 4, self._beat, is_right=True, from_width=64),
        ]  # fmt: skip
        columns.append(Column[Agent]("TRUST", 5, _trust, is_right=True, from_width=90))
        self._all = columns
        super().__init__(columns, key=lambda agent: agent.key, empty="no agents; is the organization up?", id=id)

    def on_resize(self) -> None:
        self._choose_columns()
        super().on_resize()

    def show(self, rows: Sequence[Agent]) -> None:
        self._choose_columns(rows)
        super().show(rows)

    def _choose_columns(self, rows: Sequence[Agent] = ()) -> None:
        """Of money once, and of trust only if there is some."""
        has_trust = any(agent.trust is not None for agent in rows or self.rows)
        is_wide = self.size.width >= _LIMITS_FROM and any(agent.money.limit_usd for agent in rows or self.rows)
        left_out = {"$" if is_wide else "$ TODAY", "" if has_trust else "TRUST"} - {""}
        self._columns = [column for column in self._all if column.title not in left_out]

    def _beat(self, agent: Agent, p: Palette) -> Text:
        if agent.beat_at is None:
            return p.text(("·", "faint"))
        at = self._clock()
        is_late = (at - agent.beat_at).total_seconds() > _LATE_S
        return p.text((age(agent.beat_at, at), "bad" if is_late else "dim"))


def _role(agent: Agent, p: Palette) -> Text:
    return p.text(("  " * (agent.depth - 1) + "└ " if agent.depth else "", "faint"), (plain(agent.key), "bold"))


def _state(agent: Agent, p: Palette) -> Text:
    return p.text((f"{agent.state.glyph} {agent.state.word}", agent.state.colour))


def _doing(agent: Agent, p: Palette) -> Text:
    quiet = agent.state.word in ("idle", "paused", "stopped")
    return p.text((plain(agent.doing), "dim" if quiet else ""))


def _count(rank: int) -> Callable[[Agent, Palette], Text]:
    def cell(agent: Agent, p: Palette) -> Text:
        count = agent.waiting[rank]
        if not count:
            return p.text(("·", "faint"))
        return p.text((str(count) if count < 100 else "99", PRIORITY_COLOURS[rank] + " bold"))

    return cell


def _context(agent: Agent, p: Palette) -> Text:
    return p.bar(agent.context, 7, load_style(agent.context))


def _money(agent: Agent, p: Palette) -> Text:
    share, limit = agent.money.share, agent.money.limit_usd
    style = "bad bold" if (share or 0) >= 1 else "warn" if (share or 0) >= 0.8 else ""
    spent = p.text((money(agent.money.usd), style if agent.money.usd else "faint"))
    if limit:
        spent.append(f" /{limit:g}", p.style("dim"))
    return spent


def _money_only(agent: Agent, p: Palette) -> Text:
    share = agent.money.share or 0
    style = "bad bold" if share >= 1 else "warn" if share >= 0.8 else ""
    return p.text((money(agent.money.usd), style if agent.money.usd else "faint"))


def _trust(agent: Agent, p: Palette) -> Text:
    if agent.trust is None:
        return p.text(("·", "faint"))
    return p.text((f"{agent.trust:.0%}", "good" if agent.trust >= 0.7 else "warn" if agent.trust >= 0.5 else "bad"))
