"""What `--help` prints, from the table of commands and what each of them takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from agenthub.cli import FAMILIES, GROUP_NAMES, HELP, HELP_FLAGS
from agenthub.cli.commands import COMMANDS
from agenthub.cli.panels import Piece, Row, Terminal, painted, panel, wrapped

if TYPE_CHECKING:  # half of what `--help` costs: a page that only lists commands goes without
    from agenthub.cli.arguments import Argument

_OF_THE_WHOLE = (
    Row("--help (-h)", [Piece("Display this message and exit.")]),
    Row("--version", [Piece("Display application version.")]),
)


def help_page(words: Sequence[str], on: Terminal) -> str | None:
    """The page that a command line asks for; None: it asks for none, or for that of a command that is not there.

    `--help` may stand anywhere before `--`. Where commands are listed it may be left out.
    """
    before = words[: words.index("--")] if "--" in words else words
    named = [word for word in before if word not in HELP_FLAGS]
    family = named[0] if named and named[0] in FAMILIES else ""
    rest = named[1:] if family else named
    if len(named) == len(before) and (rest or before != words):
        return None
    if not rest or rest[0].startswith("-"):
        return _page(*_list(family), on)
    return _page_of_command(named, on)


def _list(family: str) -> tuple[list[str], str, dict[str, list[Row]]]:
    """Usage, text and rows by title: of the commands of a family, or of everything that stands behind `agenthub`."""
    if family:
        named = [(one.name.partition(" ")[2], one.text) for one in COMMANDS if one.name.startswith(f"{family} ")]
        return [family, "COMMAND"], FAMILIES[family], {"Commands": [_row(*one) for one in sorted(named)]}
    firsts = {one.name.partition(" ")[0]: one for one in reversed(COMMANDS)}  # a family is where the first of it is
    rows = {name: _row(name, FAMILIES.get(name, one.text)) for name, one in sorted(firsts.items())}
    panels = {group: [rows[name] for name in rows if firsts[name].group == group] for group in GROUP_NAMES}
    return ["COMMAND"], HELP, {"Commands": [*_OF_THE_WHOLE], **panels}


def _page_of_command(words: Sequence[str], on: Terminal) -> str | None:
    from agenthub.cli import make_app
    from agenthub.cli.arguments import arguments_of

    chain, apps, _ = make_app().parse_commands(words)
    command = apps[-1]
    if command.default_command is None:
        return None
    arguments = arguments_of(command)
    panels = {"Commands": sorted(_row(name, command[name].help) for name in command if not name.startswith("-"))}
    for argument in arguments:
        panels.setdefault(argument.group, []).append(Row(argument.label, _said(argument), argument.is_required))
    usage = [*chain, *(["COMMAND"] if panels["Commands"] else []), *_usage(arguments)]
    return _page(usage, command.help.partition("\nArgs:\n")[0], panels, on)


def _row(name: str, text: str) -> Row:
    return Row(name, [Piece(text.partition("\n")[0])])


def _said(argument: Argument) -> list[Piece]:
    """What an argument is for; which values it may have, and has if it is left out."""
    pieces = [Piece(argument.text)]
    if argument.choices:
        pieces.append(Piece(f"[choices: {', '.join(argument.choices)}]", "dim"))
    if argument.default:
        pieces.append(Piece(f"[default: {argument.default}]", "dim"))
    if argument.is_required:
        pieces.append(Piece("[required]", "required"))
    return pieces


def _usage(arguments: Sequence[Argument]) -> Iterator[str]:
    options = [argument for argument in arguments if not argument.is_positional]
    for option in options:
        if option.is_required:
            yield f"{option.names[0]} {option.value}"
    if not all(option.is_required for option in options):
        yield "[OPTIONS]"
    for argument in arguments:
        if argument.is_positional:
            name = argument.names[0] + ("..." if argument.value.endswith("...") else "")
            yield name if argument.is_required else f"[{name}]"


def _page(usage: Sequence[str], text: str, panels: dict[str, list[Row]], on: Terminal) -> str:
    lines = [painted(line, on) for line in wrapped([Piece(f"Usage: agenthub {' '.join(usage)}", "bold")], on.width)]
    lines += ["", *_paragraphs(text, on), ""]
    for title, rows in panels.items():
        if rows:
            lines += panel(title, rows, on)
    return "\n".join(lines)


def _paragraphs(text: str, on: Terminal) -> Iterator[str]:
    """Prose in lines that fit, examples as they are: whoever copies one wants it whole."""
    for is_prose, lines in groupby(text.strip().splitlines(), key=_is_prose):
        if is_prose:
            yield from _prose(lines, on)
        else:
            yield from lines


def _is_prose(line: str) -> bool:
    return bool(line) and not line.startswith(("$", " "))


def _prose(lines: Iterable[str], on: Terminal) -> Iterator[str]:
    for paragraph in " ".join(lines).replace(" Exit codes:", "\nExit codes:").splitlines():
        for line in wrapped([Piece(paragraph)], on.width):
            yield painted(line, on)
