"""Take in what the files of a running hub say now: before a role is started again, or for the first time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from agenthub.bus.access import Access
from agenthub.bus.connection import Bus
from agenthub.bus.identity import Keyring
from agenthub.bus.topology import provision, topology_of
from agenthub.client import access_of, ensure_signers, role_queues
from agenthub.errors import ConfigError
from agenthub.grants import topics_of
from agenthub.messages import now
from agenthub.org.grants import Grants
from agenthub.organization import Organization, load_organization
from agenthub.settings import Settings


async def read_again(
    bus: Bus, settings: Settings, last: Organization, admit: Callable[[Access], Awaitable[object]] | None
) -> Organization:
    """The organization as its files are now; what it needs at the broker is made: keys, rights, queues.

    Roles whose files are gone stay in it, since their processes go on until the hub is down.

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
    found = dataclasses.replace(found, roles={**last.roles, **found.roles})
    if found.roster_hash != last.roster_hash:
        if admit is None:
            ensure_signers(found, settings)
        else:
            topics = topics_of(await Grants(bus, Keyring(settings.keys), found.org).all(), now())
            await admit(access_of(found, settings, topics=topics))
        wanted = await topology_of(bus, role_queues(found, settings), replicas=settings.nats_replicas)
        await provision(bus, wanted)
    return found
