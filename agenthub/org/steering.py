"""What people decided about roles, kept by the broker: the record of it all, from which follows what holds.

There is one write for each decision, so nothing can come between a decision and its effect: a process that starts
reads what was decided, one that runs is told at once.

A decision is signed, but who can read it can have the broker store it again, as an answer to a question: what was let
go once must not be let go by that. So a decision that is such an answer counts only if it stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.received import Heard, Received
from agenthub.bus.signing import is_answer
from agenthub.control import LASTING, STOPPING, Control, Decided, Standing, may_decide, standing
from agenthub.errors import FrozenError, MessageError, TurnCancelledError
from agenthub.messages import now

logger = logging.getLogger(__name__)

KEPT = 50
"""So many decisions of one kind about one role, by one sender, are looked at when a process starts."""
_LASTING = [verb for pair in LASTING for verb in pair]
_ABOUT_MESSAGES = ("cancel", "move", "nudge")
_SURE_WITHIN_S = 2.0
"""How long it may take to look whether a decision that stops is stored."""
_MARKS = (subjects.COPY_STREAM, subjects.COPY_SEQUENCE)

Act = Callable[[Control], Awaitable[None]]
HasSigned = Callable[[str, str, Mapping[str, str], bytes], bool]
"""Name, subject, headers, body."""


def anybody(name: str, subject: str, headers: Mapping[str, str], data: bytes) -> bool:
    """Where nothing is signed, the broker's word is enough."""
    return True


class Steering:
    """What was decided about one role, as its process knows it. Looking costs nothing."""

    def __init__(
        self, bus: Bus, role: str, *, operator: str, managers: Collection[str], has_signed: HasSigned = anybody
    ) -> None:
        """`has_signed` says whether who is named first signed what stands under a subject."""
        self._bus, self._role, self._operator, self._managers = bus, role, operator, managers
        self._has_signed = has_signed
        self._lasting: list[Decided] = []
        self._about: dict[tuple[str, str], Control] = {}
        """By verb and message, the newest."""
        self._known: set[int] = set()
        self._has_loaded = False
        self._standing = Standing()
        self.act: Act | None = None
        """Called with each decision that is heard of, not with those of before the start."""
        self.refuse: Act | None = None
        """Called with what somebody decided who may not."""

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[Heard]:
        """Decisions as they are stored, for `follow`; begins with what was decided before."""
        async with self._bus.listen(subjects.ALL_CONTROL_STATES) as heard:
            await self._load()
            self._bus.on_reconnect(self._load)  # what was decided meanwhile was not heard
            yield heard

    async def follow(self, heard: Heard) -> None:
        """Keep what is known up to date, and act on it, until cancelled."""
        async for received in heard:
            await self._hear(received)

    @property
    def standing(self) -> Standing:
        """What holds now."""
        return self._standing

    @property
    def is_paused(self) -> bool:
        """True if nothing new may be taken."""
        return self._standing.paused is not None or self.is_stopped

    @property
    def is_stopped(self) -> bool:
        """True if no step may be made."""
        return self._standing.stopped is not None

    def check(self) -> None:
        """Return if a step may be made.

        Raises:
            FrozenError: If a person has stopped the role, or everything.
        """
        if (stopped := self._standing.stopped) is not None:
            raise FrozenError(stopped.words)

    def check_message(self, message_id: str) -> None:
        """Return if a message may be worked on.

        Raises:
            FrozenError: If nothing may be.
            TurnCancelledError: If a person has cancelled it.
        """
        self.check()
        self.check_cancelled(message_id)

    def check_cancelled(self, message_id: str) -> None:
        """Return unless a person has cancelled a message for good.

        Raises:
            TurnCancelledError: Says who, and why.
        """
        cancelled = self.about("cancel", message_id)
        if cancelled is not None and not cancelled.requeue:
            raise TurnCancelledError(cancelled.words)

    def about(self, verb: str, message_id: str) -> Control | None:
        """The newest decision of this kind about a message."""
        return self._about.get((verb, message_id))

    def forget(self, control: Control) -> None:
        """Take no more notice of a decision that came too late."""
        self._about.pop((control.verb, control.message_id), None)

    async def _load(self) -> None:
        acts, self._has_loaded = self._has_loaded, True
        names = await self._bus.counts(subjects.CONTROL, subjects.ALL_CONTROLS)
        # What lasts is read from the stream's leader, one by one: that a role is stopped must not be overlooked.
        for one in await _newest(self._bus, _lasting_by(self._operator, names), self._has_signed):
            await self._learn(one, acts=acts)
        for name in names:  # one by one again: a role makes no consumers
            place = subjects.control_of(name)
            if place is not None and place.role == self._role and place.verb in _ABOUT_MESSAGES:
                for received in await self._bus.look(subjects.CONTROL, name, most=KEPT):
                    await self._take(received, acts=acts)

    async def _hear(self, received: Received) -> None:
        place = subjects.control_of(received.subject)
        if place is None or place.role not in (self._role, subjects.ALL_ROLES):
            return
        if (stored := await as_stored(self._bus, received)) is not None:
            await self._take(stored, acts=True)

    async def _take(self, stored: Received, *, acts: bool) -> None:
        try:
            control = read_signed(stored, self._has_signed)
            await self._learn(Decided(stored.sequence, control), acts=acts)
        except MessageError as error:
            logger.warning("%s", error)

    async def _learn(self, decided: Decided, *, acts: bool) -> None:
        control = decided.control
        if control.role not in (self._role, subjects.ALL_ROLES) or decided.sequence in self._known:
            return
        self._known.add(decided.sequence)
        is_allowed = may_decide(control, operator=self._operator, managers=self._managers)
        if is_allowed and control.verb in _LASTING:
            self._lasting.append(decided)
            self._standing = standing(self._lasting, self._role)
        elif is_allowed and control.message_id:
            self._about[control.verb, control.message_id] = control
        told = self.act if is_allowed else self.refuse
        if acts and told is not None:
            await told(control)


