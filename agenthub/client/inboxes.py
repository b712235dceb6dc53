"""Roles and their inboxes as people look at them; nothing is taken."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.received import Received
from agenthub.control import Standing
from agenthub.errors import MessageError
from agenthub.messages import Message, Priority
from agenthub.org.delayed import PutOff
from agenthub.presence import Absence, Heartbeat


class RoleStatus(NamedTuple):
    """One role as people see it."""

    role: str
    heartbeat: Heartbeat | None
    """Its newest sign of life; None if it gives none."""
    waiting: dict[Priority, int]
    """Messages in its inbox that nobody works on yet."""
    unsorted: int
    """Messages at its plain inbox that no process of the role has seen."""
    absence: Absence | None = None
    """Since when it gives no sign of life; None if it does, or nobody has noticed yet."""
    standing: Standing = Standing()
    """Who paused or stopped it, when and why; also of a role that is down."""
    delayed: int = 0
    """Messages that are put off: they wait for money, for the model, for a decision or their next try."""
    has_file: bool = True
    """False if it runs on although no file tells of it, or the one that does cannot be read."""


class WaitingMessage(NamedTuple):
    """A message in an inbox, looked at without taking it."""

    message: Message | None
    """None if it cannot be read."""
    subject: str
    sequence: int
    stored_at: datetime | None
    data: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    put_off: PutOff | None = None
    """Why it is not looked at yet; None: it is in the inbox."""


def status(
    role: str, key: str, beat: Heartbeat | None, absence: Absence | None, counts: dict[str, int], standing: Standing,
    delayed: int,
) -> RoleStatus:  # fmt: skip
    waiting = {}
    for priority in Priority:
        prefix = subjects.lane_filter(role, priority).removesuffix("*")
        waiting[priority] = sum(count for name, count in counts.items() if name.startswith(prefix))
    if beat is not None and beat.priority is not None and waiting[beat.priority]:
        waiting[beat.priority] -= 1  # it is in the stream until it is settled, but it does not wait
    return RoleStatus(
        key, beat, waiting, counts.get(subjects.inbox(role), 0), None if beat else absence, standing, delayed
    )


def waiting_message(received: Received, put_off: PutOff | None = None) -> WaitingMessage:
    default = received.headers.get(subjects.ID) or f"{subjects.AGENTS}-{received.sequence}"
    try:
        message = Message.read(received.data, default_id=default)
    except MessageError:
        message = None
    return WaitingMessage(
        message, received.subject, received.sequence, received.stored_at, received.data, received.headers,
        put_off,
    )  # fmt: skip


def state_of(beat: Heartbeat) -> str:
    """One word: what it does, or that it does not get on."""
    return beat.state if beat.health == "ok" else beat.health
