"""What the organization learned: each learning, who trusts it and why; and what a person decides about it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from agenthub import subjects
from agenthub.client.hub import Client
from agenthub.errors import MessageError, NotFoundError, RefusedError
from agenthub.guards.poisoning import suspicion
from agenthub.learnings import Judgement, Learning, Word, read
from agenthub.org.reputation import Score
from agenthub.org.track_record import TrackRecord
from agenthub.org.trust import START, State
from agenthub.org.trust_states import Opinion, TrustStates


class Shared(NamedTuple):
    """A learning as the whole organization has it."""

    id: str
    learning: Learning
    authors: tuple[str, ...]
    """Who published it, the first one first."""
    shared_at: datetime
    suspicion: str
    """Why it went into quarantine by itself; empty: it did not."""
    roles: dict[str, Opinion]
    """What each role thinks of it that has read it."""

    @property
    def state(self) -> State:
        """What most becomes of it: quarantined or promoted anywhere, archived everywhere, else a hint."""
        states = [opinion.state for opinion in self.roles.values()]
        for state in (State.QUARANTINED, State.PROMOTED):
            if state in states:
                return state
        if self.suspicion and not states:
            return State.QUARANTINED
        return State.ARCHIVED if states and all(state is State.ARCHIVED for state in states) else State.HINT

    @property
    def trust(self) -> float:
        """The mean over all roles that have read it and did not write it; 0 to 1."""
        others = [opinion.trust for role, opinion in self.roles.items() if role not in self.authors]
        return sum(others) / len(others) if others else START

    @property
    def confirmations(self) -> int:
        """Of all roles together."""
        return sum(opinion.confirmations for opinion in self.roles.values())

    @property
    def contradictions(self) -> int:
        """Of all roles together."""
        return sum(opinion.contradictions for opinion in self.roles.values())

    @property
    def promoted_by(self) -> list[str]:
        """Roles in whose policy it is."""
        return [role for role, opinion in self.roles.items() if opinion.state is State.PROMOTED]


class Learnings:
    """The learnings of a hub."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def all(self) -> list[Shared]:
        """Every learning of the last 90 days, the newest first; what cannot be read is left out."""
        bus, organization = self._client.bus, self._client.organization
        stored, opinions = await asyncio.gather(
            bus.history(subjects.LEARNING, subjects.ALL_LEARNINGS), TrustStates(bus).all()
        )
        thought: dict[str, dict[str, Opinion]] = {}
        for role in organization.roles:
            for opinion in opinions[role].opinions if role in opinions else ():
                thought.setdefault(opinion.learning, {})[role] = opinion
        found: dict[str, Shared] = {}
        for received in stored:
            try:
                message, said = read(
                    received.subject, received.data, default_id=f"{subjects.LEARNING}-{received.sequence}",
                    operator=organization.operator,
                )  # fmt: skip
            except MessageError:
                continue
            if not isinstance(said, Learning):
                continue
            author, known = message.from_role, found.get(said.id)
            if known is None:
                why = "" if author == organization.operator else suspicion(said)
                at = received.stored_at or message.timestamp
                found[said.id] = Shared(said.id, said, (author,), at, why, thought.get(said.id, {}))
            else:
                evidence = tuple(dict.fromkeys((*known.learning.evidence, *said.evidence)))
                authors = known.authors if author in known.authors else (*known.authors, author)
                merged = known.learning.model_copy(update={"evidence": evidence})
                found[said.id] = known._replace(learning=merged, authors=authors)
        return sorted(found.values(), key=lambda one: one.shared_at, reverse=True)

    async def find(self, prefix: str) -> Shared:
        """The one learning whose id begins with `prefix`.

        Raises:
            NotFoundError: If there is none, or more than one.
        """
        found = [one for one in await self.all() if one.id.startswith(prefix)] if prefix else []
        if len(found) != 1:
            many = f"{len(found)} learnings" if found else "no learning"
            raise NotFoundError(f"There is {many} whose id begins with `{prefix}`. See `agenthub learnings ls`.")
        return found[0]

    async def share(self, learning: Learning) -> str:
        """Publish a learning in the operator's name; its id."""
        organization = self._client.organization
        message = learning.message(organization.operator, org=organization.org)
        subject = subjects.learning(organization.operator)
        await self._client.bus.publish(subject, message.encode(), message_id=message.id)
        return learning.id

    async def confirm(
        self, prefix: str, *, roles: Sequence[str] = (), reason: str = "", evidence: Sequence[str] = ()
    ) -> Shared:
        """Say that it held: one confirmation with these roles, or with all."""
        return await self._judge(prefix, "confirm", roles, reason, evidence=evidence)

    async def refute(
        self, prefix: str, *, roles: Sequence[str] = (), reason: str = "", evidence: Sequence[str] = ()
    ) -> Shared:
        """Say that it did not hold: one contradiction with these roles, or with all."""
        return await self._judge(prefix, "refute", roles, reason, evidence=evidence)

    async def promote(self, prefix: str, *, roles: Sequence[str] = (), reason: str = "", deny: str = "") -> Shared:
        """Put it into the policy of these roles, or of all, whatever they found; `deny` forbids calls with it."""
        return await self._judge(prefix, "promote", roles, reason, deny=deny)

    async def demote(self, prefix: str, *, roles: Sequence[str] = (), reason: str = "") -> Shared:
        """Take it out of the policy of these roles, or of all; it stays a hint."""
        return await self._judge(prefix, "demote", roles, reason)

    async def quarantine(self, prefix: str, *, roles: Sequence[str] = (), reason: str = "") -> Shared:
        """Keep it from the models of these roles, or of all."""
        return await self._judge(prefix, "quarantine", roles, reason)

    async def release(self, prefix: str, *, roles: Sequence[str] = (), reason: str = "") -> Shared:
        """Leave it to what roles find: out of quarantine, and without a person's word above theirs."""
        return await self._judge(prefix, "release", roles, reason)

    async def scores(self) -> dict[str, dict[str, Score]]:
        """How the work of each role ended in the last 30 days, by skill; under the empty skill all of it."""
        organization = self._client.organization
        skills = {name: role.settings.skills for name, role in organization.roles.items()}
        return await TrackRecord(self._client.bus, skills, operator=organization.operator).scores()

    async def _judge(
        self, prefix: str, verdict: Word, roles: Sequence[str], reason: str, *, evidence: Sequence[str] = (),
        deny: str = "",
    ) -> Shared:  # fmt: skip
        organization = self._client.organization
        for role in roles:
            organization.role(role)
        found = await self.find(prefix)
        if verdict in ("confirm", "refute") and found.authors == (organization.operator,):
            raise RefusedError(
                f"You published {found.id[:8]} yourself, and nobody is a witness of their own words. "
                f"To have it count all the same: `agenthub learnings promote {found.id[:8]}`."
            )
        judgement = Judgement(
            learning=found.id, verdict=verdict, roles=tuple(roles), reason=reason, evidence=tuple(evidence), deny=deny
        )
        message = judgement.message(organization.operator, org=organization.org)
        subject = subjects.learning(organization.operator)
        await self._client.bus.publish(subject, message.encode(), message_id=message.id)
        return found
