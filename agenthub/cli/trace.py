"""The command that shows every stage of a message and of all that it caused, as a tree."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.letter import first_line, short
from agenthub.cli.lines import OUTCOME_STYLES
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import console, dollars, escaped, print_json, tokens
from agenthub.errors import ConfigError

if TYPE_CHECKING:
    from agenthub.causation import Node, Stage
    from agenthub.messages import Usage

LEAST_PREFIX = 4
_LONG_AGO, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
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
    from agenthub.client import views

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


class _Placed(NamedTuple):
    """A row, and where it belongs."""

    at: datetime
    """By this the rows of all messages are sorted. Never before the message itself: clocks may differ."""
    path: tuple[Node, ...]
    """The message, last, and those above it."""
    row: Row
    is_end: bool = False


def _rows(tree: Node) -> Iterator[Row]:
    """All rows in the order of their times; whose they are is said where that changes."""
    ended: set[int] = set()
    before: Node | None = None
    for placed in sorted(_placed(tree, ()), key=lambda placed: placed.at):
        row, node = placed.row, placed.path[-1]
        above = placed.path[:-1]
        if row.is_head:
            bars, mark = above[:-1], "├─ " if above else ""
        elif placed.is_end:
            bars, mark = above, "└─ "
        else:
            bars, mark = placed.path, ""
        gutter = "".join("   " if id(one) in ended else "│  " for one in bars) + mark
        whose = "" if row.is_head or before is node else f"{node.role}: "
        yield row._replace(gutter=gutter, text=whose + row.text)
        before = node
        if placed.is_end:
            ended.add(id(node))


def _placed(node: Node, above: tuple[Node, ...], not_before: datetime = _LONG_AGO) -> Iterator[_Placed]:
    path = (*above, node)
    begin = max(not_before, node.at) if node.at else _NEVER if above else not_before
    who = f"{node.role} ← {node.from_role}" if node.from_role else node.role
    head = Row("", "", f"{who}  {first_line(node.subject)}", node.at, short(node.message_id), is_head=True)
    yield _Placed(begin, path, head)
    for stage in node.stages:
        if stage.kind != "settled":
            row = Row("", stage.kind, _text(stage), stage.at, _took(stage), _STYLES.get(stage.kind, ""))
            yield _Placed(max(begin, stage.at), path, row)
    for child in node.children:
        yield from _placed(child, path, begin)
    end = next((stage for stage in node.stages if stage.kind == "settled"), None)
    if end is None:
        row = Row("", "…", node.state + _in_all(node), tail=_spent(node.usage), style="yellow")
        yield _Placed(_NEVER, path, row, is_end=True)
    else:
        style = OUTCOME_STYLES.get(node.state, "dim" if node.state == "noted" else "red")
        word = node.state.replace("needs_human", "human?")
        row = Row("", word, _ending(node, end), end.at, _spent(node.usage), style)
        yield _Placed(max(begin, end.at), path, row, is_end=True)


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
    from agenthub.causation import usage_in

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
