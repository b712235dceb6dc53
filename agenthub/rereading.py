"""Take in what the files of a running hub say now: before a role is started again, or for the first time.

A role whose file is gone works on until a person asks for its restart. Then it ends for good, and its queues are taken
away; unless something waits for it that nobody else would do.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from agenthub.bus.access import Access
from agenthub.bus.connection import Bus
from agenthub.bus.identity import Keyring
from agenthub.children import Child, RoleState
from agenthub.client import access_of, ensure_signers
from agenthub.client.strays import keep_keys, provision_for, stray
from agenthub.errors import AgenthubError, ConfigError, HubError
from agenthub.grants import topics_of
from agenthub.messages import now
from agenthub.org.grants import Grants
from agenthub.org.registry import Registry
from agenthub.organization import Organization, load_organization
from agenthub.presence import Absence
from agenthub.settings import Settings

logger = logging.getLogger(__name__)

Admit = Callable[[Access], Awaitable[object]]


class Read(NamedTuple):
    """What the files say, as far as it holds for a hub that runs."""

    organization: Organization
    """Also with the roles whose files are gone: their processes go on."""
    gone: frozenset[str]
    """Names of these."""


class Files:
    """What the files of a running hub say, as far as it has taken that in."""

    def __init__(self, organization: Organization, *, say: Callable[[str], None]) -> None:
        """`say` gets one line for each thing that a person should know."""
        self.organization = organization
        self.gone: frozenset[str] = frozenset()
        """Roles whose files were not there when they were read last."""
        self.admit: Admit | None = None
        """Has servers of our own read other permissions. None: they are somebody else's."""
        self._say = say
        self._changing = asyncio.Lock()

    async def read(self, bus: Bus, settings: Settings) -> None:
        """Have the next start be under what the files say now; if that is wrong, under what they said before."""
        try:
            async with self._changing:
                self.organization, self.gone = await read_again(bus, settings, self.organization, self.admit)
        except (AgenthubError, OSError) as error:
            self.gone = frozenset()
            logger.error("%s; what the files said before holds", error)
            self._say(f"{error}; what the files said before holds")

    async def end(
        self, bus: Bus, settings: Settings, child: Child, others: Iterable[Child],
        *, start: Callable[[Child], None], report: Callable[[Child, str, str], None],
    ) -> None:  # fmt: skip
        """Do not start a process again whose role's file is gone; with the last one take away the role's queues.

        If something waits for the role it is started again after all, for that would never have an end.

        Args:
            others: The other processes of the role.
        """
        async with self._changing:
            if child.state not in (RoleState.WAITING, RoleState.QUARANTINED):
                return  # somebody was faster
            child.state = RoleState.STOPPED  # at once, else its back-off could be over meanwhile
            await _note_end(bus, child)
            if any(one.state is not RoleState.STOPPED for one in others):
                return
            try:
                why = await _take_away(bus, settings, self.organization, child.role, self.admit)
            except HubError as error:
                why = str(error)
            if why:
                logger.warning("%s goes on: %s", child.key, why)
                self._say(f"{child.key} goes on: {why}")
                start(child)
                return
            self.organization = _without(self.organization, child.role)
        report(child, "ended", "has ended for good: its file is gone")


async def read_again(bus: Bus, settings: Settings, last: Organization, admit: Admit | None) -> Read:
    """The organization as its files are now; what it needs at the broker is made: keys, rights, queues.

    Args:
        admit: Has servers of our own read other permissions. None: they are somebody else's.

    Raises:
        ConfigError: If a file is wrong, or says what holds for a hub as long as it runs.
        HubError: If the broker does not take it.
    """
    found = await asyncio.to_thread(load_organization, settings)
    if (found.org, found.operator) != (last.org, last.operator):
        raise ConfigError(
            f"`{last.operator}` of `{last.org}` became `{found.operator}` of `{found.org}`, which takes "
            "`agenthub down` and `agenthub up`"
        )
    gone = frozenset(last.roles.keys() - found.roles.keys())
    found = dataclasses.replace(found, roles={**last.roles, **found.roles})
    if found.roster_hash != last.roster_hash:
        await _admit(bus, settings, found, admit)
        await provision_for(bus, found, settings)
    return Read(found, gone)


async def _admit(bus: Bus, settings: Settings, organization: Organization, admit: Admit | None) -> None:
    if admit is None:
        ensure_signers(organization, settings)
        return
    topics = topics_of(await Grants(bus, Keyring(settings.keys), organization.org).all(), now())
    besides = await keep_keys(bus, organization, settings)
    await admit(access_of(organization, settings, topics=topics, besides=besides))


async def _take_away(bus: Bus, settings: Settings, organization: Organization, role: str, admit: Admit | None) -> str:
    """Take away what a role without processes has at the broker; why not, if something of it is left there."""
    left = await stray(bus, role)
    if left.is_needed:
        return left.words
    rest = _without(organization, role)
    await provision_for(bus, rest, settings)
    left = await stray(bus, role)
    if left.has_work:  # it came in that moment: stored is stored
        await provision_for(bus, organization, settings)
        return left.words
    await _admit(bus, settings, rest, admit)
    return ""


async def _note_end(bus: Bus, child: Child) -> None:
    """Have nobody miss a process that is not to come back; what it held is given back if it does."""
    registry = Registry(bus)
    with contextlib.suppress(HubError):  # then it is missed for a while
        noted = (await registry.absences()).get(child.key) or Absence(role=child.role, since=now(), reason="")
        told = {"reason": "its file is gone", "was_stopped": True, "is_told": True}
        await registry.note_absence(child.key, noted.model_copy(update=told))


def _without(organization: Organization, role: str) -> Organization:
    return dataclasses.replace(
        organization, roles={name: one for name, one in organization.roles.items() if name != role}
    )
