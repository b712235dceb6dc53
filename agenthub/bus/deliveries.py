"""What the broker hands to a role: deliveries, held one a lane, settled once.

A lane is one priority of the role's inbox with a consumer of its own. Each lane has one pull outstanding or
one delivery held, so the most urgent message is always at hand, memory stays bounded however long the
backlog, and the next message is on its way as soon as the broker has the acknowledgement.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.messages import Priority

logger = logging.getLogger(__name__)

PULL_EXPIRES_S = 5.0
"""How long a pull waits at the broker. When a server or a consumer's leader goes, the pull is lost without
a word: after this and a second more it is sent again."""
ACK_WITHIN_S = 1.0


class Delivery:
    """One message in this role's hands. It is settled once: `ack`, or `give_back`."""

    def __init__(self, bus: Bus, msg: Msg, arrived_s: float) -> None:
        self._bus = bus
        self.data: bytes = msg.data
        self.subject: str = msg.subject
        self.headers: dict[str, str] = {name: str(value) for name, value in (msg.headers or {}).items()}
        self.reply_subject: str = msg.reply
        """Where the broker takes the acknowledgement; valid for any process that knows it."""
        metadata = msg.metadata
        self.stream: str = metadata.stream
        self.sequence: int = metadata.sequence.stream
        self.deliveries: int = metadata.num_delivered or 1
        self.stored_at = metadata.timestamp
        """When the broker stored the message."""
        self.arrived_s = arrived_s
        """Loop time at which it arrived here."""
        self.is_settled = False

    @property
    def default_id(self) -> str:
        """Id of a message whose sender gave it none: where it is stored, which never changes."""
        return self.headers.get(subjects.ID) or f"{self.stream}-{self.sequence}"

    @property
    def attempts_before(self) -> int:
        """How often it was tried before it was delayed."""
        value = self.headers.get(subjects.ATTEMPTS, "0")
        return int(value) if value.isdecimal() else 0

    async def ack(self) -> bool:
        """Settle: worked off. True if the broker confirmed it.

        One try of a second: if the broker just went down it delivers again, and the journal knows the turn.
        """
        self.is_settled = True
        try:
            await self._bus.nc.request(self.reply_subject, b"+ACK", timeout=ACK_WITHIN_S)
        except (NatsError, TimeoutError) as error:
            logger.info("acknowledgement of %s was not confirmed: %r", self.default_id, error)
            return False
        return True

    async def give_back(self) -> None:
        """Settle: not worked off; the broker delivers it again at once, to whoever pulls."""
        self.is_settled = True
        await self._bus.tell(self.reply_subject, b"-NAK")

    async def keep(self) -> None:
        """Tell the broker that this delivery is still being worked on."""
        await self._bus.tell(self.reply_subject, b"+WPI")


