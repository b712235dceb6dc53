"""The lanes: one priority of a role's inbox each, with a consumer of its own.

Of each lane at most one delivery is held, so the most urgent message is always at hand and memory stays
bounded however long the backlog is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from nats.errors import Error as NatsError

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.deliveries import Delivery, Pull
from agenthub.bus.in_flight import reclaim
from agenthub.errors import HubError
from agenthub.messages import Priority
from agenthub.rhythm import next_moment
from agenthub.whole_files import write_whole

PROBE_S = 1.0
"""How often a busy replica asks for critical messages. One that is free waits for them and gets them first."""


class Lanes:
    """The four priorities of one role's inbox, at most one delivery held in each.

    A role with replicas shares its inbox: one that works holds nothing that another could begin with.
    """

    def __init__(
        self, bus: Bus, role: str, *, keep_alive_s: float, is_shared: bool, owns: Callable[[], bool], alive: Path
    ) -> None:
        """Lanes that are not open yet.

        Args:
            is_shared: True if the role has replicas.
            owns: Whether this process still is the role: else what it held is not its to give back.
            alive: File that is touched whenever the broker was told that what is held is worked on.
        """
        self._arrived = asyncio.Event()
        self.heed: Callable[[], None] | None = None
        """Called too when something may have arrived, if set."""
        self._pulls = {p: Pull(bus, subjects.AGENTS, subjects.lane_consumer(role, p), self.wake) for p in Priority}
        self._bus, self._role = bus, role
        self._keep_alive_s, self._is_shared, self._owns, self._alive = keep_alive_s, is_shared, owns, alive
        self._taken: set[Delivery] = set()
        self._is_withdrawn = False
        self._changing = asyncio.Lock()
        self._returning: asyncio.Task[None] | None = None

    @property
    def is_sure(self) -> bool:
        """True if nothing is on its way that was there before: what is held is what may be chosen from."""
        return all(pull.is_sure for pull in self._pulls.values())

    @property
    def held(self) -> Sequence[tuple[Priority, Delivery]]:
        """What is at hand, most urgent lane first."""
        return [(p, pull.held[0]) for p, pull in self._pulls.items() if pull.held]

    @property
    def holding(self) -> list[str]:
        """Where the broker takes the acknowledgements of what is held or worked on."""
        at_hand = [*self._taken, *(delivery for _, delivery in self.held)]
        return [delivery.reply_subject for delivery in at_hand if not delivery.is_settled]

    async def waiting(self) -> dict[Priority, int]:
        """How many messages wait or are in hand in each lane, as the broker counts them.

        Raises:
            HubError: If it does not answer.
        """
        try:
            found = [await self._bus.js.consumer_info(subjects.AGENTS, pull.consumer) for pull in self._pulls.values()]
        except (NatsError, TimeoutError) as error:
            raise HubError(f"the broker does not say what waits: {error}") from error
        counts = [(info.num_pending or 0) + (info.num_ack_pending or 0) for info in found]
        return dict(zip(self._pulls, counts, strict=True))

    async def arrived(self) -> None:
        """Return when something may have arrived since the last call."""
        await self._arrived.wait()
        self._arrived.clear()

    def wake(self) -> None:
        """Something may have arrived: have `arrived` return."""
        self._arrived.set()
        if self.heed is not None:
            self.heed()

    async def take(self, priority: Priority) -> Delivery:
        """The delivery held in this lane, to be worked on; the next one of the lane is pulled already."""
        pull = self._pulls[priority]
        delivery = pull.held.pop(0)
        self._taken.add(delivery)
        if self._is_shared:
            self._save()
            await self.withdraw()
        else:
            pull.pull_soon()
        return delivery

    def _save(self) -> None:
        """Keep beside the journal what is worked on: the broker lets a role read no inbox but through its lanes."""
        taken = [delivery.saved() for delivery in self._taken if not delivery.is_settled]
        write_whole(self._saved, json.dumps(taken))

    @property
    def _saved(self) -> Path:
        return self._alive.with_suffix(".taken")

    async def last(self, delivery: Delivery) -> bytes | None:
        """The newest message that waits in the same lane, published by the same; None if that is this delivery."""
        found = await self._bus.newest_of(subjects.AGENTS, delivery.subject)
        return found.data if found is not None and found.sequence > delivery.sequence else None

    async def drop(self, sequence: int) -> None:
        """Let go of a delivery that is held and not taken: its message stands elsewhere now."""
        for pull in self._pulls.values():
            for delivery in [held for held in pull.held if held.sequence == sequence]:
                pull.held.remove(delivery)
                await delivery.ack()
                await pull.pull()

    async def left_open(self, ack_subjects: Sequence[str], *, within_s: float) -> list[Delivery]:
        """What a dead process of this replica worked on, taken over as it is: the journal here knows the turns.

        Nothing if its last sign of life is older than `within_s`: then another replica may work on it. Without
        replicas the broker gives back at once what the dead process held, and this gives nothing.
        """
        if not self._is_shared or not self._alive.exists() or time.time() - self._alive.stat().st_mtime > within_s:
            return []
        try:
            saved = json.loads(self._saved.read_text())
            restored = [Delivery.restored(self._bus, one) for one in saved if one["reply"] in ack_subjects]
        except (OSError, ValueError, KeyError, TypeError):  # cut off while it was written: the broker delivers again
            return []
        for delivery in restored:
            await delivery.keep()
        self._taken.update(restored)
        return restored

    async def withdraw(self) -> None:
        """Leave what waits to the other replicas, if there are any, until `resume`."""
        if not self._is_shared:
            return
        async with self._changing:
            if not self._is_withdrawn:
                self._is_withdrawn = True
                await asyncio.gather(*(pull.pause() for pull in self._pulls.values()))

    async def resume(self) -> None:
        """Pull again from all lanes."""
        if not self._is_shared:
            return  # it never withdrew
        async with self._changing:
            if self._is_withdrawn:
                self._is_withdrawn = False
                await asyncio.gather(*(pull.resume() for pull in self._pulls.values()))

    async def probe(self) -> None:
        """Ask for critical messages while this replica is busy, until cancelled; without replicas there is no need."""
        while self._is_shared:
            await asyncio.sleep(PROBE_S)
            async with self._changing:
                if self._is_withdrawn:
                    await self._pulls[Priority.CRITICAL].probe()

    async def keep_alive(self) -> None:
        """Keep the broker from handing to somebody else what is held or worked on; runs until cancelled."""
        while True:
            self._alive.touch()
            await next_moment(self._keep_alive_s)
            self._taken = {delivery for delivery in self._taken if not delivery.is_settled}
            for delivery in [*self._taken, *(held for _, held in self.held)]:
                await delivery.keep()

    async def open(self) -> None:
        await asyncio.gather(*(pull.open() for pull in self._pulls.values()))

    async def pull_again(self) -> None:
        """After a reconnect the server knows nothing of the pulls of before, and what was on its way is lost."""
        self._stop_returning()
        self._returning = asyncio.create_task(self._return(), name="reclaim lanes")

    async def _return(self) -> None:
        with contextlib.suppress(HubError, NatsError):
            await self.reclaim()
        for pull in self._pulls.values():
            await pull.pull_again()

    def _stop_returning(self) -> None:
        if self._returning is not None:
            self._returning.cancel()

    async def reclaim(self) -> None:
        """Have the broker deliver again what it takes to be in this role's hands and is not.

        Of several replicas nobody knows here whose delivery is whose: those wait for their time-out.
        """
        if self._is_shared:
            return
        here = {delivery.sequence for delivery in [*self._taken, *(held for _, held in self.held)]}
        await asyncio.gather(*(
            reclaim(self._bus, subjects.AGENTS, pull.consumer, besides=here) for pull in self._pulls.values()
        ))  # fmt: skip

    async def close(self) -> None:
        """Give back at once what is held and what was taken but not settled."""
        self._stop_returning()
        await asyncio.gather(*(pull.close(gives_back=self._owns()) for pull in self._pulls.values()))
        for delivery in self._taken:
            if not delivery.is_settled and self._owns():
                await delivery.give_back()


@contextlib.asynccontextmanager
async def open_lanes(
    bus: Bus, role: str, *, keep_alive_s: float, is_shared: bool, owns: Callable[[], bool], alive: Path
) -> AsyncIterator[Lanes]:
    """The lanes of one role, read for the length of the block.

    What a dead predecessor held comes back within milliseconds, not after the acknowledgement time-out; so
    call this only with the role's lease in hand.
    """
    lanes = Lanes(bus, role, keep_alive_s=keep_alive_s, is_shared=is_shared, owns=owns, alive=alive)
    await lanes.reclaim()
    bus.on_reconnect(lanes.pull_again)
    await lanes.open()
    try:
        yield lanes
    finally:
        await lanes.close()
