"""Keep what servers of our own let roles publish in step with what a person grants, and takes back, and what ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agenthub.bus.access import Access
from agenthub.bus.connection import Bus
from agenthub.bus.identity import Keyring
from agenthub.client import access_of
from agenthub.client.strays import keep_keys
from agenthub.errors import HubError
from agenthub.grants import topics_of
from agenthub.messages import now
from agenthub.org.grants import Grants
from agenthub.organization import Organization
from agenthub.settings import Settings

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 60.0


async def keep_granted(
    bus: Bus, organization: Callable[[], Organization], settings: Settings,
    admit: Callable[[Access], Awaitable[object]],
) -> None:  # fmt: skip
    """Have servers admit what grants allow, until cancelled: at once when one is given or revoked, and when one ends.

    Args:
        organization: Says who is there now: roles come while the hub runs.
        admit: Has the servers read other permissions; connections stay.
    """
    grants = Grants(bus, Keyring(settings.keys), organization().org)
    last: dict[str, tuple[str, ...]] = {}
    async with grants.watched() as changes:
        while True:
            try:
                found, at = await grants.all(), now()
                topics = topics_of(found, at)
                if topics != last:
                    besides = await keep_keys(bus, organization(), settings)
                    await admit(access_of(organization(), settings, topics=topics, besides=besides))
                    last = topics
            except (HubError, OSError) as error:
                logger.error("what is granted cannot be brought to the broker: %s", error)
            ends = [(grant.until - at).total_seconds() for grant in found if grant.kind == "topic" and grant.holds(at)]
            try:
                async with asyncio.timeout(max(0.0, min([_LOOK_EVERY_S, *ends]))):
                    await anext(changes)
            except TimeoutError:
                continue
