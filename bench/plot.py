"""Lines over time as an SVG that reads well on light and dark pages; no library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 380, 60, 20, 44, 84


class Line(NamedTuple):
    """One line of a plot."""

    name: str
    values: Sequence[float]
    """From 0 to 1, at equal distances."""
    colour: str
    is_dashed: bool = False


def plot(lines: Sequence[Line], *, title: str, across: str, up: str) -> str:
    """The lines as an SVG document."""
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    last = max(len(line.values) for line in lines) - 1

    def x(at: float) -> float:
        return _LEFT + wide * at / max(1, last)

    def y(value: float) -> float:
        return _TOP + high * (1 - value)

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
            f'font-size="12" role="img" aria-label="{escape(title)}">'
        ),
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-size="14" fill="#222">{escape(title)}</text>',
    ]
    for tenth in range(0, 11, 2):
        value = tenth / 10
        parts += [
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#555">{value:.0%}</text>',
        ]
    for at in range(0, last + 2, 15):
        parts.append(f'<text x="{x(at):.1f}" y="{_TOP + high + 18}" text-anchor="middle" fill="#555">{at}</text>')
    parts += [
        f'<text x="{_WIDTH - _RIGHT}" y="{_TOP + high + 34}" text-anchor="end" fill="#555">{escape(across)}</text>',
        f'<text x="14" y="{_TOP - 8}" fill="#555">{escape(up)}</text>',
    ]
    for number, line in enumerate(lines):
        dashes = ' stroke-dasharray="5 4"' if line.is_dashed else ""
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in enumerate(line.values))
        left, below = _LEFT + 340 * (number // 2), _HEIGHT - 30 + 18 * (number % 2)
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2"{dashes}/>',
            (
                f'<line x1="{left}" x2="{left + 28}" y1="{below}" y2="{below}" stroke="{line.colour}" '
                f'stroke-width="2"{dashes}/>'
            ),
            f'<text x="{left + 36}" y="{below + 4}" fill="#222">{escape(line.name)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
