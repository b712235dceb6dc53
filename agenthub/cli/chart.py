"""Who works here, read from the files in a hurry: for a shell that completes a word while somebody types.

No server is asked and nothing is checked: what is wrong in a file is left out, and said by `agenthub roles check`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """A role, as far as completion needs it."""

    description: str
    """Its first line."""
    reports_to: str
    """Empty: to the operator."""
    skills: tuple[str, ...]


class Chart(NamedTuple):
    """The operator, and the roles by name."""

    operator: str
    roles: Mapping[str, Entry]

    @property
    def managers(self) -> list[str]:
        """The roles to which another reports."""
        above = {entry.reports_to for entry in self.roles.values()}
        return [name for name in self.roles if name in above]

    @property
    def skills(self) -> list[str]:
        """What the roles can do, each once."""
        return sorted({skill for entry in self.roles.values() for skill in entry.skills})


def read_chart(config: str | None = None) -> Chart:
    """The chart of the organization of the current folder.

    Args:
        config: Another agenthub.toml, as `--config` says it.

    Raises:
        AgenthubError: If there is no such file.
        OSError: If it cannot be read.
        ValueError: If it is not TOML.
    """
    from agenthub.places import find_places
    from agenthub.role_files import DEFAULT_GLOBS, role_paths

    places = find_places({"config": config})
    path: Path | None = places["config"]
    file = tomllib.loads(path.read_text("utf-8-sig")) if path else {}
    overrides = _table(file.get("roles"))
    roles: dict[str, Entry] = {}
    for pattern in file.get("role_files") or DEFAULT_GLOBS:
        for role_file in role_paths(places["folder"], pattern):
            name, entry = _read(role_file, overrides)
            if name:
                roles.setdefault(name, entry)
    return Chart(str(file.get("operator") or "you"), roles)


def _read(path: Path, overrides: Mapping[str, Any]) -> tuple[str, Entry]:
    """The role of a file; without a name if it has none that a role can have."""
    from agenthub import subjects
    from agenthub.front_matter import FrontMatter, FrontMatterError
    from agenthub.role_files import identity_of

    try:
        front = FrontMatter.read(path.read_text("utf-8-sig")).values
    except (OSError, UnicodeDecodeError, FrontMatterError):
        return "", Entry("", "", ())
    key, otherwise = identity_of(path)
    name = str(front.get(key) or otherwise)
    said = {"reports_to": front.get("reportsTo"), **_table(front.get("agenthub")), **_table(overrides.get(name))}
    description = str(said.get("description") or front.get("description") or "")
    entry = Entry(
        next(iter(description.strip().splitlines()), ""), str(said.get("reports_to") or ""), _words(said.get("skills"))
    )
    return name if subjects.token(name) else "", entry


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: object) -> tuple[str, ...]:
    """`a, b` and `[a, b]` mean the same."""
    words: Iterable[object] = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else ()
    return tuple(word for one in words if (word := str(one).strip()))
