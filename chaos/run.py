"""One run: start an organization, send and spoil, heal, wait until all has ended, stop, read, judge."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agenthub import subjects
from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus
from agenthub.errors import HubError
from chaos.faults import Injector
from chaos.history import History
from chaos.hub import Hub
from chaos.peer import Peer, start_peer
from chaos.plan import CLUSTER, GENTLE, HARD, NETWORK, WHOLE, Plan, draw
from chaos.reading import read_broker, read_folder
from chaos.report import Verdict
from chaos.rules import lost
from chaos.sending import Door

OPERATOR = "you"
_LOOK_S = 1.0


@dataclass(frozen=True)
class Scene:
    """What kind of organization is spoilt, how long, and how."""

    name: str
    seconds: float
    directives: int
    lives: int
    kinds: tuple[str, ...]
    has_proxy: bool = False
    servers: int = 1
    drain_s: float = 60.0
    """How long what was accepted may take to end after everything is healed."""

    def plan(self, seed: int) -> Plan:
        """What happens in it."""
        return draw(seed, seconds=self.seconds, directives=self.directives, lives=self.lives, kinds=self.kinds)


_EVERYTHING = (*GENTLE, *HARD, *WHOLE)
OWN_SERVER = Scene(
    "own server", 105, 230, 4, tuple(kind for kind in _EVERYTHING if kind not in NETWORK),
)  # fmt: skip
NETWORKED = Scene("network", 90, 190, 3, _EVERYTHING, has_proxy=True)
SHORT = Scene("short", 12, 50, 1, tuple(kind for kind in _EVERYTHING if kind not in (*WHOLE, "zombie")), has_proxy=True)
CLUSTERED = Scene(
    "cluster", 55, 100, 1, ("kill role", "failpoint", "pause", "model", "garbage", "full", *CLUSTER), servers=3
)

BREAKING = Scene("breaking", 0, 0, 1, (), drain_s=8)
"""For plans of `plan.provoke`: what is broken does not end, so it is not waited for long."""

SCENES = [OWN_SERVER, NETWORKED, CLUSTERED]


async def run(
    scene: Scene, seed: int, folder: Path, *, broken: str = "", plan: Plan | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Verdict:  # fmt: skip
    """Run a scene in an empty folder, which keeps everything afterwards.

    Args:
        broken: A rule of `hook.BROKEN` that the role processes break.
        plan: Instead of the one that the seed gives.
    """
    plan = plan or scene.plan(seed)
    (folder / "plan.json").write_text(json.dumps(plan, indent=1, default=str))
    history, began = History(), time.monotonic()
    async with start_peer(seed) as peer:
        hub = Hub(folder, model_url=peer.url, broken=broken, servers=scene.servers)
        door = Door(lambda: (hub.server_url, hub.identity))
        injector = Injector(hub, peer, door)
        waiting = [asyncio.create_task(injector.inject(f)) for f in plan.faults if f.kind == "failpoint" and not f.at_s]
        await asyncio.sleep(0)  # before the first process starts
        try:
            async with hub.running(has_proxy=scene.has_proxy):
                say(f"{scene.name}: up after {time.monotonic() - began:.1f} s")
                await _spoil(plan, injector, door, waiting)
                await injector.heal()
                say(f"{scene.name}: healed after {time.monotonic() - began:.0f} s")
                await _read(hub, door, history, within_s=scene.drain_s, say=say)
        finally:
            for task in waiting:
                task.cancel()
            await door.close()
        history.leftovers = await hub.leftovers()
    _collect(history, peer, injector, door)
    read_folder(hub.state, folder / "effects", history)
    verdict = Verdict.of(scene.name, seed, time.monotonic() - began, history)
    (folder / "history.json").write_text(json.dumps(history.__dict__, default=list, indent=0))
    (folder / "verdict.json").write_text(json.dumps(verdict.to_json(), indent=1))
    return verdict


async def _spoil(plan: Plan, injector: Injector, door: Door, waiting: list[asyncio.Task[None]]) -> None:
    """Send and spoil as planned; returns when all of it is sent and the time is over."""
    begin = asyncio.get_running_loop().time()

    async def at(moment_s: float, what: Callable[[Any], Any], value: Any) -> None:
        await asyncio.sleep(begin + moment_s - asyncio.get_running_loop().time())
        await what(value)

    faults = [fault for fault in plan.faults if fault.kind != "failpoint" or fault.at_s]
    waiting += [
        asyncio.create_task(at(f.at_s, injector.inject, f)) for f in faults if f.kind == "failpoint"
    ]  # these last until somebody dies
    sending = [asyncio.create_task(at(d.at_s, door.send, d)) for d in plan.directives]
    sending += [asyncio.create_task(at(f.at_s, injector.inject, f)) for f in faults if f.kind != "failpoint"]
    await asyncio.gather(*sending)
    await asyncio.sleep(max(0.0, begin + plan.seconds - asyncio.get_running_loop().time()))


async def _read(hub: Hub, door: Door, history: History, *, within_s: float, say: Callable[[str], None]) -> None:
    """Wait until everything that was accepted has ended, then take in what the broker knows."""
    deadline = time.monotonic() + within_s
    while True:
        found = History(accepted=list(door.accepted))
        with contextlib.suppress(HubError, TimeoutError, OSError):
            async with connect(hub.server_url, name="chaos reader", identity=hub.identity, patience_s=10) as bus:
                await read_broker(bus, found, operator=OPERATOR, offered=door.offered)
                waits = await _waits(bus)
            missing = lost(found)
            if not missing and not waits:
                break
            if time.monotonic() > deadline:
                hub.dump_tasks()  # what they hang on stands in their logs
                await asyncio.sleep(_LOOK_S)
                break
            say(f"  {len(missing)} have not ended, {waits} wait")
        if time.monotonic() > deadline:
            history.problems.append("the broker could not be read")
            break
        await asyncio.sleep(_LOOK_S)
    for name, value in found.__dict__.items():
        setattr(history, name, value)


async def _waits(bus: Bus) -> int:
    """Messages that roles have not settled; what lies in a person's inbox waits for nobody."""
    found = await bus.counts(subjects.AGENTS, "agent-hub.operators.>")
    ours = subjects.inbox(OPERATOR)
    return sum(count for name, count in found.items() if not name.startswith(ours))


def _collect(history: History, peer: Peer, injector: Injector, door: Door) -> None:
    history.asked = peer.asked
    history.injected = injector.injected
    history.problems += door.problems
    history.offered |= door.offered
