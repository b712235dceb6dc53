"""What a measure brings, and the one table in which all of them are printed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


class Spread(NamedTuple):
    """Lowest, middle and highest of some values."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        return " / ".join(f"{value:.2f}" for value in self)


@dataclass(frozen=True)
class Result:
    """One measure: a value for us and one for the floor or the peer in each round, and what was promised."""

    measure: str
    unit: str
    ours: Sequence[float]
    floor: Sequence[float]
    """The floor or the peer in the same rounds. Empty: the target is for our value itself."""
    target: float | None
    """None: nothing was promised."""
    is_at_least: bool
    """True if the target is a lower bound."""

    @property
    def ratio(self) -> Spread | None:
        """Ours by the floor's, round by round; None if there is no floor."""
        if not self.floor:
            return None
        return Spread.of([ours / floor for ours, floor in zip(self.ours, self.floor, strict=True)])

    @property
    def is_met(self) -> bool | None:
        """True if the median of the rounds keeps the promise; None if there was none."""
        if self.target is None:
            return None
        value = self.ratio.median if self.ratio else statistics.median(self.ours)
        return value >= self.target if self.is_at_least else value <= self.target

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        ratio = self.ratio._asdict() if self.ratio else None
        return {**asdict(self), "ratio": ratio, "is_met": self.is_met}


_HEAD = ("measure", "ours", "theirs", "ratio min / median / max", "target", "met")


def table(results: Iterable[Result]) -> str:
    """The results as a Markdown table that also reads well on a terminal."""
    rows = [_HEAD, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(rows[0]), rule, *(line(row) for row in rows[1:])])


def _row(result: Result) -> tuple[str, ...]:
    sign = "≥" if result.is_at_least else "≤"
    unit = "" if result.floor else f" {result.unit}"
    return (
        result.measure,
        f"{_number(statistics.median(result.ours))} {result.unit}",
        f"{_number(statistics.median(result.floor))} {result.unit}" if result.floor else "–",
        str(result.ratio) if result.ratio else "–",
        "–" if result.target is None else f"{sign} {result.target:g}{unit}",
        "–" if result.is_met is None else "yes" if result.is_met else "NO",
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
