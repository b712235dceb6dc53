"""What a role has in flight: delivered by the broker, and not settled. For others than the process that holds it.

An acknowledgement is not bound to a connection: whoever knows its subject can settle a delivery, or have the
broker deliver it again at once instead of after the acknowledgement time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import partial
from typing import NamedTuple

from nats.errors import Error as NatsError

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.received import Received
from agenthub.errors import HubUnreachableError
from agenthub.messages import Priority

_CONFIRM_WITHIN_S = 1.0
_MOST_BETWEEN = 100_000
"""Further back nothing is given back at once, but when its acknowledgement is overdue."""


class InFlight(NamedTuple):
    """One delivery in the hands of a process, as the broker knows it."""

    received: Received
    ack_subject: str

    @property
    def default_id(self) -> str:
        """Id of the message if its sender gave it none; as for a `Delivery`."""
        given = self.received.headers.get(subjects.ID, "")
        return given if subjects.message_id(given) else f"{subjects.AGENTS}-{self.received.sequence}"

    @property
    def stored_at(self) -> datetime | None:
        """When the broker stored the message."""
        return self.received.stored_at


async def in_flight(bus: Bus, role: str) -> list[InFlight]:
    """What all processes of a role together hold of its lanes, most urgent lane first, oldest first.

    In a work queue what was delivered and not settled is what is first in the stream. The subject of an
    acknowledgement is made of its sequence and of what CONSUMER.INFO tells.

    Raises:
        HubUnreachableError: If the broker did not answer.
    """
    found: list[InFlight] = []
    try:
        for priority in Priority:
            info = await bus.js.consumer_info(subjects.AGENTS, subjects.lane_consumer(role, priority))
            if not info.num_ack_pending or info.delivered is None:
                continue
            lane = subjects.lane_filter(role, priority)
            for received in await bus.look(subjects.AGENTS, lane, most=info.num_ack_pending):
                place = f"1.{received.sequence}.{info.delivered.consumer_seq}.1.0"
                found.append(InFlight(received, f"$JS.ACK.{subjects.AGENTS}.{info.name}.{place}"))
    except (NatsError, TimeoutError, OSError) as error:
        raise HubUnreachableError(f"{bus.url} did not say what `{role}` has in flight: {error!r}") from error
    return found


async def reclaim(bus: Bus, stream: str, consumer: str, *, besides: Collection[int] = ()) -> None:
    """Have the broker deliver again at once, and before what is new, what a consumer's dead process or cut
    connection had: else it comes after the acknowledgement time, behind messages that were sent later.

    Only for a consumer of one process, on a work queue. Pull after this has returned: what is pulled meanwhile
    would go before.

    A role may not read the stream of all inboxes, so it does not know which sequences they are, only between which
    two they lie; of the others the broker takes no notice.

    Args:
        besides: Sequences of what is in good hands.
    """
    info = await bus.patiently(lambda: bus.js.consumer_info(stream, consumer), consumer)
    if not info.num_ack_pending or info.delivered is None or info.ack_floor is None:
        return
    first = max(info.ack_floor.stream_seq + 1, info.delivered.stream_seq - _MOST_BETWEEN)
    for sequence in range(first, info.delivered.stream_seq + 1):
        if sequence in besides:
            continue
        back = f"$JS.ACK.{stream}.{info.name}.1.{sequence}.{info.delivered.consumer_seq}.1.0"
        if sequence == info.delivered.stream_seq:
            await bus.patiently(partial(bus.nc.request, back, b"-NAK", timeout=_CONFIRM_WITHIN_S), back)
        else:
            await bus.tell(back, b"-NAK")
    await bus.flush()


async def settle(bus: Bus, delivery: InFlight) -> bool:
    """Acknowledge for who cannot do it any more. True if the broker confirmed it."""
    try:
        await bus.nc.request(delivery.ack_subject, b"+ACK", timeout=_CONFIRM_WITHIN_S)
    except (NatsError, TimeoutError):
        return False
    return True


async def give_back(bus: Bus, role: str, ack_subjects: Iterable[str]) -> None:
    """Have the broker deliver again at once what a dead process of this role held."""
    for name in ack_subjects:
        if name.startswith(f"$JS.ACK.{subjects.AGENTS}.{role}-"):  # they come from a heartbeat, which anybody may write
            await bus.tell(name, b"-NAK")
