"""Who is there and who is gone: one process looks after all of them, whichever leads. Without a model.

Alive is what beats. A heartbeat has a time to live in the registry; who has not renewed it by then is marked
as unhealthy where everybody can see it, and as healthy again when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from datetime import datetime

from agenthub import subjects
from agenthub.bus.buckets import hold_lease
from agenthub.bus.connection import Bus
from agenthub.bus.in_flight import give_back, in_flight
from agenthub.errors import AgenthubError, LeaseLostError
from agenthub.org.events import Events
from agenthub.org.registry import Registry, Sightings, beat_ttl_s
from agenthub.organization import Organization
from agenthub.presence import Absence, Heartbeat
from agenthub.reassignment import reassign
from agenthub.rhythm import next_moment

logger = logging.getLogger(__name__)

LOOKS_PER_BEAT = 2
_LEAST_PAUSE_S = 0.25


def fallen_silent(
    expected: Collection[str], beating: Collection[str], told: Collection[str], silent_s: Callable[[str], float],
    *, ttl_s: float,
) -> list[str]:  # fmt: skip
    """Who is to be marked as gone, of the processes that should beat.

    Args:
        told: Who is marked already.
        silent_s: For how long a process has given no new sign. Who was signed off may be back at once.
        ttl_s: Time to live of a heartbeat.
    """
    return [key for key in expected if key not in beating and key not in told and silent_s(key) >= ttl_s]


def may_be_reassigned(
    keys: Collection[str], beating: Collection[str], missed: Collection[str], silent_s: Callable[[str], float],
    *, after_s: float,
) -> bool:  # fmt: skip
    """True if all of a role's processes are marked as gone, and one watcher has seen none of them for so long.

    Who was stopped has given back what it had, and is not missed: it is being upgraded, or a person wants it so.
    What was noted before a restart of the whole hub does not count: then everybody may be on the way.
    """
    return all(key in missed and key not in beating and silent_s(key) >= after_s for key in keys)


class Watchdog:
    """Looks at the registry for as long as this process leads."""

    def __init__(
        self,
        bus: Bus,
        organization: Organization,
        *,
        heartbeat_s: float,
        lease_ttl_s: float,
        clock: Callable[[], float],
        now: Callable[[], datetime],
    ) -> None:
        """A watchdog that is not running yet.

        Args:
            clock: Gives seconds that never go back.
            now: Gives the moment that people see.
        """
        self._lease_ttl_s = lease_ttl_s
        self._bus, self._organization = bus, organization
        self._registry = Registry(bus)
        self._ttl_s = beat_ttl_s(heartbeat_s)
        self._every_s = max(_LEAST_PAUSE_S, heartbeat_s / LOOKS_PER_BEAT)
        self._clock, self._now = clock, now
        self._roles = {
            key: role.name
            for role in organization.roles.values()
            for key in role_keys(role.name, role.settings.replicas)
        }
        self._shared = {key for key, role in self._roles.items() if organization.roles[role].settings.replicas > 1}
        self._sightings = Sightings(longest_gap_s=self._ttl_s / 2)
        self._last: dict[str, Heartbeat] = {}
        self._absences: dict[str, Absence] = {}
        self._absences_version = -1

    async def run(self) -> None:
        """Look until cancelled. A broker that does not answer is no reason to stop, and nobody's fault."""
        while True:
            try:
                await self.look()
            except AgenthubError as error:
                logger.info("could not look after the others: %s", error)
            await next_moment(self._every_s)

    async def look(self) -> None:
        """See who beats, and tell what has changed."""
        beats, absences = await asyncio.gather(self._registry.all(), self._noted())
        at_s = self._clock()
        self._sightings.look({key: (beat.pid, beat.beat_at) for key, beat in beats.items()}, at_s=at_s)
        self._last.update(beats)
        told = {key for key, absence in absences.items() if absence.is_told}
        missed = {key for key in told if not absences[key].was_stopped}

        def silent_s(key: str) -> float:
            return self._sightings.silent_s(key, at_s=at_s)

        for key in fallen_silent(self._roles, beats, told, silent_s, ttl_s=self._ttl_s):
            await self._has_gone(key, absences.get(key))
        for key, absence in absences.items():
            if key in beats and beats[key].beat_at > absence.since:
                await self._is_back(key, absence, beats[key])
            elif key not in self._roles and key not in beats:
                await self._registry.forget_absence(key)
        for role in self._organization.roles.values():
            fallback = role.settings.fallback or ""
            keys = role_keys(role.name, role.settings.replicas)
            after_s = self._organization.defaults.reassign_after_s
            is_there = any(self._roles.get(key) == fallback for key in beats)
            if is_there and may_be_reassigned(keys, beats, missed, silent_s, after_s=after_s):
                await self._reassign(role.name, fallback, keys)

    async def _noted(self) -> dict[str, Absence]:
        """Who is known to be away; read anew only if somebody wrote there: each who ever was has left a mark."""
        version = await self._registry.absences_version()
        if version != self._absences_version:
            self._absences = await self._registry.absences()
            self._absences_version = version  # of before: what was written meanwhile is read the next time
        return dict(self._absences)

    async def _has_gone(self, key: str, noted: Absence | None) -> None:
        """Mark a process as gone, and have the broker hand on what it held: a replica may begin with it."""
        role, last = self._roles[key], self._last.get(key)
        was_stopped = noted is None and last is not None and last.state == "stopping"
        if noted is None:
            since, holds = (last.beat_at, last.holds) if last else (self._now(), [])
            noted = Absence(role=role, since=since, reason="no sign of life", holds=holds)
        if not was_stopped:
            await give_back(self._bus, role, noted.holds)
            doing = f"; it was at work on {last.doing}" if last and last.message_id else ""
            text = f"{key}: {noted.reason}, since {noted.since:%H:%M:%S} UTC{doing}"
            await Events(self._bus, role).tell("unhealthy", text)
        told = {"is_told": True, "holds": [], "was_stopped": was_stopped}
        if was_stopped:
            told["reason"] = "stopped"
        await self._registry.note_absence(key, noted.model_copy(update=told))

    async def _reassign(self, role: str, fallback: str, keys: Collection[str]) -> None:
        """Move what a role has in flight. Whoever holds its leases is the role: it cannot come back meanwhile."""
        try:
            if not await in_flight(self._bus, role):
                return
            async with contextlib.AsyncExitStack() as stack:
                leases = [
                    await stack.enter_async_context(
                        hold_lease(self._bus, key, ttl_s=self._lease_ttl_s, within_s=0, clock=self._clock)
                    )
                    for key in keys
                ]
                for delivery in await in_flight(self._bus, role):
                    if not all(lease.is_held for lease in leases):
                        return
                    if await reassign(self._bus, delivery, role, fallback, by=subjects.LEADER, at=self._now()):
                        logger.info("%s of %s has gone to %s", delivery.default_id, role, fallback)
        except LeaseLostError:
            logger.info("%s is back", role)
        except AgenthubError as error:  # of one role; the others are looked after all the same
            logger.warning("what %s had in hand stays for now: %s", role, error)

    async def _is_back(self, key: str, absence: Absence, beat: Heartbeat) -> None:
        await self._registry.forget_absence(key)
        if key in self._shared:  # a role without replicas takes back by itself what its predecessor held
            await give_back(self._bus, absence.role, set(absence.holds) - set(beat.holds))
        if absence.is_told and not absence.was_stopped:
            gone_s = (self._now() - absence.since).total_seconds()
            await Events(self._bus, absence.role).tell("healthy", f"{key} is back after {gone_s:.0f} s, pid {beat.pid}")


def role_keys(role: str, replicas: int) -> list[str]:
    """Names of a role's processes in the registry and the leases."""
    return [role, *(f"{role}.{number}" for number in range(1, replicas))]
