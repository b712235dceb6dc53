"""The command that shows every stage of a message and of all that it caused, as a tree."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from heapq import merge
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from agenthub.causation import Node, Stage, usage_in
from agenthub.cli import EXIT_OK
from agenthub.cli.letter import first_line, short
from agenthub.cli.lines import OUTCOME_STYLES
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import console, dollars, escaped, print_json, tokens
from agenthub.client import views
from agenthub.errors import ConfigError
from agenthub.messages import Usage

LEAST_PREFIX = 4
_KIND_WIDTH = 9
_STYLES = {
    "stored": "dim", "waits": "yellow", "taken": "cyan", "model": "dim", "step": "magenta", "parked": "dim",
    "resumed": "cyan", "delayed": "yellow", "interrupted": "yellow", "replied": "blue", "dead": "bold red",
}  # fmt: skip


async def trace(
    id_: str, /, *, follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Show every stage of a message and of all that it caused, as a tree.

    Args:
        id_: Id of a message, or its beginning: at least four characters.
        follow: Keep it up to date until the message has ended.
    """
    if len(id_) < LEAST_PREFIX:
        raise ConfigError(f"An id is given by at least {LEAST_PREFIX} of its first characters; found `{id_}`.")
    async with options.client() as client:
        if not follow:
            trees = await client.tracing.trace(id_)
        else:
            trees = await _followed(client.tracing.follow(id_), is_shown=not options.json)
    if options.json:
        print_json(views.trace(trees[0]) if len(trees) == 1 else [views.trace(tree) for tree in trees], options)
        return EXIT_OK
    out = console()
    for tree in trees:
        for line in lines(tree, width=out.width if out.is_terminal else None):
            out.print(line)
    return EXIT_OK


async def _followed(changes: Any, *, is_shown: bool) -> list[Node]:
    """The trees when all has ended; on a terminal they are shown as they grow."""
    from rich.live import Live
    from rich.text import Text

    out = console()
    trees: list[Node] = []
    with contextlib.ExitStack() as stack:
        live = None
        if is_shown and out.is_terminal:
            live = stack.enter_context(Live(console=out, transient=True, auto_refresh=False))
        async for trees in changes:
            if live is not None:
                shown = [line for tree in trees for line in lines(tree, width=out.width)]
                live.update(Text.from_markup("\n".join(shown[-(out.height - 1) :])), refresh=True)
    return trees


class Row(NamedTuple):
    """One line of the tree."""

    gutter: str
    kind: str
    text: str
    at: datetime | None = None
    tail: str = ""
    """Behind the text, at the right edge; never cut off."""
    style: str = ""
    is_head: bool = False
    """True for the first line of a message."""


def lines(tree: Node, *, width: int | None) -> Iterator[str]:
    """The tree as lines of rich markup: when since the root was stored, what, what it took; cut to `width`."""
    for row in _rows(tree):
        moment = "" if row.at is None or tree.at is None else _moment((row.at - tree.at).total_seconds())
        left = f"{moment:>8}  {row.gutter}"
        words = row.text if row.is_head else f"{row.kind:<{_KIND_WIDTH}} {row.text}"
        tail = f"  {row.tail}" if row.tail else ""
        if width is not None:
            room = max(12, width - len(left) - len(tail))
            words = words if len(words) <= room else words[: room - 1] + "…"
            tail = f"{'':{room - len(words)}}{tail}" if tail else ""
        cut = len(row.kind) if not row.is_head else words.find("  ") if "  " in words else len(words)
        style = "bold" if row.is_head else row.style or "none"
        yield f"[dim]{left}[/][{style}]{escaped(words[:cut])}[/]{escaped(words[cut:])}[dim]{escaped(tail)}[/]"


def _rows(node: Node, gutter: str = "", below: str = "") -> Iterator[Row]:
    who = f"{node.role} ← {node.from_role}" if node.from_role else node.role
    yield Row(gutter, "", f"{who}  {first_line(node.subject)}", node.at, short(node.message_id), is_head=True)
    stages: list[Stage | Node] = [stage for stage in node.stages if stage.kind != "settled"]
    # Of the same moment, a stage comes before a message; a message of which no time is known comes last.
    for item in merge(stages, [*node.children], key=_when):
        if isinstance(item, Stage):
            yield Row(f"{below}│  ", item.kind, _text(item), item.at, _took(item), _STYLES.get(item.kind, ""))
        else:
            yield from _rows(item, f"{below}├─ ", f"{below}│  ")
    end = next((stage for stage in node.stages if stage.kind == "settled"), None)
    if end is None:
        yield Row(f"{below}└─ ", "…", node.state + _in_all(node), tail=_spent(node.usage), style="yellow")
    else:
        style = OUTCOME_STYLES.get(node.state, "dim" if node.state == "noted" else "red")
        word = node.state.replace("needs_human", "human?")
        yield Row(f"{below}└─ ", word, _ending(node, end), end.at, _spent(node.usage), style)


def _when(item: Stage | Node) -> datetime:
    return item.at or datetime.max.replace(tzinfo=UTC)


def _text(stage: Stage) -> str:
    data = stage.data
    match stage.kind:
        case "stored":
            return stage.text
        case "waits":
            return f"number {data.get('position')} of {data.get('of')} in lane {data.get('lane')}"
        case "taken":
            said = [f"attempt {data['attempt']}"] if data.get("attempt", 1) != 1 else []
            said += [f"waited {_length(stage.duration_s)}"] if stage.duration_s is not None else []
            return ", ".join(said)
        case "resumed":
            return "goes on"
        case "model":
            return first_line(stage.text)
        case "step":
            return first_line(stage.text) + ("  ✗" if data.get("is_error") else "")
        case "replied":
            return f"→ {data.get('to')}"
        case _:
            return first_line(stage.text)


def _took(stage: Stage) -> str:
    length = f"{_length(stage.duration_s or 0):>6}"
    if stage.kind == "model":
        return f"{_spent(usage_in(stage.data))[:-6]}{length}"
    return length if stage.kind == "step" and stage.duration_s is not None else ""


def _ending(node: Node, end: Stage) -> str:
    parts = [f"in {_length(end.duration_s or 0)}"]
    if node.attempts > 1:
        parts.append(f"{node.attempts} attempts")
    if node.turns:
        parts.append("1 turn" if node.turns == 1 else f"{node.turns} turns")
    if node.usage.calls:
        parts.append("1 model call" if node.usage.calls == 1 else f"{node.usage.calls} model calls")
    why = f"  {first_line(end.text)}" if end.text else ""
    return ", ".join(parts) + _in_all(node) + why


def _in_all(node: Node) -> str:
    """What it cost with everything that it caused, if that is more."""
    whole = node.usage_in_all
    return f"; {dollars(whole.cost_usd)} and {whole.calls} calls in all" if whole.calls > node.usage.calls else ""


def _spent(usage: Usage) -> str:
    """Tokens and money, with room for a length of time behind them."""
    return f"{tokens(usage.tokens):>6} tokens {dollars(usage.cost_usd):>8}{'':8}" if usage.calls else ""


def _moment(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.0f}h{seconds % 3600 / 60:02.0f}m"
    return f"{seconds:.2f}s" if seconds < 100 else f"{seconds // 60:.0f}m{seconds % 60:02.0f}s"


def _length(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.1f}s" if seconds < 100 else _moment(seconds)
