"""Listen as a person or a program: what comes into the operator's inbox, or is said on a topic."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.listening import open_listener
from agenthub.bus.received import Received
from agenthub.client.hub import Client
from agenthub.client.inboxes import WaitingMessage, waiting_message
from agenthub.client.names import check_topic
from agenthub.client.targets import TOPIC
from agenthub.errors import NotFoundError, RefusedError, unknown
from agenthub.messages import Priority


class Handed(NamedTuple):
    """A message that was handed to a listener."""

    message: WaitingMessage
    settle: Callable[[], Awaitable[object]]
    """Takes it out of the inbox for good; what is not settled comes again. On a topic it does nothing."""


@contextlib.asynccontextmanager
async def listen(client: Client, name: str) -> AsyncIterator[AsyncIterator[Handed]]:
    """What comes to a name, one message after the other, without an end.

    Args:
        name: The operator, whose inbox keeps what comes while nobody listens; or a topic such as
            `topic:status.deploy` or `topic:decisions.>`, of which only what is said from now on is heard.

    Raises:
        RefusedError: If it is a role: its process works off that inbox, and two would share the messages.
        NotFoundError: If there is no such name.
    """
    organization = client.organization
    if name.startswith(TOPIC):
        async with client.bus.listen(check_topic(name.removeprefix(TOPIC))) as heard:
            yield (Handed(waiting_message(received), _nothing) async for received in heard)
        return
    if name in organization.roles:
        raise RefusedError(
            f"`{name}` is a role: its process works off that inbox. Look into it with `agenthub inbox ls {name}`, "
            f"or watch it with `agenthub tail -f --role {name}`."
        )
    if name != organization.operator:
        raise NotFoundError(unknown("inbox to listen to", name, [organization.operator, f"{TOPIC}status.deploy"]))
    filters = [*(subjects.lane_filter(name, priority) for priority in Priority), subjects.inbox(name)]
    async with open_listener(client.bus, subjects.AGENTS, subjects.listener_consumer(name), filters) as listener:

        async def handed() -> AsyncIterator[Handed]:
            while True:
                got = await listener.next()
                received = Received(got.subject, got.data, got.headers, got.sequence, got.stored_at)
                yield Handed(waiting_message(received), got.ack)

        yield handed()


async def _nothing() -> None:
    return None
