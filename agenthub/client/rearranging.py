"""What a person does with messages that wait: move, put back, make more urgent, cancel.

The id of a message stays, or derives from it, so that whatever is cut off in between is worked off once. What is put
off, since it waits for money or its next try, is reached too: it is looked at now, with the decision known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.client.inboxes import WaitingMessage
from agenthub.client.steering import Effect, Steering
from agenthub.errors import NotFoundError, RefusedError
from agenthub.messages import Message, Payload, Priority, now
from agenthub.org.delayed import hasten
from agenthub.org.registry import Registry
from agenthub.organization import Organization
from agenthub.reassignment import is_reassignable, pass_on, record_move

_LOOKED_THROUGH = 2000
"""So many waiting messages of a role are looked through for the one that is meant."""

Look = Callable[..., Awaitable[list[WaitingMessage]]]
"""Gives up to `most` messages of a role, taking none."""


class Waits:
    """One waiting message that a person names."""

    def __init__(self, item: WaitingMessage, message: Message) -> None:
        self.sequence, self.subject, self.headers, self.message = item.sequence, item.subject, item.headers, message
        self.is_put_off = item.put_off is not None

    @property
    def in_inbox(self) -> int:
        """Its place in the stream of inboxes; 0: it is put off, and has none."""
        return 0 if self.is_put_off else self.sequence


class Moved(NamedTuple):
    """What came of moving all that waits."""

    effects: list[Effect]
    stay: list[str]
    """Of each message that stays, why."""


class Rearranging:
    """The hands of a person on what waits."""

    def __init__(
        self, bus: Bus, organization: Organization, steering: Steering,
        waiting: Look, put_off: Look,
    ) -> None:  # fmt: skip
        """`waiting(role, most=n)` gives what waits in an inbox, `put_off` what is not looked at yet."""
        self._bus, self._organization, self._steering = bus, organization, steering
        self._waiting, self._put_off = waiting, put_off

    async def move(self, role: str, prefix: str, to: str, reason: str = "") -> Effect:
        """Have another role do what waits for this one; who asked is answered on its behalf. Exactly once.

        Raises:
            NotFoundError: If there is no such role or message.
            RefusedError: If it is worked on already, or is nothing that another role could do.
        """
        self._check_other(role, to)
        return await self._move(role, await self._find(role, prefix), to, reason)

    async def move_all(self, role: str, to: str, reason: str = "") -> Moved:
        """Have another role do all that waits for this one, or is put off; each exactly once.

        Raises:
            NotFoundError: If there is no such role.
        """
        self._check_other(role, to)
        in_hand = {beat.message_id for beat in (await Registry(self._bus).all()).values()}
        moved = Moved([], [])
        for identity, found in (await self._waits(role)).items():
            try:
                if identity not in in_hand:
                    moved.effects.append(await self._move(role, found, to, reason))
            except RefusedError as error:
                moved.stay.append(str(error))
        return moved

    def _check_other(self, role: str, to: str) -> None:
        self._organization.role(to)
        if to == role:
            raise RefusedError(f"`{role}` has it already.")

    async def _move(self, role: str, found: Waits, to: str, reason: str) -> Effect:
        message = found.message
        if not is_reassignable(message, role):
            raise RefusedError(f"{message.id[:8]} ({message.type}) is for `{role}` alone; it cannot be moved.")
        control = self._steering.control(
            "move", role, reason=reason, message_id=message.id, sequence=found.in_inbox, to=to
        )
        effect = await self._steering.decide(control)
        if "in hand" in effect.came.values():
            raise RefusedError(f"`{role}` works on {message.id[:8]} already. See `{_ending(role, found)}`.")
        if effect.silent:  # it moves when it comes up; doing it now could take it out of somebody's hands
            return effect
        end = await record_move(self._bus, message, role, to, why=f"moved {control.words}", at=now())
        if end is None:
            raise RefusedError(f"{message.id[:8]} has ended already.")
        await pass_on(self._bus, message, end, by=control.by)
        await self._remove(found)
        return effect

    async def cancel(self, role: str, prefix: str, reason: str = "") -> Effect:
        """End a waiting message as failed; who sent it is told why.

        Raises:
            NotFoundError: If there is no such role or message.
            RefusedError: If it asks for nothing that could end.
        """
        found = await self._find(role, prefix)
        message = found.message
        if not message.is_actionable:
            raise RefusedError(f"{message.id[:8]} ({message.type}) asks for no work; there is nothing to cancel.")
        payload = Payload(subject=message.title, priority=message.payload.priority)
        envelope = message.model_copy(update={"payload": payload}).model_dump(mode="json", exclude_none=True)
        control = self._steering.control(
            "cancel", role, reason=reason, message_id=message.id, sequence=found.in_inbox, envelope=envelope
        )
        effect = await self._steering.decide(control)
        if "ended" in effect.came.values():
            await self._remove(found)
        elif found.is_put_off:
            await self._hasten(found)
        return effect

    async def requeue(self, role: str, prefix: str, reason: str = "") -> Effect:
        """Put a waiting message behind the others of its priority; have one that is put off be looked at now.

        Raises:
            NotFoundError: If there is no such role or message.
            RefusedError: If it is worked on already.
        """
        found = await self._find(role, prefix)
        if found.is_put_off:
            await self._hasten(found)
            return await self._steering.decide(
                self._steering.control("requeue", role, reason=reason, message_id=found.message.id)
            )
        return await self._again("requeue", role, found, found.message.payload.priority, reason)

    async def reprioritize(self, role: str, prefix: str, to: Priority, reason: str = "") -> Effect:
        """Give a waiting message another priority.

        Raises:
            NotFoundError: If there is no such role or message.
            RefusedError: If it is worked on already, is put off, or has this priority.
        """
        found = await self._find(role, prefix)
        if found.is_put_off:
            raise RefusedError(
                f"{found.message.id[:8]} is put off: its priority does not count until it is looked at again. "
                f"`agenthub inbox requeue {role} {found.message.id[:8]}` does that now."
            )
        if found.message.payload.priority is to:
            raise RefusedError(f"{found.message.id[:8]} is {to} already.")
        return await self._again("reprioritize", role, found, to, reason)

    async def _again(self, verb: str, role: str, found: Waits, priority: Priority, reason: str) -> Effect:
        """Put a message into a lane once more, then take it out where it was; with one id it is worked off once."""
        message = found.message
        if not is_reassignable(message, role):  # an answer must come the way that it came, or it proves nothing
            raise RefusedError(f"{message.id[:8]} ({message.type}) stays where it is: `{role}` reads it in time.")
        beats = await Registry(self._bus).all()
        if any(beat.message_id == message.id for beat in beats.values()):
            raise RefusedError(f"`{role}` works on {message.id[:8]} already. See `agenthub cancel {role} --requeue`.")
        control = self._steering.control(
            "requeue" if verb == "requeue" else "reprioritize", role, reason=reason, message_id=message.id,
            sequence=found.sequence, to=str(priority),
        )  # fmt: skip
        payload = message.payload.model_copy(update={"priority": priority})
        headers = {
            subjects.DOOR: found.headers.get(subjects.DOOR, found.subject),
            subjects.TRACE_PARENT: message.trace_parent(),
        }
        await self._bus.publish(
            subjects.lane(role, priority, control.by), message.model_copy(update={"payload": payload}).encode(),
            message_id=f"{message.id}~again~{control.id}", headers=headers,
        )  # fmt: skip
        await self._bus.delete(subjects.AGENTS, found.sequence)
        return await self._steering.decide(control)

    async def _hasten(self, found: Waits) -> None:
        await hasten(self._bus, lambda delayed: delayed.sequence == found.sequence)

    async def _remove(self, found: Waits) -> None:
        await self._bus.delete(subjects.SCHEDULES if found.is_put_off else subjects.AGENTS, found.sequence)

    async def _waits(self, role: str) -> dict[str, Waits]:
        """All that waits for a role, and can be read, by id."""
        await self._steering.know(role)
        put_off = await self._put_off(role, most=_LOOKED_THROUGH)
        waiting = await self._waiting(role, most=_LOOKED_THROUGH)
        # What is on its way is in both for a moment, and is where it goes to: put off, if what put it off lies here.
        named_after = {subjects.schedule(role, f"{subjects.AGENTS}-{item.sequence}") for item in waiting}
        leaving = [item for item in put_off if item.subject in named_after]
        found = [*put_off, *waiting, *leaving]
        return {item.message.id: Waits(item, item.message) for item in found if item.message is not None}

    async def _find(self, role: str, prefix: str) -> Waits:
        waits = await self._waits(role)
        found = {identity: one for identity, one in waits.items() if prefix and identity.startswith(prefix)}
        if prefix in found:
            return found[prefix]
        if len(found) != 1:
            many = f"{len(found)} messages wait" if found else "No message waits"
            raise NotFoundError(f"{many} for `{role}` whose id begins with `{prefix}`. See `agenthub inbox ls {role}`.")
        return next(iter(found.values()))


def _ending(role: str, found: Waits) -> str:
    """The command that ends what was begun."""
    return f"agenthub inbox cancel {role} {found.message.id[:8]}" if found.is_put_off else f"agenthub cancel {role}"
