"""Commands to see what is spent, and to decide about limits while the organization works."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.names import AccountWord
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import dollars, escaped, length, print_json, say, table, tokens
from agenthub.errors import NotFoundError, unknown

if TYPE_CHECKING:
    from agenthub.budgets import AccountName
    from agenthub.guards.budget import Account, Grant, Level
    from agenthub.organization import Organization

Rehearsal = Annotated[bool | None, Parameter(name="--rehearsal", negative="--real")]


async def budget_ls(*, rehearsal: Rehearsal = None, options: Options = DEFAULT) -> int:
    """Show what each account has spent of each of its limits.

    Args:
        rehearsal: The accounts of rehearsals, or --real: those of real money. Default: what runs here.
    """
    from agenthub.budgets import AccountName, Budgets
    from agenthub.guards.budget import Account, levels
    from agenthub.messages import now

    at = now()
    async with options.client() as client:
        found = await Budgets(client.bus).accounts()
        rows = [
            (name, account, level)
            for name in _names(client.organization, is_rehearsal=is_rehearsal(options, rehearsal))
            for account in [found.get(name.key, Account())]
            for level in levels(account, name.limits(client.organization), at)
        ]
        spent = found.get(AccountName("", is_rehearsal(options, rehearsal)).key, Account())
        operator = client.organization.operator
    if options.json:
        print_json([_as_data(name, account, level, operator) for name, account, level in rows], options)
        return EXIT_OK
    table(
        ["ACCOUNT", "LIMIT", "SPENT", "OF", "", "HELD", "OPENS IN", "BY"],
        [
            [
                name.shown, level.limit, _shown(level.limit, level.spent), _shown(level.limit, level.amount),
                _share(level), _shown(level.limit, level.reserved) if level.reserved else "",
                length((level.opens_at - at).total_seconds()), escaped(_by(account, level.limit, at, operator)),
            ]
            for name, account, level in rows
        ],
        right=["SPENT", "OF", "", "HELD", "OPENS IN"],
    )  # fmt: skip
    if not rows:
        usd = spent.spent["month"].usd if "month" in spent.spent else 0.0
        unlimited = unlimited_line(client.organization, is_rehearsal=is_rehearsal(options, rehearsal))
        say(f"{unlimited}; {dollars(usd)} this month at list prices")
    return EXIT_OK


async def budget_set(
    account: AccountWord, limits: list[str], /, *, rehearsal: Rehearsal = None, options: Options = DEFAULT
) -> int:
    """Set limits of an account from now on, above what the files say.

    Args:
        account: A role, or `organization` for all roles together.
        limits: `usd_day=8`, `tokens_hour=2M`, `turns_day=unlimited`; `usd_day=file`: what the files say again.
        rehearsal: The account of rehearsals, or --real: that of real money. Default: what runs here.
    """
    from agenthub.client.allowances import read_limit, set_limits

    async with options.client() as client:
        name = _account(client.organization, account, is_rehearsal=is_rehearsal(options, rehearsal))
        wanted = dict(map(read_limit, limits))
        result, hastened = await set_limits(client, name, wanted, by=getpass.getuser())
    if options.json:
        print_json({**result.model_dump(mode="json"), "woken": hastened}, options)
        return EXIT_OK
    say(f"{name.shown}: {', '.join(limits)}; {_count(hastened)} waited for money")
    return EXIT_OK


async def budget_allow(
    account: AccountWord, extra: list[str], /, *, for_: Annotated[str | None, Parameter(name="--for")] = None,
    rehearsal: Rehearsal = None, options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Allow an extra amount for the current window, on top of the limit.

    Args:
        account: A role, or `organization` for all roles together.
        extra: How much more: `usd_day=2`, `tokens_hour=500k`.
        for_: For how long, such as 30m or 2h; until the window ends at the most.
        rehearsal: The account of rehearsals, or --real: that of real money. Default: what runs here.
    """
    from agenthub.client.allowances import allow, read_limit
    from agenthub.messages import now

    async with options.client() as client:
        name = _account(client.organization, account, is_rehearsal=is_rehearsal(options, rehearsal))
        latest = now() + duration(for_, "--for") if for_ else None
        amounts = dict(map(read_limit, extra))
        grants, hastened = await allow(client, name, amounts, until=latest, by=getpass.getuser())
    if options.json:
        print_json([{**grant.model_dump(mode="json"), "woken": hastened} for grant in grants], options)
        return EXIT_OK
    for grant in grants:
        say(f"{name.shown} may take {_shown(grant.limit, grant.amount)} more until {grant.until:%Y-%m-%d %H:%M} UTC")
    say(f"{_count(hastened)} waited for money")
    return EXIT_OK


