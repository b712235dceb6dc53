"""Draw the README's picture from a real run of the demo: `python docs/make_media.py` writes docs/demo.svg."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS = 132
NIGHT = TerminalTheme(
    (22, 22, 30),
    (192, 202, 245),
    [
        (65, 72, 104), (247, 118, 142), (158, 206, 106), (224, 175, 104), (122, 162, 247), (187, 154, 247),
        (125, 207, 255), (192, 202, 245),
    ],
)  # fmt: skip


def main() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "agenthub", "demo"],
        capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "COLORTERM": "truecolor"},
    )  # fmt: skip
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), color_system="truecolor")  # noqa: PTH123, SIM115
    console.print(Text("$ make demo", style="bold"))
    console.print(Text.from_ansi(run.stdout.rstrip()))
    svg = console.export_svg(title="agenthub", theme=NIGHT, font_aspect_ratio=0.61)
    # No fonts from elsewhere: the picture shows the same without a network.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
    svg = svg.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono")
    (Path(__file__).parent / "demo.svg").write_text(svg)


if __name__ == "__main__":
    main()
