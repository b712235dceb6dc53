"""Restarts that a person asks for, as far as they are the supervisor's: of processes that cannot end themselves."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.children import Child, RoleState
from agenthub.control import Control, may_decide
from agenthub.errors import MessageError
from agenthub.guards.senders import Senders
from agenthub.org.steering import as_stored, read_signed

logger = logging.getLogger(__name__)

KILL_AFTER_S = 5.0
"""So long a process that shall restart at once may take to end by itself."""


async def obey_restarts(
    bus: Bus, senders: Senders, operator: str, children: Mapping[str, Child], start: Callable[[Child], Awaitable[None]],
    send: Callable[[list[Child], int], None], new: Callable[[str], Awaitable[Sequence[Child]]],
) -> None:  # fmt: skip
    """Start what was left alone, or waits for its next start, when a person asks for it; runs until cancelled.

    What works hears of it and ends itself; only if it should at once and does not, it is killed.

    Args:
        start: Starts one; or ends it for good, if its role's file is gone.
        new: Reads the files again; processes that the role has by them, and which are not there yet.
    """
    async with bus.listen(subjects.ALL_CONTROL_STATES) as heard, asyncio.TaskGroup() as group:
        async for received in heard:
            place = subjects.control_of(received.subject)
            if place is None or place.verb != "restart" or (stored := await as_stored(bus, received)) is None:
                continue
            try:
                control = read_signed(stored, senders.has_signed)
            except MessageError as error:
                logger.warning("%s", error)
                continue
            if control.verb != "restart" or not may_decide(control, operator=operator, managers=()):
                continue
            for child in await new(control.role):
                logger.info("%s is started for the first time %s", child.key, control.words)
                await start(child)
            for child in [child for child in children.values() if child.role == control.role]:
                await child.until_signed_off()
                if child.state in (RoleState.QUARANTINED, RoleState.WAITING):
                    logger.info("%s is not running, and asked to restart %s", child.key, control.words)
                    child.forgive()
                    await start(child)
                elif control.at_once:
                    group.create_task(_kill_late(child, control, send), name=f"restart {child.key}")


async def _kill_late(child: Child, control: Control, send: Callable[[list[Child], int], None]) -> None:
    pid = child.pid
    await asyncio.sleep(KILL_AFTER_S)
    if pid is not None and child.pid == pid and child.state is RoleState.RUNNING:
        logger.warning("%s does not end; it is killed %s", child.key, control.words)
        send([child], signal.SIGKILL)
