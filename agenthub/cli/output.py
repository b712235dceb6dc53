"""How the CLI prints: data on stdout, talk on stderr; tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agenthub.cli.options import DEFAULT, Options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from agenthub.messages import Usage

PRIORITY_STYLE = {"critical": "bold red", "high": "yellow", "medium": "", "low": "dim"}
_LEAST_FREE_WIDTH = 18
"""So wide a column of free text stays, however narrow the terminal; a moment fits in."""


def console(*, stderr: bool = False) -> Console:
    """A console that knows about NO_COLOR, TERM=dumb and pipes."""
    from rich.console import Console

    # Without a terminal there is no width: lines are not folded for it.
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 200
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def say(text: str) -> None:
    """A line for people, on stderr: it never mixes with data."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any, options: Options = DEFAULT) -> None:
    """One JSON document for a value, one line each for streams; with the fields that were asked for."""
    data = _plain(value)
    if options.fields:
        names = options.fields.split(",")
        if isinstance(data, list):
            data = [{name: item.get(name) for name in names} for item in data]
        elif isinstance(data, dict):
            data = {name: data.get(name) for name in names}
    print(json.dumps(data, ensure_ascii=False, separators=(",", ":")), flush=True)


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime):
        from agenthub.messages import utc_text

        return utc_text(value)
    return value


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), free: Sequence[str] = ()
) -> None:
    """Print a table without lines, as `docker ps` does. Cells may hold markup; `free` as `grid` says."""
    put(grid(columns, rows, right=right, free=free))


def grid(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), free: Sequence[str] = (),
    least: int = _LEAST_FREE_WIDTH,
) -> Text:  # fmt: skip
    """A table without lines, one line for each row. Cells may hold markup.

    On a terminal the `free` columns, which hold text for people, share the room that the others leave; ids, names,
    times and counts are never cut, and `least` is what a free one keeps. Without a terminal nothing is cut.
    """
    from rich.text import Text

    cells = [[Text(column, style="dim") for column in columns]]
    cells += [[Text.from_markup(" ".join(cell.splitlines())) for cell in row] for row in rows]
    widths = [max(row[at].cell_len for row in cells) for at in range(len(columns))]
    if sys.stdout.isatty():
        widths = _fitted(widths, [at for at, name in enumerate(columns) if name in free], console().width, least)
    made = Text(no_wrap=True)
    for number, row in enumerate(cells):
        line = Text("\n" if number else "")
        for at, cell in enumerate(row):
            cell.truncate(widths[at], overflow="ellipsis")
            room = " " * (widths[at] - cell.cell_len)
            line.append("  " if at else "")
            line.append_text(Text.assemble(room, cell) if columns[at] in right else Text.assemble(cell, room))
        line.rstrip()
        made.append_text(line)
    return made


def _fitted(widths: Sequence[int], free: Sequence[int], room: int, least: int) -> list[int]:
    """The widths with those of the free columns smaller, the widest first, until they fit or are at their least."""
    fitted = list(widths)
    excess = sum(widths) + 2 * (len(widths) - 1) - room
    while excess > 0 and free:
        widest = max(free, key=lambda at: fitted[at])
        if fitted[widest] <= least:
            break
        fitted[widest] -= 1
        excess -= 1
    return fitted


def put(table: Text) -> None:
    """Print a table; what is wider than the terminal goes on in its next line."""
    console().print(table)


def escaped(text: str) -> str:
    """Text of others, safe to print: no markup, no control characters that could move the cursor."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else " " for c in text))


def ago(moment: datetime | None) -> str:
    """How long ago, in one unit: `12s`, `5m`, `3h`, `2d`."""
    return "-" if moment is None else length((datetime.now(UTC) - moment).total_seconds())


def length(seconds: float) -> str:
    """A length of time in one unit."""
    if seconds < 1:
        return "0s"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def counted(number: int, what: str, many: str = "") -> str:
    """So many of something: `1 turn`, `3 turns`, `1,200 entries`."""
    return f"{number:,} {what if number == 1 else many or f'{what}s'}"


def tokens(count: int) -> str:
    """A number of tokens: `980`, `12.3k`, `1.75M`."""
    if count >= 1_000_000:
        return f"{count / 1e6:.2f}M"
    return f"{count / 1000:.1f}k" if count >= 1000 else str(count)


def dollars(usd: float) -> str:
    """Money, with the cents that matter."""
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"


def usage_line(usage: Usage) -> str:
    """What something took, in words."""
    whole = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    cached = f", {usage.cache_read_tokens / whole:.0%} of the input from the cache" if whole else ""
    return f"{counted(usage.calls, 'model call')}, {tokens(usage.tokens)} tokens{cached}"
