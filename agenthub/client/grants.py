"""What a person lets roles do beyond what files say: give it, list it, take it back."""

from __future__ import annotations

from datetime import timedelta

from agenthub import subjects
from agenthub.budgets import AccountName
from agenthub.client.allowances import allow, read_limit
from agenthub.client.hub import Client
from agenthub.errors import RefusedError
from agenthub.grants import Grant, Wanted
from agenthub.messages import Event, new_id, now
from agenthub.org.grants import Grants


class Granting:
    """The hands of a person on the grants of a hub."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._grants = Grants(client.bus, client.keyring, client.organization.org)

    async def all(self) -> list[Grant]:
        """Every grant, the newest last; what is over is listed for a month."""
        return await self._grants.all()

    async def give(self, role: str, wanted: Wanted, *, by: str, identity: str = "") -> Grant:
        """Give a role what it wants; with an `identity` the same again changes nothing.

        Raises:
            NotFoundError: If there is no such role, or it has no such limit.
            ConfigError: If an amount of money is none.
        """
        organization = self._client.organization
        organization.role(role)
        at = now()
        grant = Grant(
            id=identity or new_id(), role=role, kind=wanted.kind, what=wanted.what, by=by, at=at, why=wanted.why,
            until=at + timedelta(seconds=wanted.for_s),
        )  # fmt: skip
        if (known := next((one for one in await self.all() if one.id == grant.id), None)) is not None:
            return known
        if wanted.kind == "memory":
            organization.role(wanted.what)
        if wanted.kind == "spend":
            limit, said = read_limit(wanted.what)
            name = AccountName(role, wanted.is_rehearsal)
            (allowed,), _ = await allow(self._client, name, {limit: said}, until=grant.until, by=by)
            grant = grant.model_copy(update={"until": allowed.until})
        given = await self._grants.give(grant, as_=self._client.bus.identity, at=at)
        operator, until = organization.operator, f"{given.until:%Y-%m-%d %H:%M} UTC"
        await self._tell("granted", given, f"granted by {operator}: {role} may {given.title} until {until}", by)
        return given

    async def revoke(self, prefix: str, *, by: str) -> Grant:
        """Take a grant back; it counts no more from then on.

        Raises:
            NotFoundError: If there is no such grant.
            RefusedError: If it is over already, or money.
        """
        grant, at = await self._grants.find(prefix), now()
        if not grant.holds(at):
            raise RefusedError(f"{grant.id[:8]} is over already.")
        if grant.kind == "spend":
            limit = grant.what.partition("=")[0]
            raise RefusedError(
                "Money that was allowed stays until its window ends. Lower the limit: "
                f"`agenthub budget set {grant.role} {limit}=…`."
            )
        revoked = grant.model_copy(update={"revoked_at": at, "revoked_by": by})
        given = await self._grants.give(revoked, as_=self._client.bus.identity, at=at)
        operator = self._client.organization.operator
        await self._tell("revoked", given, f"taken back by {operator}: {grant.role} may no longer {grant.title}", by)
        return given

    async def _tell(self, kind: str, grant: Grant, text: str, login: str) -> None:
        """Have it be known, and stand in the record of who did what."""
        data = {
            "grant": grant.id,
            "kind": grant.kind,
            "what": grant.what,
            "until": grant.until.isoformat(),
            "login": login,
        }
        event = Event(kind=kind, role=grant.role, at=now(), text=text, data=data)
        await self._client.bus.publish(subjects.event(kind, grant.role), event.encode())
        await self._client.bus.tell(subjects.audit(kind, self._client.organization.operator), event.encode())
