"""The ledger: which task waits for whose answers. In a bucket, so that it survives every process."""

from __future__ import annotations

from agenthub import subjects
from agenthub.asks import Answer, Ask
from agenthub.bus.buckets import Bucket, Entry
from agenthub.bus.connection import Bus

_TRIES = 50


class Ledger:
    """The asks of all roles; each role writes its own."""

    def __init__(self, bus: Bus) -> None:
        self._asks = Bucket(bus, subjects.LEDGER, Ask)
        self._known: dict[str, Entry[Ask]] = {}
        """What this process wrote last. Replicas write too: a stale entry fails to update and is read again."""

    async def open(self, ask: Ask) -> None:
        """Enter an ask; entering the same one again changes nothing."""
        key = _key(ask.role, ask.id)
        if (revision := await self._asks.update(key, ask, 0)) is not None:
            self._known[key] = Entry(ask, revision)

    async def find(self, role: str, ask_id: str) -> Ask | None:
        """The ask of a role; None if there is none or its task is done with."""
        entry = await self._asks.get(_key(role, ask_id))
        return entry.value if entry else None

    async def record(self, role: str, ask_id: str, *, message_id: str, by: str, answer: Answer) -> Ask | None:
        """Enter the answer to one part; the ask after that.

        None if nobody waits for it any more, or `by` was not asked. The first answer counts, so that a
        repeated delivery changes nothing.
        """
        key = _key(role, ask_id)
        for _ in range(_TRIES):
            entry = self._known.pop(key, None) or await self._asks.get(key)
            if entry is None or not entry.value.has_part(message_id, by):
                return None
            changed = entry.value.with_answer(message_id, answer)
            if changed == entry.value:
                self._known[key] = entry
                return changed
            if (revision := await self._asks.update(key, changed, entry.revision)) is not None:
                self._known[key] = Entry(changed, revision)
                return changed
        raise TimeoutError(f"The ask {ask_id} of `{role}` changed {_TRIES} times while an answer was entered.")

    async def close(self, role: str, ask_id: str) -> None:
        """Forget an ask: its task has gone on, and that is recorded."""
        self._known.pop(_key(role, ask_id), None)
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
