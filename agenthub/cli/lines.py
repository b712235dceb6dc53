"""One line for each event: when, who, what, about what. Aligned; coloured on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from agenthub.cli.output import dollars, escaped, tokens

if TYPE_CHECKING:
    from agenthub.messages import Event

STYLES = {
    "ready": "dim", "stopped": "dim", "taken": "cyan", "sent": "blue", "step": "magenta", "model": "dim",
    "parked": "dim", "resumed": "cyan", "completed": "green", "noted": "dim", "delayed": "yellow", "dead": "bold red",
    "crashed": "bold red", "quarantined": "bold red", "undelivered": "yellow", "unhealthy": "bold red",
    "reassigned": "yellow", "steered": "bold yellow",
    "killed": "bold red", "stalled": "yellow", "nudged": "yellow", "interrupted": "yellow", "restarting": "bold red",
    "healthy": "green",
    "rate": "yellow", "parked_trace": "bold yellow", "overdue": "yellow", "reminded": "yellow",
    "escalated": "bold yellow", "flooded": "bold yellow",
}  # fmt: skip
OUTCOME_STYLES = {
    "done": "green", "blocked": "yellow", "needs_human": "bold yellow", "refused": "yellow",
    "completed_unverified": "bold yellow",
}  # fmt: skip


class Line(NamedTuple):
    """What one event says to people."""

    kind: str
    style: str
    who: str
    text: str
    tail: str = ""
    """Behind the text; never cut off."""


def line(event: Event) -> Line:
    """The event in a kind of at most nine letters, who did it (to whom), and what."""
    kind, who, text, tail, style = event.kind, event.role, event.text, "", STYLES.get(event.kind, "")
    if kind == "sent":
        who = f"{event.role} → {event.data.get('to', '?')}"
        kind = {"task_assignment": "task", "task_result": "result", "direct_message": "message"}.get(
            str(event.data.get("type")), str(event.data.get("type"))
        )
    elif kind == "completed":
        kind = (
            str(event.data.get("outcome", "done"))
            .replace("needs_human", "human?")
            .replace("completed_unverified", "unproved")
        )
        style = OUTCOME_STYLES.get(str(event.data.get("outcome")), "red")
        usage = event.data.get("usage", {})
        spent = sum(int(usage.get(name, 0)) for name in usage if name.endswith("_tokens"))
        tail = f"  {tokens(spent)} tokens, {dollars(float(usage.get('cost_usd', 0)))}" if spent else ""
        who = f"{event.role} → {event.data.get('from_role') or '?'}"
    elif kind == "parked_trace":
        kind, text = "stopped!", f"trace {event.trace_id[:8]} is parked: {text}"
    elif kind == "reassigned":
        who = f"{event.role} → {event.data.get('reassigned_to') or '?'}"
        text = str(event.data.get("subject") or text)
    elif kind == "taken" and event.data.get("from_role"):
        tail = f"  from {event.data['from_role']}"
    return Line(kind, style, who, _first_line(text), tail)


def as_markup(event: Event, *, width: int | None, at: str | None = None, who_width: int = 20) -> str:
    """The line of an event as rich markup, cut to `width` columns; None: not cut."""
    shown = line(event)
    moment = at if at is not None else f"{event.at.astimezone():%H:%M:%S}"
    room = None if width is None else max(12, width - len(moment) - 9 - who_width - 6 - len(shown.tail))
    text = shown.text if room is None or len(shown.text) <= room else shown.text[: room - 1] + "…"
    kind = f"[{shown.style}]{shown.kind:<9}[/]" if shown.style else f"{shown.kind:<9}"
    who = f"[bold]{escaped(shown.who):<{who_width}}[/]"
    return f"[dim]{moment}[/]  {kind}  {who}  {escaped(text)}[dim]{escaped(shown.tail)}[/]"


def who_width(roles: Sequence[str]) -> int:
    """Columns for `who`, so that `a → b` fits for all of these."""
    longest = sorted((len(role) for role in roles), reverse=True)[:2]
    return min(30, sum(longest) + 3)


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")
