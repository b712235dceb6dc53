"""Moves what came in by other doors into the lanes: the plain inbox, due messages, topics.

The loop knows lanes only. A move is publish, then acknowledge, with an id made of where the message was
stored: a crash between the two moves it again and the broker stores it once. The sorter runs beside the
turn, so nothing is cold when the turn ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from agenthub import subjects
from agenthub.bus.connection import Bus, StreamFullError
from agenthub.bus.dead_letters import bury
from agenthub.bus.deliveries import Delivery, Pull
from agenthub.bus.topology import SORTER_BATCH
from agenthub.errors import MessageError, RefusedError
from agenthub.messages import Message

logger = logging.getLogger(__name__)

_FULL_PAUSE_S = 1.0


class Sorter:
    """The doors of one role. Messages that cannot be read are buried here, on their first delivery."""

    def __init__(self, bus: Bus, role: str, *, has_topics: bool, keep_alive_s: float) -> None:
        doors = [
            (subjects.AGENTS, subjects.door_consumer(role)),
            (subjects.SCHEDULES, subjects.due_consumer(role)),
        ]
        if has_topics:
            doors.append((subjects.TOPICS, subjects.topics_consumer(role)))
        self._arrived = asyncio.Event()
        self._pulls = [Pull(bus, stream, name, self._arrived.set, batch=SORTER_BATCH) for stream, name in doors]
        self._bus, self._role = bus, role
        self._keep_alive_s = keep_alive_s
        self._moving: list[Delivery] = []

    async def run(self) -> None:
        """Move messages until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            for pull in self._pulls:
                while pull.held:
                    self._moving, pull.held = pull.held, []
                    # In order, so that messages of one priority stay first in, first out.
                    for delivery in self._moving:
                        await self._move(delivery)
                await pull.pull()

    async def keep_alive(self) -> None:
        """Keep the deliveries of a long batch; runs until cancelled."""
        while True:
            await asyncio.sleep(self._keep_alive_s)
            for delivery in [*self._moving, *(held for pull in self._pulls for held in pull.held)]:
                if not delivery.is_settled:
                    await delivery.keep()

    async def open(self) -> None:
        await asyncio.gather(*(pull.open() for pull in self._pulls))

    async def pull_again(self) -> None:
        for pull in self._pulls:
            await pull.pull_again()

    async def close(self) -> None:
        await asyncio.gather(*(pull.close() for pull in self._pulls))
        for delivery in self._moving:
            if not delivery.is_settled:
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
            await bury(self._bus, self._role, delivery, str(error))
            return
        if delivery.stream == subjects.TOPICS and message.from_role == self._role:
            return  # own output never wakes its author
        headers = {subjects.DOOR: delivery.headers.get(subjects.DOOR, delivery.subject), subjects.ID: message.id}
        if subjects.ATTEMPTS in delivery.headers:
            headers[subjects.ATTEMPTS] = delivery.headers[subjects.ATTEMPTS]
        lane = subjects.lane(self._role, message.payload.priority, self._role)
        identity = f"sort-{self._role}-{delivery.stream}-{delivery.sequence}"
        try:
            await self._bus.publish(lane, delivery.data, message_id=identity, headers=headers)
        except RefusedError as error:  # the headers made it too large for a lane
            await bury(self._bus, self._role, delivery, str(error))


@contextlib.asynccontextmanager
async def open_sorter(bus: Bus, role: str, *, has_topics: bool, keep_alive_s: float) -> AsyncIterator[Sorter]:
    """The doors of one role, read for the length of the block."""
    sorter = Sorter(bus, role, has_topics=has_topics, keep_alive_s=keep_alive_s)
    bus.on_reconnect(sorter.pull_again)
    await sorter.open()
    try:
        yield sorter
    finally:
        await sorter.close()