class Pull:
    """One consumer, read a batch at a time: what came is in `held`, and nothing more is asked for meanwhile."""

    def __init__(self, bus: Bus, stream: str, consumer: str, arrived: Callable[[], None], *, batch: int = 1) -> None:
        self.consumer = consumer
        self.held: list[Delivery] = []
        self._bus = bus
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._batch = batch
        self._outstanding = 0
        """Deliveries that the broker may still send for the last pull."""
        self._request = json.dumps({"batch": batch, "expires": int(PULL_EXPIRES_S * 1e9)}).encode()
        self._arrived = arrived
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._guard: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to pull."""
        self._inbox = self._bus.nc.new_inbox()
        self._subscription = await self._bus.nc.subscribe(self._inbox, cb=self._on_message)
        await self.pull()

    async def pull(self) -> None:
        """Ask for more, unless something is held or was asked for already."""
        if self.held or self._outstanding or self._subscription is None:
            return
        self._outstanding = self._batch
        self._watch()
        with contextlib.suppress(NatsError):
            await self._bus.nc.publish(self._next, self._request, reply=self._inbox)

    async def pull_again(self) -> None:
        """Ask anew: after a reconnect, or when the time is over, the broker knows nothing of the last pull."""
        self._outstanding = 0
        await self.pull()

    async def close(self) -> None:
        """Pull no more, then give back what is held.

        Unsubscribe first: a pull left open would catch what is given back.
        """
        if self._guard is not None:
            self._guard.cancel()
        if self._subscription is not None:
            with contextlib.suppress(NatsError):
                await self._subscription.unsubscribe()
            self._subscription = None
        await self._bus.flush()
        held, self.held = self.held, []
        for delivery in held:
            await delivery.give_back()

    def _watch(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
        loop = asyncio.get_running_loop()
        self._guard = loop.call_later(PULL_EXPIRES_S + 1, self._again)

    def _again(self) -> None:
        task = asyncio.ensure_future(self.pull_again())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_message(self, msg: Msg) -> None:
        if not msg.reply:  # a status of the broker: nothing came, or the consumer's leader went
            status = (msg.headers or {}).get("Status", "")
            if status not in ("404", "408", "100"):
                logger.info("%s: %s %s", self.consumer, status, (msg.headers or {}).get("Description", ""))
                await asyncio.sleep(0.1)
            if status != "100":
                await self.pull_again()
            return
        self._outstanding = max(0, self._outstanding - 1)
        if self._guard is not None and not self._outstanding:
            self._guard.cancel()
        self.held.append(Delivery(self._bus, msg, asyncio.get_running_loop().time()))
        self._arrived()


class Lanes:
    """The four priorities of one role's inbox, at most one delivery held in each."""

    def __init__(self, bus: Bus, role: str, *, keep_alive_s: float) -> None:
        self._arrived = asyncio.Event()
        self._pulls = {
            p: Pull(bus, subjects.AGENTS, subjects.lane_consumer(role, p), self._arrived.set) for p in Priority
        }
        self._bus = bus
        self._keep_alive_s = keep_alive_s
        self._taken: set[Delivery] = set()

    @property
    def held(self) -> Sequence[tuple[Priority, Delivery]]:
        """What is at hand, most urgent lane first."""
        return [(p, pull.held[0]) for p, pull in self._pulls.items() if pull.held]

    async def arrived(self) -> None:
        """Return when something may have arrived since the last call."""
        await self._arrived.wait()
        self._arrived.clear()

    def wake(self) -> None:
        """Have `arrived` return."""
        self._arrived.set()

    async def take(self, priority: Priority) -> Delivery:
        """The delivery held in this lane, to be worked on; the next one of the lane is pulled already."""
        pull = self._pulls[priority]
        delivery = pull.held.pop(0)
        self._taken.add(delivery)
        await pull.pull()
        return delivery

    async def keep_alive(self) -> None:
        """Keep the broker from handing to somebody else what is held or worked on; runs until cancelled."""
        while True:
            await asyncio.sleep(self._keep_alive_s)
            self._taken = {delivery for delivery in self._taken if not delivery.is_settled}
            for delivery in [*self._taken, *(held for _, held in self.held)]:
                await delivery.keep()

    async def open(self) -> None:
        await asyncio.gather(*(pull.open() for pull in self._pulls.values()))

    async def pull_again(self) -> None:
        """After a reconnect the server knows nothing of the pulls of before."""
        for pull in self._pulls.values():
            await pull.pull_again()

    async def close(self) -> None:
        """Give back at once what is held and what was taken but not settled."""
        await asyncio.gather(*(pull.close() for pull in self._pulls.values()))
        for delivery in self._taken:
            if not delivery.is_settled:
                await delivery.give_back()


@contextlib.asynccontextmanager
async def open_lanes(bus: Bus, role: str, *, keep_alive_s: float) -> AsyncIterator[Lanes]:
    """The lanes of one role, read for the length of the block.

    What a dead predecessor held comes back within milliseconds, not after the acknowledgement time-out; so
    call this only with the role's lease in hand.
    """
    await _reclaim(bus, role)
    lanes = Lanes(bus, role, keep_alive_s=keep_alive_s)
    bus.on_reconnect(lanes.pull_again)
    await lanes.open()
    try:
        yield lanes
    finally:
        await lanes.close()


async def _reclaim(bus: Bus, role: str) -> None:
    """Have the broker deliver again what a dead process of this role held.

    The subject of an acknowledgement is made of what CONSUMER.INFO tells; it is not bound to a connection.
    Where a lane has several deliveries out (replicas), whose they are is not known here: those wait.
    """

    async def reclaim(priority: Priority) -> None:
        info = await bus.js.consumer_info(subjects.AGENTS, subjects.lane_consumer(role, priority))
        if info.num_ack_pending != 1 or info.config.max_ack_pending != 1 or info.delivered is None:
            return
        last = info.delivered
        await bus.tell(f"$JS.ACK.{subjects.AGENTS}.{info.name}.1.{last.stream_seq}.{last.consumer_seq}.1.0", b"-NAK")

    await asyncio.gather(*(reclaim(p) for p in Priority))
