"""The command for monitors and container platforms: one line and an exit code."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from agenthub.cli import EXIT_FAILED, EXIT_OK
from agenthub.cli.names import AnyRole
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import print_json
from agenthub.health_files import LIVE_WITHIN_S, HealthFile

if TYPE_CHECKING:
    from agenthub.client import RoleStatus


class Found(NamedTuple):
    """What was found out about one process."""

    process: str
    ok: bool
    state: str
    """A few words for people."""


async def check(
    *, role: AnyRole = None, ready: Annotated[bool, Parameter(negative="")] = False, options: Options = DEFAULT
) -> int:
    """Say in one line whether the processes are well; for monitors and HEALTHCHECK.

    Args:
        role: Only this role's processes.
        ready: Fail also if one lives but cannot work, for example while the broker is away.
    """
    found = _on_this_machine(_state(options), role, ready=ready)
    if not found:
        found = await _by_heartbeat(options, role)
    bad = [one for one in found if not one.ok]
    if options.json:
        print_json([one._asdict() for one in found], options)
    elif bad:
        print(f"CRITICAL: {'; '.join(f'{one.process} {one.state}' for one in bad)}")
    else:
        print("; ".join([f"OK: {len(found)} well", *_unready(found)]))
    return EXIT_FAILED if bad else EXIT_OK


def _unready(found: Iterable[Found]) -> list[str]:
    """What is to be said of those that are well and do not work: `backend, qa: stopped by you since …`."""
    by_state: dict[str, list[str]] = {}
    for one in found:
        if one.state != "ready":
            by_state.setdefault(one.state, []).append(one.process)
    return [f"{', '.join(names)}{':' if len(names) > 1 else ''} {state}" for state, names in by_state.items()]


def _state(options: Options) -> Path:
    """The state folder; where it is named, no configuration is read: a container is checked every few seconds."""
    if options.state is not None:
        return options.state
    if said := os.environ.get("AGENTHUB_STATE"):
        return Path(said)
    return options.settings().state


def _on_this_machine(state: Path, role: str | None, *, ready: bool) -> list[Found]:
    """What the processes here say themselves, without the broker."""
    return [
        asked(name, file, ready=ready)
        for name, file in HealthFile.all(state).items()
        if role is None or name == role or name.startswith(f"{role}.")
    ]


def asked(name: str, file: HealthFile, *, ready: bool, within_s: float = LIVE_WITHIN_S) -> Found:
    """What one process says of itself; with `ready` it must be able to work, not only live."""
    try:
        lives, _ = file.ask("/livez", within_s=within_s)
        works, words = file.ask("/readyz", within_s=within_s)
    except TimeoutError:
        return Found(name, ok=False, state=f"does not answer: its event loop has not turned for {within_s:g} s")
    except OSError as error:
        return Found(name, ok=False, state=f"is down (port {file.port}: {error})")
    if works:
        return Found(name, ok=lives, state=words.removeprefix("ok").removeprefix(": ") or "ready")
    return Found(name, ok=lives and not ready, state=f"lives, but is {words}")


async def _by_heartbeat(options: Options, role: str | None) -> list[Found]:
    """What the broker knows, from anywhere."""
    async with options.client() as client:
        if role is not None:
            client.organization.role(role)
        found = await client.roles(also_without_file=True)
        return [_beating(status) for status in found if role in (None, status.role.split(".")[0])]


def _beating(status: RoleStatus) -> Found:
    if status.heartbeat is not None:
        health = status.heartbeat.health
        well = status.standing.words or "ready"
        return Found(status.role, ok=health == "ok", state=well if health == "ok" else f"is {health}")
    if status.absence is not None and status.absence.was_stopped:
        return Found(status.role, ok=False, state="was stopped")
    return Found(status.role, ok=False, state="gives no sign of life")
