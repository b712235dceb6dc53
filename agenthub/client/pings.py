"""Ask a role's processes whether they live, and how long the answer takes."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from agenthub import subjects
from agenthub.client.hub import Client
from agenthub.messages import new_id
from agenthub.pings import Ping, Pong


class Answered(NamedTuple):
    """The answer of one process."""

    pong: Pong
    round_trip_s: float


async def ping(client: Client, role: str, *, within_s: float = 5.0) -> Answered:
    """The first answer of a process of the role. No model is called and nothing is stored.

    Raises:
        NotFoundError: If there is no such role.
        TimeoutError: If none of its processes answers in time.
    """
    client.organization.role(role)
    nonce = new_id()
    try:
        async with asyncio.timeout(within_s), client.bus.listen(subjects.pong(role)) as heard:
            begun_s = time.perf_counter()
            await client.bus.tell(
                subjects.ping(role, client.organization.operator), Ping(nonce=nonce).model_dump_json().encode()
            )
            async for received in heard:
                took_s = time.perf_counter() - begun_s
                pong = _read(received.data)
                if pong is not None and pong.nonce == nonce:
                    return Answered(pong, took_s)
    except TimeoutError as error:
        raise TimeoutError(
            f"No process of {role} answered within {within_s:g} s: it is down, or its event loop is blocked. "
            f"See `agenthub ps` and `agenthub logs {role}`."
        ) from error
    raise AssertionError("what is heard has no end")


def _read(data: bytes) -> Pong | None:
    try:
        return Pong.model_validate_json(data)
    except ValueError:
        return None
