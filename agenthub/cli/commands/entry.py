"""What the list of commands holds of one."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One command of the CLI."""

    name: str
    """As it is typed, `inbox ls` for the command of a group."""
    group: str
    code: str
    """`module:function` below `agenthub.cli`."""
    text: str
    """First line for the list of commands, the rest for `--help`."""
