"""What each role thinks of each learning, where people's programs can read it: one entry in a bucket for each role."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from agenthub import subjects
from agenthub.bus.buckets import Bucket
from agenthub.bus.connection import Bus
from agenthub.messages import Moment
from agenthub.org.learned import Held
from agenthub.org.trust import State

_MOST = 2000
"""Learnings in one entry; it stays far below what a bucket takes."""


class Opinion(BaseModel):
    """What one role thinks of one learning."""

    model_config = ConfigDict(frozen=True, extra="allow")

    learning: str
    trust: float
    """From 0 to 1, at `at` of the entry; it drifts from there."""
    confirmations: int
    contradictions: int
    state: State
    reason: str = ""


class Opinions(BaseModel):
    """What one role thinks of all that it learned."""

    model_config = ConfigDict(frozen=True, extra="allow")

    at: Moment
    opinions: list[Opinion] = Field(default_factory=list)

    @classmethod
    def of(cls, held: Iterable[Held], *, at: Moment) -> Opinions:
        """What follows from the learnings that a role has."""
        return cls(
            at=at,
            opinions=[
                Opinion(
                    learning=one.id, trust=round(one.standing.trust, 4), confirmations=one.standing.confirmations,
                    contradictions=one.standing.contradictions, state=one.state, reason=one.reason[:200],
                )
                for one in list(held)[:_MOST]
            ],
        )  # fmt: skip


class TrustStates:
    """The opinions of all roles."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = Bucket(bus, subjects.TRUST, Opinions)

    async def put(self, role: str, opinions: Opinions) -> None:
        """Tell what a role thinks; only that role does."""
        await self._bucket.put(role, opinions)

    async def version(self) -> int:
        """Grows with each change; cheap."""
        return await self._bucket.version()

    async def all(self) -> dict[str, Opinions]:
        """What the roles think, by role; those that never learned anything are not there."""
        return await self._bucket.items()
