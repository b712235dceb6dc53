"""Read what a stream holds, oldest first, however much it is, without taking anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext

from agenthub import subjects
from agenthub.bus.received import Received
from agenthub.errors import PermissionDeniedError

if TYPE_CHECKING:
    from agenthub.bus.connection import Bus

_SILENT_S = 2.0
_ANSWERED_WITHIN_S = 5.0
_END, _NOTHING = "204", "404"


async def newest_of_each(bus: Bus, stream: str, subject: str) -> dict[str, Received] | None:
    """The newest message under each subject that matches, by one question instead of one for each.

    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-31.md (`multi_last`)

    Returns:
        None if they must be asked for one by one: on a cluster a replica would answer, which may be behind; of what
        belongs to roles each may read its own only; and of very many the broker does not give all at once.

    Raises:
        HubUnreachableError: If the broker did not answer within the patience of `bus`.
    """
    if bus.cluster_size > 1 or stream in subjects.PRIVATE_STREAMS or stream in bus.asked_one_by_one:
        return None
    try:
        return await bus.patiently(lambda: _at_once(bus, stream, subject), stream)
    except PermissionDeniedError:  # permissions of an older version
        bus.asked_one_by_one.add(stream)
        return None


async def _at_once(bus: Bus, stream: str, subject: str) -> dict[str, Received] | None:
    found: dict[str, Received] = {}
    answers: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await bus.nc.subscribe(inbox := bus.nc.new_inbox(), cb=answers.put)
    try:
        question = json.dumps({"multi_last": [subject]}).encode()
        await bus.nc.publish(f"$JS.API.DIRECT.GET.{stream}", question, reply=inbox)
        async with asyncio.timeout(_ANSWERED_WITHIN_S):
            while True:
                msg = await answers.get()
                headers = dict(msg.headers or {})
                if status := headers.get("Status"):
                    return found if status.startswith((_END, _NOTHING)) else None
                place = headers.pop("Nats-Subject")
                found[place] = Received(place, msg.data, headers, int(headers.pop("Nats-Sequence")))
    finally:
        await subscription.unsubscribe()


async def read_stream(
    bus: Bus, stream: str, subject: str, *, last: int | None = None, since: datetime | None = None, after: int = 0
) -> AsyncGenerator[Received]:
    """What a stream holds under a subject now: the `last` few of the stream, what came `since`, what stands behind the
    sequence `after`, or all.

    Raises:
        HubUnreachableError: If the broker did not go on within the patience of `bus`; what was read so far is no end.
    """
    state = (await bus.patiently(lambda: bus.js.stream_info(stream), stream)).state
    newest = state.last_seq or 0
    if not state.messages or after >= newest:
        return
    begins = after + 1 if last is None else newest - last + 1
    reading = _Reading(bus, stream, subject, max(state.first_seq, begins), since)
    try:
        while (received := await bus.patiently(reading.next, stream)) is not None and received.sequence <= newest:
            yield received
    finally:
        await reading.pause()


class _Reading:
    """A place in a stream from which messages are read; after a failure they are asked for from there on."""

    def __init__(self, bus: Bus, stream: str, subject: str, begins: int, since: datetime | None) -> None:
        self._bus, self._stream, self._subject = bus, stream, subject
        self._begins, self._since = begins, since
        self._subscription: JetStreamContext.PushSubscription | None = None
        self._left = 0

    async def next(self) -> Received | None:
        """The next message; None behind the last.

        Raises:
            TimeoutError: If the broker does not go on.
        """
        try:
            if self._subscription is None:
                self._subscription = await self._subscribed()
                info = await self._subscription.consumer_info()  # it delivers already while we ask
                self._left = (info.num_pending or 0) + (info.delivered.consumer_seq if info.delivered else 0)
            if not self._left:
                return None
            msg = await self._subscription.next_msg(timeout=_SILENT_S)
        except (NatsError, TimeoutError):
            await self.pause()
            raise
        place = msg.metadata
        self._left -= 1
        self._begins, self._since = place.sequence.stream + 1, None
        return Received(msg.subject, msg.data, dict(msg.headers or {}), place.sequence.stream, place.timestamp)

    async def pause(self) -> None:
        """Have nothing delivered until the next is asked for."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    async def _subscribed(self) -> JetStreamContext.PushSubscription:
        config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._begins)
        if self._since is not None:
            since: Any = self._since.isoformat()
            config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=since)
        return await self._bus.js.subscribe(self._subject, stream=self._stream, ordered_consumer=True, config=config)
