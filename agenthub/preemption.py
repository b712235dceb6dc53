"""Urgent means now: a critical message reaches a role that is in the middle of a turn.

The model hears of it at its next tool step, in words of the host, and may set its task aside at a good point. If
it does not within the grace time the turn is interrupted at its next step. Either way nothing is lost: the task
in hand stays in hand and goes on where it was, right after what was critical.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from agenthub.inbox import Inbox
from agenthub.messages import Message, Priority
from agenthub.org.events import Events
from agenthub.sessions.session import Session, TurnEnd, TurnResult


class Preemption:
    """Watches for critical messages while a turn runs."""

    def __init__(self, inbox: Inbox, session: Session, events: Events, *, grace_s: float) -> None:
        self._inbox, self._session, self._events, self._grace_s = inbox, session, events, grace_s
        self._was_announced = False

    def watch(self, task: Message) -> AbstractAsyncContextManager[None]:
        """Announce what is critical for the length of the block, in which a turn for `task` runs."""
        self._was_announced = False
        if task.payload.priority is Priority.CRITICAL:  # first come, first served
            return contextlib.nullcontext()
        return _Watch(self._inbox, lambda: self._preempt(task))

    def made_way(self, result: TurnResult) -> bool:
        """True if the turn that ended with `result` is to go on after the critical message that waits.

        A model that was told and just stopped talking has set its task aside; it has not finished it.
        """
        stopped = result.end is TurnEnd.STOPPED and self._was_announced
        return self._inbox.has_critical and (stopped or result.end is TurnEnd.INTERRUPTED)

    async def _preempt(self, task: Message) -> None:
        self._was_announced = await self._session.inject(
            f"A critical message waits in your inbox. Bring this step to a safe end and call `yield_turn`; you get "
            f"this task back right after. In {self._grace_s:.0f} s you are interrupted at your next step."
        )
        await self._events.tell("preempting", "a critical message waits", task)
        await asyncio.sleep(self._grace_s)
        await self._session.interrupt()


class _Watch(AbstractAsyncContextManager[None]):
    """Begins to preempt once, as soon as something critical is at hand within the block. Entered for every turn."""

    def __init__(self, inbox: Inbox, preempt: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._heeding = inbox.heeding(self._critical)
        self._preempt = preempt
        self._preempting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._heeding.__enter__()

    async def __aexit__(self, *error: object) -> None:
        self._heeding.__exit__(None, None, None)
        if self._preempting is not None:
            self._preempting.cancel()
            await asyncio.wait([self._preempting])

    def _critical(self) -> None:
        self._preempting = self._preempting or asyncio.create_task(self._preempt(), name="preemption")
