"""What a role does at this moment, as its heartbeat tells it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import datetime

from agenthub.logs import is_about
from agenthub.messages import Message, Usage
from agenthub.presence import Heartbeat


class Activity:
    """State of one role process, for people. Each change calls `changed`."""

    def __init__(
        self, role: str, *, model: str, clock: Callable[[], datetime], usage_of_day: Callable[[datetime], Usage]
    ) -> None:
        """`usage_of_day` gives what was spent since a moment; it is asked when a new day begins."""
        self._role, self._model, self._clock, self._usage_of_day = role, model, clock, usage_of_day
        self.changed: Callable[[], None] = lambda: None
        self.parked: Callable[[], int] = lambda: 0
        self.holds: Callable[[], list[str]] = list
        self.context: tuple[int, int] = (0, 0)
        """Tokens of its conversation, and how many fit."""
        self.health_port = 0
        self.progress = 0
        """Counts what it got on with."""
        self.patience_s = 0.0
        """Seconds that what it does now may take without progress, if it said so."""
        self._health = "ok"
        self._started_at = self._since = self._progress_at = clock()
        self._state, self._doing = "idle", ""
        self._message: Message | None = None
        self._is_stopping = False
        self._day = self._midnight()
        self._usage = usage_of_day(self._day)

    def works(self, message: Message) -> None:
        """It has taken a message; what is logged from here on says which."""
        is_about(message_id=message.id, trace_id=message.trace_id)
        self._enter("working", message.title, message)

    @property
    def message(self) -> Message | None:
        """What it works on."""
        return self._message

    @property
    def doing(self) -> str:
        """The step that it does, for people."""
        return self._doing

    @property
    def is_to_be_cut_short(self) -> bool:
        """True if its turn was interrupted, or its process ends, because it made no progress."""
        return self._health in ("interrupted", "restarted")

    def does(self, what: str, *, patience_s: float = 0.0) -> None:
        """It does a step of the work."""
        self._doing, self.patience_s = what, patience_s
        self.changed()

    def progresses(self) -> None:
        """It got on with the work."""
        self.progress += 1
        self._progress_at, self.patience_s = self._clock(), 0.0
        if self._health in ("stalled", "nudged"):  # what was interrupted ends as a failed try, whatever comes now
            self._health = "ok"
            self.changed()

    def stalls(self, health: str) -> None:
        """The host has gone so far with a turn that does not get on."""
        self._health = health
        self.changed()

    def cannot_work(self, why: str) -> None:
        """It waits for something without which it may do nothing."""
        self._enter("stuck", why, None)

    def rests(self) -> None:
        """It has settled the message."""
        is_about()
        if self._state != "idle":
            self._enter("idle", "", None)

    def stops(self) -> None:
        """It takes nothing new."""
        self._is_stopping = True
        self.changed()

    def spends(self, usage: Usage) -> None:
        """A model call was answered."""
        if self._midnight() != self._day:
            self._day = self._midnight()
            self._usage = self._usage_of_day(self._day)
        else:
            self._usage += usage
        self.changed()

    def beat(self) -> Heartbeat:
        """The heartbeat of this moment."""
        if self._midnight() != self._day:
            self._day, self._usage = self._midnight(), Usage()
        message = self._message
        return Heartbeat(
            role=self._role, state="stopping" if self._is_stopping else self._state, doing=self._doing,
            message_id=message.id if message else "", priority=message.payload.priority if message else None,
            since=self._since, beat_at=self._clock(), started_at=self._started_at, pid=os.getpid(),
            host=socket.gethostname(), model=self._model, usage_today=self._usage, parked=self.parked(),
            context_tokens=self.context[0], context_window=self.context[1],
            holds=self.holds(),
            health=self._health, health_port=self.health_port, progress_at=self._progress_at,
        )  # fmt: skip

    def _enter(self, state: str, doing: str, message: Message | None) -> None:
        self._state, self._doing, self._message, self._since = state, doing, message, self._clock()
        self._health = "ok"
        self.progresses()
        self.changed()

    def _midnight(self) -> datetime:
        return self._clock().replace(hour=0, minute=0, second=0, microsecond=0)
