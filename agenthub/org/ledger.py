"""The ledger: which task waits for whose answers. In a bucket, so that it survives every process."""

from __future__ import annotations

from agenthub import subjects
from agenthub.asks import Answer, Ask
from agenthub.bus.buckets import Bucket
from agenthub.bus.connection import Bus

_TRIES = 50


class Ledger:
    """The asks of all roles; each role writes its own."""

    def __init__(self, bus: Bus) -> None:
        self._asks = Bucket(bus, subjects.LEDGER, Ask)

    async def open(self, ask: Ask) -> None:
        """Enter an ask; entering the same one again changes nothing."""
        await self._asks.create(_key(ask.role, ask.id), ask)

    async def find(self, role: str, ask_id: str) -> Ask | None:
        """The ask of a role; None if there is none or its task is done with."""
        entry = await self._asks.get(_key(role, ask_id))
        return entry.value if entry else None

    async def record(self, role: str, ask_id: str, *, message_id: str, by: str, answer: Answer) -> Ask | None:
        """Enter the answer to one part; the ask after that.

        None if nobody waits for it any more, or `by` was not asked. The first answer counts, so that a
        repeated delivery changes nothing.
        """
        for _ in range(_TRIES):
            entry = await self._asks.get(_key(role, ask_id))
            if entry is None or not entry.value.has_part(message_id, by):
                return None
            changed = entry.value.with_answer(message_id, answer)
            if changed == entry.value or await self._asks.update(_key(role, ask_id), changed, entry.revision):
                return changed
        raise TimeoutError(f"The ask {ask_id} of `{role}` changed {_TRIES} times while an answer was entered.")

    async def close(self, role: str, ask_id: str) -> None:
        """Forget an ask: its task has gone on, and that is recorded."""
        await self._asks.delete(_key(role, ask_id))

    async def of(self, role: str) -> list[Ask]:
        """What a role waits for."""
        return list((await self._asks.items(f"{role}.>")).values())

    async def all(self) -> list[Ask]:
        """What everybody waits for."""
        return list((await self._asks.items()).values())


def _key(role: str, ask_id: str) -> str:
    # `~` may not stand in a key of a bucket; `=` may, and never stands in an id.
    return f"{role}.{ask_id.replace('~', '=')}"
