"""One agent: what it is at, and its transcript, its inbox, or the facts about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from agenthub.cli.output import tokens
from agenthub.client import LiveEvent, WaitingMessage
from agenthub.presence import Heartbeat
from agenthub.tui.facts import Agent, Picture
from agenthub.tui.palette import PRIORITY_COLOURS, Palette, below, entitle, load_style
from agenthub.tui.pane import Pane
from agenthub.tui.transcript import Transcript
from agenthub.tui.wording import age, money, plain

PANELS = ("Transcript", "Inbox", "Info")

_WIDE = 58
"""So many cells wide the panel has room for the tokens of the context."""


class RolePanel(Vertical):
    """All about one agent; the live part is put in by who owns the panel."""

    DEFAULT_CSS = """
    RolePanel { height: 1fr; }
    RolePanel > Static { height: auto; max-height: 5; }
    RolePanel > Pane { height: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.role = ""
        self.panel = PANELS[0]
        self._agent: Agent | None = None
        self._picture: Picture | None = None
        self._waiting = 0

    def compose(self) -> ComposeResult:
        yield Static(id="facts", markup=False)
        yield Pane(follows=True, id="words")

    @property
    def pane(self) -> Pane:
        return self.query_one("#words", Pane)

    @property
    def palette(self) -> Palette:
        return self.app.palette  # type: ignore[attr-defined,no-any-return]

    def of(self, role: str) -> bool:
        """Show another agent; False if it is the same."""
        if role == self.role:
            return False
        self.role = role
        self.clear()
        return True

    def clear(self) -> None:
        """Begin the lower part anew."""
        self.pane.follows = True
        self.pane.show([])
        self._transcript = Transcript(self.pane, self.palette)

    def next_panel(self) -> str:
        """Show the next of the three."""
        self.panel = PANELS[(PANELS.index(self.panel) + 1) % len(PANELS)]
        self.clear()
        self._titles()
        return self.panel

    def see(self, agent: Agent | None, picture: Picture) -> None:
        """Show how the agent is now."""
        self._agent, self._picture = agent, picture
        if agent is None:
            return
        self._waiting = sum(agent.waiting)
        self._titles()
        self._show_facts()
        if self.panel == "Info":
            self.pane.show(self._info(agent, self._beat(agent, picture), picture.at))

    def on_resize(self) -> None:
        """Cut the lines for the width that there is now."""
        self._show_facts()

    def _show_facts(self) -> None:
        agent, picture = self._agent, self._picture
        if agent is not None and picture is not None:
            lines = self._facts(agent, self._beat(agent, picture), picture.at)
            self.query_one("#facts", Static).update(below(lines))

    def _beat(self, agent: Agent, picture: Picture) -> Heartbeat | None:
        return next((s.heartbeat for s in picture.statuses if s.role == agent.key), None)

    def hear(self, events: Sequence[LiveEvent]) -> None:
        """Show what it says and does."""
        if self.panel == "Transcript":
            self._transcript.put(events)

    def show_inbox(self, waiting: Sequence[WaitingMessage], at: datetime) -> None:
        """Show what waits for it."""
        if self.panel != "Inbox":
            return
        p, blocks = self.palette, []
        for item in waiting:
            if item.message is None:
                blocks.append(p.text(("✖ cannot be read  ", "bad"), (item.subject, "dim")))
                continue
            message = item.message
            rank = message.payload.priority.rank
            later = f"  {item.put_off.words} ·" if item.put_off else ""
            blocks.append(
                p.text(
                    (f"{message.payload.priority:<9}", PRIORITY_COLOURS[rank]),
                    (f"{age(item.stored_at, at):>4}  ", "dim"),
                    (f"{message.id[:8]}  ", "dim"), (plain(message.from_role), "bold"),
                    (later, "warn"), (f"  {plain(message.title)}", ""),
                )
            )  # fmt: skip
        self.pane.follows = False
        self.pane.show(blocks or [p.text(("nothing waits", "dim"))])

    def _titles(self) -> None:
        p = self.palette
        parts: list[tuple[str, str]] = [(f" {self.role} ", "accent bold"), ("─ ", "dim")]
        for number, name in enumerate(PANELS):
            count = f" {self._waiting}" if name == "Inbox" and self._waiting else ""
            parts.append((" │ " if number else "", "faint"))
            parts.append((f"{name}{count}", "bold" if name == self.panel else "dim"))
        if self.panel != "Transcript":
            subtitle = p.text((" v next ", "dim"))
        elif self.pane.follows:
            subtitle = p.text((" ● ", "good"), ("following · f ", "dim"))
        else:
            subtitle = p.text((" ○ scrolled back · f follows ", "dim"))
        entitle(self, p.text(*parts, " "), subtitle)

    def _facts(self, agent: Agent, beat: Heartbeat | None, at: datetime) -> list[Text]:
        p = self.palette
        first = p.text((f"{agent.state.glyph} {agent.state.word}", agent.state.colour))
        if beat is None:
            return [first, p.text((plain(agent.doing), "dim"))]
        if beat.message_id:
            first.append_text(p.text((f"   {beat.message_id[:8]}", "bold")))
            if beat.priority is not None:
                first.append_text(p.text((f" !{beat.priority}", PRIORITY_COLOURS[beat.priority.rank])))
        first.append_text(p.text((f"   for {age(agent.since, at)}", "dim")))
        lines = [first]
        if agent.doing:
            lines.append(p.text((plain(agent.doing), "bold")))
        third = p.text(("context ", "dim"))
        if agent.context is not None:
            is_wide = self.size.width >= _WIDE
            used = f"{tokens(beat.context_tokens)}/{tokens(beat.context_window)}" if is_wide else f"{agent.context:.0%}"
            third.append_text(p.bar(agent.context, 12 if is_wide else 5, load_style(agent.context)))
            third.append_text(p.text((f" {used}", "dim")))
        else:
            third.append_text(p.text(("·", "faint")))
        third.append_text(p.text(("   today ", "dim"), (f"${money(agent.money.usd)}", "warn bold")))
        if agent.money.limit_usd:
            third.append_text(p.text((f" of ${agent.money.limit_usd:.2f}", "dim")))
        lines.append(third)
        parked = f" · {beat.parked} parked" if beat.parked else ""
        lines.append(p.text((f"{plain(beat.model)} · pid {beat.pid} · up {age(beat.started_at, at)}{parked}", "dim")))
        for line in lines:
            line.truncate(max(10, self.size.width - 2), overflow="ellipsis")
        return lines

    def _info(self, agent: Agent, beat: Heartbeat | None, at: datetime) -> list[Text]:
        p = self.palette
        rows: list[tuple[str, str]] = [("role", agent.role), ("state", agent.state.word), ("does", agent.doing)]
        names = ("critical", "high", "medium", "low")
        waits = ", ".join(f"{count} {name}" for name, count in zip(names, agent.waiting, strict=True) if count)
        rows.append(("waiting", waits or "nothing"))
        if beat is not None:
            usage = beat.usage_today
            rows += [
                ("message", beat.message_id or "none"), ("model", beat.model),
                ("process", f"{beat.pid} on {beat.host}"),
                ("started", f"{beat.started_at.astimezone():%Y-%m-%d %H:%M:%S}"),
                ("heartbeat", f"{age(beat.beat_at, at)} ago"), ("progress", f"{age(beat.progress_at, at)} ago"),
                ("today", f"{usage.calls} model calls, {tokens(usage.tokens)} tokens, ${usage.cost_usd:.4f}"),
                ("parked", str(beat.parked)),
            ]  # fmt: skip
        if agent.trust is not None:
            rows.append(("trust", f"{agent.trust:.0%}"))
        return [p.text((f"{name:<10}", "dim"), (plain(value), "")) for name, value in rows if value]
