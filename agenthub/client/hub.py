"""A hub as a person or a program uses it: send, wait, watch, list."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence, Set
from datetime import datetime
from pathlib import Path

from agenthub import subjects
from agenthub.bus.attachments import MAX_BYTES, get_attachment, put_attachment
from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus, NoStreamError
from agenthub.bus.identity import BRIDGE, OPERATOR, VIEWER, Identity, Keyring
from agenthub.bus.received import Received
from agenthub.client.history import completions, event_of
from agenthub.client.inboxes import RoleStatus, WaitingMessage, status, waiting_message
from agenthub.client.letters import Letters
from agenthub.client.live import watch
from agenthub.client.rearranging import Rearranging
from agenthub.client.steering import Steering
from agenthub.client.tracing import Tracing
from agenthub.control import standing
from agenthub.errors import HubError, HubUnreachableError, NotFoundError, RefusedError
from agenthub.guards.senders import Senders
from agenthub.messages import (
    Attachment,
    Completion,
    Event,
    Message,
    Outcome,
    Payload,
    Priority,
    new_id,
    now,
)
from agenthub.org.delayed import count_put_off, look_at_put_off, put_off_of
from agenthub.org.registry import Registry
from agenthub.org.steering import decided
from agenthub.organization import Organization
from agenthub.run_file import RunFile
from agenthub.settings import Settings
from agenthub.transcript import LiveEvent


class Client:
    """A hub as a person or a program uses it."""

    def __init__(
        self, bus: Bus, organization: Organization, *, senders: Senders | None = None, keyring: Keyring | None = None
    ) -> None:
        """
        Args:
            senders: Knows whose signature stands for whom. None: what the broker let through is believed.
            keyring: Public keys of the organization; likewise.
        """
        self.bus, self.organization, self.keyring, self._senders = bus, organization, keyring, senders
        self.letters = Letters(bus, organization)
        self.tracing = Tracing(bus, organization, self.letters)
        self.steering = Steering(bus, organization)
        self.inboxes = Rearranging(bus, organization, self.steering, self.waiting, self.put_off)

    async def send(
        self, to: str, text: str, *, subject: str = "", priority: Priority = Priority.MEDIUM, sender: str | None = None,
        attach: Sequence[Path] = (), check: str = "", verify: str = "", needs_evidence: bool = False,
    ) -> Message:  # fmt: skip
        """Put a directive into a role's inbox; it is stored when this returns.

        Args:
            attach: Files that go with it.
            check: Shell command that must succeed in the role's workspace before it counts as done.
            verify: Role, or the operator, that must approve of what was done.
            needs_evidence: Whether `done` counts only with evidence.

        Raises:
            NotFoundError: If there is no such role.
            RefusedError: If it is too large.
        """
        if to != self.organization.operator:
            self.organization.role(to)
        message = self.message("task_assignment", text, subject=subject, priority=priority, sender=sender)
        if verify and verify != self.organization.operator:
            self.organization.role(verify)
        demands = {"check": check or None, "verify": verify or None, "needs_evidence": needs_evidence or None}
        message = message.model_copy(update={"payload": message.payload.model_copy(update=demands)})
        message = await self.with_files(message, attach)
        await self.put(to, message)
        return message

    def message(self, kind: str, text: str, *, subject: str, priority: Priority, sender: str | None = None) -> Message:
        """A message of a person or a program, not sent yet."""
        sender = sender or self.organization.operator
        identity = new_id()
        return Message(
            id=identity, from_operator=f"operator-{sender}", from_role=sender, timestamp=now(), type=kind,
            payload=Payload(subject=subject, message=text, priority=priority), trace_id=identity, origin=sender,
            org=self.organization.org,
        )  # fmt: skip

    async def with_files(self, message: Message, files: Sequence[Path]) -> Message:
        """The message with these files, which are stored when this returns.

        Raises:
            NotFoundError: If there is no such file.
            RefusedError: If one is too large.
        """
        if not files:
            return message
        stored = [await self._store(f"{message.from_role}.{message.id}~{n}", path) for n, path in enumerate(files)]
        return message.model_copy(update={"payload": message.payload.model_copy(update={"attachments": stored})})

    async def _store(self, key: str, path: Path) -> Attachment:
        try:
            size = path.stat().st_size
            data = path.read_bytes() if size <= MAX_BYTES else b""
        except OSError as error:
            raise NotFoundError(f"{path} cannot be attached: {error.strerror}.") from error
        if size > MAX_BYTES:
            raise RefusedError(f"{path} has {size:,} bytes; an attachment may have {MAX_BYTES:,}.")
        return await put_attachment(self.bus, key, path.name, data)

    async def attachment(self, key: str) -> bytes:
        """The content of a file that came with a message.

        Raises:
            NotFoundError: If there is none of this key any more.
        """
        if not subjects.attachment_key(key):
            raise NotFoundError(f"{key[:80]!r} is no key of an attachment; `agenthub inbox peek` shows them.")
        return await get_attachment(self.bus, key)

    async def put(self, to: str, message: Message) -> None:
        """Put a message into an inbox; it is stored when this returns.

        Raises:
            NotFoundError: If the role's file came after the hub was started, so that it has no inbox yet.
        """
        lane = subjects.lane(to, message.payload.priority, message.from_role)
        try:
            await self.bus.publish(
                lane, message.encode(), message_id=message.id, headers={subjects.TRACE_PARENT: message.trace_parent()}
            )
        except NoStreamError as error:
            raise NotFoundError(
                f"`{to}` is new, and has no inbox yet. `agenthub restart {to}` starts it in a hub that runs; where "
                "each role is a process of its own `agenthub provision` makes its inbox."
            ) from error

    async def completion(self, role: str, message_id: str, *, timeout_s: float | None = None) -> Completion:
        """How a message ended, as soon as it has; of one that went to a fallback, how it ended there.

        Raises:
            TimeoutError: If it has not within `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            while (end := await self._end(role, message_id)).outcome is Outcome.REASSIGNED:
                role, message_id = end.reassigned_to, end.reassigned_id
            return end

    async def _end(self, role: str, message_id: str) -> Completion:
        subject = subjects.done(role, message_id)
        async with self.bus.listen(subject) as heard:
            while True:
                stored = await self.bus.last_with_revision(subjects.DONE, subject)
                if stored is not None:
                    return self._genuine(subject, stored[2], stored[0])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):  # what is published while we reconnect is not heard
                        received = await anext(heard)
                        return self._genuine(subject, received.headers, received.data)

    def _genuine(self, subject: str, headers: Mapping[str, str], data: bytes) -> Completion:
        if self._senders is not None and not self._senders.ended(subject, headers, data):
            raise HubError(
                f"{subject} says how a message ended, but nobody who may has signed it, by the public keys that are "
                "known here. Bring the newest .agenthub/keys/public.json; if that is no help, somebody forged it."
            )
        return Completion.decode(data)

    async def roles(self, *, also_without_file: bool = False) -> list[RoleStatus]:
        """Every configured role and its processes that beat or are missed, in the order of the organization.

        Args:
            also_without_file: Behind them what beats of roles that no file tells of any more.
        """
        registry = Registry(self.bus)
        beats, absences, counts, found, delayed = await asyncio.gather(
            registry.all(), registry.absences(), self.bus.counts(subjects.AGENTS, "agent-hub.operators.>"),
            decided(self.bus, operator=self.organization.operator), count_put_off(self.bus),
        )  # fmt: skip
        result: list[RoleStatus] = []
        for name in self.organization.roles:
            known = {*beats, *absences}
            keys = {key for key in known if key == name or key.startswith(f"{name}.")} or {name}
            result += [
                status(name, key, beats.get(key), absences.get(key), counts, standing(found, name), delayed[name])
                for key in sorted(keys)
            ]
        for key in sorted(beats) if also_without_file else []:
            if (name := key.partition(".")[0]) not in self.organization.roles:
                is_ = status(name, key, beats[key], None, counts, standing(found, name), delayed[name])
                result.append(is_._replace(has_file=False))
        return result

    async def waiting(self, role: str, *, most: int = 50) -> list[WaitingMessage]:
        """What waits in an inbox, most urgent first, oldest first; nothing is taken.

        Raises:
            NotFoundError: If there is no such inbox.
        """
        if role != self.organization.operator:
            await self.steering.know(role)
        found: list[Received] = []
        for subject in [*(subjects.lane_filter(role, p) for p in Priority), subjects.inbox(role)]:
            found += await self.bus.look(subjects.AGENTS, subject, most=most - len(found))
        return [waiting_message(received) for received in found]

    async def put_off(self, role: str, *, most: int = 50) -> list[WaitingMessage]:
        """What a role has put off, what comes due first before the rest; nothing is taken.

        Raises:
            NotFoundError: If there is no such role.
        """
        await self.steering.know(role)
        return [waiting_message(found, put_off_of(found)) for found in await look_at_put_off(self.bus, role, most=most)]

    async def mail(self) -> int:
        """How many messages lie in the operator's inbox."""
        lanes = subjects.lane_filter(self.organization.operator, "*")
        return sum((await self.bus.counts(subjects.AGENTS, lanes)).values())

    async def ended(self, since: datetime) -> list[Completion]:
        """How messages ended since a moment, the oldest first."""
        found = await self.bus.history(subjects.DONE, subjects.ALL_DONE, since=since)
        return completions([event for received in found if (event := event_of(received)) is not None])

    def live(self, role: str) -> AsyncGenerator[tuple[str, LiveEvent]]:
        """What a role says and does, with the name of the process that does: the recent past, then what happens.

        Closing it ends the watching; the role never notices.

        Raises:
            NotFoundError: If there is no such role.
        """
        self.organization.role(role)
        return watch(self.bus, role, watcher=self.organization.operator)

    async def events(
        self, *, last: int | None = None, since: datetime | None = None, follow: bool = False,
        without: Set[str] = frozenset(),
    ) -> AsyncGenerator[Event]:  # fmt: skip
        """What happened, oldest first: the `last` few or all `since`; with `follow` also what happens from now on.

        Args:
            without: Kinds of events to leave out.
        """
        read = last if last is None or not without else 4 * last  # some of them are left out
        names = (subjects.ALL_EVENTS, subjects.ALL_DONE)
        async with contextlib.AsyncExitStack() as stack:
            heard = await stack.enter_async_context(self.bus.listen(*names)) if follow else None
            streams = [
                await self.bus.history(stream, name, last=read, since=since)
                for stream, name in zip((subjects.EVENTS, subjects.DONE), names, strict=True)
            ]
            told = [event for found in streams for r in found if (event := event_of(r)) and event.kind not in without]
            past = sorted(told, key=lambda event: event.at)  # they are stored a little later, in another order
            shown = past if last is None else past[-last:] if last else []
            for old in shown:
                yield old
            if heard is None:
                return
            newest = past[-1].at if past else None
            async for received in heard:
                event = event_of(received)
                if event is None or event.kind in without:
                    continue
                if newest is None or event.at > newest or event not in past:
                    yield event


@contextlib.asynccontextmanager
async def open_client(
    settings: Settings, organization: Organization, *, as_: str | None = None
) -> AsyncIterator[Client]:
    """A client of the hub that runs in the organization's folder, or at `nats_url`.

    Args:
        as_: Whose key to use. None: the operator's, else the first that is here of the bridge's and the viewer's.

    Raises:
        HubUnreachableError: If there is none.
    """
    if not settings.nats_url:
        found = RunFile.read(settings.state)
        if found is None:
            is_usual = settings.state == settings.folder / ".agenthub"
            where = settings.folder if is_usual else settings.state
            raise HubUnreachableError(f"No hub runs in {where}. Start it with `agenthub up -d`.")
        settings = settings.at(found.nats_url, found.nats_context)
    identity = _identity(settings) if as_ is None else Keyring(settings.keys).find(as_)
    async with connect(settings.transport, name="agenthub client", identity=identity, patience_s=10) as bus:
        keyring = Keyring(settings.keys)
        yield Client(
            bus, organization, senders=Senders(keyring, operator=organization.operator), keyring=keyring,
        )  # fmt: skip


def _identity(settings: Settings) -> Identity | None:
    keyring = Keyring(settings.keys)
    found = (keyring.find(name) for name in (OPERATOR, BRIDGE, VIEWER))
    return next((identity for identity in found if identity is not None), None)
