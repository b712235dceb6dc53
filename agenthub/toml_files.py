"""TOML files as people write them: with the line of each key, so that what is wrong can be shown to them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from agenthub.errors import ConfigError


class TomlFile(NamedTuple):
    """A TOML file as read, with the line of each key where it was found."""

    shown: str
    """Path as people write it: relative to the organization's folder."""
    values: dict[str, Any]
    lines: dict[tuple[str, ...], int]

    def get(self, dotted: str) -> object:
        """Value of a dotted key; None if it is not there."""
        value: object = self.values
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def line(self, dotted: str) -> int | None:
        """Line of a dotted key; None if that is not known."""
        return self.lines.get(_parts(dotted))

    def origin(self, dotted: str) -> str:
        """Where a key was said: the file, and the line if that is known."""
        line = self.line(dotted)
        return f"{self.shown}:{line}" if line else self.shown


def read_toml(path: Path, folder: Path) -> TomlFile:
    """Read a TOML file of the organization in `folder`.

    Raises:
        ConfigError: If it cannot be opened, or is not TOML; says in which line.
    """
    shown = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
    try:
        text = path.read_text("utf-8-sig")
        return TomlFile(shown, tomllib.loads(text), _lines(text))
    except OSError as error:
        raise ConfigError(f"{shown} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{shown} is not UTF-8 text; byte {error.start} is {error.object[error.start]:#04x}."
        ) from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column (\d+)\)", str(error))
        where = f", line {found[1]}, column {found[2]}" if found else ""
        reason = str(error).replace(found[0], "") if found else str(error)
        raise ConfigError(f"{shown}{where}: not TOML: {reason}.") from error


_TABLE = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:[\w.\-]|"[^"]*"|'[^']*'|[ \t](?=\.)|(?<=\.)[ \t])+)\s*=""")


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """Line of each table and key, as far as a line alone tells (tomllib keeps no positions)."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = _parts(found[1])
            lines.setdefault(table, number)
        elif found := _KEY.match(line):
            lines.setdefault((*table, *_parts(found[1])), number)
    return lines


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
