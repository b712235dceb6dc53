"""The calendar of a hub: what is due when, and what a person changes about it."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import NamedTuple

from agenthub import subjects
from agenthub.client.hub import Client
from agenthub.errors import RefusedError
from agenthub.messages import Message, now
from agenthub.org.calendar import Calendar
from agenthub.role_settings import NAME_RULE, Schedule
from agenthub.schedules import Added, Fired, Planned, Resting, find, firing
from agenthub.times import coming

logger = logging.getLogger(__name__)

COMING = 5
_TRIES = 5


class Scheduled(NamedTuple):
    """One schedule as people see it."""

    planned: Planned
    is_paused: bool
    coming: tuple[datetime, ...]
    """The next times at which it is due, `COMING` at most; none while it is paused."""
    last: Fired | None
    """What it did last; None: nothing looked at it yet."""


class Schedules:
    """The schedules of a hub."""

    def __init__(self, client: Client) -> None:
        self._client, self._calendar = client, Calendar(client.bus, client.organization)

    async def all(self, *, at: datetime | None = None) -> list[Scheduled]:
        """Every schedule, sorted by its id; `at` instead of now."""
        moment = at or now()
        resting, fired = await self._calendar.resting(), await self._calendar.fired()
        return [
            Scheduled(
                one,
                one.id in resting,
                () if one.id in resting else tuple(coming(one.when, moment, most=COMING)),
                fired.get(one.id),
            )
            for one in await self._calendar.all()
        ]

    async def find(self, name: str) -> Planned:
        """The schedule of that id, or of that name if only one has it.

        Raises:
            NotFoundError: If there is none, or more than one.
        """
        return find(name, await self._calendar.all())

    async def add(self, name: str, to: str, rule: Schedule) -> Planned:
        """Add a schedule in the operator's name.

        Raises:
            NotFoundError: If there is no such role.
            RefusedError: If the name is taken or none, or it has a check command, which only files may name.
        """
        organization = self._client.organization
        organization.role(to)
        if not subjects.token(name):
            raise RefusedError(f"{name!r} is no name of a schedule: {NAME_RULE}.")
        if rule.check:
            raise RefusedError("A check command stands in a role file or in agenthub.toml.")
        await self._calendar.add(name, Added(to=to, by=organization.operator, added_at=now(), rule=rule))
        return await self.find(f"{organization.operator}.{name}")

    async def remove(self, name: str) -> Planned:
        """Remove a schedule that was added while the hub runs.

        Raises:
            RefusedError: If it stands in a file.
        """
        one = await self.find(name)
        await self._calendar.remove(one)
        return one

    async def pause(self, name: str) -> Planned:
        """Have it fire no more until it is resumed."""
        one = await self.find(name)
        await self._calendar.pause(one, Resting(by=self._client.organization.operator, since=now()))
        return one

    async def resume(self, name: str) -> Planned:
        """Have it fire again; what was due meanwhile is not made up for."""
        one = await self.find(name)
        await self._calendar.resume(one)
        return one

    async def run(self, name: str) -> Message:
        """Fire it now, in the operator's name, whatever its condition says; the message that was sent."""
        one, organization = await self.find(name), self._client.organization
        made = firing(one, now(), org=organization.org)
        who = organization.operator
        message = made.model_copy(update={"from_role": who, "from_operator": f"operator-{who}", "origin": who})
        await self._client.put(one.to, message)
        await self._note(one, message)
        return message

    async def _note(self, one: Planned, message: Message) -> None:
        """Have the schedule know that this is its last firing: it is busy with it, and lists show it."""
        for _ in range(_TRIES):
            fired, revision = await self._calendar.last(one)
            if fired is None:  # nobody has looked at it yet; what was told before is no news, as for who looks first
                told = (subjects.DONE, subjects.EVENTS) if one.rule.news else ()
                seen = {stream: await self._client.bus.newest(stream) for stream in told}
                fired = Fired(until=one.since or message.timestamp, seen=seen)
            noted = fired.model_copy(update={"message_id": message.id, "fired_at": message.timestamp})
            if await self._calendar.settle(one, noted, revision) is not None:
                return
        logger.warning("%s was sent; that it was fired could not be noted, since others wrote each time", one.id)
