"""What is done once for the whole organization: in the process of a role, whichever leads, or in one of its own.

One of its own has no model and no tools. Where each role has only its own key, as in containers, it alone has the
leader's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus
from agenthub.bus.identity import LEADER, Keyring
from agenthub.errors import ConfigError, LeaseLostError
from agenthub.filing import Filing
from agenthub.guards.senders import Senders
from agenthub.health import open_health
from agenthub.leader import Duty, lead
from agenthub.meetings import Meetings
from agenthub.messages import now
from agenthub.metrics import Metrics
from agenthub.organization import Organization
from agenthub.reminders import Reminders
from agenthub.scheduler import Scheduler
from agenthub.settings import Settings
from agenthub.together import let_go
from agenthub.watchdog import Watchdog


async def lead_if_free(bus: Bus, settings: Settings, organization: Organization, *, process: str) -> None:
    """Do the duties whenever nobody else does; runs until cancelled.

    Args:
        bus: The process's own connection, by which it sees whether anybody leads.
        process: Who leads then; the broker shows it.
    """
    await lead(
        bus,
        lambda: _as_leader(bus, settings, process),
        lambda own: duties(own, settings, organization),
        ttl_s=settings.lease_ttl_s,
        clock=time.monotonic,
        entered=_senders(settings, organization).entered,
    )


def _senders(settings: Settings, organization: Organization) -> Senders:
    return Senders(Keyring(settings.keys), operator=organization.operator)


def duties(bus: Bus, settings: Settings, organization: Organization) -> list[Duty]:
    """Everything that is done once for all, by the leader's connection."""

    async def look_after_all() -> None:
        watchdog = Watchdog(
            bus, organization, heartbeat_s=settings.heartbeat_s, lease_ttl_s=settings.lease_ttl_s,
            clock=time.monotonic, now=now,
        )  # fmt: skip
        await watchdog.run()

    return [
        look_after_all,
        Reminders(bus, organization, clock=now, entered=_senders(settings, organization).entered).run,
        Scheduler(bus, organization).run,
        Meetings(bus, organization).run,
        Filing(bus, organization, organization.knowledge).run,
    ]


async def run_leader(settings: Settings, organization: Organization, *, stop: asyncio.Event) -> None:
    """Lead, and do nothing else, until `stop` is set. Several such processes take turns.

    Raises:
        ConfigError: If the hub has keys, but not the leader's.
        HubUnreachableError: If no server answers.
    """
    keyring = Keyring(settings.keys)
    identity = keyring.find(LEADER)
    if identity is None and keyring.is_there:
        raise ConfigError(f"There is no key to lead with at {keyring.path(LEADER)}. Run `agenthub provision`.")
    async with (
        open_health(settings, LEADER, Metrics(LEADER, org=organization.org)) as health,
        connect(settings.transport, name="agenthub leader", identity=identity) as bus,
    ):
        health.ready = lambda: {"connected": bus.is_connected, "at work": not stop.is_set()}
        async with asyncio.TaskGroup() as group:
            leading = group.create_task(lead_if_free(bus, settings, organization, process=LEADER), name="leader")
            await stop.wait()
            await let_go([leading])


@contextlib.asynccontextmanager
async def _as_leader(bus: Bus, settings: Settings, process: str) -> AsyncIterator[Bus]:
    """A connection that may look after everybody; the process's own, where that may do it.

    Raises:
        LeaseLostError: If the key of the leader is not here: then another process leads.
    """
    if bus.identity is None or bus.identity.name == LEADER:
        yield bus
        return
    identity = Keyring(settings.keys).find(LEADER)
    if identity is None:
        raise LeaseLostError(f"`{process}` has no key to lead with")
    async with connect(settings.transport, name=f"agenthub leader, in {process}", identity=identity) as own:
        yield own
