"""All that people and programs may do with a hub: send, wait, watch, list. CLI, TUI and MCP only call this."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus, Received, connect
from agenthub.bus.topology import RoleQueues
from agenthub.errors import HubUnreachableError, MessageError, NotFoundError, unknown
from agenthub.messages import (
    Absence,
    Completion,
    Event,
    Heartbeat,
    Message,
    Outcome,
    Payload,
    Priority,
    new_id,
    now,
)
from agenthub.org.registry import Registry
from agenthub.organization import Organization
from agenthub.run_file import RunFile
from agenthub.settings import Settings


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


class WaitingMessage(NamedTuple):
    """A message in an inbox, looked at without taking it."""

    message: Message | None
    """None if it cannot be read."""
    subject: str
    sequence: int
    stored_at: datetime | None
    data: bytes


class Client:
    """A hub as a person or a program uses it."""

    def __init__(self, bus: Bus, organization: Organization) -> None:
        self.bus, self.organization = bus, organization

    async def send(
        self, to: str, text: str, *, subject: str = "", priority: Priority = Priority.MEDIUM, sender: str | None = None
    ) -> Message:
        """Put a directive into a role's inbox; it is stored when this returns.

        Raises:
            NotFoundError: If there is no such role.
            RefusedError: If it is too large.
        """
        if to != self.organization.operator:
            self.organization.role(to)
        sender = sender or self.organization.operator
        identity = new_id()
        message = Message(
            id=identity, from_operator=f"operator-{sender}", from_role=sender, timestamp=now(), type="task_assignment",
            payload=Payload(subject=subject, message=text, priority=priority), trace_id=identity, origin=sender,
            org=self.organization.org,
        )  # fmt: skip
        await self.bus.publish(
            subjects.lane(to, priority, sender), message.encode(), message_id=identity,
            headers={subjects.TRACE_PARENT: message.trace_parent()},
        )  # fmt: skip
        return message

    async def completion(self, role: str, message_id: str, *, timeout_s: float | None = None) -> Completion:
        """How a message ended, as soon as it has.

        Raises:
            TimeoutError: If it has not within `timeout_s`.
        """
        subject = subjects.done(role, message_id)
        async with asyncio.timeout(timeout_s), self.bus.listen(subject) as heard:
            while True:
                stored = await self.bus.last(subjects.DONE, subject)
                if stored is not None:
                    return Completion.decode(stored)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):  # what is published while we reconnect is not heard
                        return Completion.decode((await anext(heard)).data)

    async def roles(self) -> list[RoleStatus]:
        """Every configured role and every process that beats, in the order of the organization."""
        registry = Registry(self.bus)
        beats, absences, counts = await asyncio.gather(
            registry.all(), registry.absences(), self.bus.counts(subjects.AGENTS, "agent-hub.operators.>")
        )
        result: list[RoleStatus] = []
        for name in self.organization.roles:
            known = {*beats, *absences}
            keys = {key for key in known if key == name or key.startswith(f"{name}.")} or {name}
            result += [_status(name, key, beats.get(key), absences.get(key), counts) for key in sorted(keys)]
        return result

    async def waiting(self, role: str, *, most: int = 50) -> list[WaitingMessage]:
        """What waits in an inbox, most urgent first, oldest first; nothing is taken.

        Raises:
            NotFoundError: If there is no such inbox.
        """
        if role != self.organization.operator:
            self.organization.role(role)
        found: list[Received] = []
        for subject in [*(subjects.lane_filter(role, p) for p in Priority), subjects.inbox(role)]:
            found += await self.bus.look(subjects.AGENTS, subject, most=most - len(found))
        return [_waiting(received) for received in found]

    async def events(
        self, *, last: int | None = None, since: datetime | None = None, follow: bool = False
    ) -> AsyncIterator[Event]:
        """What happened, oldest first: the `last` few or all `since`; with `follow` also what happens from now on."""
        names = (subjects.ALL_EVENTS, subjects.ALL_DONE)
        async with contextlib.AsyncExitStack() as stack:
            heard = await stack.enter_async_context(self.bus.listen(*names)) if follow else None
            streams = [
                await self.bus.history(stream, name, last=last, since=since)
                for stream, name in zip((subjects.EVENTS, subjects.DONE), names, strict=True)
            ]
            past = list(heapq.merge(*([e for r in found if (e := _event(r))] for found in streams), key=lambda e: e.at))
            shown = past if last is None else past[-last:] if last else []
            for old in shown:
                yield old
            if heard is None:
                return
            newest = past[-1].at if past else None
            async for received in heard:
                event = _event(received)
                if event is not None and (newest is None or event.at > newest or event not in past):
                    yield event

    async def find_message(self, prefix: str) -> str:
        """The whole id of a message whose id begins with `prefix`, among those that ended.

        Raises:
            NotFoundError: If there is none, or more than one.
        """
        counts = await self.bus.counts(subjects.DONE, subjects.ALL_DONE)
        ids = {name.rpartition(".")[2] for name in counts}
        found = sorted(identity for identity in ids if identity.startswith(prefix))
        if len(found) != 1:
            how_many = "no message" if not found else f"{len(found)} messages"
            raise NotFoundError(f"There is {how_many} whose id begins with `{prefix}`.")
        return found[0]


@contextlib.asynccontextmanager
async def open_client(settings: Settings, organization: Organization) -> AsyncIterator[Client]:
    """A client of the hub that runs in the organization's folder, or at `nats_url`.

    Raises:
        HubUnreachableError: If there is none.
    """
    url = settings.nats_url
    if not url:
        found = RunFile.read(settings.state)
        if found is None:
            raise HubUnreachableError(f"No hub runs in {settings.folder}. Start it with `agenthub up -d`.")
        url = found.nats_url
    async with connect(url, name="agenthub client", patience_s=10) as bus:
        yield Client(bus, organization)


def role_queues(organization: Organization, settings: Settings) -> list[RoleQueues]:
    """What provisioning must make: queues for each role, and an inbox for the operator."""
    roles = [
        RoleQueues(role.name, role.settings.subscribe, role.settings.replicas, settings.ack_wait_s)
        for role in organization.roles.values()
    ]
    return [*roles, RoleQueues(organization.operator, works=False)]


def check_topic(name: str) -> str:
    """Full subject of a topic as people write it.

    Raises:
        NotFoundError: If there is no such kind of topic.
    """
    full = subjects.topic(name)
    kinds = ("tasks", "decisions", "status")
    if full != subjects.ANNOUNCEMENTS and full.removeprefix("agent-hub.topics.").split(".")[0] not in kinds:
        raise NotFoundError(unknown("kind of topic", name.split(".")[0], [*kinds, "announcements"]))
    return full


def _status(role: str, key: str, beat: Heartbeat | None, absence: Absence | None, counts: dict[str, int]) -> RoleStatus:
    waiting = {}
    for priority in Priority:
        prefix = subjects.lane_filter(role, priority).removesuffix("*")
        waiting[priority] = sum(count for name, count in counts.items() if name.startswith(prefix))
    if beat is not None and beat.priority is not None and waiting[beat.priority]:
        waiting[beat.priority] -= 1  # it is in the stream until it is settled, but it does not wait
    return RoleStatus(key, beat, waiting, counts.get(subjects.inbox(role), 0), None if beat else absence)


def _waiting(received: Received) -> WaitingMessage:
    default = received.headers.get(subjects.ID) or f"{subjects.AGENTS}-{received.sequence}"
    try:
        message = Message.read(received.data, default_id=default)
    except MessageError:
        message = None
    return WaitingMessage(message, received.subject, received.sequence, received.stored_at, received.data)


def _event(received: Received) -> Event | None:
    """What was heard, as an event: a completion is one as well. None if it is neither."""
    try:
        if not received.subject.startswith("agent-hub.done."):
            return Event.decode(received.data)
        done = Completion.decode(received.data)
    except MessageError:
        return None
    data = done.model_dump(mode="json", exclude={"role", "message_id", "trace_id"})
    kind = "dead" if done.outcome is Outcome.DEAD else "noted" if done.outcome is Outcome.NOTED else "completed"
    return Event(
        kind=kind, role=done.role, at=done.ended_at, text=done.text or done.subject, message_id=done.message_id,
        trace_id=done.trace_id, data=data,
    )  # fmt: skip


def completions(events: Sequence[Event]) -> list[Completion]:
    """The completions among events."""
    return [
        Completion.model_validate({**event.data, "role": event.role, "message_id": event.message_id})
        for event in events
        if event.kind in ("completed", "dead") and "outcome" in event.data
    ]
