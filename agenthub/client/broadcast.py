"""Say something to many at once: into the inboxes of several roles, or on a topic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from agenthub import subjects
from agenthub.client.hub import Client
from agenthub.client.targets import concrete_topic, recipients, subscribers
from agenthub.errors import HubError
from agenthub.messages import Message, Priority, derived_id


class Sent(NamedTuple):
    """What became of one message of several."""

    role: str
    message: Message
    error: str = ""
    """Why it is not stored; empty: it is."""


class Published(NamedTuple):
    """A message on a topic."""

    message: Message
    topic: str
    """As a full subject."""
    subscribers: list[str]
    """Roles that will read it; nobody keeps it if there are none."""


async def broadcast(
    client: Client, target: str, text: str, *, subject: str = "", priority: Priority = Priority.MEDIUM,
    kind: str = "announcement", attach: Sequence[Path] = (),
    sender: str | None = None,
) -> list[Sent]:  # fmt: skip
    """Put one text into the inboxes of all that `target` stands for, as one trace.

    An announcement below high wakes no model: a role reads it with its next turn. Each recipient's message is
    its own, so that each is stored, read and ended by itself.

    Raises:
        NotFoundError: If the target stands for nobody.
        RefusedError: If the text is too large.
    """
    root = await client.with_files(
        client.message(kind, text, subject=subject, priority=priority, sender=sender), attach
    )
    sent = []
    for role in recipients(client.organization, target):
        message = root.model_copy(update={"id": derived_id(root.id, role)})
        try:
            await client.put(role, message)
        except HubError as error:
            sent.append(Sent(role, message, str(error)))
        else:
            sent.append(Sent(role, message))
    return sent


async def publish(
    client: Client, topic: str, text: str, *, subject: str = "", priority: Priority = Priority.MEDIUM, kind: str = "",
    attach: Sequence[Path] = (),
    sender: str | None = None,
) -> Published:  # fmt: skip
    """Say something on a topic; it is kept for each role that subscribes until that has read it.

    Raises:
        NotFoundError: If there is no such topic.
        RefusedError: If the text is too large.
    """
    full = concrete_topic(topic)
    message = await client.with_files(
        client.message(kind or subjects.type_on(full), text, subject=subject, priority=priority, sender=sender), attach
    )
    await client.bus.publish(
        full, message.encode(), message_id=message.id, headers={subjects.TRACE_PARENT: message.trace_parent()}
    )
    return Published(message, full, subscribers(client.organization, full))
