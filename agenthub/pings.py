"""Is anybody there: a role's process answers at once, whatever its model does; no model is called, nothing stored."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, Field

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.presence import Heartbeat


class Ping(BaseModel):
    """What is sent to a role."""

    nonce: str = Field(max_length=64)
    """Of who asks; stands in the answer."""


class Pong(BaseModel):
    """What each process of the role answers."""

    nonce: str
    key: str
    """Which process: the role's name, `<role>.<number>` for a replica."""
    beat: Heartbeat
    """What it does at this moment."""


async def answer_pings(bus: Bus, role: str, key: str, look: Callable[[], Heartbeat]) -> None:
    """Answer for one process of a role until cancelled. What is no ping is not answered."""
    async with bus.listen(subjects.ping(role, "*")) as heard:
        async for received in heard:
            try:
                ping = Ping.model_validate_json(received.data)
            except ValueError:
                continue
            beat = look().model_copy(update={"holds": []})  # where to acknowledge is not for everybody
            await bus.tell(
                subjects.pong(role), Pong(nonce=ping.nonce, key=key, beat=beat).model_dump_json().encode()
            )  # fmt: skip
