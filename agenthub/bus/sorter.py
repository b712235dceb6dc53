"""Moves what came in by other doors into the lanes: the plain inbox, due messages, topics.

The loop knows lanes only. A move is publish, then acknowledge, with an id made of where the message was
stored: a crash between the two moves it again and the broker stores it once. The sorter runs beside the
turn, so nothing is cold when the turn ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from nats.errors import Error as NatsError

from agenthub import subjects
from agenthub.bus.connection import Bus, StreamFullError
from agenthub.bus.deliveries import Delivery, Pull
from agenthub.bus.in_flight import reclaim
from agenthub.bus.topology import SORTER_BATCH
from agenthub.errors import HubError, MessageError, RefusedError
from agenthub.messages import Message
from agenthub.rhythm import next_moment
from agenthub.together import run_together

logger = logging.getLogger(__name__)

_FULL_PAUSE_S = 1.0

Bury = Callable[[Delivery, Message | None, str], Awaitable[None]]


class _Door:
    """One way in: what was pulled from it, and what of that is being moved."""

    def __init__(self, bus: Bus, stream: str, consumer: str, subject: str) -> None:
        """`subject` is empty where others read as well."""
        self.stream, self.subject = stream, subject
        self.arrived = asyncio.Event()
        self.pull = Pull(bus, stream, consumer, self.arrived.set, batch=SORTER_BATCH)
        self.moving: list[Delivery] = []


CameDue = Callable[[str, Mapping[str, str], bytes], bool]


class Sorter:
    """The doors of one role. Messages that cannot be read are buried here, on their first delivery."""

    def __init__(
        self, bus: Bus, role: str, *, has_topics: bool, keep_alive_s: float, owns: Callable[[], bool], bury: Bury,
        came_due: CameDue,
    ) -> None:  # fmt: skip
        """
        Args:
            bury: Gives up on a delivery, for a reason, and tells its sender.
            came_due: Says whether what came due was put off by who may; else somebody slipped it in.
        """
        doors = [
            (subjects.AGENTS, subjects.door_consumer(role), subjects.inbox(role)),
            (subjects.SCHEDULES, subjects.due_consumer(role), subjects.due(role)),
        ]
        if has_topics:
            doors.append((subjects.TOPICS, subjects.topics_consumer(role), ""))
        self._doors = [_Door(bus, *door) for door in doors]
        self._bus, self._role = bus, role
        self._keep_alive_s, self._owns, self._bury, self._came_due = keep_alive_s, owns, bury, came_due
        self._returning: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Move messages until cancelled. Each door has its task: what is stuck at one holds up no other."""
        await run_together((f"sort {door.pull.consumer}", self._serve(door)) for door in self._doors)

    async def _serve(self, door: _Door) -> None:
        while True:
            await door.arrived.wait()
            door.arrived.clear()
            while door.pull.held:
                door.moving, door.pull.held = door.pull.held, []
                # In order, so that messages of one priority stay first in, first out.
                for delivery in door.moving:
                    await self._move(delivery)
            await door.pull.pull()

    async def keep_alive(self) -> None:
        """Keep the deliveries of a long batch; runs until cancelled."""
        while True:
            await next_moment(self._keep_alive_s)
            for door in self._doors:
                for delivery in [*door.moving, *door.pull.held]:
                    if not delivery.is_settled:
                        await delivery.keep()

    async def open(self) -> None:
        await asyncio.gather(*(door.pull.open() for door in self._doors))

    async def pull_again(self) -> None:
        """After a reconnect the server knows nothing of the pulls of before, and what was on its way is lost."""
        self._stop_returning()
        self._returning = asyncio.create_task(self._return(), name="reclaim doors")

    async def _return(self) -> None:
        with contextlib.suppress(HubError, NatsError):
            await self.reclaim()
        for door in self._doors:
            await door.pull.pull_again()

    def _stop_returning(self) -> None:
        if self._returning is not None:
            self._returning.cancel()

    async def reclaim(self) -> None:
        """Have the broker deliver again what it takes to be in hand here and is not; moving it twice stores it once.

        Not of topics, which others read as well: there nobody knows from the stream what is in whose hands.
        """
        for door in self._doors:
            if door.subject:
                here = {delivery.sequence for delivery in [*door.moving, *door.pull.held]}
                await reclaim(self._bus, door.stream, door.pull.consumer, besides=here)

    async def close(self) -> None:
        self._stop_returning()
        await asyncio.gather(*(door.pull.close(gives_back=self._owns()) for door in self._doors))
        for door in self._doors:
            for delivery in door.moving:
                if not delivery.is_settled and self._owns():
                    await delivery.give_back()

    async def _move(self, delivery: Delivery) -> None:
        while True:
            try:
                await self._move_or_bury(delivery)
                break
            except StreamFullError as error:
                logger.warning("%s; %s waits outside", error, delivery.default_id)
                await asyncio.sleep(_FULL_PAUSE_S)
        await delivery.ack()

    async def _move_or_bury(self, delivery: Delivery) -> None:
        try:
            message = Message.read(delivery.data, default_id=delivery.default_id)
        except MessageError as error:
            await self._bury(delivery, None, str(error))
            return
        if delivery.stream == subjects.SCHEDULES and not self._came_due(
            delivery.subject, delivery.signed_headers, delivery.data
        ):
            await self._bury(delivery, None, "nobody who may has put it off: it has no signature of theirs")
            return
        if delivery.stream == subjects.TOPICS and message.from_role == self._role:
            return  # own output never wakes its author
        # What comes due has been here before, and says by which door. Others may say what they like.
        before = delivery.headers if delivery.stream == subjects.SCHEDULES else {}
        headers = {subjects.DOOR: before.get(subjects.DOOR, delivery.subject), subjects.ID: message.id}
        if subjects.ATTEMPTS in delivery.headers:
            headers[subjects.ATTEMPTS] = delivery.headers[subjects.ATTEMPTS]
        lane = subjects.lane(self._role, message.payload.priority, self._role)
        identity = f"sort-{self._role}-{delivery.stream}-{delivery.sequence}"
        try:
            await self._bus.publish(lane, delivery.data, message_id=identity, headers=headers)
        except RefusedError as error:  # the headers made it too large for a lane
            await self._bury(delivery, message, str(error))


@contextlib.asynccontextmanager
async def open_sorter(
    bus: Bus, role: str, *, has_topics: bool, keep_alive_s: float, owns: Callable[[], bool], bury: Bury,
    came_due: CameDue,
) -> AsyncIterator[Sorter]:  # fmt: skip
    """The doors of one role, read for the length of the block."""
    sorter = Sorter(
        bus, role, has_topics=has_topics, keep_alive_s=keep_alive_s, owns=owns, bury=bury, came_due=came_due
    )
    bus.on_reconnect(sorter.pull_again)
    await sorter.reclaim()
    await sorter.open()
    try:
        yield sorter
    finally:
        await sorter.close()
