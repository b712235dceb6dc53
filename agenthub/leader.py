"""One process of all does what must be done once for the organization: the leader, by lease, without a model.

Which of them it is does not matter and is never configured. When it ends or loses the lease another takes over
within the lease's time; whatever a duty does must therefore be harmless when it is done twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from agenthub import subjects
from agenthub.bus.buckets import Bucket, Holder, IsTrue, hold_lease
from agenthub.bus.connection import Bus
from agenthub.errors import HubUnreachableError, LeaseLostError
from agenthub.rhythm import next_moment
from agenthub.together import run_together

logger = logging.getLogger(__name__)

Duty = Callable[[], Awaitable[None]]
"""Runs until it is cancelled; what it raises ends the process."""


async def lead(
    bus: Bus,
    as_leader: Callable[[], AbstractAsyncContextManager[Bus]],
    duties: Callable[[Bus], Sequence[Duty]],
    *,
    ttl_s: float,
    clock: Callable[[], float],
    entered: IsTrue = lambda *_: True,
) -> None:
    """Do the duties whenever this process is the leader; runs until cancelled.

    Args:
        bus: The role's own connection, by which it sees whether anybody leads.
        as_leader: Connects as the leader, who may do more than any role; only for as long as this process leads.
        duties: What is to be done, by that connection.
        entered: Says whether who may has signed that somebody leads; else nobody does.
    """
    while True:
        try:
            if await _is_free(bus, entered):
                async with (
                    as_leader() as own,
                    hold_lease(own, subjects.LEADER, ttl_s=ttl_s, within_s=0, clock=clock, entered=entered) as lease,
                ):
                    logger.info("leads")
                    await run_together(
                        [("keep leading", lease.keep()), *(("duty", _run(duty)) for duty in duties(own))]
                    )
        except* (LeaseLostError, HubUnreachableError) as error:
            logger.debug("does not lead: %s", error.exceptions[0])
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise asyncio.CancelledError  # a group that is cancelled raises what its tasks raised on their way out
        await next_moment(2 * ttl_s / 3)


async def _is_free(bus: Bus, entered: IsTrue) -> bool:
    """True if nobody leads, or who does has ended. Looking costs one request and no connection of its own."""
    entry = await Bucket(bus, subjects.LEASES, Holder, is_true=entered).get(subjects.LEADER)
    return entry is None or entry.value.is_gone()


async def _run(duty: Duty) -> None:
    await duty()
