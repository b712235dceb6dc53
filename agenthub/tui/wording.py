"""How times, amounts and others' words are written on a screen."""

from __future__ import annotations

from datetime import datetime

from agenthub.cli.output import length


def plain(text: str) -> str:
    """Others' words in one line, safe to draw: nothing in them moves the cursor or turns the writing around."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def lines_of(text: str) -> list[str]:
    """The same line by line."""
    return [plain(line.expandtabs(4)) if not line.startswith(" ") else _indented(line) for line in text.splitlines()]


def _indented(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line.expandtabs(4)).rstrip()


def age(moment: datetime | None, at: datetime) -> str:
    """How long ago, in one unit: `12s`, `5m`."""
    return "·" if moment is None else length(max(0.0, (at - moment).total_seconds()))


def until(moment: datetime | None, at: datetime) -> str:
    """How long until then; `over` if it has passed."""
    if moment is None:
        return "·"
    left_s = (moment - at).total_seconds()
    return "over" if left_s < 0 else length(left_s)


def clock(moment: datetime) -> str:
    """The time of day, here."""
    return f"{moment.astimezone():%H:%M:%S}"


def money(usd: float) -> str:
    """Dollars and cents, without a sign: for columns."""
    return f"{usd:.2f}" if usd >= 0.005 or usd == 0 else "<.01"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 message`, `2 messages`."""
    return f"{count} {one if count == 1 else many or one + 's'}"
