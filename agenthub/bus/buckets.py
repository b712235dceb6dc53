"""Key-value buckets of typed values, and the lease that makes one process the holder of a role.

Written on streams directly: nats-py 2.16's `get` and `create` mishandle the markers that the server leaves
when a value expires.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import psutil
from pydantic import BaseModel, ConfigDict

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.reading import newest_of_each
from agenthub.errors import HubUnreachableError, LeaseLostError, MessageError
from agenthub.messages import SCHEMA_VERSION, Moment, now
from agenthub.rhythm import next_moment

logger = logging.getLogger(__name__)

_LAST_WORDS_S = 1.0
"""How long a process that lost its role lives on, so that what waited for the lease can be kept for review."""

_WRITTEN_AS = {subjects.SCHEMA: str(SCHEMA_VERSION)}

Value = TypeVar("Value", bound=BaseModel)
IsTrue: TypeAlias = Callable[[str, Mapping[str, str], bytes], bool]


def is_newer(headers: Mapping[str, str]) -> bool:
    """True if a value was written by a version whose values this one would misunderstand."""
    said = headers.get(subjects.SCHEMA, "")
    return said.isascii() and said.isdigit() and int(said) > SCHEMA_VERSION


class Entry(NamedTuple, Generic[Value]):
    """A value with its revision, for `update`."""

    value: Value
    revision: int


class Bucket(Generic[Value]):
    """A bucket whose values are all of one model. Keys are subjects: tokens separated by dots."""

    def __init__(self, bus: Bus, name: str, model: type[Value], *, is_true: IsTrue = lambda *_: True) -> None:
        """`is_true` says of a subject, headers and a body whether who may has written that; else it counts as none."""
        self._bus, self._name, self._model, self._is_true = bus, name, model, is_true

    def _subject(self, key: str) -> str:
        return f"$KV.{self._name}.{key}"

    @property
    def _stream(self) -> str:
        return f"KV_{self._name}"

    async def get(self, key: str) -> Entry[Value] | None:
        """The value of a key; None if there is none, it was deleted or it expired."""
        value, revision = await self.read(key)
        return None if value is None else Entry(value, revision)

    async def put(self, key: str, value: Value, *, ttl_s: float | None = None) -> None:
        """Set a value, whatever was there."""
        await self._bus.publish(
            self._subject(key), value.model_dump_json().encode(), headers=_WRITTEN_AS, ttl_s=ttl_s
        )  # fmt: skip

    async def create(self, key: str, value: Value, *, ttl_s: float | None = None) -> int | None:
        """Set a value that is not there yet; its revision, or None if there was one."""
        found, revision = await self.read(key)
        return None if found is not None else await self.update(key, value, revision, ttl_s=ttl_s)

    async def update(self, key: str, value: Value, revision: int, *, ttl_s: float | None = None) -> int | None:
        """Set a value if `revision` is still the newest; its new revision, or None if somebody was faster."""
        stored = await self._bus.publish(
            self._subject(key), value.model_dump_json().encode(), headers=_WRITTEN_AS, only_after=revision, ttl_s=ttl_s
        )
        return stored.sequence if stored.is_new else None

    async def delete(self, key: str, *, remembered_s: float | None = None) -> None:
        """Remove a key and its history.

        The broker remembers that it was there (for `remembered_s`; None: for ever), so that an `update` with
        revision 0 that comes late does not bring it back.
        """
        headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}
        await self._bus.publish(self._subject(key), b"", headers=headers, ttl_s=remembered_s)

    async def items(self, prefix: str = ">") -> dict[str, Value]:
        """All values whose keys match `prefix` (`>`: all; `backend.>`: below backend).

        Raises:
            HubUnreachableError: If the broker did not answer.
        """
        if (found := await newest_of_each(self._bus, self._stream, self._subject(prefix))) is not None:
            offset = len(self._subject(""))
            read = {name[offset:]: self._listed(name, one.data, one.headers) for name, one in sorted(found.items())}
            return {name: value for name, value in read.items() if value is not None}
        names = await self.keys(prefix)
        values = await asyncio.gather(*(self.listed(name) for name in names))
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    async def listed(self, key: str) -> Value | None:
        """The value of one key of many: one that makes no sense is none, so that it hides no other."""
        found = await self._bus.last_with_revision(self._stream, self._subject(key))
        return None if found is None else self._listed(self._subject(key), found[0], found[2])

    async def keys(self, prefix: str = ">") -> list[str]:
        """Keys that match `prefix`, sorted; also of values that were deleted, while the broker remembers that.

        Raises:
            HubUnreachableError: If the broker did not answer.
        """
        names = await self._bus.counts(self._stream, self._subject(prefix))
        offset = len(self._subject(""))
        return sorted(name[offset:] for name in names)

    async def version(self) -> int:
        """A number that grows with whatever is written into the bucket; cheap.

        Raises:
            HubUnreachableError: If the broker did not answer.
        """
        return await self._bus.newest(self._stream)

    async def read(self, key: str) -> tuple[Value | None, int]:
        """The value of a key, or None, with the revision that the next `update` must name."""
        return await self._read(self._subject(key))

    async def _read(self, subject: str) -> tuple[Value | None, int]:
        found = await self._bus.last_with_revision(self._stream, subject)
        if found is None:
            return None, 0
        data, revision, headers = found
        return self._value(subject, data, headers), revision

    def _listed(self, subject: str, data: bytes, headers: Mapping[str, str]) -> Value | None:
        """As `_value`; but that somebody wrote what makes no sense hides no other value."""
        try:
            return self._value(subject, data, headers)
        except MessageError as error:
            if is_newer(headers):
                raise
            logger.error("%s", error)
            return None

    def _value(self, subject: str, data: bytes, headers: Mapping[str, str]) -> Value | None:
        """What is stored under a subject; None if it was deleted or has expired."""
        if not data or "KV-Operation" in headers or "Nats-Marker-Reason" in headers:
            return None
        if not self._is_true(subject, headers, data):
            logger.error("%s was not written by who may; it counts as if it were not there", subject)
            return None
        if is_newer(headers):
            raise MessageError(
                f"{subject} was written by a newer agenthub (version {headers[subjects.SCHEMA]}, this one knows "
                f"{SCHEMA_VERSION}). Upgrade this process too."
            )
        try:
            return self._model.model_validate_json(data)
        except ValueError as error:
            raise MessageError(f"{subject} holds what is no {self._model.__name__}: {error}") from error


class Holder(BaseModel):
    """Who holds a lease."""

    model_config = ConfigDict(frozen=True, extra="allow")

    host: str
    pid: int
    process_started: float
    since: Moment

    @classmethod
    def this_process(cls) -> Holder:
        return cls(host=_host_identity(), pid=os.getpid(), process_started=psutil.Process().create_time(), since=now())

    def is_gone(self) -> bool:
        """True if it ran on this machine and has ended; False if it lives or nobody here can know."""
        if self.host != _host_identity():
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.process_started) > 1 or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


class Lease:
    """The right to act as a role. `fence` is its number: higher than that of any holder before.

    A process that was stopped and goes on, or was cut off for long, finds by its clock that its time is over
    and acts no more until `keep` has the lease again, or says that another process has it.
    """

    def __init__(self, bucket: Bucket[Holder], key: str, ttl_s: float, clock: Callable[[], float]) -> None:
        self._bucket, self._key, self._ttl_s, self._clock = bucket, key, ttl_s, clock
        self._holder = Holder.this_process()
        self._renewed = asyncio.Condition()
        self._renewed_s = float("-inf")
        self._is_lost = False
        self._revision = 0
        self.fence = 0

    @property
    def is_held(self) -> bool:
        """False once the lease may have passed to another process."""
        return not self._is_lost and self._clock() - self._renewed_s < self._ttl_s

    async def ensure(self) -> None:
        """Return as soon as this process may act; call it before each effect.

        Raises:
            LeaseLostError: If another process has the role.
        """
        if self.is_held:
            return
        async with self._renewed:
            await self._renewed.wait_for(lambda: self.is_held or self._is_lost)
        if self._is_lost:
            raise self._lost()

    async def acquire(self, *, within_s: float) -> None:
        """Take the lease; of a holder that has ended at once, else when its time is over.

        Raises:
            LeaseLostError: If another process holds and renews it; says which.
        """
        deadline = self._clock() + within_s
        while not await self._take():
            if self._clock() >= deadline:
                raise self._lost()
            await asyncio.sleep(0.1)

    async def keep(self) -> None:
        """Renew the lease until cancelled.

        Raises:
            LeaseLostError: As soon as another process has it.
        """
        while True:
            await next_moment(self._ttl_s / 3)
            started = self._clock()
            renewed = await self._bucket.update(self._key, self._holder, self._revision, ttl_s=self._ttl_s)
            if renewed is not None:
                self._revision, self._renewed_s = renewed, started
            elif not await self._take():
                self._is_lost = True
            async with self._renewed:
                self._renewed.notify_all()
            if self._is_lost:
                await asyncio.sleep(_LAST_WORDS_S)
                raise self._lost()

    async def release(self) -> None:
        """Let the next process have it at once."""
        if self.is_held:
            self._is_lost = True
            await self._bucket.delete(self._key)

    async def _take(self) -> bool:
        """True if the lease is free, or its holder has ended or is this process, and is ours now."""
        started = self._clock()
        entry, revision = await self._bucket.read(self._key)
        if entry is not None and entry != self._holder and not entry.is_gone():
            self._other = entry
            return False
        taken = await self._bucket.update(self._key, self._holder, revision, ttl_s=self._ttl_s)
        if taken is None:
            return False
        self.fence = self._revision = taken
        self._renewed_s = started
        return True

    _other: Holder | None = None

    def _lost(self) -> LeaseLostError:
        who = f"process {self._other.pid} on {self._other.host.split('/')[0]}" if self._other else "another process"
        return LeaseLostError(f"`{self._key}` is worked by {who}.")


@contextlib.asynccontextmanager
async def hold_lease(
    bus: Bus, key: str, *, ttl_s: float, within_s: float, clock: Callable[[], float],
    entered: IsTrue = lambda *_: True,
) -> AsyncIterator[Lease]:  # fmt: skip
    """The lease of `key` for the length of the block; whoever is in the block must run `keep` beside.

    `entered` says whether who may has signed what is stored there; else nobody holds it.

    Raises:
        LeaseLostError: If another process holds it for longer than `within_s`.
    """
    lease = Lease(Bucket(bus, subjects.LEASES, Holder, is_true=entered), key, ttl_s, clock)
    await lease.acquire(within_s=within_s)
    try:
        yield lease
    finally:
        with contextlib.suppress(HubUnreachableError):  # it runs out by itself; and what ends the block must go on
            await lease.release()


def _host_identity() -> str:
    """This machine since its last start: process ids mean nothing anywhere else. Containers have their own."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    since = boot.read_text().strip() if boot.exists() else f"{psutil.boot_time():.0f}"
    return f"{socket.gethostname()}/{since}"
