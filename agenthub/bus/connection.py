"""What the rest of the house does over one connection to NATS: publishing that never lies, reading, listening."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, TypeVar

from nats.aio.msg import Msg
from nats.errors import BadSubjectError, MaxPayloadError, NoRespondersError
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError
from nats.js.errors import NotFoundError as StreamMissing

from agenthub import subjects
from agenthub.bus.identity import Identity
from agenthub.bus.nats_client import DeniedError, HeedingClient
from agenthub.bus.reading import read_stream
from agenthub.bus.received import Heard, Received
from agenthub.bus.signing import received_as, signature
from agenthub.errors import HubError, HubUnreachableError, PermissionDeniedError, RefusedError

logger = logging.getLogger(__name__)

_WRONG_LAST_SEQUENCE = (10071, 10164)  # of a server alone, of a cluster
_TOO_LARGE = 10054
_FULL = (10077, 10047, 10023)  # limits of the stream, of its storage, of the server
_NO_SUCH_MESSAGE = "no message found"
_TRY_S = 2.0
_PAUSE_S = 0.1
_SAY_AFTER_S = 5.0
"""So long the broker may not store before the log says so, each time after twice as long."""

Answer = TypeVar("Answer")
Callback = Callable[[], Awaitable[None]]


class NoStreamError(HubError):
    """No stream stores what is published: its queue is not there yet, or not any more."""


class StreamFullError(HubError):
    """The stream has reached a limit and refuses, so that nothing is dropped in silence."""


class Stored(NamedTuple):
    """What the broker says of a publication: it is on disk."""

    stream: str
    sequence: int
    is_new: bool
    """False if it was there already: same id within the window, or the comparison failed."""
    value: int | None = None
    """Of a counter: what it stands at. None if the same addition came before."""


class Bus:
    """A connection to NATS with JetStream. Made by `connect`."""

    def __init__(self, url: str, *, patience_s: float, identity: Identity | None = None) -> None:
        self.url = url
        self.identity = identity
        self.asked_one_by_one: set[str] = set()
        """Streams whose values this identity may not ask for at once."""
        """As whom it is connected; None: without a key."""
        self.patience_s = patience_s
        """How long a publication is retried while the broker does not answer."""
        self.nc = HeedingClient()
        self.js: JetStreamContext = self.nc.jetstream(timeout=_TRY_S)
        self._on_reconnect: list[Callback] = []
        self._denied_s: dict[str, float] = {}
        """When the broker last did not let this identity publish on a subject, by the time of the loop; subjects in
        small letters, as nats-py tells them."""

    @property
    def is_connected(self) -> bool:
        """False while the client looks for a server."""
        return bool(self.nc.is_connected)

    @property
    def cluster_size(self) -> int:
        """How many servers the cluster has, as far as a client can know: 0 if the server is not in one."""
        about = self.nc._server_info  # nothing public tells what the server says of itself
        return max(len(about.get("connect_urls") or ()), self.url.count(",") + 1) if about.get("cluster") else 0

    def on_reconnect(self, callback: Callback) -> None:
        """Have `callback` run after each reconnect: pulls and watches of before are forgotten by the server."""
        self._on_reconnect.append(callback)

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        message_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        only_first: bool = False,
        only_after: int | None = None,
        ttl_s: float | None = None,
    ) -> Stored:
        """Store one message and return when the broker has it on disk.

        The publication is repeated with the same id until the broker answers, so a timeout never makes two
        of one. With `only_first` it is stored only if the subject has no message yet, with `only_after` only if
        that is the sequence of its newest one: the broker itself compares.

        Raises:
            RefusedError: If the message is larger than the stream takes.
            StreamFullError: If the stream is full.
            NoStreamError: If no stream takes the subject.
            HubUnreachableError: If the broker did not answer within `patience_s`.
        """
        only_after = 0 if only_first else only_after
        patience = _Patience(self, f"did not confirm that it stored {subject}")
        signed = dict(headers or {})
        if self.identity is not None and (place := received_as(subject, signed)):
            signed[subjects.SIGNATURE] = signature(self.identity, place, data, signed)
        while True:
            sent = dict(signed)  # nats-py writes into the mapping
            if message_id is not None:
                sent[subjects.MESSAGE_ID] = message_id
            if only_after is not None:
                sent[subjects.EXPECTED_LAST_SUBJECT_SEQUENCE] = str(only_after)
            if ttl_s is not None:
                sent[subjects.TTL] = str(int(ttl_s))
            try:
                return _stored(subject, await self.nc.request(subject, data, timeout=_TRY_S, headers=sent or None))
            except MaxPayloadError as error:
                raise RefusedError(_too_large(subject, data)) from error
            except BadSubjectError as error:
                raise HubError(f"{subject!r} is no subject that can be published on.") from error
            except APIError as error:
                if error.err_code in _WRONG_LAST_SEQUENCE and only_after is not None:
                    return Stored(error.stream or "", 0, is_new=False)
                if error.err_code == _TOO_LARGE:
                    raise RefusedError(_too_large(subject, data)) from error
                if error.err_code in _FULL:
                    raise StreamFullError(
                        f"{subject} is full: {error.description}. Work it off or purge it."
                    ) from error
                if error.code != 503:
                    raise HubError(f"{subject}: {error.description} ({error.err_code})") from error
                reason: Exception = error
            except NoRespondersError as error:
                if self.is_connected and not await self._stream_exists(subject):
                    raise NoStreamError(f"No stream stores {subject}. Run `agenthub provision`.") from error
                reason = error
            except DeniedError as error:
                raise self._permission_denied(error.subject) from None
            except (NatsError, OSError) as error:
                reason = error
            await patience.after(reason)

    async def publish_at(
        self, moment: datetime, schedule: str, target: str, data: bytes, *, message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> Stored:  # fmt: skip
        """Store a message that the broker itself publishes on `target` at `moment`, whoever is alive then."""
        at = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        scheduled = {subjects.SCHEDULE: f"@at {at}", subjects.SCHEDULE_TARGET: target}
        return await self.publish(schedule, data, message_id=message_id, headers={**(headers or {}), **scheduled})

    async def last(self, stream: str, subject: str) -> bytes | None:
        """Newest message of a subject; None if there is none."""
        found = await self.last_with_revision(stream, subject)
        return found[0] if found else None

    async def last_with_revision(self, stream: str, subject: str) -> tuple[bytes, int, dict[str, str]] | None:
        """Newest message of a subject with its sequence in the stream and its headers; None if there is none.

        The stream's leader answers, never a replica that may be behind: decisions hang on it.

        Raises:
            HubUnreachableError: If the broker did not answer within `patience_s`.
        """
        direct = stream in subjects.PRIVATE_STREAMS and self.cluster_size <= 1
        try:
            found = await self.patiently(lambda: self.js.get_last_msg(stream, subject, direct=direct), subject)
        except StreamMissing:
            return None
        return found.data or b"", found.seq or 0, found.headers or {}

    async def newest_of(self, stream: str, subject: str) -> Received | None:
        """Newest message of one subject, asked for so that the broker sees which subject it is; None if there is none.

        A replica may answer that is a little behind.
        """
        try:
            raw = await self.patiently(lambda: self.js.get_last_msg(stream, subject, direct=True), subject)
        except StreamMissing:
            return None
        return Received(raw.subject or "", raw.data or b"", dict(raw.headers or {}), raw.seq or 0, raw.time)

    async def patiently(self, ask: Callable[[], Awaitable[Answer]], what: str) -> Answer:
        """What `ask` returns; it is asked again while nobody answers, as while a cluster elects a leader.

        Raises:
            HubUnreachableError: If the broker did not answer within `patience_s`.
            PermissionDeniedError: If it does not let this identity ask.
        """
        patience = _Patience(self, f"did not answer for {what}")
        asked_s = asyncio.get_running_loop().time()
        while True:
            try:
                return await ask()
            except DeniedError as error:
                raise self._permission_denied(error.subject) from error
            except (NatsError, TimeoutError, OSError) as error:
                if isinstance(error, APIError) and error.code != 503:
                    raise  # that is an answer
                for denied, at_s in self._denied_s.items():
                    if at_s >= asked_s and what.lower() in denied:  # not by `request`, which would know it
                        raise self._permission_denied(denied) from error
                await patience.after(error)

    async def tell(self, subject: str, data: bytes, *, soon: bool = False) -> None:
        """Publish without waiting for the broker: for what may be lost when a server crashes.

        Args:
            soon: It may wait for what is sent next, for some milliseconds; killed meanwhile, the process loses it.
        """
        with contextlib.suppress(NatsError):
            await (self.nc.publish_soon if soon else self.nc.publish)(subject, data)

    @contextlib.asynccontextmanager
    async def listen(self, *names: str) -> AsyncIterator[Heard]:
        """What is published on these subjects from now on; nothing is kept for who does not listen."""
        heard = Heard()

        async def put(msg: Msg) -> None:
            heard.put(Received(msg.subject, msg.data, dict(msg.headers or {}), 0))

        subscriptions = [await self.nc.subscribe(name, cb=put) for name in names]
        await self.flush()
        try:
            yield heard
        finally:
            for subscription in subscriptions:
                with contextlib.suppress(NatsError):
                    await subscription.unsubscribe()

    async def history(
        self, stream: str, subject: str, *, last: int | None = None, since: datetime | None = None
    ) -> list[Received]:
        """What a stream holds under a subject, oldest first: the `last` few, what came `since`, or all."""
        return [received async for received in read_stream(self, stream, subject, last=last, since=since)]

    async def look(self, stream: str, subject: str, *, most: int, after: int = 0) -> list[Received]:
        """The oldest messages of a stream under a subject behind the sequence `after`, without taking them."""
        found: list[Received] = []
        sequence = after + 1
        while len(found) < most:
            try:
                raw = await self.patiently(
                    partial(self.js.get_msg, stream, sequence, subject=subject, next=True), subject
                )
            except StreamMissing:
                break
            sequence = (raw.seq or 0) + 1
            found.append(Received(raw.subject or "", raw.data or b"", dict(raw.headers or {}), raw.seq or 0, raw.time))
        return found

    async def newest(self, stream: str) -> int:
        """Place of the newest message of a stream; 0 if it never had one."""
        return (await self.patiently(lambda: self.js.stream_info(stream), stream)).state.last_seq or 0

    async def stored_at(self, stream: str, sequence: int) -> Received | None:
        """The message at a place of a stream; None if it is gone."""
        try:
            raw = await self.js.get_msg(stream, sequence)
        except StreamMissing:
            return None
        return Received(raw.subject or "", raw.data or b"", dict(raw.headers or {}), sequence, raw.time)

    async def delete(self, stream: str, sequence: int) -> None:
        """Remove one message of a stream for good; removing it again changes nothing."""
        try:
            await self.js.delete_msg(stream, sequence)
        except APIError as error:
            if error.description != _NO_SUCH_MESSAGE:
                raise HubError(f"{stream}: {error.description} ({error.err_code})") from error

    async def purge(self, stream: str, subject: str) -> None:
        """Remove for good all that a stream holds under a subject."""
        await self.js.purge_stream(stream, subject=subject)

    async def counts(self, stream: str, subject: str) -> dict[str, int]:
        """How many messages a stream holds under each subject that matches.

        Raises:
            HubError: If there is no such stream.
        """
        try:
            info = await self.patiently(lambda: self.js.stream_info(stream, subjects_filter=subject), stream)
        except StreamMissing as error:
            raise HubError(f"The broker has no {stream}. Run `agenthub provision`.") from error
        return dict(info.state.subjects or {})

    async def flush(self) -> None:
        """Return when the server has read everything that was told so far."""
        if not self.is_connected:
            return
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        with contextlib.suppress(NatsError, TimeoutError):
            await self.nc.flush(timeout=2)
        if task and task.cancelling() > before:
            # Until Python 3.12 `wait_for`, which nats-py uses, drops a cancellation that comes with the answer: who was
            # stopped in the moment in which it began to listen then listened for ever.
            raise asyncio.CancelledError

    async def _stream_exists(self, subject: str) -> bool:
        """False only if the broker is sure: while a server starts it finds no stream either."""
        try:
            await self.js.find_stream_name_by_subject(subject)
        except StreamMissing:
            return False
        except (NatsError, TimeoutError):
            return True
        return True

    def lost(self) -> None:
        """The connection is gone, and with it the answers to all that was asked."""
        self.nc.give_up()

    def violated(self, subject: str) -> None:
        """The broker has refused a publication: whoever waits for its answer need not wait any longer."""
        who = self.identity.name if self.identity else "somebody without a key"
        logger.warning("the broker does not let %s publish on %s", who, subject)
        self._denied_s[subject] = asyncio.get_running_loop().time()
        self.nc.give_up(subject)

    def _permission_denied(self, subject: str) -> PermissionDeniedError:
        return PermissionDeniedError(self.identity.name if self.identity else "", subject)

    async def reconnected(self) -> None:
        logger.info("connected to %s again", self.nc.connected_url.netloc if self.nc.connected_url else self.url)
        for callback in self._on_reconnect:
            await callback()


class _Patience:
    """How long one request is repeated: until the bus's patience is over, said aloud when it takes long."""

    def __init__(self, bus: Bus, trouble: str) -> None:
        self._bus, self._trouble = bus, trouble
        self._clock = asyncio.get_running_loop().time
        self._started_s = self._clock()
        self._say_after_s = _SAY_AFTER_S

    async def after(self, reason: Exception) -> None:
        """Return when it is time for the next try.

        Raises:
            HubUnreachableError: If the patience is over.
        """
        waited_s = self._clock() - self._started_s
        said = f"{self._bus.url} {self._trouble}: {reason or type(reason).__name__}"
        if waited_s >= self._bus.patience_s:
            raise HubUnreachableError(f"{said}. `agenthub doctor` says more.") from reason
        if waited_s >= self._say_after_s:
            self._say_after_s = 2 * waited_s
            logger.warning("%s; tried for %.0f s, trying on", said, waited_s)
        await asyncio.sleep(_PAUSE_S)


def _stored(subject: str, answer: Msg) -> Stored:
    """What a stream answers to a publication.

    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-1.md, `io.nats.jetstream.api.v1.pub_ack`

    Raises:
        APIError: If it did not store it.
        HubError: If it is no stream that answered: anybody may who hears the publication.
    """
    try:
        said = json.loads(answer.data)
        if "error" in said:
            raise APIError.from_error(said["error"])
        value = said.get("val")
        return Stored(
            said["stream"], said["seq"], is_new=not said.get("duplicate"), value=None if value is None else int(value)
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise HubError(
            f"`{subject}` is answered by somebody who is no stream: {answer.data[:80]!r}. "
            "Whoever listens there must not answer."
        ) from error


def _too_large(subject: str, data: bytes) -> str:
    return f"The message for {subject} has {len(data):,} bytes; a message may have {512 * 1024:,}. Put it into a file."
