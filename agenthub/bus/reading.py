"""Read what a stream holds, oldest first, however much it is, without taking anything."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import TYPE_CHECKING

from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy

from agenthub import subjects
from agenthub.bus.received import Received
from agenthub.errors import PermissionDeniedError

if TYPE_CHECKING:
    from agenthub.bus.connection import Bus

logger = logging.getLogger(__name__)

_SILENT_S = 5.0
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
    sequence `after`, or all."""
    state = (await bus.patiently(lambda: bus.js.stream_info(stream), stream)).state
    if not state.messages or after >= (state.last_seq or 0):
        return
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    if since is not None:
        config.deliver_policy, config.opt_start_time = DeliverPolicy.BY_START_TIME, since.isoformat()  # type: ignore[assignment]
    elif last is not None or after:
        config.deliver_policy = DeliverPolicy.BY_START_SEQUENCE
        begins = after + 1 if last is None else state.last_seq - last + 1
        config.opt_start_seq = max(state.first_seq, begins)
    subscription = await bus.js.subscribe(subject, stream=stream, ordered_consumer=True, config=config)
    count = 0
    try:
        info = await subscription.consumer_info()  # it delivers already while we ask
        wanted = (info.num_pending or 0) + (info.delivered.consumer_seq if info.delivered else 0)
        while count < wanted:
            msg = await subscription.next_msg(timeout=_SILENT_S)
            place, headers = msg.metadata, dict(msg.headers or {})
            count += 1
            yield Received(msg.subject, msg.data, headers, place.sequence.stream, place.timestamp)
    except TimeoutError:
        logger.info("%s fell silent after %d of its messages", stream, count)
    finally:
        await subscription.unsubscribe()
