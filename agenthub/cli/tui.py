"""The command that opens the terminal UI."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.budget import is_rehearsal
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.errors import ConfigError

Flag = Parameter(negative="")


async def tui(
    *,
    read_only: Annotated[bool, Flag] = False,
    since: str | None = None,
    theme: str | None = None,
    options: Options = DEFAULT,
) -> int:
    """Open the terminal UI.

    Args:
        read_only: Turn off every key that changes something.
        since: Begin with the events of so long: `10m`, `24h`. Default: the newest 500.
        theme: One of the themes; `:` in the terminal UI lists them.
    """
    if options.json:
        raise ConfigError("A screen has no JSON. `agenthub ps --json` and `agenthub tail --json` say the same.")
    begin = None if since is None else duration(since)
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise ConfigError("The terminal UI needs a terminal. Without one: `agenthub ps`, `agenthub tail -f`.")
    from textual.theme import BUILTIN_THEMES

    from agenthub.errors import unknown
    from agenthub.messages import now
    from agenthub.tui.app import HubApp
    from agenthub.tui.keys import read_preferences
    from agenthub.tui.palette import NIGHT
    from agenthub.tui.source import HubSource

    themes = [NIGHT.name, *BUILTIN_THEMES]
    if theme is not None and theme not in themes:
        raise ConfigError(unknown("theme", theme, themes))
    preferences = read_preferences(preferences_file(), themes=themes)
    if theme is not None:
        preferences = preferences._replace(theme=theme)
    async with options.client() as client:
        app = HubApp(
            HubSource(client, is_rehearsal=is_rehearsal(options)), preferences=preferences, is_read_only=read_only,
            since=None if begin is None else now() - begin,
        )  # fmt: skip
        await app.run_async()
    return app.return_code or EXIT_OK


def preferences_file() -> Path:
    """Where a user says how the terminal UI shall be; it need not be there."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "agenthub" / "config.toml"
