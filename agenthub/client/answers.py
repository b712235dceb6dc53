"""Answer what lies in a person's inbox: a question of a role, or any message of one."""

from __future__ import annotations

from typing import NamedTuple

from agenthub import subjects
from agenthub.approvals import APPROVAL
from agenthub.client.approvals import Approvals
from agenthub.client.hub import Client
from agenthub.client.inboxes import WaitingMessage
from agenthub.errors import NotFoundError, RefusedError
from agenthub.messages import Message, derived_id

_LOOKED_THROUGH = 1000


class Answered(NamedTuple):
    """An answer that is stored."""

    role: str
    """Who reads it."""
    id: str
    """What was answered."""


async def answer(client: Client, prefix: str, text: str) -> Answered:
    """Answer the question, or the message in the operator's inbox, whose id begins with `prefix`.

    A question of `ask_human` is decided by it. Any other message is answered by one to its sender, which is
    work for that role, and leaves the inbox.

    Raises:
        NotFoundError: If there is no such question or message.
        RefusedError: If it is decided already, or is a tool call, which takes a yes or a no.
    """
    found = await _in_inbox(client, prefix)
    asked = found.message if found else None
    if found is None or asked is None or asked.type == APPROVAL:
        if asked is not None:
            await _check_asker(client, asked)
        ask = await Approvals(client).reply(asked.correlation_id if asked else prefix, text)
        return Answered(ask.role, ask.id)
    if asked.from_role not in client.organization.roles:
        raise RefusedError(f"`{asked.from_role}` is no role: nobody would read an answer to {asked.id[:8]}.")
    await client.put(asked.from_role, _answer(client, asked, text))
    await client.bus.delete(subjects.AGENTS, found.sequence)
    return Answered(asked.from_role, asked.id)


async def _in_inbox(client: Client, prefix: str) -> WaitingMessage | None:
    if len(prefix) < 4:
        raise NotFoundError(f"An id is given by at least 4 of its first characters; found `{prefix}`.")
    waiting = await client.waiting(client.organization.operator, most=_LOOKED_THROUGH)
    found = [item for item in waiting if item.message is not None and item.message.id.startswith(prefix)]
    if len(found) > 1:
        raise NotFoundError(f"{len(found)} messages in the inbox have an id that begins with `{prefix}`.")
    return found[0] if found else None


async def _check_asker(client: Client, asked: Message) -> None:
    """A role must not have its words answered in the name of another's question."""
    for ask in await Approvals(client).waiting():
        if ask.id == asked.correlation_id and ask.role != asked.from_role:
            raise RefusedError(f"{asked.id[:8]} is of `{asked.from_role}`, but names a question of `{ask.role}`.")


def _answer(client: Client, asked: Message, text: str) -> Message:
    """Its id derives from what is answered and how: the same answer twice is stored once."""
    about = f"Re: {asked.title}"[:200]
    message = client.message("direct_message", text, subject=about, priority=asked.payload.priority)
    return message.model_copy(
        update={
            "id": derived_id(asked.id, "answer", text), "trace_id": asked.trace_id, "causation_id": asked.id,
            "correlation_id": asked.correlation_id, "hop": asked.hop + 1, "origin": asked.origin,
        }
    )  # fmt: skip
