"""Roles that no file tells of any more, and what is left of them: processes, messages that wait, tasks not done yet.

As long as anything is, their queues are in use, and nobody may take them away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.identity import Keyring
from agenthub.bus.inboxes import inboxes
from agenthub.bus.provisioning import Change, provision
from agenthub.bus.topology import RoleQueues, topology_of
from agenthub.client.names import role_queues
from agenthub.org.delayed import count_put_off
from agenthub.org.ledger import Ledger
from agenthub.org.registry import Registry
from agenthub.organization import Organization
from agenthub.settings import Settings

_INBOXES = "agent-hub.operators.>"


class Stray(NamedTuple):
    """A role without a file."""

    role: str
    processes: int
    """So many beat."""
    at_work: int
    """So many of them have a message in hand."""
    waiting: int
    """Messages in its inbox, or put off, that nobody works on."""
    parked: int
    """Questions to others whose answers it waits for: the tasks they are for have no end yet."""

    @property
    def has_work(self) -> bool:
        """True if something was asked of it that has no end yet, and that it does not work on."""
        return bool(self.waiting or self.parked)

    @property
    def is_needed(self) -> bool:
        """True if its queues are."""
        return bool(self.processes) or self.has_work

    @property
    def words(self) -> str:
        """For people: ``qa` has no file, but runs and has 3 messages waiting`."""
        left = []
        if self.processes:
            left.append("runs")
        if self.waiting:
            left.append(f"has {self.waiting} message{'' if self.waiting == 1 else 's'} waiting")
        if self.parked:
            left.append(f"waits for {self.parked} answer{'' if self.parked == 1 else 's'} of others")
        return f"`{self.role}` has no file, but {' and '.join(left)}" if left else f"`{self.role}` has no file"

    @property
    def remedy(self) -> str:
        """For people, the next step to its end."""
        if self.waiting:
            return f"`agenthub inbox move {self.role} --all --to ROLE` has another role do what waits"
        if self.parked:
            return "its tasks end when the answers come; put its file back until then"
        return (
            f"`agenthub restart {self.role}` ends it" if self.processes else "`agenthub provision` deletes its queues"
        )


class Provisioned(NamedTuple):
    """What came of bringing the broker to what the files say."""

    changes: list[Change]
    kept: list[Stray]
    """Roles without a file whose queues are left alone, since they are needed."""


async def strays(bus: Bus, organization: Organization) -> list[Stray]:
    """Roles that have an inbox at the broker and no file, by name."""
    names = sorted(await inboxes(bus) - {*organization.roles, organization.operator})
    return await _looked_at(bus, names) if names else []


async def stray(bus: Bus, role: str) -> Stray:
    """What is left of one role, whether or not it still has an inbox."""
    return (await _looked_at(bus, [role]))[0]


async def keep_keys(bus: Bus, organization: Organization, settings: Settings) -> list[str]:
    """Roles without a file whose keys are still needed: theirs are, or others have not read yet what they said."""
    needed = {one.role for one in await strays(bus, organization) if one.is_needed}
    places = map(subjects.place_of, await bus.counts(subjects.AGENTS, _INBOXES))
    heard = {place.sender for place in places if place is not None and place.sender}
    keyring = Keyring(settings.keys)
    return sorted(name for name in (needed | heard) - organization.roles.keys() if keyring.public(name, is_role=True))


async def provision_for(
    bus: Bus, organization: Organization, settings: Settings, *, dry_run: bool = False
) -> Provisioned:
    """Bring the broker to what the files say, and say what changed; what a role without a file needs stays.

    Raises:
        HubError: If the broker does not take it.
    """
    kept = [one for one in await strays(bus, organization) if one.is_needed]
    doors = [RoleQueues(one.role, works=False) for one in kept]  # its consumers are as they are
    queues = [*role_queues(organization, settings), *doors]
    wanted = await topology_of(bus, queues, replicas=settings.nats_replicas)
    changes = await provision(bus, wanted, dry_run=dry_run, keep={one.role for one in kept})
    return Provisioned(changes, kept)


async def _looked_at(bus: Bus, names: list[str]) -> list[Stray]:
    beats, counts, put_off, due, asks = await asyncio.gather(
        Registry(bus).all(), bus.counts(subjects.AGENTS, _INBOXES), count_put_off(bus),
        bus.counts(subjects.SCHEDULES, subjects.due("*")), Ledger(bus).keys(),
    )  # fmt: skip
    found = []
    for name in names:
        of_it = [beat for key, beat in beats.items() if key.partition(".")[0] == name]
        at_work = sum(bool(beat.message_id) for beat in of_it)
        waiting = _waiting(name, counts) + put_off[name] + due.get(subjects.due(name), 0)
        parked = sum(key.startswith(f"{name}.") for key in asks)
        found.append(Stray(name, len(of_it), at_work, max(0, waiting - at_work), parked))
    return found


def _waiting(role: str, counts: Mapping[str, int]) -> int:
    """How much lies in an inbox; what is worked on too."""
    places = ((subjects.place_of(subject), count) for subject, count in counts.items())
    return sum(count for place, count in places if place is not None and place.role == role)
