"""Dead letters in the hands of a person: look, give another life, throw away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import ValidationError

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.errors import NotFoundError, RefusedError
from agenthub.letters import DeadLetter, Replay, next_life
from agenthub.messages import Completion, now
from agenthub.organization import Organization


class Buried(NamedTuple):
    """A dead letter, where it lies, and how often it was given another life."""

    letter: DeadLetter
    sequences: list[int]
    replays: list[Replay]


class Letters:
    """The dead letters of all roles."""

    def __init__(self, bus: Bus, organization: Organization) -> None:
        self._bus, self._organization = bus, organization

    async def all(self, *, role: str | None = None, since: datetime | None = None) -> list[Buried]:
        """The dead letters of a role, or of all; oldest first, each once.

        Raises:
            NotFoundError: If there is no such role.
        """
        if role is not None:
            self._organization.role(role)
        names = [subjects.ALL_DEAD_LETTERS, subjects.ALL_REPLAYS]
        if role is not None:
            names = [subjects.dead_letter(role), subjects.replays(role, "*")]
        letters, marks = await asyncio.gather(*(self._bus.history(subjects.DEAD_LETTERS, name) for name in names))
        replays: dict[tuple[str, str], dict[int, Replay]] = {}
        for mark in marks:
            with contextlib.suppress(ValidationError):
                replay = Replay.model_validate_json(mark.data)
                replays.setdefault((replay.role, replay.message_id), {})[replay.number] = replay
        found: dict[tuple[str, str], Buried] = {}
        for received in letters:
            with contextlib.suppress(ValidationError):
                letter = DeadLetter.model_validate_json(received.data)
                key = (letter.role, letter.message_id)
                made = [replay for _, replay in sorted(replays.get(key, {}).items())]
                before = found[key].sequences if key in found else []
                found[key] = Buried(letter, [*before, received.sequence], made)
        return [buried for buried in found.values() if since is None or buried.letter.buried_at >= since]

    async def unreplayed(self) -> int:
        """How many dead letters nobody has given another life; cheap."""
        letters, marked = await asyncio.gather(
            self._bus.counts(subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS),
            self._bus.counts(subjects.DEAD_LETTERS, subjects.ALL_REPLAYS),
        )
        return max(0, sum(letters.values()) - len(marked))

    async def late(self, *, role: str | None = None) -> list[Completion]:
        """Results that came after another process had ended the message or taken the role; oldest first.

        Raises:
            NotFoundError: If there is no such role.
        """
        if role is not None:
            self._organization.role(role)
        found = await self._bus.history(subjects.DEAD_LETTERS, subjects.late(role or "*"))
        return [Completion.decode(received.data) for received in found]

    async def find(self, prefix: str, *, role: str | None = None) -> Buried:
        """The dead letter whose message id begins with `prefix`.

        Raises:
            NotFoundError: If there is none, or more than one.
        """
        return choose(prefix, await self.all(role=role))

    async def replay(self, buried: Buried, *, body: bytes | None = None, again: bool = False) -> Replay:
        """Put the message into its role's inbox once more, as a new message; it is stored when this returns.

        The letter is marked after that: if this is cut off in between, doing it again stores nothing twice.

        Raises:
            MessageError: If the body is no message.
            NotFoundError: If the role is gone.
            RefusedError: If it was replayed already and not `again`, or would speak for another sender.
        """
        letter, earlier = buried.letter, buried.replays
        if earlier and not again:
            raise RefusedError(
                f"{letter.message_id[:8]} was replayed already, as {earlier[-1].new_id[:8]}. "
                "Give it one more life with `--again`."
            )
        self._organization.role(letter.role)
        moment, operator = now(), self._organization.operator
        number = earlier[-1].number + 1 if earlier else 1
        message = next_life(letter, number=number, at=moment, operator=operator, body=body)
        # Like the sorter's: the lane says who publishes, and the door where it came from.
        headers = {subjects.DOOR: subjects.dead_letter(letter.role), subjects.TRACE_PARENT: message.trace_parent()}
        lane = subjects.lane(letter.role, message.payload.priority, operator)
        await self._bus.publish(lane, message.encode(), message_id=message.id, headers=headers)
        mark = Replay(
            message_id=letter.message_id, role=letter.role, number=number, new_id=message.id, replayed_at=moment,
            edited=body is not None,
        )  # fmt: skip
        await self._bus.publish(
            subjects.replays(letter.role, letter.message_id), mark.model_dump_json().encode(),
            message_id=f"{letter.role}.{letter.message_id}.replay.{number}",
        )  # fmt: skip
        return mark

    async def drop(self, letters: Iterable[Buried]) -> None:
        """Throw letters away for good, and what is noted of their replays."""
        for buried in letters:
            for sequence in buried.sequences:
                await self._bus.delete(subjects.DEAD_LETTERS, sequence)
            if buried.replays:
                place = subjects.replays(buried.letter.role, buried.letter.message_id)
                await self._bus.purge(subjects.DEAD_LETTERS, place)


def choose(prefix: str, letters: Sequence[Buried]) -> Buried:
    """The one letter whose message id begins with `prefix`; a whole id goes before longer ones that begin with it.

    Raises:
        NotFoundError: If there is none, or more than one.
    """
    found = [buried for buried in letters if buried.letter.message_id.startswith(prefix)]
    found = [buried for buried in found if buried.letter.message_id == prefix] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFoundError(
            f"There is no dead letter whose message id begins with `{prefix}`. `agenthub dlq ls` lists them."
        )
    if len({buried.letter.message_id for buried in found}) == 1:
        roles = ", ".join(sorted(buried.letter.role for buried in found))
        raise NotFoundError(f"{prefix} is a dead letter of {roles}. Say which with `--role`.")
    raise NotFoundError(f"{len(found)} dead letters begin with `{prefix}`. Give more of the id.")
