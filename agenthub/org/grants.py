"""Grants as the broker keeps them, one record for each role; only what the operator signed counts."""

from __future__ import annotations

import base64
import binascii
import logging
from datetime import datetime

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.identity import OPERATOR, SYSTEM, Identity, Keyring, verify
from agenthub.bus.watched import WatchedBucket
from agenthub.errors import NotFoundError
from agenthub.grants import Grant, Kind, RoleGrants

logger = logging.getLogger(__name__)


class Grants:
    """The grants of an organization."""

    def __init__(self, bus: Bus, keyring: Keyring | None, org: str) -> None:
        """`keyring` holds the public keys. None, or if there are none: what the broker let through is believed."""
        self._keyring, self._org = keyring, org
        self._bucket = WatchedBucket(bus, subjects.GRANTS, RoleGrants)
        self.watched, self.follow = self._bucket.watched, self._bucket.follow
        self._revoked: set[str] = set()
        """Seen as revoked: an older record of it that somebody brings back counts for nothing here."""
        self._proven: set[tuple[str, str]] = set()

    def known(self, role: str, kind: Kind, at: datetime) -> list[Grant]:
        """What holds for a role, as far as this process has heard; costs nothing."""
        found = self._bucket.known(role) or RoleGrants()
        return [grant for grant in self._true(role, found) if grant.kind == kind and grant.holds(at)]

    async def all(self) -> list[Grant]:
        """Every grant as the broker has it, what is over as well; the newest last."""
        found = [grant for role, held in (await self._bucket.items()).items() for grant in self._true(role, held)]
        return sorted(found, key=lambda grant: (grant.at, grant.id))

    async def give(self, grant: Grant, *, as_: Identity | None, at: datetime) -> Grant:
        """Store a grant, or how it has changed; the same again changes nothing.

        Args:
            as_: Whose key signs it. None: in an organization without keys.
        """
        signature = base64.b64encode(as_.sign(grant.signed(self._org))).decode() if as_ else ""
        signed = grant.model_copy(update={"signature": signature})
        await self._bucket.change(grant.role, lambda held: held.with_grant(signed, at=at))
        return signed

    async def find(self, prefix: str) -> Grant:
        """The one grant whose id begins like this.

        Raises:
            NotFoundError: If there is none, or more than one.
        """
        found = [grant for grant in await self.all() if grant.id.startswith(prefix)]
        if len(found) != 1:
            many = f"{len(found)} grants" if found else "no grant"
            raise NotFoundError(f"There is {many} whose id begins with `{prefix}`. See `agenthub grants ls`.")
        return found[0]

    def _true(self, role: str, held: RoleGrants) -> list[Grant]:
        """What the operator has signed, for this role."""
        result = []
        for grant in held.grants:
            if grant.role != role or not self._is_signed(grant):
                logger.error("a grant of `%s` was not given by the operator: %s %s", role, grant.kind, grant.what)
                continue
            if grant.revoked_at is not None:
                self._revoked.add(grant.id)
            elif grant.id in self._revoked:
                continue
            result.append(grant)
        return result

    def _is_signed(self, grant: Grant) -> bool:
        if self._keyring is None or not self._keyring.is_there:
            return True
        text = grant.signed(self._org)
        if (grant.signature, text.decode()) in self._proven:
            return True
        try:
            signature = base64.b64decode(grant.signature, validate=True)
        except (binascii.Error, ValueError):
            return False
        keys = (self._keyring.public(OPERATOR), self._keyring.public(SYSTEM))
        if any(verify(key, text, signature) for key in keys if key is not None):
            self._proven.add((grant.signature, text.decode()))
            return True
        return False
