"""Read the inbox of somebody who is no role: each message is handed out once, and again if it was not settled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from agenthub.bus.connection import Bus
from agenthub.bus.deliveries import Delivery, Pull

_ACK_WAIT_S = 20.0
_GONE_AFTER_S = 60.0
"""So long after the last listener left the broker forgets the consumer; the messages stay."""


class Listener:
    """Messages one after the other, in the order in which they were stored."""

    def __init__(self, pull: Pull, arrived: asyncio.Event) -> None:
        self._pull, self._arrived = pull, arrived

    async def next(self) -> Delivery:
        """The next one. It must be settled: `ack`, or `give_back`."""
        while True:
            if self._pull.held:
                return self._pull.held.pop(0)
            await self._pull.pull()
            await self._arrived.wait()
            self._arrived.clear()


@contextlib.asynccontextmanager
async def open_listener(bus: Bus, stream: str, durable: str, filters: Sequence[str]) -> AsyncIterator[Listener]:
    """Messages of a work queue under these subjects. Several listeners share them: each gets others.

    What is held when the block ends goes back.
    """
    config = ConsumerConfig(
        durable_name=durable, filter_subjects=list(filters), ack_policy=AckPolicy.EXPLICIT, ack_wait=_ACK_WAIT_S,
        max_deliver=-1, deliver_policy=DeliverPolicy.ALL, inactive_threshold=_GONE_AFTER_S,
    )  # fmt: skip
    await bus.patiently(lambda: bus.js.add_consumer(stream, config), durable)
    arrived = asyncio.Event()
    pull = Pull(bus, stream, durable, arrived.set)
    bus.on_reconnect(pull.pull_again)
    await pull.open()
    try:
        yield Listener(pull, arrived)
    finally:
        await pull.close()
