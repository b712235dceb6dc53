"""The calendar: schedules that were added while the hub runs, which ones rest, what each did last."""

from __future__ import annotations

from collections.abc import Iterable

from agenthub import subjects
from agenthub.bus.buckets import Bucket, Entry
from agenthub.bus.connection import Bus
from agenthub.errors import RefusedError
from agenthub.messages import Message
from agenthub.organization import Organization
from agenthub.schedules import SCHEDULED, Added, Fired, Planned, Resting, planned

_REMEMBERED_S = 3600.0


class Calendar:
    """What is kept of schedules, in a bucket."""

    def __init__(self, bus: Bus, organization: Organization) -> None:
        self._organization = organization
        self._added = Bucket(bus, subjects.CALENDAR, Added)
        self._resting = Bucket(bus, subjects.CALENDAR, Resting)
        self._fired = Bucket(bus, subjects.CALENDAR, Fired)

    async def version(self) -> int:
        """Grows with each change; cheap."""
        return await self._added.version()

    async def all(self) -> list[Planned]:
        """All schedules of the organization."""
        return planned(self._organization, await self._added.items("added.>"))

    async def added_by(self, author: str) -> list[Planned]:
        """What a role or the operator added."""
        return [one for one in await self.all() if one.owner == author and one.since is not None]

    async def add(self, name: str, added: Added) -> None:
        """Add a schedule; the same one again changes nothing.

        Raises:
            RefusedError: If its author has another of that name.
        """
        known = {one.name: one for one in await self.all() if one.owner == added.by}.get(name)
        if known is not None:
            if known.since is not None and (known.to, known.rule) == (added.to, added.rule):
                return
            raise RefusedError(
                f"`{known.id}` is there already ({known.rule.rule}). Give it another name, or remove that one first."
            )
        await self._added.put(subjects.added(added.by, name), added)

    async def remove(self, one: Planned) -> None:
        """Remove what was added while the hub runs.

        Raises:
            RefusedError: If it stands in a file.
        """
        if one.since is None:
            raise RefusedError(f"`{one.id}` stands in the {one.source}: remove it there, or pause it.")
        await self._added.delete(subjects.added(one.owner, one.name), remembered_s=_REMEMBERED_S)
        await self.resume(one)

    async def pause(self, one: Planned, resting: Resting) -> None:
        """Have it fire no more until it is resumed."""
        await self._resting.put(subjects.resting(one.owner, one.name), resting)

    async def resume(self, one: Planned) -> None:
        """Have it fire again; what was due meanwhile is not made up for."""
        await self._resting.delete(subjects.resting(one.owner, one.name), remembered_s=_REMEMBERED_S)

    async def resting(self) -> dict[str, Resting]:
        """Paused schedules by id."""
        return {key.partition(".")[2]: value for key, value in (await self._resting.items("resting.>")).items()}

    async def fired(self) -> dict[str, Fired]:
        """What each schedule did last, by id."""
        return {key.split(".", 2)[2]: value for key, value in (await self._fired.items("fired.>")).items()}

    async def last(self, one: Planned) -> tuple[Fired | None, int]:
        """What a schedule did last, and the revision that `settle` must name."""
        return await self._fired.read(subjects.fired(one.fires, one.owner, one.name))

    async def is_superseded(self, message: Message, *, by: Iterable[str]) -> bool:
        """True if the schedule whose firing this is has fired again since, for a later time.

        Args:
            by: Who may have fired it.
        """
        owner, _, name = message.coalesce.partition(".")
        if message.type != SCHEDULED or not subjects.token(owner) or not subjects.token(name):
            return False
        for who in by:
            fired, _ = await self._fired.read(subjects.fired(who, owner, name))
            # By the time too: a firing that is published, and not yet noted, is no older one.
            if fired is not None and fired.message_id != message.id and fired.until > message.timestamp:
                return bool(fired.message_id)
        return False

    async def settle(self, one: Planned, fired: Fired, revision: int) -> Entry[Fired] | None:
        """Note what a schedule did; None if another process was faster."""
        stored = await self._fired.update(subjects.fired(one.fires, one.owner, one.name), fired, revision)
        return None if stored is None else Entry(fired, stored)
