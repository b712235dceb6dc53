"""The walls in which Claude Code runs: its program and the system to read, its workspace and its home to change.

Both stand at the same paths inside and outside, since its records and the role's rules name them.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from agenthub.sandbox import CommandLimits, Isolation, Sandbox, environment
from agenthub.sessions.claude_code.place import FILE_TOOLS, Place

IN_WALLS_ONLY = frozenset({*FILE_TOOLS, "Bash"})
"""Tools of Claude Code that reach what its process reaches, however their input is looked through."""
MODEL_SOCKET = "/run/agenthub/model"
"""Where it reaches its model inside."""

_POLICIES = Path("/etc/claude-code")
"""What who administers this machine demands of every Claude Code."""
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
_OWN_PROCESSES = 128
"""Threads of Claude Code itself, which count among the processes of its user; it has about thirty."""
_OWN_MEMORY_BYTES = 1024**3
"""Of Claude Code itself, which takes about 300 MB, and more for a long conversation."""
_FILE_BYTES = 4 * 1024**3
"""Its record of a conversation grows for as long as the role works."""


def around(place: Place, program: str, socket: Path) -> Sandbox:
    """The sandbox for a role's Claude Code, in which `socket` leads to its model."""
    reads = [*_files_of(Path(program)), *([_POLICIES] if _POLICIES.exists() else [])]
    if place.has_network:
        named = (os.environ.get(name) for name in _CERTIFICATES)
        reads += [path for path in map(Path, filter(None, named)) if path.is_absolute() and path.exists()]
    return Sandbox(
        place.workspace, place.owner, has_network=place.has_network, reads=tuple(dict.fromkeys(reads)),
        limits=CommandLimits(
            timeout_s=math.inf, memory_bytes=math.inf, processes=place.processes + _OWN_PROCESSES,
            file_bytes=_FILE_BYTES,
        ),
        inside=str(place.workspace), writes=(place.home,), shows=((socket, MODEL_SOCKET),),
    )  # fmt: skip


def watched(place: Place) -> Sandbox:
    """The same for who looks at what all of it takes together: no process of node can be told a limit of its own."""
    limits = CommandLimits(memory_bytes=place.memory_bytes + _OWN_MEMORY_BYTES, disk_bytes=place.disk_bytes)
    return Sandbox(place.workspace, place.owner, limits=limits, writes=(place.home,))


def variables(program: str) -> dict[str, str]:
    """What its environment has inside in place of the machine's."""
    known = environment()
    folders = [str(Path(found).parent) for found in _interpreters(Path(program))]
    path = ":".join([known["PATH"], *folders])
    return {"PATH": path, "TMPDIR": known["TMPDIR"], "ANTHROPIC_UNIX_SOCKET": MODEL_SOCKET}


def variables_without(socket: str) -> dict[str, str]:
    """The same where there are no walls: it shall not have git read what the role's tools wrote in its workspace."""
    return {"GIT_DIR": os.devnull, "ANTHROPIC_UNIX_SOCKET": socket}


def name_of(program: str) -> str:
    """How the program is called inside."""
    return str(Path(program).resolve())


def refused(place: Place, can: Isolation) -> Mapping[str, str]:
    """Why tools of Claude Code are not used here, by name; a tool that is not named may be."""
    why = {}
    if can.remedy:
        for name in sorted(IN_WALLS_ONLY):
            why[name] = (
                f"`{name}` of Claude Code is not used on this machine: {can.found}. The operator can mend it: "
                f"{can.remedy}, then restart. Work with the other tools, or finish with `needs_human`."
            )
    if not place.has_network:
        why["WebFetch"] = (
            "`WebFetch` needs the network, which this role has not. The operator can give it: "
            "`agenthub: {network: true}` in the role's file. Work without, or finish with `needs_human`."
        )
    return why


def _files_of(program: Path) -> list[Path]:
    """What must be there to run a program, beside the system: itself, or the package of a script."""
    resolved = program.resolve()
    found = [resolved]
    if _is_script(resolved):
        above = [one for one in resolved.parents if one.name == "node_modules"]  # it may need its neighbours
        above += [one for one in resolved.parents if (one / "package.json").is_file()]
        found = [*above[:1], *([] if above else [resolved]), *map(Path, _interpreters(resolved))]
    return [path for path in found if not path.is_relative_to("/usr")]


def _interpreters(program: Path) -> list[str]:
    found = shutil.which("node") if _is_script(program.resolve()) else None
    return [found] if found and not found.startswith(("/usr/", "/bin/")) else []


def _is_script(program: Path) -> bool:
    with program.open("rb") as file:
        return file.read(2) == b"#!"
