"""A line at the bottom of the terminal while a command waits for roles: what they do, who is missing, for how long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from agenthub.cli.output import length
from agenthub.errors import AgenthubError

if TYPE_CHECKING:
    from datetime import datetime

    from agenthub.client import Client, RoleStatus
    from agenthub.client.polls import Progress

_EVERY_S = 1.0
_ERASED = "\r\x1b[K"


def shown_while_waiting(client: Client, role: str) -> contextlib.AbstractAsyncContextManager[None]:
    """Show what a role does and who else works for the length of the block, if people look: on a terminal.

    Nothing of it stays.
    """
    began_s = time.monotonic()

    async def line() -> str:
        return f"{await _of_role(client, role)} · {length(time.monotonic() - began_s)}"

    return _shown(line)


def shown_while_polling(client: Client, progress: Progress) -> contextlib.AbstractAsyncContextManager[None]:
    """Show who has answered, who is missing and until when for the length of the block, as `shown_while_waiting`."""

    async def line() -> str:
        return await _of_poll(client, progress)

    return _shown(line)


@contextlib.asynccontextmanager
async def _shown(line: Callable[[], Awaitable[str]]) -> AsyncIterator[None]:
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    showing = asyncio.create_task(_show(line), name="waiting line")
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        _write("")


async def _show(line: Callable[[], Awaitable[str]]) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)  # what is over sooner needs no line
        with contextlib.suppress(AgenthubError, TimeoutError):
            _write(await line())


async def _of_role(client: Client, role: str) -> str:
    from agenthub.client.states import WORKING, state_and_doing

    statuses, decisions = await _roles_and_decisions(client)
    states = [(one.role.partition(".")[0], *state_and_doing(one, None, None)) for one in statuses]
    own = min((one for one in states if one[0] == role), key=lambda one: one[1].rank, default=None)
    words = [] if own is None else [f"{role} {own[1].glyph} {own[1].word}" + (f": {own[2]}" if own[2] else "")]
    if at_work := sorted({name for name, state, _ in states if state == WORKING and name != role}):
        words.append(f"at work: {', '.join(at_work)}")
    return " · ".join([*decisions, *words])


async def _of_poll(client: Client, progress: Progress) -> str:
    from agenthub.client.states import state_and_doing
    from agenthub.messages import now

    statuses, decisions = await _roles_and_decisions(client)
    found = [(one.role.partition(".")[0], state_and_doing(one, None, None)[0]) for one in statuses]
    states = dict(sorted(found, key=lambda one: -one[1].rank))  # of replicas that at which to look first
    missing = [
        f"{role} {states[role].glyph} {states[role].word}" if role in states else role for role in progress.missing
    ]
    words = [f"{len(progress.answered)} of {len(progress.asked)} have answered"]
    words += [f"missing: {', '.join(missing)}"] if missing else []
    words += [f"{length((progress.deadline - now()).total_seconds())} left, until {_clock(progress.deadline)}"]
    return " · ".join([*decisions, *words])


async def _roles_and_decisions(client: Client) -> tuple[list[RoleStatus], list[str]]:
    """How the roles are, and what to say of decisions that wait for the person who looks."""
    from agenthub.client.approvals import Approvals

    statuses, decisions = await asyncio.gather(client.roles(), Approvals(client).waiting())
    return statuses, [f"◆ {len(decisions)} for you to decide: agenthub approvals"] if decisions else []


def _clock(moment: datetime) -> str:
    """The time of day here; with the day if that is not today."""
    from agenthub.messages import now

    local = moment.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def _write(line: str) -> None:
    room = shutil.get_terminal_size().columns - 1
    shown = "".join(character if character.isprintable() else " " for character in line)
    head, _, tail = shown.rpartition(" · ")
    if len(shown) > room and head:  # the time stays
        shown = f"{head[: max(0, room - len(tail) - 4)]}… · {tail}"
    sys.stderr.write(_ERASED + shown[:room])
    sys.stderr.flush()
