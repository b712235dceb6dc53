"""FastStream: take one message at a time from a JetStream pull consumer, publish its completion, acknowledge.

`python faststream_peer.py <url> <stream> <inbox> <completions stream> <prefix of completions> <durable>`
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js.api import AckPolicy as ServerAckPolicy
from nats.js.api import ConsumerConfig

url, stream, inbox, done_stream, done, durable = sys.argv[1:]
broker = NatsBroker(url, logger=None, log_level=logging.ERROR)


@broker.subscriber(
    inbox, durable=durable, pull_sub=PullSub(batch_size=1), stream=JStream(stream, declare=False),
    config=ConsumerConfig(ack_policy=ServerAckPolicy.EXPLICIT), ack_policy=AckPolicy.NACK_ON_ERROR,
)  # fmt: skip
async def work(directive: dict[str, Any]) -> None:
    completion = {
        "message_id": directive["id"], "outcome": "done", "subject": directive["payload"]["subject"], "text": "done",
        "from_role": directive["from_role"], "started_at": directive["timestamp"], "usage": {"calls": 0},
    }  # fmt: skip
    subject = f"{done}.{directive['id']}"
    await broker.publish(completion, subject, stream=done_stream, headers={"Nats-Msg-Id": f"{subject}.done"})


asyncio.run(FastStream(broker, logger=None).run())
