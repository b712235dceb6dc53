"""First in, first out: also when what was handed out was lost with a process or a connection."""

from __future__ import annotations

import asyncio
import json

from nats.js.api import ConsumerInfo

from agenthub import subjects
from chaos.proxy import Proxy
from tests.organization import Hub, directive, says, until

TEXTS = ["first", "second", "third"]


async def _patient(hub: Hub, consumer: str) -> None:
    """Have the broker wait long for an acknowledgement, as it does in real life."""
    config = (await hub.bus.js.consumer_info(subjects.AGENTS, consumer)).config
    config.ack_wait = 60.0
    await hub.bus.js.add_consumer(subjects.AGENTS, config)


async def test_what_a_killed_process_was_moving_from_the_plain_inbox_goes_before_what_came_later(hub: Hub) -> None:
    await _patient(hub, "backend-plain")
    for text in TEXTS[:2]:
        await hub.send("backend", text)
    subscription = await hub.bus.js.pull_subscribe_bind("backend-plain", subjects.AGENTS)
    assert len(await subscription.fetch(2, timeout=5)) == 2  # and this process is never heard of again
    await subscription.unsubscribe()
    last = await hub.send("backend", TEXTS[2])
    session = says("done")
    async with hub.role("backend", session):
        await hub.completion("backend", last)
    assert [prompt.task.payload.message for prompt in session.prompts] == TEXTS


async def test_what_was_on_its_way_over_a_connection_that_was_cut_goes_before_what_came_later(hub: Hub) -> None:
    await _patient(hub, "backend-high")
    session = says("done")

    async def send(text: str) -> str:
        body = directive(text, priority="high")
        to = subjects.lane("backend", "high", "you")
        await hub.bus.publish(to, json.dumps(body).encode(), message_id=str(body["id"]))
        return str(body["id"])

    async def lane() -> ConsumerInfo:
        info: ConsumerInfo = await hub.bus.js.consumer_info(subjects.AGENTS, "backend-high")
        return info

    async def is_asked_for_more() -> bool:
        """The first is settled, and the broker was told to hand out the next."""
        found = await lane()
        return not found.num_ack_pending and bool(found.num_waiting)

    async def is_handed_out() -> bool:
        return bool((await lane()).num_ack_pending)

    async with Proxy().run(int(hub.server.url.rpartition(":")[2])) as proxy:
        hub.settings = hub.settings.model_copy(update={"nats_url": proxy.url})
        async with hub.role("backend", session):
            await hub.completion("backend", await send(TEXTS[0]))
            await until(is_asked_for_more)
            half_open = asyncio.create_task(proxy.half_open("backend", seconds=60))
            await asyncio.sleep(0)
            await send(TEXTS[1])
            await until(is_handed_out)
            proxy.cut("backend")
            proxy.heal()
            half_open.cancel()
            await hub.completion("backend", await send(TEXTS[2]))
    assert [prompt.task.payload.message for prompt in session.prompts] == TEXTS
