"""The meetings of a hub: convene one, and see what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from agenthub import subjects
from agenthub.bus.buckets import Bucket
from agenthub.client.hub import Client
from agenthub.errors import NotFoundError, RefusedError
from agenthub.messages import new_id, now
from agenthub.minutes import AGENDAS, MOST_MEMBERS, Kind, Meeting


class Meetings:
    """The meetings of a hub."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._bucket = Bucket(client.bus, subjects.MEETINGS, Meeting)

    async def start(
        self, kind: Kind, subject: str, *, members: Sequence[str], chair: str = "", within_s: float | None = None
    ) -> Meeting:
        """Convene a meeting in the operator's name; the leader holds it.

        Args:
            members: Who is asked. None: all roles.
            chair: Who decides at its end. Empty: the member that the others report to, else the first.
            within_s: Seconds of each round.

        Raises:
            NotFoundError: If one of them is no role.
            RefusedError: If there are too many.
        """
        organization = self._client.organization
        names = list(dict.fromkeys(members or organization.roles))
        for name in [*names, *([chair] if chair else [])]:
            organization.role(name)
        if len(names) > MOST_MEMBERS:
            raise RefusedError(f"A meeting has {MOST_MEMBERS} members at most; found {len(names)}.")
        if not subject.strip():
            raise RefusedError("A meeting needs a subject.")
        chair = chair or min(names, key=lambda name: len(organization.managers_chain(name)))
        moment = now()
        meeting = Meeting(
            id=f"{kind}-{moment:%Y-%m-%d}-{new_id()[:6]}", kind=kind, subject=subject.strip()[:200], chair=chair,
            by=organization.operator, members=names, opened_at=moment, within_s=within_s or AGENDAS[kind].within_s,
        )  # fmt: skip
        await self._bucket.create(subjects.meeting(organization.operator, meeting.id), meeting)
        return meeting

    async def all(self) -> list[Meeting]:
        """All meetings that are known, the newest first."""
        return sorted((await self._bucket.items()).values(), key=lambda one: one.opened_at, reverse=True)

    async def find(self, identity: str) -> Meeting:
        """The one meeting whose id begins or ends with this.

        Raises:
            NotFoundError: If there is none, or more than one.
        """
        found = [one for one in await self.all() if one.id.startswith(identity) or one.id.endswith(identity)]
        if len(found) != 1:
            many = f"{len(found)} meetings" if found else "no meeting"
            raise NotFoundError(f"There is {many} called `{identity}`. See `agenthub meeting ls`.")
        return found[0]
