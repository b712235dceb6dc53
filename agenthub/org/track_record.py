"""How the work of all roles ended in the last weeks, read from what the broker stored once for each message."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import timedelta

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.errors import MessageError
from agenthub.messages import Completion, now
from agenthub.org.reputation import Score, scores

SINCE = timedelta(days=30)
MOST = 500
"""Ends that are looked at, the newest: each is one short request, since a role may make no consumer here."""
KEPT_S = 300.0
"""How long what was read is good enough to be read from memory."""


class TrackRecord:
    """The scores of all roles, read when somebody asks."""

    def __init__(self, bus: Bus, skills: Mapping[str, Collection[str]], *, operator: str = "") -> None:
        self._bus, self._skills, self._operator = bus, skills, operator
        self._read: tuple[float, dict[str, dict[str, Score]]] | None = None

    async def scores(self) -> dict[str, dict[str, Score]]:
        """By role and skill how work ended; under the empty skill everything.

        Raises:
            HubError: If the broker does not let it be read.
        """
        moment_s = time.monotonic()
        if self._read is None or moment_s - self._read[0] > KEPT_S:
            ends: list[Completion] = []
            after = max(0, await self._bus.newest(subjects.DONE) - MOST)
            for received in await self._bus.look(subjects.DONE, subjects.ALL_DONE, most=MOST, after=after):
                try:
                    end = Completion.decode(received.data)
                except MessageError:  # of a newer version
                    continue
                if end.ended_at >= now() - SINCE and received.subject == subjects.done(
                    end.role, end.message_id
                ):  # nobody reports for another
                    ends.append(end)
            self._read = moment_s, scores(ends, self._skills, operator=self._operator)
        return self._read[1]
