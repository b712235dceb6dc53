"""Read what a stream holds, oldest first, however much it is, without taking anything."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import TYPE_CHECKING

from nats.js.api import ConsumerConfig, DeliverPolicy

from agenthub.bus.received import Received

if TYPE_CHECKING:
    from agenthub.bus.connection import Bus

logger = logging.getLogger(__name__)

_SILENT_S = 5.0


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
