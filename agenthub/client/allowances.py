"""Money that a person allows on top of a limit, and what waits for money looked at again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from agenthub import subjects
from agenthub.budgets import AccountName, Budgets
from agenthub.client.hub import Client
from agenthub.errors import ConfigError, NotFoundError
from agenthub.guards.budget import Account, Grant, effective, opens_at
from agenthub.messages import Event, now
from agenthub.org.delayed import hasten, waits_for


async def allow(
    client: Client, name: AccountName, amounts: Mapping[str, float], *, until: datetime | None, by: str
) -> tuple[list[Grant], int]:
    """Allow extra amounts of limits until a moment, until their windows end at the most.

    Returns:
        What was allowed, and how many messages that waited for money are looked at again.

    Raises:
        NotFoundError: If the account has no such limit: there is nothing to allow on top of it.
        ConfigError: If an amount has no end.
    """
    at = now()
    known = (await Budgets(client.bus).accounts()).get(name.key, Account())
    grants = []
    for limit, amount in amounts.items():
        if amount == float("inf"):
            raise ConfigError(f"an extra amount has an end; for none: `agenthub budget set {name.shown} {limit}=…`")
        if limit not in effective(known, name.limits(client.organization), at):
            raise NotFoundError(f"{name.shown} has no limit `{limit}`: there is nothing to allow on top of it.")
        ends = opens_at(limit.partition("_")[2], at)
        grants.append(Grant(limit=limit, amount=amount, until=min(until or ends, ends), by=by, at=at))
    for grant in grants:
        await Budgets(client.bus).allow(name, grant)
    said = ", ".join(f"{grant.limit}={grant.amount:g}" for grant in grants)
    return grants, await decided(client, name, f"{by} allowed {name.shown} {said} more")


async def decided(client: Client, name: AccountName, text: str) -> int:
    """Have it be known, and what waits for money be looked at again; how many messages."""
    operator = client.organization.operator
    event = Event(kind="budget", role=name.role or operator, at=now(), text=text)
    await client.bus.publish(subjects.event("budget", name.role or operator), event.encode())
    await client.bus.tell(subjects.audit("budget", name.role or operator), event.encode())
    return await hasten(client.bus, waits_for("money", role=name.role))
