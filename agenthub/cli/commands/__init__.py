"""Every command: its group, where its code is, and what its help says, examples included; one file per group.

Here and not in the docstrings, so that `agenthub --help` imports no command.
"""

from __future__ import annotations

from agenthub.cli.commands import admin, fix, run, see, steer, talk
from agenthub.cli.commands.entry import Command

COMMANDS: tuple[Command, ...] = (
    *run.COMMANDS,
    *talk.COMMANDS,
    *steer.COMMANDS,
    *see.COMMANDS,
    *fix.COMMANDS,
    *admin.COMMANDS,
)
