"""A line at the bottom of the terminal while a command waits for a role: what it does, who works, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from agenthub.cli.output import length
from agenthub.errors import AgenthubError

if TYPE_CHECKING:
    from agenthub.client import Client

_EVERY_S = 1.0
_ERASED = "\r\x1b[K"


@contextlib.asynccontextmanager
async def shown_while_waiting(client: Client, role: str) -> AsyncIterator[None]:
    """Show the line for the length of the block, if people look: on a terminal, and nothing of it stays."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    showing = asyncio.create_task(_show(client, role), name="waiting line")
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        _write("")


async def _show(client: Client, role: str) -> None:
    began_s = time.monotonic()
    while True:
        await asyncio.sleep(_EVERY_S)  # what is over sooner needs no line
        with contextlib.suppress(AgenthubError, TimeoutError):
            _write(f"{await _line(client, role)} · {length(time.monotonic() - began_s)}")


async def _line(client: Client, role: str) -> str:
    from agenthub.client.approvals import Approvals
    from agenthub.client.states import WORKING, state_and_doing

    statuses, decisions = await asyncio.gather(client.roles(), Approvals(client).waiting())
    states = [(one.role.partition(".")[0], *state_and_doing(one, None, None)) for one in statuses]
    own = min((one for one in states if one[0] == role), key=lambda one: one[1].rank, default=None)
    words = [] if own is None else [f"{role} {own[1].glyph} {own[1].word}" + (f": {own[2]}" if own[2] else "")]
    if at_work := sorted({name for name, state, _ in states if state == WORKING and name != role}):
        words.append(f"at work: {', '.join(at_work)}")
    if decisions:
        words.insert(0, f"◆ {len(decisions)} for you to decide: agenthub approvals")
    return " · ".join(words)


def _write(line: str) -> None:
    room = shutil.get_terminal_size().columns - 1
    shown = "".join(character if character.isprintable() else " " for character in line)
    head, _, tail = shown.rpartition(" · ")
    if len(shown) > room and head:  # the time stays
        shown = f"{head[: max(0, room - len(tail) - 4)]}… · {tail}"
    sys.stderr.write(_ERASED + shown[:room])
    sys.stderr.flush()
