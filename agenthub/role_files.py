"""Which files are role files, and what names the role in each."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

DEFAULT_GLOBS = ("roles/*.md", ".claude/agents/**/*.md", "agents/*/AGENTS.md")
COMPANY_FILE = "AGENTS.md"
"""A role as agentcompanies write it."""


class Identity(NamedTuple):
    """What names the role of a file."""

    key: str
    """Of the front matter."""
    otherwise: str
    """If nothing stands there."""


def role_paths(folder: Path, pattern: str) -> list[Path]:
    """The role files of a glob, in order of name. Files named README.md are none.

    Raises:
        ValueError: If it is no glob below the folder.
    """
    if Path(pattern).is_absolute():
        raise ValueError("it is absolute")
    return sorted(path for path in folder.glob(pattern) if path.is_file() and path.name.lower() != "readme.md")


def identity_of(path: Path) -> Identity:
    """What names the role of this file."""
    if path.name == COMPANY_FILE:  # names are titles there; slug or folder is the identity
        return Identity("slug", path.parent.name)
    return Identity("name", path.stem)
