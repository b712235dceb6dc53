"""What a person does with roles at run time: pause, stop, cancel, nudge, restart. Each is one control message.

It is stored before anything is said about it, holds for processes that start later, and the processes that run say
within a second what came of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.inboxes import inboxes
from agenthub.client.history import event_of
from agenthub.control import Control, Standing, Verb, may_decide, new_control, process_name, standing
from agenthub.errors import NotFoundError, RefusedError
from agenthub.messages import Event, new_id
from agenthub.org.registry import Registry
from agenthub.org.steering import decided
from agenthub.organization import Organization
from agenthub.presence import Heartbeat

ANSWER_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.1
"""So long the processes that run may take to say what came of a decision; it holds all the same."""


class Effect(NamedTuple):
    """What came of a decision so far."""

    control: Control
    """As it is stored; of one that held already, the earlier one."""
    came: dict[str, str]
    """By process, what it says that it does."""
    silent: list[str]
    """Processes that beat and did not answer in time; they obey as soon as they hear of it."""
    is_new: bool = True
    """False if it held already: nothing was sent."""


class Steering:
    """The hands of a person on the roles of a hub."""

    def __init__(self, bus: Bus, organization: Organization, *, by: str = "") -> None:
        """`by` is who decides; the operator if empty."""
        self._bus, self._organization = bus, organization
        self._by = by or organization.operator
        self._without_file: set[str] = set()

    # ── what lasts ─────────────────────────────────────────────────────────────────────────────────
    async def pause(self, role: str | None, reason: str = "") -> Effect:
        """Have a role, or all, take nothing new; each finishes what it works on.

        Raises:
            NotFoundError: If there is no such role.
            RefusedError: If this sender may not.
        """
        return await self._last("pause", role, reason)

    async def resume(self, role: str | None, reason: str = "") -> Effect:
        """Let a paused role, or all, go on. Raises as `pause`."""
        return await self._last("resume", role, reason)

    async def estop(self, role: str | None = None, reason: str = "") -> Effect:
        """Stop everything, or one role, at its next step: no model is called any more. Nothing is lost.

        Raises as `pause`.
        """
        return await self._last("estop", role, reason)

    async def thaw(self, role: str | None = None, reason: str = "") -> Effect:
        """Let everything, or one role, go on where it was stopped. Raises as `pause`."""
        return await self._last("thaw", role, reason)

    async def standing(self) -> dict[str, Standing]:
        """What holds for each role."""
        found = await decided(self._bus, operator=self._organization.operator)
        return {role: standing(found, role) for role in self._organization.roles}

    async def _last(self, verb: Verb, role: str | None, reason: str) -> Effect:
        if role is not None:
            await self.know(role)
        control = self.control(verb, role or subjects.ALL_ROLES, reason=reason)
        if role is not None:
            found = standing(await decided(self._bus, operator=self._organization.operator), role)
            held = found.paused if verb in ("pause", "resume") else found.stopped
            if (held is not None) == (verb in ("pause", "estop")):
                return Effect(held or control, {}, [], is_new=False)
        elif verb in ("resume", "thaw"):
            found_all = (await self.standing()).values()
            if not any(one.paused if verb == "resume" else one.stopped for one in found_all):
                return Effect(control, {}, [], is_new=False)
        return await self.decide(control)

    # ── what is done once ──────────────────────────────────────────────────────────────────────────
    async def cancel(self, role: str, reason: str = "", *, requeue: bool = False) -> list[Effect]:
        """End the message that a role works on, as failed; or put it back behind the others. Of replicas, each.

        Raises:
            NotFoundError: If there is no such role.
            RefusedError: If it works on nothing, or this sender may not.
        """
        return [
            await self.decide(self.control("cancel", role, reason=reason, message_id=message_id, requeue=requeue))
            for message_id in await self._in_hand("cancel", role, "There is nothing to cancel.")
        ]

    async def nudge(self, role: str, words: str = "") -> list[Effect]:
        """Have the model of a role that works read some words at its next step; it wakes nobody.

        Raises:
            NotFoundError: If there is no such role.
            RefusedError: If it works on nothing, or this sender may not.
        """
        hint = f'A nudge wakes nobody: `agenthub send {role} "…"` does.'
        return [
            await self.decide(self.control("nudge", role, reason=words, message_id=message_id))
            for message_id in await self._in_hand("nudge", role, hint)
        ]

    async def restart(self, role: str, reason: str = "", *, at_once: bool = False) -> Effect:
        """Have the processes of a role end after their messages, or at once, and be started again.

        One that the supervisor has left alone is started. What is in hand goes on from its last step. Of a role whose
        file is gone the processes end for good, and with the last one go its queues, unless something waits for it.

        Raises:
            NotFoundError: If there is no such role.
            RefusedError: If this sender may not.
        """
        await self.know(role)
        beats = await self._beats(role)
        processes = [process_name(key, beat.host, beat.pid) for key, beat in beats.items()]
        return await self.decide(self.control("restart", role, reason=reason, at_once=at_once, processes=processes))

    async def was_never_seen(self, role: str) -> bool:
        """True if no process of the role beats, and none is missed: its file is new."""
        absences = await Registry(self._bus).absences()
        return not await self._beats(role) and all(key.partition(".")[0] != role for key in absences)

    async def has_come_up(self, role: str, *, within_s: float, besides: Collection[str] = ()) -> bool:
        """True as soon as a process of the role beats; False if none does in time.

        Args:
            besides: Processes that do not count, as `process_name` names them: they are ending.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    beats = await self._beats(role)
                    if {process_name(key, beat.host, beat.pid) for key, beat in beats.items()} - {*besides}:
                        return True
                    await asyncio.sleep(_LOOK_EVERY_S)
        return False

    async def has_ended(self, role: str, *, within_s: float) -> bool:
        """True as soon as nothing of a role is left, neither a process nor its inbox; False if that is not in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while role in await inboxes(self._bus) or await self._beats(role):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(_LOOK_EVERY_S)
                return True
        return False

    async def know(self, role: str) -> None:
        """Return if there is such a role; also one whose file is gone, as long as it has an inbox.

        Raises:
            NotFoundError: Else.
        """
        if role in self._organization.roles or role in self._without_file:
            return
        if role == self._organization.operator or role not in await inboxes(self._bus):
            self._organization.role(role)
        self._without_file.add(role)

    # ── how ────────────────────────────────────────────────────────────────────────────────────────
    def control(self, verb: Verb, role: str, **more: object) -> Control:
        """A decision that is not sent yet.

        Raises:
            NotFoundError: If there is no such role.
        """
        if role != subjects.ALL_ROLES and role not in self._without_file:
            self._organization.role(role)
        return new_control(verb, role, self._by, identity=new_id(), **more)

    async def decide(self, control: Control) -> Effect:
        """Store a decision, and wait for a moment for what the processes that run say to it.

        Raises:
            RefusedError: If who decides may not.
        """
        self._check_may(control)
        whose = "*" if control.role == subjects.ALL_ROLES else control.role
        came: dict[str, str] = {}
        async with self._bus.listen(subjects.event("steered", whose), subjects.event("stopped", whose)) as heard:
            before = await self._addressees(control)
            expected = set(before)
            subject = subjects.control(control.role, control.verb, control.by)
            await self._bus.publish(subject, control.encode(), message_id=control.id)
            await self._bus.tell(subjects.audit(control.verb, control.by), _event(control).encode())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    while expected - came.keys():
                        event = event_of(await anext(heard))
                        if event is not None and event.kind == "stopped":
                            expected &= await self._still_there(control, before)
                        if event is None or event.data.get("control") != control.id:
                            continue
                        if event.data.get("refused"):
                            raise RefusedError(f"`{event.role}` does not obey: {event.data.get('came')}.")
                        came[str(event.data.get("key"))] = str(event.data.get("came"))
        if expected - came.keys():  # one that was killed said nothing when it ended
            expected &= await self._still_there(control, before)
        return Effect(control, came, sorted(expected - came.keys()))

    async def _addressees(self, control: Control) -> dict[str, str]:
        """The processes that should say what came of a decision, by key; of a restart those that it names."""
        beats = await self._beats(None if control.role == subjects.ALL_ROLES else control.role)
        names = {key: process_name(key, beat.host, beat.pid) for key, beat in beats.items()}
        return {key: name for key, name in names.items() if control.verb != "restart" or name in control.processes}

    async def _still_there(self, control: Control, before: Mapping[str, str]) -> set[str]:
        """Keys of the processes whose answer is still to be waited for.

        One that has ended meanwhile, as by a restart of just before, answers nothing any more: the one after it starts
        by what holds, and is what a restart asked for. Where a message is in question it counts as silent all the
        same: what its successor takes in hand is not known here.
        """
        if control.message_id:
            return set(before)
        now_there = await self._addressees(control)
        return {key for key, name in before.items() if now_there.get(key) == name}

    async def _beats(self, role: str | None) -> dict[str, Heartbeat]:
        """The processes of a role, or of all, that beat."""
        beats = await Registry(self._bus).all()
        return {key: beat for key, beat in beats.items() if role is None or key.partition(".")[0] == role}

    def _check_may(self, control: Control) -> None:
        managers: Collection[str] = ()
        if control.role in self._organization.roles:
            managers = self._organization.managers_chain(control.role)
        if not may_decide(control, operator=self._organization.operator, managers=managers):
            raise RefusedError(f"`{control.by}` may not {control.verb} `{control.role}`: that is the operator's.")

    async def _in_hand(self, verb: Verb, role: str, hint: str) -> list[str]:
        """Ids of what the processes of a role work on."""
        await self.know(role)
        self._check_may(self.control(verb, role))
        beats = await self._beats(role)
        found = [beat.message_id for beat in beats.values() if beat.message_id]
        if not beats:
            raise NotFoundError(f"`{role}` is down. {hint}")
        if not found:
            raise RefusedError(f"`{role}` works on nothing at this moment. {hint}")
        return found


def _event(control: Control) -> Event:
    """A decision as it stands in the record of who did what."""
    who = "" if control.role == subjects.ALL_ROLES else control.role
    text = f"{control.verb} {who or 'everything'}" + (f": {control.reason}" if control.reason else "")
    return Event(kind=control.verb, role=who or control.by, at=control.at, text=text, message_id=control.message_id)
