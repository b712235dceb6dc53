"""What waits for a person to decide: as lines of a list, and as the panel beside the agents."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from rich.text import Text
from textual.widgets import Static

from agenthub.asks import Ask
from agenthub.tui.palette import Palette, below, entitle
from agenthub.tui.wording import age, lines_of, plain, until

_BESIDE = 13
"""Cells for the name of who asks."""


def kind_of(ask: Ask) -> str:
    """`question`, `grant`, or the tool."""
    assert ask.approval is not None
    return plain(ask.approval.tool) if ask.approval.kind == "tool" else ask.approval.kind


def why(ask: Ask) -> str:
    """Which rule asks."""
    assert ask.approval is not None
    return plain(ask.approval.rule or ask.approval.source)


def body(ask: Ask) -> str:
    """All that a person needs to decide."""
    approval = ask.approval
    assert approval is not None
    task = f"\n\nIt works on: {ask.task.title}\nfrom {ask.task.from_role}, {ask.task.id}"
    if approval.kind == "question":
        choices = "".join(f"\n  {number}  {choice}" for number, choice in enumerate(approval.choices, 1))
        return f"{approval.question}\n{choices}{task}"
    if approval.wanted is not None:
        hours = f"{approval.wanted.for_s / 3600:g}"
        return f"{ask.role} asks to {approval.wanted.title} for {hours} h\n\n{approval.wanted.why}{task}"
    rule = f"{approval.source} says `{approval.rule}`" if approval.rule else approval.source
    arguments = json.dumps(approval.input, ensure_ascii=False, indent=2)
    return f"{ask.role} wants to call {approval.tool}\n\n{arguments}\n\nWhy you are asked: {rule}{task}"


class DecisionPanel(Static):
    """The oldest decisions, each in a few lines; one of them is marked, and the keys are about it."""

    DEFAULT_CSS = "DecisionPanel { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, markup=False)
        self._asks: Sequence[Ask] = ()
        self._marked = ""
        self._draw: Callable[[], None] | None = None

    @property
    def marked(self) -> Ask | None:
        """The one that keys decide about."""
        return next((ask for ask in self._asks if ask.id == self._marked), None)

    def see(self, asks: Sequence[Ask], *, at: datetime, role: str, palette: Palette, keys: dict[str, str]) -> None:
        """Show what waits; the mark goes to the decision of `role`, or stays, or goes to the oldest."""
        self._asks = asks
        wanted = next((ask for ask in asks if ask.role == role), None) or self.marked or next(iter(asks), None)
        self._marked = wanted.id if wanted else ""
        title = (f" ◆ waiting for you ({len(asks)}) ", "hot bold") if asks else (" ◇ nothing waits for you ", "dim")
        subtitle = (" space shows all of it ", "dim") if asks else ("", "")
        entitle(self, palette.text(title), palette.text(subtitle))
        self.set_class(not asks, "-calm")
        self._draw = partial(self._show, at, palette, keys)
        self._draw()

    def on_resize(self) -> None:
        """Fold the lines for the width that there is now."""
        if self._draw is not None:
            self._draw()

    def _show(self, at: datetime, palette: Palette, keys: dict[str, str]) -> None:
        asks, width, room = self._asks, max(20, self.size.width), 7
        shown: list[Text] = []
        order = sorted(asks, key=lambda ask: ask.id != self._marked)
        for ask in order:
            lines = self._lines(ask, at, palette, width, keys)
            if shown and len(shown) + len(lines) > room:
                break
            shown += lines
        self.update(
            below(shown) if shown else palette.text(("Tool calls that need a yes, and questions, come here.", "dim"))
        )

    def _lines(self, ask: Ask, at: datetime, p: Palette, width: int, keys: dict[str, str]) -> list[Text]:
        assert ask.approval is not None
        is_marked, approval = ask.id == self._marked, ask.approval
        who = p.text(("▸ " if is_marked else "  ", "hot"), (f"{plain(ask.role):<{_BESIDE - 2}}"[: _BESIDE - 2], "bold"))
        if approval.kind == "question":
            what = p.text((f"“{plain(' '.join(approval.question.split()))}”", ""))
        else:
            title = plain(approval.title.partition(": ")[2])
            what = p.text((f"{kind_of(ask)} ", "violet"), (title, ""))
        folded = what.wrap(self.app.console, width - _BESIDE, no_wrap=False)
        lines = [who + folded[0]]
        most = 3 if is_marked else 1
        lines += [Text(" " * _BESIDE) + line for line in folded[1:most]]
        if len(folded) > most:
            lines[-1].truncate(width - 1)
            lines[-1].append("…", p.style("dim"))
        if not is_marked:
            return lines
        left = until(ask.deadline, at)
        said = [("asked ", "dim"), (age(ask.opened_at, at), "dim"), (" ago · expires in ", "dim"), (left, "dim")]
        if approval.kind == "tool" and why(ask):
            said = [("rule ", "dim"), (why(ask), "cool"), (" · ", "dim"), *said]
        lines.append(Text(" " * _BESIDE) + p.text(*said))
        deeds = [f"{keys['decide.approve']} approve", f"{keys['decide.always']} always for this role",
                 f"{keys['decide.reject']} reject"]  # fmt: skip
        if approval.kind == "grant":
            deeds = [f"{keys['decide.approve']} grant it", f"{keys['decide.reject']} reject"]
        if approval.kind == "question":
            choices = ": " + " · ".join(map(plain, approval.choices)) if approval.choices else ""
            deeds = [f"{keys['decide.reply']} answer{choices}", f"{keys['decide.reject']} no answer"]
        lines.append(Text(" " * _BESIDE) + p.text(("   ".join(deeds), "warn")))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return lines


def as_blocks(text: str, palette: Palette) -> list[Text]:
    """Others' words, line by line, for a pane."""
    return [palette.text((line, "")) if line else Text("") for line in lines_of(text)]
