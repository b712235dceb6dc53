"""Draw the pictures of the README and of docs/tui.md from real runs: `python docs/make_media.py`.

docs/demo.svg is the demo, line by line as it came; docs/tui.svg the terminal UI while an organization works.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from agenthub.client import open_client
from agenthub.client.states import WORKING
from agenthub.organization import load_organization
from agenthub.settings import Settings
from agenthub.tui.app import HubApp
from agenthub.tui.facts import agents
from agenthub.tui.source import HubSource

COLUMNS = 132
SCREEN = (168, 42)
REPOSITORY = Path(__file__).parent.parent
NIGHT = TerminalTheme(
    (22, 22, 30),
    (192, 202, 245),
    [
        (65, 72, 104), (247, 118, 142), (158, 206, 106), (224, 175, 104), (122, 162, 247), (187, 154, 247),
        (125, 207, 255), (192, 202, 245),
    ],
)  # fmt: skip
DIRECTIVES = (
    "File attachments: design the API and the screens, build and test them, write the guide",
    "Single sign-on: design it, build and test it, review the security, plan the rollout",
)
WORKING_AT_LEAST = 5
_SLOWER = 2.0
"""So many times slower than it was: a run of the demo is over before one has read it."""
_WITHIN_S = 120


def main() -> None:
    """Both pictures."""
    lines, came_s = demo()
    (REPOSITORY / "docs" / "demo.svg").write_text(animated(drawn(lines), came_s))
    with tempfile.TemporaryDirectory() as place:
        picture = asyncio.run(terminal_ui(Path(place)))
    (REPOSITORY / "docs" / "tui.svg").write_text(without_fonts(picture))


def demo() -> tuple[list[str], list[float]]:
    """Lines of a run of the demo, and the second at which each of them came."""
    process = subprocess.Popen(
        [sys.executable, "-m", "agenthub", "demo"], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "COLORTERM": "truecolor"},
    )  # fmt: skip
    assert process.stdout is not None
    lines, came_s, began_s = [], [], time.monotonic()
    try:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            came_s.append(time.monotonic() - began_s)
        process.wait(_WITHIN_S)
    finally:
        process.kill()
    assert process.returncode == 0, process.returncode
    return lines, came_s


def drawn(lines: Sequence[str]) -> str:
    """The lines below the command that they come from, as SVG."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), color_system="truecolor")  # noqa: PTH123, SIM115
    console.print(Text("$ make demo", style="bold"))
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="ellipsis", crop=True)
    return without_fonts(console.export_svg(title="agenthub", theme=NIGHT, font_aspect_ratio=0.61))


def animated(svg: str, came_s: Sequence[float]) -> str:
    """The same with each line shown in the time in which it came; at once for who wants no motion."""
    styles = ["@keyframes come { from { opacity: 0 } to { opacity: 1 } }"]
    for number, second in enumerate(came_s, 1):
        begins_s = (second - came_s[0]) * _SLOWER + 0.5
        styles.append(f'[clip-path*="line-{number})"] {{ animation: come .15s {begins_s:.2f}s both }}')
    styles.append("@media (prefers-reduced-motion: reduce) { * { animation: none !important } }")
    return svg.replace("</style>", "\n".join(styles) + "\n</style>", 1)


def without_fonts(svg: str) -> str:
    """No fonts from elsewhere: the picture shows the same without a network."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
    return svg.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono")


async def terminal_ui(folder: Path) -> str:
    """The terminal UI as it shows the shipped organization at work, as SVG."""
    for name in ("config", "roles"):
        shutil.copytree(REPOSITORY / name, folder / name)
    _run(folder, "up", "-d", "--wait", "--rehearse")
    try:
        _run(folder, "send", "ceo", DIRECTIVES[0], "--wait")  # so that there is a past
        settings = Settings.load(config=folder / "config" / "agenthub.toml")
        async with open_client(settings, load_organization(settings)) as client:
            app = HubApp(HubSource(client, is_rehearsal=True))
            async with app.run_test(size=SCREEN) as pilot, asyncio.timeout(_WITHIN_S):
                await client.send("ceo", DIRECTIVES[1])
                while (
                    sum(agent.state == WORKING for agent in (agents(app.picture) if app.picture else ()))
                    < WORKING_AT_LEAST
                ):
                    await pilot.pause(0.1)
                await pilot.press("home")
                await pilot.pause(0.8)
                return app.export_screenshot(title="agenthub tui")
    finally:
        _run(folder, "down", "--now")


def _run(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "agenthub", *words], cwd=folder, check=True, timeout=_WITHIN_S)


if __name__ == "__main__":
    main()
