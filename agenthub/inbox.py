"""What is next: strict priority by lanes, with ageing, so that low never starves and critical always goes first."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from agenthub.bus.deliveries import Delivery
from agenthub.bus.lanes import Lanes
from agenthub.errors import MessageError
from agenthub.messages import Message, Priority


class Waiting(NamedTuple):
    """The oldest message of one lane."""

    priority: Priority
    stored_at: datetime


class Choice(NamedTuple):
    """Which lane is next."""

    priority: Priority
    was_lifted: bool
    """True if it goes before its turn because it waited long."""


def choose(waiting: Sequence[Waiting], *, at: datetime, ageing_s: float, lifted_last: bool) -> Choice:
    """The lane whose oldest message is next; `waiting` must not be empty.

    Each `ageing_s` of waiting lifts a message by one priority, at most to high. Among equals the older goes
    first, but lifted ones go at most every other time while others wait: an old backlog cannot starve high.
    """

    def order(item: Waiting) -> tuple[int, bool, datetime, Priority, bool]:
        rank = own_rank = item.priority.rank
        if item.priority is not Priority.CRITICAL:
            lifts = int((at - item.stored_at).total_seconds() // ageing_s)
            rank = max(min(own_rank, Priority.HIGH.rank), own_rank - max(0, lifts))
        was_lifted = rank < own_rank
        return rank, was_lifted and lifted_last, item.stored_at, item.priority, was_lifted

    *_, priority, was_lifted = min(map(order, waiting), key=lambda found: found[:3])
    return Choice(priority, was_lifted)


class Inbox:
    """One role's inbox, most urgent first."""

    def __init__(
        self, lanes: Lanes, *, ageing_s: float, clock: Callable[[], datetime], is_paused: Callable[[], bool],
        is_stopped: Callable[[], bool], is_superseded: Callable[[Message], Awaitable[bool]],
    ) -> None:  # fmt: skip
        """An inbox that hands out nothing new while it `is_paused`, and nothing at all while it `is_stopped`.

        Args:
            is_superseded: Whether a firing of a schedule is followed by a later one, wherever that lies.
        """
        self._lanes, self._ageing_s, self._clock = lanes, ageing_s, clock
        self._is_paused, self._is_stopped, self._is_superseded = is_paused, is_stopped, is_superseded
        self._kept: list[Delivery] = []
        self._lifted_last = False
        self._is_closed = False

    @property
    def has_critical(self) -> bool:
        """True if a critical message is at hand, and may be taken."""
        return not self._is_paused() and any(priority is Priority.CRITICAL for priority, _ in self._lanes.held)

    @contextlib.contextmanager
    def heeding(self, critical: Callable[[], None]) -> Iterator[None]:
        """Call `critical` when a critical message is at hand, once or more often, for the length of the block."""

        def heed() -> None:
            if self.has_critical:
                critical()

        self._lanes.heed = heed
        try:
            heed()
            yield
        finally:
            self._lanes.heed = None

    def keep(self, delivery: Delivery) -> None:
        """Take back what made way for something critical: it is next after that."""
        self._kept.append(delivery)

    async def has_newer(self, message: Message, delivery: Delivery) -> bool:
        """True if a later one with the same `coalesce` key waits: the newest of its lane and sender, or a firing."""
        if await self._is_superseded(message):
            return True
        data = await self._lanes.last(delivery)
        if data is None:
            return False
        try:
            other = Message.decode(data)
        except MessageError:
            return False
        return (other.coalesce, other.from_role) == (message.coalesce, message.from_role)

    async def next(self) -> Delivery | None:
        """The next message to work on, as soon as there is one; None once the inbox is closed."""
        await self._lanes.resume()
        while not self._is_closed:
            if self._kept and self._lanes.is_sure and not self.has_critical and not self._is_stopped():
                await self._lanes.withdraw()
                return self._kept.pop()
            waiting = [Waiting(priority, held.stored_at) for priority, held in self._lanes.held]
            if waiting and self._lanes.is_sure and not self._is_paused():
                choice = choose(waiting, at=self._clock(), ageing_s=self._ageing_s, lifted_last=self._lifted_last)
                self._lifted_last = choice.was_lifted
                return await self._lanes.take(choice.priority)
            await self._lanes.arrived()
        return None

    async def drop(self, sequence: int) -> None:
        """Hand out no more what waited there: a person has put it elsewhere."""
        await self._lanes.drop(sequence)

    def look_again(self) -> None:
        """What may be handed out has changed."""
        self._lanes.wake()

    def close(self) -> None:
        """Hand out nothing any more."""
        self._is_closed = True
        self._lanes.wake()
