"""What a run brought: one aligned table for people, the same as JSON, and what to do about a violation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from chaos.history import History
from chaos.rules import RULES, Violation, calls_in_flight, check, slowest_recovery

_SHOWN = 10


class Verdict(NamedTuple):
    """One run, judged."""

    name: str
    seed: int
    seconds: float
    history: History
    violations: Mapping[str, list[Violation]]

    @classmethod
    def of(cls, name: str, seed: int, seconds: float, history: History) -> Verdict:
        """Judge a history."""
        return cls(name, seed, seconds, history, check(history))

    @property
    def is_clean(self) -> bool:
        """True if nothing that was promised was broken."""
        return not any(self.violations.values())

    def figures(self) -> dict[str, str]:
        """The rows of the table: counts first, then the rules."""
        history = self.history
        sent = {(one.role, one.id): one for one in history.accepted if one.way != "role"}
        inner = {(one.role, one.id) for one in history.accepted if one.way == "role"} - set(sent)
        ended = {(end.role, end.id): end.outcome for end in history.ended}
        dead = sum(outcome == "dead" for outcome in ended.values())
        recovery = slowest_recovery(history)
        kinds = Counter(fault.kind for fault in history.injected)
        return {
            "seconds": f"{self.seconds:.0f}",
            "directives accepted": f"{sum(one.way != 'garbage' for one in sent.values())}",
            "garbage accepted": f"{sum(one.way == 'garbage' for one in sent.values())}",
            "messages between roles": f"{len(inner)}",
            "completed": f"{len(ended) - dead}",
            "dead": f"{dead}",
            **{name: f"{len(self.violations[name])}" for name in RULES},
            "model calls": f"{len(history.asked)}",
            "paid twice, in flight": f"{calls_in_flight(history)}",
            "slowest recovery": f"{recovery.seconds:.1f} s ({recovery.role}, {recovery.kind})" if recovery else "–",
            "faults": f"{sum(kinds.values())}",
        }

    def faults(self) -> dict[str, int]:
        """How many of each kind were carried out."""
        return dict(sorted(Counter(fault.kind for fault in self.history.injected).items()))

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "name": self.name, "seed": self.seed, "is_clean": self.is_clean, "figures": self.figures(),
            "faults": self.faults(),
            "violations": {name: [one._asdict() for one in found] for name, found in self.violations.items() if found},
        }  # fmt: skip


def table(verdicts: list[Verdict]) -> str:
    """The runs side by side."""
    kinds = sorted({kind for verdict in verdicts for kind in verdict.faults()})
    rows = [("", *(verdict.name for verdict in verdicts))]
    figures = [verdict.figures() for verdict in verdicts]
    rows += [(name, *(figure[name] for figure in figures)) for name in figures[0]]
    rows += [(f"  {kind}", *(str(verdict.faults().get(kind, 0)) for verdict in verdicts)) for kind in kinds]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


def complaints(verdict: Verdict) -> str:
    """The violations, a few of each rule."""
    lines = []
    for name, found in verdict.violations.items():
        lines += [f"{verdict.name}: {name}: {one.about}: {one.reason}" for one in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"{verdict.name}: {name}: and {len(found) - _SHOWN} more")
    return "\n".join(lines)
