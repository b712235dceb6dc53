"""A role does what a person decides about it while it works: stops, goes on, cancels, listens, ends itself.

What holds (paused, stopped, cancelled, moved) is looked at where it matters: by the inbox, the gate of turns and the
loop. Here a running turn is told, and everybody is told what came of a decision: an event, kept for the audit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator

from agenthub.control import RESTARTS, Control, process_name
from agenthub.errors import HubError, TurnCancelledError
from agenthub.inbox import Inbox
from agenthub.messages import Message, Outcome
from agenthub.org.events import Events
from agenthub.org.steering import Steering
from agenthub.sessions import prompts
from agenthub.sessions.session import Session
from agenthub.settling import Settling

CUT_AFTER_S = 0.5
"""So long a turn that is cancelled may take to end by itself: an answer that still streams would be for nothing."""
_TRY_AGAIN_S = 0.05


class Steered:
    """One role process in the hands of people."""

    def __init__(
        self, key: str, steering: Steering, *, session: Session, settling: Settling, inbox: Inbox,
        events: Events, operator: str, has_begun: Callable[[str], bool],
    ) -> None:  # fmt: skip
        """From now on decisions are acted on.

        Args:
            key: Name of the process.
            has_begun: True if a turn was ever opened for the message with this id.
        """
        self._key, self._steering, self._session = key, steering, session
        self._settling, self._inbox, self._events, self._has_begun = settling, inbox, events, has_begun
        self._operator = operator
        self._name = process_name(key, socket.gethostname(), os.getpid())
        self._task: Message | None = None
        self._limit: asyncio.Timeout | None = None
        self.restart_asked, self.restart_at_once = asyncio.Event(), asyncio.Event()
        steering.act, steering.refuse = self._act, self._refuse

    # ── for the loop ───────────────────────────────────────────────────────────────────────────────
    @contextlib.contextmanager
    def in_hand(self, task: Message) -> Iterator[Control | None]:
        """A message is worked on for the length of the block; gives the order to move it to another role, if any."""
        self._task = task
        try:
            yield self._steering.about("move", task.id)
        finally:
            self._task = None

    def check(self, task: Message) -> None:
        """Return if a message may be worked on; raises `FrozenError` or `TurnCancelledError`."""
        self._steering.check_message(task.id)

    @contextlib.contextmanager
    def watch(self, task: Message, limit: asyncio.Timeout) -> Iterator[None]:
        """Let people reach the turn that runs in the block.

        Args:
            limit: When the turn is cut off; earlier, if people end it and it does not end by itself.

        Raises:
            TurnCancelledError: If they have ended it, also if it came to its end in that very moment: they were told.
        """
        self.check(task)
        nudge = self._steering.about("nudge", task.id)  # a crash may have come before the model heard it
        nudging = asyncio.create_task(self._nudge(nudge), name="nudge") if nudge is not None else None
        self._limit = limit
        try:
            yield
            self._steering.check_cancelled(task.id)
        finally:
            self._limit = None
            if nudging is not None:
                nudging.cancel()

    async def until_end(self, stop: asyncio.Event, working: asyncio.Task[None]) -> None:
        """Return when the process is to end: `stop` is set, or a person wants it restarted and its message is done.

        Args:
            working: The loop, which ends when the inbox is closed and the message in hand is done.
        """
        stopping = asyncio.create_task(stop.wait(), name="until stop")
        restarting = asyncio.create_task(self.restart_asked.wait(), name="until restart")
        at_once = asyncio.create_task(self.restart_at_once.wait(), name="until restart at once")
        try:
            await asyncio.wait([stopping, restarting], return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                self._inbox.close()
                await asyncio.wait([stopping, at_once, working], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (stopping, restarting, at_once):
                waiting.cancel()

    # ── what people decide ─────────────────────────────────────────────────────────────────────────
    async def _act(self, control: Control) -> None:
        acts: dict[str, Callable[[Control], Awaitable[str]]] = {
            "estop": self._stop, "cancel": self._cancel, "nudge": self._nudge_now, "restart": self._restart,
            "move": self._move, "requeue": self._put_elsewhere, "reprioritize": self._put_elsewhere,
        }  # fmt: skip
        self._inbox.look_again()
        act = acts.get(control.verb)
        try:
            came = await act(control) if act is not None else _SAID.get(control.verb, "")
        except HubError as error:  # it holds all the same, and is looked at when it matters
            came = f"not yet: {error}"
        if came:
            await self._tell(control, came)

    async def _refuse(self, control: Control) -> None:
        await self._tell(control, f"refused: `{control.by}` may not", is_refused=True)

    async def _tell(self, control: Control, came: str, *, is_refused: bool = False) -> None:
        await self._events.record(
            "steered", f"{control.verb} {control.words}: {came}", self._task, verb=control.verb, by=control.by,
            control=control.id, key=self._key, came=came, refused=is_refused,
        )  # fmt: skip

    async def _stop(self, _: Control) -> str:
        if self._steering.is_stopped:  # else it was thawed since
            await self._session.interrupt()
        return "stops at its next step" if self._limit is not None else "stopped"

    async def _cancel(self, control: Control) -> str:
        if self._is_in_hand(control):
            await self._session.interrupt()
            if control.requeue:
                return "goes back behind the others"
            if self._limit is not None and not self._limit.expired():
                self._limit.reschedule(asyncio.get_running_loop().time() + CUT_AFTER_S)
            return "ends"
        if control.requeue or not (control.sequence or control.envelope):
            return "not in hand any more" if control.requeue else "not in hand at this moment; it ends when it comes up"
        return await self._end_waiting(control)

    async def _end_waiting(self, control: Control) -> str:
        """End a message that nobody has begun, without taking it: it is passed over when it comes up."""
        if "." in self._key or self._has_begun(control.message_id):  # of replicas the first one does it
            return "it ends when it comes up"
        try:
            message = Message.model_validate(control.envelope)
        except ValueError:
            return "it ends when it comes up"
        if message.id != control.message_id:
            return "it ends when it comes up"
        if not await self._settling.has_ended(message):
            await self._settling.complete(message, Outcome.FAILED, str(TurnCancelledError(control.words)))
        return "ended"

    async def _nudge_now(self, control: Control) -> str:
        if not self._is_in_hand(control):
            self._steering.forget(control)
            return "not in hand any more"
        return "told" if await self._session.inject(self._nudging(control)) else "it is told as soon as the turn runs"

    async def _nudge(self, control: Control) -> None:
        while not await self._session.inject(self._nudging(control)):  # noqa: ASYNC110 - no session says that it began
            await asyncio.sleep(_TRY_AGAIN_S)
        self._steering.forget(control)

    async def _move(self, control: Control) -> str:
        if self._is_in_hand(control) or self._has_begun(control.message_id):
            self._steering.forget(control)
            return "in hand"
        return "set aside"

    async def _put_elsewhere(self, control: Control) -> str:
        """It is stored in its new place already; what is at hand here is the old one."""
        if not control.sequence:
            return "is looked at now"
        await self._inbox.drop(control.sequence)
        return f"waits as {control.to}"

    async def _restart(self, control: Control) -> str:
        if self._name not in control.processes:
            return ""
        self.restart_asked.set()
        if control.at_once:
            self.restart_at_once.set()
        return RESTARTS if control.at_once or self._task is None else "restarts after its message"

    def _nudging(self, control: Control) -> str:
        """What the model reads. The operator's own words may stand in it: those of other roles are no host's."""
        if control.reason and control.by == self._operator:
            return f"The operator says: {prompts.quoted(control.reason)}"
        return (
            f"`{control.by}` sees no progress. If what you do cannot succeed, do something else, or call `finish` and "
            "say what blocks you."
        )

    def _is_in_hand(self, control: Control) -> bool:
        return self._task is not None and self._task.id == control.message_id


_SAID = {"pause": "takes nothing new", "resume": "goes on", "thaw": "goes on"}
"""Of what needs no more than to be known."""
