"""What a person decides about limits: set them, allow more on top; what waits for money is looked at again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from agenthub import subjects
from agenthub.budgets import AccountName, Budgets
from agenthub.client.hub import Client
from agenthub.errors import ConfigError, NotFoundError, unknown
from agenthub.guards.budget import LIMITS, Account, Grant, LimitSet, effective, opens_at
from agenthub.messages import Event, now
from agenthub.org.delayed import hasten, waits_for
from agenthub.role_settings import amount


def read_limit(said: str) -> tuple[str, float | None]:
    """`usd_day=5`, `tokens_hour=2M`, `turns_day=unlimited` (`math.inf`); None for `usd_day=file`: what the files say.

    Raises:
        ConfigError: If it is none of these; says what to write.
    """
    limit, is_there, value = said.partition("=")
    if limit not in LIMITS or not is_there:
        raise ConfigError(
            f"{said!r} is no limit: write `usd_day=5`, `tokens_hour=2M`. {unknown('limit', limit, LIMITS)}"
        )
    if value.strip() == "file":
        return limit, None
    try:
        found = amount(value.strip())
    except ValueError as error:
        raise ConfigError(f"`{limit}` {error}") from error
    assert isinstance(found, float)
    return limit, found


async def set_limits(
    client: Client, name: AccountName, limits: Mapping[str, float | None], *, by: str
) -> tuple[Account, int]:
    """Set limits of an account from now on, above what the files say; None: what they say holds again.

    Returns:
        The account, and how many messages that waited for money are looked at again.
    """
    account, at = Account(), now()
    for limit, value in limits.items():
        said = None if value is None else LimitSet(amount=None if value == math.inf else value, by=by, at=at)
        account = await Budgets(client.bus).set(name, limit, said)
    shown = ", ".join(f"{limit}={'file' if value is None else f'{value:g}'}" for limit, value in limits.items())
    operator = client.organization.operator
    return account, await decided(client, name, f"set by {operator} for {name.shown}: {shown}", login=by)


async def allow(
    client: Client, name: AccountName, amounts: Mapping[str, float | None], *, until: datetime | None, by: str
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
    for limit, value in amounts.items():
        if value is None or value == math.inf:
            raise ConfigError(f"an extra amount has an end; for none: `agenthub budget set {name.shown} {limit}=…`")
        if limit not in effective(known, name.limits(client.organization), at):
            raise NotFoundError(f"{name.shown} has no limit `{limit}`: there is nothing to allow on top of it.")
        ends = opens_at(limit.partition("_")[2], at)
        grants.append(Grant(limit=limit, amount=value, until=min(until or ends, ends), by=by, at=at))
    for grant in grants:
        await Budgets(client.bus).allow(name, grant)
    said = ", ".join(f"{grant.limit}={grant.amount:g}" for grant in grants)
    operator = client.organization.operator
    return grants, await decided(client, name, f"allowed by {operator} for {name.shown}: {said} more", login=by)


async def decided(client: Client, name: AccountName, text: str, *, login: str) -> int:
    """Have it be known, and what waits for money be looked at again; how many messages."""
    operator = client.organization.operator
    event = Event(kind="budget", role=name.role or operator, at=now(), text=text, data={"login": login})
    await client.bus.publish(subjects.event("budget", name.role or operator), event.encode())
    await client.bus.tell(subjects.audit("budget", operator), event.encode())
    return await hasten(client.bus, waits_for("money", role=name.role))
