"""The ledger: who waits for whose answers, and how often those were reminded. In a bucket: it survives all processes.

Tasks of roles wait in it, and people and programs that said by when they expect an answer.
"""

from __future__ import annotations

from collections.abc import Callable

from agenthub import subjects
from agenthub.asks import Answer, Ask, Part
from agenthub.bus.buckets import Bucket, Entry, IsTrue
from agenthub.bus.connection import Bus

_TRIES = 50
_REMEMBERED_S = 3600.0
"""How long a closed entry cannot be opened again. Not for ever: each one would make every listing longer."""


class Ledger:
    """The asks of all roles and of people; each writes its own, and the leader notes reminders."""

    def __init__(self, bus: Bus, *, entered: IsTrue = lambda *_: True) -> None:
        """`entered` says whether who may has signed an entry. Who acts on entries, or changes those of others, asks."""
        self._asks = Bucket(bus, subjects.LEDGER, Ask, is_true=entered)
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

    async def note(self, ask: Ask, message_id: str, change: Callable[[Part], Part]) -> Part | None:
        """Enter something about one part, by compare-and-set; the part after that.

        None if nobody waits for it any more. `change` may be called again, with a newer part.
        """
        key = _key(ask.role, ask.id)
        for _ in range(_TRIES):
            entry = await self._asks.get(key)
            part = entry.value.part(message_id) if entry else None
            if entry is None or part is None or part.answer is not None:
                return None
            changed = change(part)
            if changed == part:
                return part
            if await self._asks.update(key, entry.value.with_part(message_id, changed), entry.revision) is not None:
                return changed
        raise TimeoutError(f"The ask {ask.id} of `{ask.role}` changed {_TRIES} times while something was noted.")

    async def decide(self, ask: Ask, decided: Ask) -> tuple[Ask | None, bool]:
        """Enter what a vote or an auction came to; the ask after that, and whether it was decided by this call.

        The first decision stays, whoever else comes to one: who finds another gets that. None if nobody waits for it
        any more; the ask as it is by now if an answer came in between, and then it is to be decided anew.
        """
        key = _key(ask.role, ask.id)
        self._known.pop(key, None)
        entry = await self._asks.get(key)
        if entry is None or entry.value != ask:
            return (entry.value if entry else None), False
        if (revision := await self._asks.update(key, decided, entry.revision)) is None:
            return ask, False
        self._known[key] = Entry(decided, revision)
        return decided, True

    async def close(self, role: str, ask_id: str) -> None:
        """Forget an ask: its task has gone on, and that is recorded."""
        self._known.pop(_key(role, ask_id), None)
        await self._asks.delete(_key(role, ask_id), remembered_s=_REMEMBERED_S)

    async def of(self, role: str) -> list[Ask]:
        """What a role waits for."""
        return list((await self._asks.items(f"{role}.>")).values())

    async def keys(self) -> set[str]:
        """Names of all entries; cheap."""
        return set(await self._asks.keys())

    async def read(self, key: str) -> Ask | None:
        """The entry of that name; None if it is gone."""
        return await self._asks.listed(key)

    async def all(self) -> list[Ask]:
        """What everybody waits for."""
        return list((await self._asks.items()).values())


def _key(role: str, ask_id: str) -> str:
    # `~` may not stand in a key of a bucket; `=` may, and never stands in an id.
    return f"{role}.{ask_id.replace('~', '=')}"
