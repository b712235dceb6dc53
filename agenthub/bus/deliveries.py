"""What the broker hands to a role: deliveries, pulled when there is room for them, settled once."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.rhythm import until_next_s

logger = logging.getLogger(__name__)

PULL_EXPIRES_S = 40.0
"""How long at most a pull waits at the broker, which then says so, and it is sent again."""
_OVERDUE_S = 5.0
"""How long that word is waited for."""
HEARTBEAT_S = 2.5
"""How often a cluster says that it still knows of the pull: with a consumer's leader it may be lost without a word, and
the connection is to another server. That a server alone goes is seen, and heartbeats would be many times its messages.
"""
ANSWER_WITHIN_S = 1.0
"""How long the broker may take to say that there is nothing."""
ACK_WITHIN_S = 1.0
_PAUSE_S = 0.1
_MANY = 1_000_000
_NOBODY_PAUSE_S = 0.5


class Delivery:
    """One message in this role's hands. It is settled once: `ack`, or `give_back`."""

    def __init__(self, bus: Bus, msg: Msg, arrived_s: float) -> None:
        self._bus = bus
        self.data: bytes = msg.data
        self.subject: str = msg.subject
        self.signed_headers: dict[str, str] = msg.headers or {}
        """As they were published."""
        self.headers = self.signed_headers
        if self.headers and not subjects.is_of_the_role(msg.subject):
            only_its = (subjects.ID, subjects.ATTEMPTS)  # what only the role itself may say of a message
            self.headers = {name: value for name, value in self.headers.items() if name not in only_its}
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

    def saved(self) -> dict[str, Any]:
        """All that `restored` needs, for a file."""
        data = base64.b64encode(self.data).decode()
        return {"subject": self.subject, "reply": self.reply_subject, "headers": self.signed_headers, "data": data}

    @classmethod
    def restored(cls, bus: Bus, saved: dict[str, Any]) -> Delivery:
        """The delivery that another process saved before it died."""
        data = base64.b64decode(saved["data"])
        msg = Msg(
            _client=bus.nc, subject=saved["subject"], reply=saved["reply"], data=data, headers=saved["headers"] or None
        )
        return cls(bus, msg, asyncio.get_running_loop().time())

    @property
    def place_id(self) -> str:
        """Where the message lies: an id that no sender can choose."""
        return f"{self.stream}-{self.sequence}"

    @property
    def default_id(self) -> str:
        """Id of a message whose sender gave it none: where it is stored, which never changes."""
        given = self.headers.get(subjects.ID, "")
        return given if subjects.message_id(given) else self.place_id

    @property
    def attempts_before(self) -> int:
        """How often it was tried before it was delayed."""
        value = self.headers.get(subjects.ATTEMPTS, "0")
        return min(int(value), _MANY) if value.isdecimal() and len(value) < 10 else 0

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
    """One consumer, read a batch at a time: what came is in `held`, and nothing more is asked for meanwhile.

    It first asks what there is (`no_wait`), and when the broker says that there is nothing it asks to be
    told (a pull that waits). So `is_sure` can say that nothing is on its way that was there before.
    """

    def __init__(self, bus: Bus, stream: str, consumer: str, arrived: Callable[[], None], *, batch: int = 1) -> None:
        """`arrived` is called when something came, or the pull has become sure that nothing is there."""
        self.consumer = consumer
        self.held: list[Delivery] = []
        self.is_sure = False
        """True if something is held, or the broker has said that there was nothing."""
        self._bus = bus
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._batch = batch
        self._now = json.dumps({"batch": batch, "no_wait": True}).encode()
        self._outstanding = 0
        """Deliveries that the broker may still send for the last pull."""
        self._arrived = arrived
        self._subscription: Subscription | None = None
        self._waits = True
        """False: where nothing is there it does not ask to be told."""
        self._inbox = ""
        self._questions = 0
        """So many were asked, or are about to be. What the broker says of one that is not the last counts no more: it
        would have another pull follow on each that it still knew of after a reconnect, for ever."""
        self._guard: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to pull."""
        self._inbox, self._outstanding = self._bus.nc.new_inbox(), 0
        self._subscription = await self._bus.nc.subscribe_directly(f"{self._inbox}.*", self._on_message)
        await self.pull()

    async def pull(self) -> None:
        """Ask for more, unless something is held or was asked for already."""
        if self._may_ask():
            await self._ask(self._question(), self._now, answer_within_s=ANSWER_WITHIN_S)

    def pull_soon(self) -> None:
        """The same as soon as this process waits for anything: what is in hand goes first."""
        if self._may_ask():
            asyncio.get_running_loop().call_soon(self._ask_now, self._question())

    def _ask_now(self, question: int) -> None:
        self._spawn(self._ask(question, self._now, answer_within_s=ANSWER_WITHIN_S))

    def _may_ask(self) -> bool:
        if self._subscription is None or self.held or self._outstanding:
            return False
        self.is_sure = False
        return True

    async def pull_again(self) -> None:
        """Ask anew: after a reconnect, or when the time is over, the broker knows nothing of the last pull."""
        self._outstanding = 0
        await self.pull()

    async def pause(self) -> None:
        """Pull no more and give back what is held, until `resume`; `probe` asks once meanwhile."""
        await self.close()
        self._waits, self._outstanding = False, 0
        self._become_sure()

    async def resume(self) -> None:
        """Pull again after `pause`."""
        self._waits = True
        await (self.open() if self._subscription is None else self.pull())

    async def probe(self) -> None:
        """Ask once what there is, without waiting for more."""
        await (self.open() if self._subscription is None else self.pull())

    async def close(self, *, gives_back: bool = True) -> None:
        """Pull no more, then give back what is held.

        Unsubscribe first: a pull left open would catch what is given back. What is on its way at that moment must
        be given back too, so it is waited for; else it would be nobody's until its acknowledgement is overdue.
        """
        self._stop_guard()
        for task in self._tasks:
            task.cancel()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(NatsError, TimeoutError):
                leave = subscription.drain if self._bus.is_connected else subscription.unsubscribe
                try:
                    await leave()  # type: ignore[no-untyped-call]
                finally:
                    self._bus.nc._remove_sub(subscription._id)  # nats-py keeps one of which draining was given up
        held, self.held = self.held, []
        for delivery in held if gives_back else ():
            await delivery.give_back()

    def _question(self) -> int:
        """The number of what is asked now, or as soon as it can be: nothing else is asked meanwhile."""
        self._questions += 1
        self._outstanding = self._batch
        return self._questions

    async def _ask(self, question: int, how: bytes, *, answer_within_s: float) -> None:
        if self._subscription is None or question != self._questions:
            return
        self._guard_for(answer_within_s)
        if not self._bus.is_connected:
            return  # it would wait here, with one of each second, until a server is back; and then it is asked again
        with contextlib.suppress(NatsError):
            await self._bus.nc.publish(self._next, how, f"{self._inbox}.{question}")

    def _guard_for(self, seconds: float) -> None:
        self._stop_guard()
        self._guard = asyncio.get_running_loop().call_later(seconds, self._unanswered)

    def _unanswered(self) -> None:
        """The broker, or the consumer's leader, is gone: nobody waits for it to be sure."""
        self._become_sure()
        self._spawn(self.pull_again())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_message(self, msg: Msg) -> None:
        if msg.reply:
            self.held.append(Delivery(self._bus, msg, asyncio.get_running_loop().time()))
            self._outstanding = max(0, self._outstanding - 1)
            if not self._outstanding:
                self._stop_guard()
            self._become_sure()
            return
        status = (msg.headers or {}).get("Status", "")
        if not status or msg.subject != f"{self._inbox}.{self._questions}":
            return
        if status == "100":  # a heartbeat
            self._guard_for(2 * HEARTBEAT_S)
            return
        self._outstanding = 0
        self._stop_guard()
        if status in ("404", "408"):
            self._wait()
        else:
            self._spawn(self._wait_later(status, (msg.headers or {}).get("Description", "")))
        self._become_sure()

    def _wait(self) -> None:
        """Nothing is there: ask to be told of what comes, unless there is no room for it."""
        if not self.held and not self._outstanding and self._waits:
            question = self._question()  # who hears that nothing is there asks the same no more
            expires_s = until_next_s(PULL_EXPIRES_S)
            how, answer_within_s = {"batch": self._batch, "expires": int(expires_s * 1e9)}, expires_s + _OVERDUE_S
            if self._bus.cluster_size and expires_s > 4 * HEARTBEAT_S:
                how["idle_heartbeat"], answer_within_s = int(HEARTBEAT_S * 1e9), 2 * HEARTBEAT_S
            self._spawn(self._ask(question, json.dumps(how).encode(), answer_within_s=answer_within_s))

    async def _wait_later(self, status: str, description: str) -> None:
        if status == "503":  # nobody is there: the consumer's leader is not elected yet, or nothing can be stored
            await asyncio.sleep(_NOBODY_PAUSE_S)
        else:
            logger.info("%s: %s %s", self.consumer, status, description)
            await asyncio.sleep(_PAUSE_S)
        self._wait()

    def _become_sure(self) -> None:
        self.is_sure = True
        self._arrived()

    def _stop_guard(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
            self._guard = None
