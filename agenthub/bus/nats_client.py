"""The client of nats-py 2.16, with the faults mended that would stop a role which asks the broker day and night."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from nats.aio.client import DEFAULT_BUFFER_SIZE, NO_RESPONDERS_STATUS, PING_PROTO, Client, Srv
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.errors import (
    ConnectionDrainingError,
    NoRespondersError,
    OutboundBufferLimitError,
    SecureConnWantedError,
    StaleConnectionError,
)
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import Header

from agenthub.rhythm import next_moment

_CLOSED_WITHIN_S = 1.0
_UNREAD_BYTES = 1024 * 1024
"""So much may wait to be read by the server; more than one message."""
SOON_S = 0.01
"""How long at most what may wait is held back, so that it goes with something else."""


class DeniedError(NatsTimeoutError):
    """Nobody answers, for the server does not let this client ask on `subject`."""

    def __init__(self, subject: str) -> None:
        super().__init__(subject)
        self.subject = subject

    def __str__(self) -> str:
        return f"nats: permissions violation for publish to {self.subject}"


class ClosingTransport(TcpTransport):
    """A connection that is closed in bounded time.

    With TLS asyncio may wait for ever for the end of one that the other side has closed in the same moment, as a server
    does that refuses a user; nats-py waits for that before it tries the next time.
    """

    async def wait_closed(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSED_WITHIN_S):
                await super().wait_closed()  # type: ignore[no-untyped-call]
                return
        if self._io_writer is not None:
            self._io_writer.transport.abort()


class _When(Enum):
    """When what is published is written."""

    FLUSHED = "in the next turn of the event loop, with all that is published until then"
    SOON = "with whatever is written next"
    NOW = "at once: who asks does nothing else before the answer, or a lot"


class _NoAnswer(Enum):
    """Why who asks gets no answer. An error that nobody fetches, as who is cancelled, would be logged."""

    LATE = "its time is over, or the connection is lost"
    DENIED = "the server does not let this client ask"


class HeedingClient(Client):
    """A client whose requests do not swallow a cancellation, and take no detour.

    Up to Python 3.11 `asyncio.wait_for`, on which those of nats-py wait, returns the answer instead of raising if it
    arrives together with the cancellation (python/cpython#86296). A service that does nothing but ask the
    broker again and again would then never end, and its process not either.
    """

    def __init__(self) -> None:
        super().__init__()
        self._answers_prefix = ""
        self._asked: dict[str, tuple[str, asyncio.Future[Msg | _NoAnswer]]] = {}
        """What was asked and who waits for the answer, by the last token of where it comes; or why none does."""
        self._takers: dict[int, Callable[[Msg], None]] = {}
        """Who takes messages directly, by the number of the subscription."""
        self.renewed: Callable[[], dict[str, Any]] = dict
        """Gives the options that may be others at the next connection than they were at this one."""

    must_encrypt = False
    """Whether to send nothing in clear. nats-py 2.16 does what the server says, and so what anybody says who stands
    between: then user and password would go out in clear."""

    _when = _When.FLUSHED
    """When what is published in this moment is written."""
    _writing_soon: asyncio.TimerHandle | None = None

    _is_over = False
    """True once it is closed, or is being closed."""

    _connecting: tuple[asyncio.Task[Any] | None, int] = (None, 0)
    """Who waits for the first connection, and how often that had been cancelled before."""

    async def connect(self, *args: Any, **kwargs: Any) -> None:
        """Connect, or be given up: a cancellation that is swallowed would let nats-py try for ever."""
        task = asyncio.current_task()
        self._connecting = (task, task.cancelling() if task else 0)
        await super().connect(*args, **kwargs)
        self._heed_cancellation()

    def _heed_cancellation(self) -> None:
        """Raise if this task was cancelled, whether nats-py knows of it or not; one that connects again is its own."""
        task = asyncio.current_task()
        connecting, asked = self._connecting
        if task is not None and task.cancelling() > (asked if task is connecting else 0):
            raise asyncio.CancelledError

    async def _connect_to_server(self, s: Srv) -> None:
        """Open a connection to one server; WebSockets are not spoken here."""
        self._heed_cancellation()
        self.options |= self.renewed()
        s.last_attempt = time.monotonic()
        self._transport = self._transport or ClosingTransport()  # type: ignore[no-untyped-call]
        await self._transport.connect(
            s.uri, buffer_size=DEFAULT_BUFFER_SIZE, connect_timeout=self.options["connect_timeout"]
        )

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Take note of what a server says of itself; before anything is sent to it."""
        if self.must_encrypt and initial_connection and not info.get("tls_required"):
            if self.options["tls_handshake_first"]:  # this has come through TLS
                pass
            elif info.get("tls_available"):
                info["tls_required"] = True
            else:
                raise SecureConnWantedError
        await super()._process_info(info, initial_connection)

    async def _process_connect_init(self) -> None:
        """Greet the server. Who waits for the PONG of a PING that is still to be sent waits on."""
        asked = self._pongs
        await super()._process_connect_init()
        unsent = self._pending.count(PING_PROTO)
        self._pongs = asked[len(asked) - unsent :]

    async def _attempt_reconnect(self) -> None:
        """Try until it is connected or closed; what was connected in the moment in which it was closed is ended."""
        await super()._attempt_reconnect()
        if self._is_over:
            self._status = Client.CLOSED
            for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
                if task is not None:
                    task.cancel()
            if self._transport:
                self._transport.close()  # type: ignore[no-untyped-call]

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Close for good."""
        self._is_over = True
        await super()._close(status, do_cbs)

    async def request(
        self, subject: str, payload: bytes = b"", timeout: float = 0.5, old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:  # fmt: skip
        """The answer to what is published.

        Raises:
            TimeoutError: If none came within `timeout` seconds, or none will come any more.
            DeniedError: It is one of those: the server does not let this client ask.
            NoRespondersError: If nobody listens.
        """
        if self.is_draining_pubs:
            raise ConnectionDrainingError
        if not self._answers_prefix:
            self._answers_prefix = f"{self._inbox_prefix.decode()}.{self._nuid.next().decode()}."
            try:
                await self.subscribe_directly(f"{self._answers_prefix}*", self._answered)
            except BaseException:
                self._answers_prefix = ""  # else nobody would ever be answered
                raise
        token = self._nuid.next().decode()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Msg | _NoAnswer] = loop.create_future()
        self._asked[token] = subject, answer
        overdue = loop.call_later(timeout, _give_up, answer, _NoAnswer.LATE)
        try:
            await self._publish(_When.NOW, subject, payload, f"{self._answers_prefix}{token}", headers)
            found = await answer
        finally:
            overdue.cancel()
            del self._asked[token]
        if found is _NoAnswer.DENIED:
            raise DeniedError(subject)
        if found is _NoAnswer.LATE:
            raise NatsTimeoutError
        if found.headers and found.headers.get(Header.STATUS) == NO_RESPONDERS_STATUS:
            raise NoRespondersError
        return found

    def _answered(self, msg: Msg) -> None:
        _, answer = self._asked.get(msg.subject[len(self._answers_prefix) :], ("", None))
        if answer is not None and not answer.done():
            answer.set_result(msg)

    def give_up(self, subject: str | None = None) -> None:
        """Have who waits for an answer wait no longer: all, or those who may not ask on a subject, in small letters."""
        for asked, answer in self._asked.values():
            if subject is None or asked.lower() == subject:
                _give_up(answer, _NoAnswer.LATE if subject is None else _NoAnswer.DENIED)

    async def subscribe_directly(self, subject: str, take: Callable[[Msg], None]) -> Subscription:
        """A subscription of which each message is given to `take` where it is read, and not through a queue and a task.

        Those cost a turn of the event loop for each message, of which a directive needs several. `take` must be quick.
        """
        number = self._sid + 1  # which `subscribe` gives it before it waits for anything
        self._takers[number] = take
        try:
            return await self.subscribe(subject)
        except BaseException:
            self._remove_sub(number)
            raise

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        take = self._takers.get(sid)
        if take is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        try:
            take(self._build_message(sid, subject, reply, data, await self._process_headers(headers)))
        except Exception as error:  # noqa: BLE001 - it would end the reading: the client would be deaf to everybody
            await self._error_cb(error)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        """The headers of a message, as nats-py reads them, which looks at each character of each name for itself."""
        found: dict[str, str] = {}
        for line in raw.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            if colon and name.isascii():
                key = name.strip().decode()
                if not key or key.split() == [key]:
                    found[key] = value.strip().decode("utf-8", "replace")
        return found

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._takers.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def publish_soon(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Publish together with whatever is sent next, in `SOON_S` at the latest, and in the order of the calls.

        Each packet is a system call for us and one for the server: more than the rest of a small publication takes.
        """
        await self._publish(_When.SOON, subject, payload, reply)

    async def _publish(
        self, when: _When, subject: str, payload: bytes, reply: str, headers: dict[str, Any] | None = None
    ) -> None:
        if self._is_slow and self._pending_data_size + len(payload) > self._max_pending_size:
            raise OutboundBufferLimitError  # as while no server is there: it is tried again, or given up
        self._when = when
        try:
            await self.publish(subject, payload, reply, headers)
        finally:
            self._when = _When.FLUSHED

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        """Have what was published written, at its time."""
        if force_flush or self._when is _When.FLUSHED or self._is_slow:
            return await self._flush_heeding(force_flush)
        if self._when is _When.NOW:
            self._write_now()
        elif self._writing_soon is None:
            self._writing_soon = asyncio.get_running_loop().call_later(SOON_S, self._write_later)
        return None

    async def _flush_heeding(self, force_flush: bool) -> Any:
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        flushed = await super()._flush_pending(force_flush)
        if task is not None and task.cancelling() > asked:  # nats-py swallows it
            raise asyncio.CancelledError
        return flushed

    @property
    def _is_slow(self) -> bool:
        """True if the server does not read as fast as is written: then only nats-py's flusher writes, which waits."""
        writer = getattr(self._transport, "_io_writer", None)
        return writer is not None and writer.transport.get_write_buffer_size() > _UNREAD_BYTES

    def _write_later(self) -> None:
        self._writing_soon = None
        if not self._is_slow:
            self._write_now()
        elif self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    def _write_now(self) -> None:
        if self._pending_data_size > 0 and self.is_connected:
            self._write_pending()

    def _write_pending(self) -> None:
        assert self._transport is not None
        self._transport.writelines(self._pending[:])
        self._pending, self._pending_data_size = [], 0

    async def _ping_interval(self) -> None:
        """See every now and then that the connection lives; together with what else recurs, which nats-py would not."""
        while True:
            await next_moment(self.options["ping_interval"])
            if not self.is_connected:
                continue
            self._pings_outstanding += 1
            if self._pings_outstanding > self.options["max_outstanding_pings"]:
                await self._process_op_err(StaleConnectionError())
                return
            await self._send_ping()

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        """Ask for a PONG behind all that was published and subscribed: nats-py 2.16 lets its PING overtake that."""
        self._pongs.append(future or asyncio.Future())
        self._pending.append(PING_PROTO)
        self._pending_data_size += len(PING_PROTO)
        await self._flush_pending()

    async def _process_pong(self) -> None:
        """Take note of a PONG; also of one for which nobody waits any more.

        nats-py 2.16 sets a result on the future of a flush that was given up, and the error ends its read loop:
        the client is deaf until its own pings find no answer, ten seconds later.
        """
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pongs_received += 1
            self._pings_outstanding = 0
        else:
            await super()._process_pong()


def _give_up(answer: asyncio.Future[Msg | _NoAnswer], why: _NoAnswer) -> None:
    if not answer.done():
        answer.set_result(why)
