"""Framed lists on a terminal, as `--help` shows them. By hand: with rich, `--help` would take half as long again."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

Style = Literal["", "bold", "name", "marker", "required", "dim"]
_CODES: dict[Style, str] = {"bold": "1", "name": "36", "marker": "1;31", "required": "31", "dim": "2"}
_NAMES_SHARE = 0.35
"""So much of the width the names may take; longer ones are folded."""
_LEAST_TEXT_WIDTH = 20


class Piece(NamedTuple):
    """Words that look alike."""

    text: str
    style: Style = ""


class Row(NamedTuple):
    """A name, and what is said of it."""

    name: str
    pieces: Sequence[Piece]
    is_required: bool = False


class Terminal(NamedTuple):
    """What is known about the place where it is printed."""

    width: int = 80
    has_colors: bool = False
    has_frames: bool = True
    """False: it does not know the characters that frames are made of."""

    def paint(self, piece: Piece) -> str:
        """The words, with what gives them their look."""
        if not self.has_colors or not piece.style or not piece.text:
            return piece.text
        return f"\x1b[{_CODES[piece.style]}m{piece.text}\x1b[0m"


def terminal() -> Terminal:
    """That of stdout; it heeds COLUMNS, NO_COLOR, FORCE_COLOR and TERM."""
    variables = os.environ
    is_forced = bool(variables.get("FORCE_COLOR"))
    return Terminal(
        width=_width(variables.get("COLUMNS", "")),
        has_colors=(is_forced or sys.stdout.isatty())
        and not variables.get("NO_COLOR")
        and variables.get("TERM") not in ("dumb", "unknown"),
        has_frames=(getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf"),
    )


def _width(columns: str) -> int:
    if columns.isdecimal() and int(columns):
        return int(columns)
    for stream in (sys.__stdout__, sys.__stdin__, sys.__stderr__):  # stdin too: `agenthub --help | less`
        try:
            if stream is not None and (width := os.get_terminal_size(stream.fileno()).columns):
                return width
        except (OSError, ValueError):  # no terminal, or closed
            continue
    return 80


def panel(title: str, rows: Sequence[Row], on: Terminal) -> list[str]:
    """Lines of a frame with these rows, names on the left; required ones are marked if there are any."""
    across, down, corners = ("─", "│", "╭╮╰╯") if on.has_frames else ("-", "|", "++++")
    inside = on.width - 4
    mark_width = 3 if any(row.is_required for row in rows) else 0
    limit = math.ceil(on.width * _NAMES_SHARE)
    names = [_folded(row.name, limit) for row in rows]
    name_width = max(len(line) for lines in names for line in lines)
    text_width = max(_LEAST_TEXT_WIDTH, inside - mark_width - name_width - 2)
    result = [f"{corners[0]}{across} {title} ".ljust(on.width - 1, across) + corners[1]]
    for row, labels in zip(rows, names, strict=True):
        texts = wrapped(row.pieces, text_width)
        for number in range(max(len(labels), len(texts))):
            mark = "*" if row.is_required and not number else ""
            label = labels[number] if number < len(labels) else ""
            text = texts[number] if number < len(texts) else []
            free = " " * (text_width - len(_plain(text)))
            cells = (
                on.paint(Piece(mark, "marker")) + " " * (mark_width - len(mark)),
                on.paint(Piece(label, "name")) + " " * (name_width - len(label) + 2),
                painted(text, on),
            )
            result.append(f"{down} {''.join(cells)}{free} {down}")
    return [*result, f"{corners[2]}{across * (on.width - 2)}{corners[3]}"]


def _folded(name: str, width: int) -> list[str]:
    if len(name) <= width:
        return [name]
    first, *others = [_plain(line) for line in wrapped([Piece(name)], width - 2)]
    return [first, *(f"  {line}" for line in others)]


def wrapped(pieces: Iterable[Piece], width: int) -> list[list[Piece]]:
    """The words of these pieces in lines of at most this width; a word that is longer is cut."""
    lines: list[list[Piece]] = [[]]
    used = 0
    for text, style in pieces:
        for word in text.split():
            for start in range(0, len(word), width):
                part = word[start : start + width]
                if used and used + 1 + len(part) > width:
                    lines.append([])
                    used = 0
                used += len(part) + (1 if used else 0)
                lines[-1].append(Piece(part, style))
    return lines


def painted(words: Iterable[Piece], on: Terminal) -> str:
    """One line of these words."""
    runs = groupby(words, key=lambda word: word.style)
    return " ".join(on.paint(Piece(_plain(run), style)) for style, run in runs)


def _plain(words: Iterable[Piece]) -> str:
    return " ".join(word.text for word in words)
