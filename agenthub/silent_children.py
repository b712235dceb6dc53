"""Processes of roles that live and do not beat, and what is noted of those that have ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping

from agenthub.bus.connection import Bus
from agenthub.children import Child, RoleState, is_stuck
from agenthub.errors import AgenthubError, HubError
from agenthub.messages import now
from agenthub.org.registry import Registry, Sightings, beat_ttl_s
from agenthub.presence import Absence
from agenthub.rhythm import next_moment
from agenthub.settings import Settings

LOOK_WITHIN_S = 2.0
_LOOK_EVERY_S = 2.5
_SIGN_OFF_WITHIN_S = 0.5


async def until_all_beat(
    bus: Bus, children: Mapping[str, Child], *, within_s: float, may_go_on: Callable[[], bool]
) -> list[str]:
    """Return when every process of a role beats that is not left alone, or `may_go_on` says no; who is late."""
    registry = Registry(bus)
    deadline = time.monotonic() + within_s
    while may_go_on():
        mine = {child.pid: key for key, child in children.items()}
        beating = {key for key, beat in (await registry.all()).items() if mine.get(beat.pid) == key}
        expected = {key for key, child in children.items() if child.role and child.state is not RoleState.QUARANTINED}
        if expected <= beating:
            break
        if time.monotonic() > deadline:
            return sorted(expected - beating)
        await asyncio.sleep(0.05)
    return []


async def watch_beats(
    bus: Bus, settings: Settings, children: Mapping[str, Child], kill: Callable[[Child, str], Awaitable[None]],
    *, may_judge: Callable[[], bool],
) -> None:  # fmt: skip
    """Have what lives and does not beat be killed, until cancelled.

    Nobody is held guilty of a broker that cannot be reached from here.

    Args:
        may_judge: False while nobody can beat: on a full disk no heartbeat is stored.
    """
    patience_s = max(settings.lease_ttl_s, beat_ttl_s(settings.heartbeat_s))
    sightings = Sightings(longest_gap_s=patience_s / 2)
    while True:
        await next_moment(min(_LOOK_EVERY_S, patience_s / 6))
        if not may_judge():
            continue
        with contextlib.suppress(AgenthubError, TimeoutError):
            async with asyncio.timeout(LOOK_WITHIN_S):
                beats = await Registry(bus).all()
            at_s = time.monotonic()
            sightings.look({f"{key} {beat.pid}": beat.beat_at for key, beat in beats.items()}, at_s=at_s)
            for child in list(children.values()):
                name = f"{child.key} {child.pid}"
                if child.role and is_stuck(
                    child, has_beaten=sightings.has_seen(name), silent_s=sightings.silent_s(name, at_s=at_s),
                    patience_s=patience_s, at_s=at_s,
                ):  # fmt: skip
                    await kill(child, f"process {child.pid} lives but does not beat; killing it")


async def sign_off(bus: Bus, child: Child, how: str) -> None:
    """A dead role must not look alive until its last heartbeat is over."""
    registry = Registry(bus)
    with contextlib.suppress(HubError, TimeoutError):  # without a broker nobody sees it
        async with asyncio.timeout(_SIGN_OFF_WITHIN_S):
            last = await registry.find(child.key)
            holds = last.holds if last else []  # whoever leads gives it back if this role does not return
            await registry.note_absence(child.key, Absence(role=child.role, since=now(), reason=how, holds=holds))
            await registry.remove(child.key)