# ── what they share ────────────────────────────────────────────────────────────────────────────────
def is_rehearsal(options: Options, said: bool | None = None) -> bool:
    """True if a command is about rehearsals: if it says so, else if the hub of this folder rehearses."""
    from agenthub.run_file import RunFile

    if said is not None:
        return said
    settings = options.settings()
    run = RunFile.read(settings.state)
    return run.is_rehearsal if run is not None else settings.rehearse


def _names(organization: Organization, *, is_rehearsal: bool) -> list[AccountName]:
    from agenthub.budgets import AccountName

    return [AccountName(role, is_rehearsal) for role in ("", *organization.roles)]


def _account(organization: Organization, said: str, *, is_rehearsal: bool) -> AccountName:
    """The account that a person names.

    Raises:
        NotFoundError: If there is none.
    """
    from agenthub.budgets import ALL, AccountName

    if said in organization.roles:
        return AccountName(said, is_rehearsal)
    if said not in (ALL, organization.org):
        raise NotFoundError(unknown("account", said, [ALL, *organization.roles]))
    return AccountName("", is_rehearsal)


def _as_data(name: AccountName, account: Account, level: Level, operator: str) -> dict[str, Any]:
    from agenthub.messages import now

    at = now()
    return {
        "account": name.shown, "limit": level.limit, "spent": round(level.spent, 6), "amount": level.amount,
        "reserved": round(level.reserved, 6), "share": round(level.share, 4), "opens_at": level.opens_at,
        "by": _by(account, level.limit, at, operator), "logins": _logins(account, level.limit, at),
    }  # fmt: skip


def _by(account: Account, limit: str, at: datetime, operator: str) -> str:
    """What the operator decided about a limit."""
    said = [f"set by {operator}"] if limit in account.limits else []
    said += [
        f"+{_shown(limit, grant.amount)} by {operator} until {grant.until:%H:%M}"
        for grant in _grants(account, limit, at)
    ]
    return ", ".join(said)


def _logins(account: Account, limit: str, at: datetime) -> list[str]:
    """By which names of the system that was."""
    said = [account.limits[limit].by] if limit in account.limits else []
    return sorted({*said, *(grant.by for grant in _grants(account, limit, at))})


def _grants(account: Account, limit: str, at: datetime) -> list[Grant]:
    return [grant for grant in account.grants if grant.limit == limit and grant.until > at]


def _shown(limit: str, value: float) -> str:
    if limit.startswith("usd"):
        return dollars(value)
    return tokens(round(value)) if limit.startswith("tokens") else f"{value:.0f}"


def _share(level: Level) -> str:
    from agenthub.guards.budget import WARN_AT

    text = f"{min(level.share, 9.99):.0%}"
    style = "bold red" if level.share >= 1 else "yellow" if level.share >= WARN_AT else ""
    return f"[{style}]{text}[/]" if style else text


def _count(number: int) -> str:
    return "one message" if number == 1 else f"{number} messages"


def unlimited_line(organization: Organization, *, is_rehearsal: bool) -> str:
    """One line for when no account has a limit, and why that is so although limits are the default."""
    if not is_rehearsal:
        return "nothing is limited: agenthub.toml says `unlimited`"
    real = organization.budget_of_all().get("usd_day")
    with_claude = f"; with Claude all may take {dollars(real)} a day" if real else ""
    return f"a rehearsal costs nothing and no file limits it{with_claude}"


def money_line(organization: Organization, accounts: Mapping[str, Account], *, is_rehearsal: bool) -> str:
    """One line for other lists: how far the account of all is, and who stands still for want of money."""
    from agenthub.guards.budget import Account, levels
    from agenthub.messages import now

    at = now()
    said, still = [], []
    for name in _names(organization, is_rehearsal=is_rehearsal):
        for level in levels(accounts.get(name.key, Account()), name.limits(organization), at):
            if not name.role and level.limit == "usd_day":
                said.append(f"{_shown(level.limit, level.spent)} of {_shown(level.limit, level.amount)} today")
            if level.share >= 1:
                still.append(f"{name.shown} ({level.limit})")
    if still:
        said.append(f"used up: {', '.join(still)}; see `agenthub budget ls`")
    return "; ".join(said)