async def decided(bus: Bus, *, operator: str) -> list[Decided]:
    """What the operator decided that lasts, for `standing`: the newest of each kind about each role."""
    names = await bus.counts(subjects.CONTROL, subjects.ALL_CONTROLS)
    return await _newest(bus, _lasting_by(operator, names))


async def as_stored(bus: Bus, told: Received) -> Received | None:
    """A decision that the broker has told of, as it is stored; None if it is not: anybody may have the broker tell."""
    sequence, place = told.headers.get(subjects.COPY_SEQUENCE, ""), subjects.control_of(told.subject)
    if place is None or not sequence.isdecimal():
        return None
    stops = place.verb in STOPPING
    try:
        async with asyncio.timeout(_SURE_WITHIN_S if stops else None):
            return await bus.patiently(lambda: bus.stored_at(subjects.CONTROL, int(sequence)), subjects.CONTROL)
    except TimeoutError:  # better stopped for nothing than not stopped
        headers = {name: value for name, value in told.headers.items() if name not in _MARKS}
        return told._replace(sequence=int(sequence), headers=headers)


def read_signed(stored: Received, has_signed: HasSigned) -> Control:
    """A decision as it is stored, if its signature holds, and nobody had the broker say it again.

    Raises:
        MessageError: Else.
    """
    control = Control.read(stored.subject, stored.data)
    if not has_signed(
        control.by, subjects.control(control.role, control.verb, control.by), stored.headers, stored.data
    ):
        raise MessageError(f"{stored.subject}: `{control.by}` has not signed this decision; it is ignored")
    if is_answer(stored.headers) and control.verb not in STOPPING:
        raise MessageError(f"{stored.subject}: somebody had the broker repeat what was decided once; it is ignored")
    return control


async def _newest(bus: Bus, names: Iterable[str], has_signed: HasSigned = anybody) -> list[Decided]:
    found: list[Decided] = []
    for name in names:
        last = await bus.last_with_revision(subjects.CONTROL, name)
        if last is None:
            continue
        try:
            stored = Received(name, last[0], last[2], last[1])
            found.append(Decided(stored.sequence, read_signed(stored, has_signed)))
        except MessageError as error:
            logger.warning("%s", error)
            if (before := await _newest_true(bus, name, has_signed)) is not None:
                found.append(before)
    return found


async def _newest_true(bus: Bus, name: str, has_signed: HasSigned) -> Decided | None:
    """The newest decision under a subject that counts, behind what somebody had the broker store there.

    Where that has pushed out all that was decided, what stops holds: a person must look.
    """
    kept = await bus.look(subjects.CONTROL, name, most=KEPT)
    for received in reversed(kept):
        with contextlib.suppress(MessageError):
            return Decided(received.sequence, read_signed(received, has_signed))
    place = subjects.control_of(name)
    if place is None or place.verb not in STOPPING or len(kept) < KEPT:
        return None
    why = "all that was decided here was pushed out by what nobody signed; look who did that, then let it go on"
    control = Control(id=name, verb=place.verb, role=place.role, by=place.sender, at=now(), reason=why)
    return Decided(kept[-1].sequence, control)


def _lasting_by(operator: str, names: Iterable[str]) -> list[str]:
    places = ((name, subjects.control_of(name)) for name in names)
    return [name for name, place in places if place and place.verb in _LASTING and place.sender == operator]
