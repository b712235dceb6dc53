"""Which tools of its own a role gets, by the `tools:` line of its file.

Without the line it gets all that stay in its workspace. The shell is only for a role whose file names it (`Bash`,
`Bash(pytest *)` or `run_command`): what runs there is a program, not a call that could be looked through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from agenthub.guards.permissions import Permissions, offers
from agenthub.messages import now
from agenthub.roles import Role
from agenthub.sandbox import CommandLimits, Sandbox
from agenthub.sessions.session import Tool
from agenthub.tools.edit import edit_tools
from agenthub.tools.notes import notes_tools
from agenthub.tools.search import search_tools
from agenthub.tools.shell import RUN_COMMAND, shell_tools
from agenthub.tools.workplace import Workplace
from agenthub.tools.workspace import workspace_tools


def role_tools(
    role: Role, place: Workplace, *, state: Path, readable: Callable[[], Collection[str]] = tuple
) -> list[Tool]:
    """The tools of a role for its files and commands, which work at `place`; its notes are below `state`.

    Args:
        readable: Roles whose notes it may read at the moment.
    """
    tools = [*workspace_tools(place), *edit_tools(place), *search_tools(place)]
    if has_shell(role):
        tools += shell_tools(sandbox_of(role, workspace_of(role.name, state)), place)
    notes = state / "notes" / f"{role.name}.md"  # part of working here: for all
    return [*_offered(role, tools), *notes_tools(notes, role.name, clock=now, readable=readable)]


def has_shell(role: Role) -> bool:
    """True if the role's file names the shell among its tools."""
    return role.tools is not None and offers(Permissions(only=role.tools), RUN_COMMAND)


def workspace_of(role: str, state: Path) -> Path:
    """The folder of a role that works in no repository."""
    return state / "workspaces" / role


def sandbox_of(role: Role, workspace: Path) -> Sandbox:
    """Where the role's commands run, with the limits of its file."""
    limits, mib = role.settings.limits, 1024**2
    return Sandbox(
        workspace,
        role.name,
        has_network=role.settings.network,
        limits=CommandLimits(
            timeout_s=limits.command_timeout_s,
            memory_bytes=limits.command_memory_mib * mib,
            processes=limits.command_processes,
            file_bytes=limits.command_file_mib * mib,
            disk_bytes=limits.command_disk_mib * mib,
        ),
    )


def _offered(role: Role, tools: Iterable[Tool]) -> Iterable[Tool]:
    permissions = Permissions(only=role.tools)
    return (tool for tool in tools if offers(permissions, tool.name))
