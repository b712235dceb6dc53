"""Write docs/cli.md from the table of commands: `python docs/make_cli.py`. A test keeps the file true."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from agenthub.cli import GROUP_NAMES, make_app
from agenthub.cli.arguments import arguments_of
from agenthub.cli.cheat_sheet import SHEET
from agenthub.cli.commands import COMMANDS
from agenthub.cli.commands.entry import Command
from agenthub.cli.options import OF_EVERY_COMMAND

TARGET = Path(__file__).parent / "cli.md"

_HEAD = """\
# The command line

Written by `python docs/make_cli.py` from the table of commands; change the texts there.

Data is on stdout, talk on stderr. Every command takes:

| option | |
|---|---|
| `--json` | one JSON document, or a line for each thing as it comes; `--json=id,role` prints these fields only |
| `--color` | `auto`, `always`, `never`; `NO_COLOR`, `FORCE_COLOR` and `TERM=dumb` are heeded |
| `--config` | the agenthub.toml; default: found from the current folder up |
| `--state` | folder of a hub's state; default: `.agenthub` beside it |
| `--nats` | URL of a NATS server; default: the hub's own |
| `--context` | context of the `nats` command that says how to reach the server |

`agenthub schema ps` prints the JSON Schema of what `agenthub ps --json` prints. With `--json` an error is
`{"error": {"code": 3, "message": "…", "hint": "…"}}` on stdout.

| exit code | |
|---|---|
| 0 | ok |
| 1 | failed |
| 2 | usage, or a file is wrong |
| 3 | there is no such thing |
| 4 | the hub cannot be reached |
| 5 | timed out waiting |
| 6 | refused |
| 7 | done in part |
| 130 | interrupted |

Who is meant: a role (`backend`), all (`@all`), a team (`@cto`: who works for the cto, at any level), who has a skill
(`?skill=sql`), a topic (`topic:status.deploy`). A length of time is `90s`, `10m`, `2h`, `7d`. Ids may be cut short.
"""


def text() -> str:
    """The whole of docs/cli.md."""
    parts = [_HEAD, _cheat_sheet()]
    for group in GROUP_NAMES:
        commands = [command for command in COMMANDS if command.group == group]
        if commands:
            parts.append(f"## {group}\n")
            parts += [_section(command) for command in commands]
    return "\n".join(parts)


def _cheat_sheet() -> str:
    lines = ["## In short\n"]
    for topic, sheet in groupby(SHEET, key=lambda line: line.topic):
        lines += [f"| {topic} | |", "|---|---|", *(f"| `{line.command}` | {line.what} |" for line in sheet), ""]
    return "\n".join(lines)


def _section(command: Command) -> str:
    first, _, rest = command.text.partition("\n")
    arguments = list(_arguments(command))
    usage = " ".join(["agenthub", command.name, *(name for name, _, is_positional in arguments if is_positional)])
    examples = [line for line in rest.splitlines() if line.startswith("$ ")]
    words = " ".join(line for line in rest.splitlines() if line.strip() and not line.startswith("$ "))
    shown = examples if f"$ {usage}" in {line.partition("   ")[0] for line in examples} else [f"$ {usage}", *examples]
    parts = [f"### {command.name}\n", f"{first}\n", "```", *shown, "```", ""]
    if words:
        parts += [words, ""]
    options = [f"| `{name}` | {what} |" for name, what, _ in arguments]
    if options:
        parts += ["| | |", "|---|---|", *options, ""]
    return "\n".join(parts)


def _arguments(command: Command) -> Iterator[tuple[str, str, bool]]:
    """Name, meaning, and whether it is one of the words that need no option."""
    app = make_app()
    for word in command.name.split():
        app = app[word]
    for argument in arguments_of(app):
        if argument.group == OF_EVERY_COMMAND:
            continue
        names = ", ".join(argument.names)
        if argument.is_positional and not argument.is_required:
            names = f"[{names}]"
        yield names, argument.text.replace("|", "\\|"), argument.is_positional


def main() -> int:
    """Write the file; with `--check` only say whether it is true."""
    if "--check" in sys.argv:
        return 0 if TARGET.read_text("utf-8") == text() else 1
    TARGET.write_text(text(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
