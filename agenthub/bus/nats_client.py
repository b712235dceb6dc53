"""The client of nats-py 2.16, with the faults mended that would stop a role which asks the broker day and night."""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg


class HeedingClient(Client):
    """A client whose requests do not swallow a cancellation.

    Up to Python 3.11 `asyncio.wait_for`, on which requests wait, returns the answer instead of raising if it
    arrives together with the cancellation (python/cpython#86296). A service that does nothing but ask the
    broker again and again would then never end, and its process not either.
    """

    async def request(self, *args: Any, **kwargs: Any) -> Msg:
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        answer = await super().request(*args, **kwargs)
        if task is not None and task.cancelling() > asked:
            raise asyncio.CancelledError
        return answer

    async def _process_pong(self) -> None:
        """Take note of a PONG; also of one for which nobody waits any more.

        nats-py 2.16 sets a result on the future of a flush that was given up, and the error ends its read loop:
        the client is deaf until its own pings find no answer, ten seconds later.
        """
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pongs_received += 1
            self._pings_outstanding = 0
        else:
            await super()._process_pong()
