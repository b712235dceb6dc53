"""A screen as text: what stands where, and in what colour, so that a person can read how one differs from another."""

from __future__ import annotations

from agenthub.tui.app import HubApp

_LETTERS = {"accent": "a", "hot": "h", "good": "g", "warn": "w", "bad": "b", "cool": "c", "violet": "v", "dim": ".",
            "faint": ","}  # fmt: skip


def drawn(app: HubApp) -> str:
    """The screen line by line; below it the same lines with a letter for the colour of each cell."""
    letters = {app.palette.style(name).color: letter for name, letter in _LETTERS.items()}
    lines, colours = [], []
    for strip in app.screen._compositor.render_strips():
        line = colour = ""
        for text, style, control in strip:
            if control:
                continue
            line += text
            letter = letters.get(style.color, " ") if style is not None else " "
            colour += "".join(" " if cell == " " else letter for cell in text)
        lines.append(line.rstrip())
        colours.append(colour.rstrip())
    key = "  ".join(f"{letter} {name}" for name, letter in _LETTERS.items())
    return "\n".join([*lines, "", f"colours: {key}", *colours]) + "\n"
