"""Services that run beside each other until they are stopped, and are then known to have ended.

One cancellation is not enough: Python forgets it where something fails in the same moment. `asyncio.gather` raises what
one of its tasks raised, and no `CancelledError`; up to 3.11 `asyncio.wait_for` returns an answer that comes just then
(python/cpython#86296). A service that goes on after errors goes on then, and a `TaskGroup`, which cancels its tasks
only once, waits for it for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

CANCELLED_AGAIN_S = 3.0
"""So long a task may take to end: what it gives back on its way out may need the broker."""


async def let_go(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended; who is cancelled meanwhile cancels them again, and waits on."""
    left, is_cancelled = set(tasks), False
    for task in left:
        if not task.cancelling():
            task.cancel()
    while left:
        try:
            _, left = await asyncio.wait(left, timeout=CANCELLED_AGAIN_S)
        except asyncio.CancelledError:
            is_cancelled = True
        for task in left:
            task.cancel()
    if is_cancelled:
        raise asyncio.CancelledError


async def run_together(services: Iterable[tuple[str, Coroutine[Any, Any, None]]]) -> None:
    """Run services, each with the name of its task, until cancelled or one fails; all have ended then.

    Raises:
        BaseExceptionGroup: What they raised.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service, name=name) for name, service in services]
        try:
            await asyncio.wait(tasks)
        finally:
            await let_go(tasks)
