"""The trace of a message, gathered from all streams that know of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.received import Received
from agenthub.causation import Copy, Node, Place, Waits, assemble
from agenthub.client.letters import Letters
from agenthub.errors import MessageError, NotFoundError
from agenthub.letters import DeadLetter
from agenthub.messages import Completion, Event, Message, Outcome, Priority, now
from agenthub.org.registry import Registry
from agenthub.organization import Organization

_Value = TypeVar("_Value", Event, Completion)
_BACK = tuple(timedelta(minutes=minutes) for minutes in (10, 120, 24 * 60, 30 * 24 * 60))
"""How far to look back for a message, step by step: most that are asked for are young."""
_MOST_BEFORE = 500
"""Of a longer lane than this the position of a message is not counted."""
_CHANGES_S = 0.3
_LOOK_AGAIN_S = 3.0


class _Read(NamedTuple):
    """What the streams hold since a moment."""

    copies: list[Received]
    events: list[Received]
    completions: list[Received]


class Tracing:
    """Finds messages and puts together what became of them."""

    def __init__(self, bus: Bus, organization: Organization, letters: Letters) -> None:
        self._bus, self._organization, self._letters = bus, organization, letters

    async def trace(self, prefix: str) -> list[Node]:
        """The tree of the message whose id begins with `prefix`; one for each role that has it to work off.

        Raises:
            NotFoundError: If there is no such message, or more than one.
        """
        ended = await self._ended(prefix)
        newest = ended.started_at if ended else now()
        found = ended.message_id if ended else ""
        read = _Read([], [], [])
        for back in _BACK:
            read = await self._read(since=newest - back)
            found = found or _one(prefix, _ids(read, prefix))
            if found and any(copy.message.id == found for copy in _copies(read, found)):
                break
        if not found:
            with contextlib.suppress(NotFoundError):
                return _of_letter((await self._letters.find(prefix)).letter)
            raise NotFoundError(
                f"There is no message whose id begins with `{prefix}`. `agenthub tail --json`, `inbox ls` and `dlq ls` "
                "have their ids."
            )
        return await self._assembled(found, read, ended)

    async def follow(self, prefix: str) -> AsyncIterator[list[Node]]:
        """The tree, again whenever something was added to it, until the message has ended."""
        async with self._bus.listen(subjects.ALL_EVENTS, subjects.ALL_DONE) as heard:
            while True:
                trees = await self.trace(prefix)
                yield trees
                if all(tree.is_settled for tree in trees):
                    return
                mine = {node.trace_id.encode() for tree in trees for node in tree.walk() if node.trace_id}
                try:
                    async with asyncio.timeout(_LOOK_AGAIN_S):  # what is published while we reconnect is not heard
                        async for received in heard:
                            if any(identity in received.data for identity in mine):
                                break
                except TimeoutError:
                    continue
                await asyncio.sleep(_CHANGES_S)  # they come in bursts

    async def _assembled(self, found: str, read: _Read, ended: Completion | None) -> list[Node]:
        copies, events = _copies(read, found), _events(read, found)
        of_it = [copy.message.trace_id for copy in copies if copy.message.id == found]
        of_it += [event.trace_id for event in events if event.message_id == found]
        trace_id = next((identity for identity in of_it if identity), ended.trace_id if ended else "") or found
        copies, events = _copies(read, trace_id, found), _events(read, trace_id, found)
        completions = _completions(read, trace_id, found)
        trees = assemble(found, copies=copies, events=events, completions=completions)
        open_ = [node for tree in trees for node in tree.walk() if node.state == "waits"]
        if not open_:
            return trees
        waits = await self._waits(open_)
        return assemble(found, copies=copies, events=events, completions=completions, waits=waits)

    async def _read(self, *, since: datetime) -> _Read:
        streams = (
            (subjects.AUDIT, subjects.ALL_AUDIT), (subjects.EVENTS, subjects.ALL_EVENTS),
            (subjects.DONE, subjects.ALL_DONE),
        )  # fmt: skip
        return _Read(*await asyncio.gather(*(self._bus.history(*stream, since=since) for stream in streams)))

    async def _ended(self, prefix: str) -> Completion | None:
        """The completion of the message, which the broker finds by the name of its subject."""
        names = await self._bus.counts(subjects.DONE, subjects.ALL_DONE)
        ids: dict[str, str] = {name.rpartition(".")[2]: name for name in names}
        found = _one(prefix, {identity for identity in ids if identity.startswith(prefix)})
        data = await self._bus.last(subjects.DONE, ids[found]) if found else None
        return Completion.decode(data) if data else None

    async def _waits(self, nodes: Iterable[Node]) -> dict[Place, Waits]:
        """Where in their lanes these messages wait; those that do not are left out."""
        wanted = {(node.role, node.message_id) for node in nodes}
        inboxes = {*self._organization.roles, self._organization.operator}
        in_hand = {beat.message_id for beat in (await Registry(self._bus).all()).values() if beat.message_id}
        result: dict[Place, Waits] = {}
        for role in sorted({role for role, _ in wanted} & inboxes):
            for priority in Priority:
                lane = subjects.lane_filter(role, priority)
                of = sum((await self._bus.counts(subjects.AGENTS, lane)).values())
                held = await self._bus.look(subjects.AGENTS, lane, most=_MOST_BEFORE) if of else []
                ids = [_default_id(received, received.sequence) for received in held]
                read = [copy.message.id for copy in map(_copy, held, ids) if copy is not None]
                waiting = [identity for identity in read if identity not in in_hand]
                gone = len(read) - len(waiting)
                for position, identity in enumerate(waiting, start=1):
                    if (role, identity) in wanted:
                        result[role, identity] = Waits(position, of - gone, str(priority))
        return result


def _one(prefix: str, ids: set[str]) -> str:
    """The id that begins with `prefix`; empty if there is none.

    Raises:
        NotFoundError: If there is more than one.
    """
    if prefix in ids:
        return prefix
    if len(ids) > 1:
        listed = ", ".join(sorted(ids)[:3])
        raise NotFoundError(f"{len(ids)} messages have an id that begins with `{prefix}`: {listed} … Give more of it.")
    return next(iter(ids), "")


def _copies(read: _Read, *words: str) -> list[Copy]:
    """The copies in which one of these ids stands; the first of each is when it was stored."""
    found = (_copy(received, _default_id(received, _sequence(received))) for received in _with(read.copies, words))
    return [copy for copy in found if copy is not None]


def _copy(received: Received, default_id: str) -> Copy | None:
    place = subjects.place_of(received.subject)
    if place is None:
        return None
    try:
        message = Message.read(received.data, default_id=default_id)
    except MessageError:
        return None
    return Copy(message, place.role, _stored_at(received))


def _events(read: _Read, *words: str) -> list[Event]:
    return list(_decoded(Event, _with(read.events, words)))


def _completions(read: _Read, *words: str) -> list[Completion]:
    return list(_decoded(Completion, _with(read.completions, words)))


def _decoded(kind: type[_Value], found: Iterable[Received]) -> Iterator[_Value]:
    for received in found:
        with contextlib.suppress(MessageError):
            yield kind.decode(received.data)


def _ids(read: _Read, prefix: str) -> set[str]:
    """Ids of messages that begin with `prefix`."""
    ids = {copy.message.id for copy in _copies(read, prefix)}
    ids |= {event.message_id for event in _events(read, prefix)}
    return {identity for identity in ids if identity.startswith(prefix)}


def _with(found: Iterable[Received], words: Sequence[str]) -> Iterator[Received]:
    """What these words stand in: looked for in the bytes, since most of a busy hub's messages are of other traces."""
    needles = [word.encode() for word in words]
    for received in found:
        named = _default_id(received, _sequence(received))
        if named.startswith(tuple(words)) or any(needle in received.data for needle in needles):
            yield received


def _default_id(received: Received, sequence: int) -> str:
    return received.headers.get(subjects.ID) or f"{subjects.AGENTS}-{sequence}"


def _sequence(received: Received) -> int:
    """Where the message of which this is a copy was stored."""
    value = received.headers.get(subjects.COPY_SEQUENCE, "")
    return int(value) if value.isdecimal() else 0


def _stored_at(received: Received) -> datetime:
    """When the broker stored the message, which for a copy is a moment before the copy was."""
    try:
        return datetime.fromisoformat(received.headers[subjects.COPY_TIME]).astimezone(UTC)
    except (KeyError, ValueError):
        return received.stored_at or now()


def _of_letter(letter: DeadLetter) -> list[Node]:
    """What is left of a message that was buried long ago."""
    message = letter.message()
    copies = [] if message is None else [Copy(message, letter.role, letter.stored_at)]
    end = Completion(
        message_id=letter.message_id, role=letter.role, outcome=Outcome.DEAD, text=letter.reason,
        started_at=letter.stored_at, ended_at=letter.buried_at, attempts=letter.attempts,
    )  # fmt: skip
    return assemble(letter.message_id, copies=copies, completions=[end])
