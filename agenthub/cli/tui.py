"""The command that opens the terminal UI."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.budget import is_rehearsal
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import say
from agenthub.errors import ConfigError

Flag = Parameter(negative="")
_LAST_PORT = 65_535


async def tui(
    address: str = "127.0.0.1:8180",
    /,
    *,
    serve: Annotated[bool, Flag] = False,
    read_only: Annotated[bool, Flag] = False,
    since: str | None = None,
    theme: str | None = None,
    options: Options = DEFAULT,
) -> int:
    """Open the terminal UI.

    Args:
        address: With --serve: where, as `host:port`.
        serve: Show it in a browser instead, behind a token.
        read_only: Turn off every key that changes something.
        since: Begin with the events of so long: `10m`, `24h`. Default: the newest 500.
        theme: One of the themes; `:` in the terminal UI lists them.
    """
    if options.json:
        raise ConfigError("A screen has no JSON. `agenthub ps --json` and `agenthub tail --json` say the same.")
    begin = None if since is None else duration(since)
    if serve:
        arguments = _arguments(read_only=read_only, since=since, theme=theme, options=options)
        return await _serve(address, arguments, options)
    has_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if not has_terminal and "TEXTUAL_DRIVER" not in os.environ:  # what textual-serve starts has pipes
        raise ConfigError("The terminal UI needs a terminal. Without one: `agenthub ps`, `agenthub tail -f`.")
    from textual.theme import BUILTIN_THEMES

    from agenthub.errors import unknown
    from agenthub.messages import now
    from agenthub.tui.app import HubApp
    from agenthub.tui.keys import read_preferences
    from agenthub.tui.palette import NIGHT
    from agenthub.tui.served import end_with_server
    from agenthub.tui.source import HubSource

    end_with_server()
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


def _arguments(*, read_only: bool, since: str | None, theme: str | None, options: Options) -> list[str]:
    """The same words again, for each page that opens."""
    said = {"--since": since, "--theme": theme, "--config": options.config, "--state": options.state}
    words = [word for flag, value in said.items() if value is not None for word in (flag, str(value))]
    words += ["--nats", options.nats] if options.nats is not None else []
    words += ["--context", options.context] if options.context is not None else []
    return [*words, "--read-only"] if read_only else words


async def _serve(address: str, arguments: list[str], options: Options) -> int:
    try:
        from agenthub.tui.serve import serve
    except ModuleNotFoundError as error:
        raise ConfigError(
            "To show it in a browser textual-serve must be installed: pip install 'agenthub[web]'."
        ) from error
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _LAST_PORT:
        raise ConfigError(f"`--serve` takes host:port, such as 127.0.0.1:8180; found {address!r}")
    async with options.client() as client:  # says at once if there is no hub
        org = client.organization.org
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def ready(url: str) -> None:
        print(url, flush=True)
        say(f"{org} is shown there, to whoever has this address. Ctrl-C ends it.")

    try:
        await serve(arguments, host=host.strip("[]"), port=int(port), title=org, stop=stop, ready=ready)
    except OSError as error:
        raise ConfigError(f"{address} cannot be served: {error.strerror or error}. Try another port.") from error
    return EXIT_OK


def preferences_file() -> Path:
    """Where a user says how the terminal UI shall be; it need not be there."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "agenthub" / "config.toml"
