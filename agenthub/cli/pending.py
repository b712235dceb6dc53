"""`agenthub pending`: who owes whom an answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.names import AnyBody
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import ago, escaped, length, print_json, say, table
from agenthub.errors import NotFoundError, unknown

if TYPE_CHECKING:
    from agenthub.org.pending import Debt

app = App(name="pending")


@app.default
async def pending(
    *,
    role: AnyBody = None,
    overdue: Annotated[bool, Parameter(negative="")] = False,
    options: Options = DEFAULT,
) -> int:
    """Show who owes whom an answer.

    Args:
        role: Only what this role owes, or waits for; also a person or a program.
        overdue: Only what is overdue.
    """
    from agenthub.client import views
    from agenthub.client.replies import Replies
    from agenthub.messages import now

    async with options.client() as client:
        owed = await Replies(client).pending(role=role)
        organization = client.organization
        if role is not None and not owed and role not in (*organization.roles, organization.operator):
            raise NotFoundError(unknown("role", role, organization.roles))
    moment = now()
    shown = [debt for debt in owed if not overdue or debt.overdue_s(moment) >= 0]
    if options.json:
        print_json([views.debt(debt, moment) for debt in shown], options)
        return EXIT_OK
    _print_table(shown, moment)
    if not shown:
        say("nobody is overdue" if overdue else "nobody owes anybody an answer")
    return EXIT_OK


@app.command
async def drop(identity: str, /, *, options: Options = DEFAULT) -> int:
    """Forget that a person or a program expects an answer: nobody is reminded any more, the role goes on.

    $ agenthub pending drop 3f2a91c0

    Args:
        identity: Id as `agenthub pending` lists it; its first digits are enough.
    """
    from agenthub.client.replies import Replies

    async with options.client() as client:
        ask = await Replies(client).drop(identity)
    if options.json:
        print_json({"dropped": ask.id, "creditor": ask.role}, options)
    else:
        say(f"{ask.role} no longer waits for {', '.join(part.role for part in ask.parts)}; the message itself stays")
    return EXIT_OK


def _print_table(owed: Sequence[Debt], moment: datetime) -> None:
    """What the debtor does and what was asked share the room that the rest leaves."""
    rows = [
        [
            debt.ask.id[:8], escaped(debt.debtor), escaped(debt.creditor), ago(debt.ask.opened_at),
            f"[{_style(debt, moment)}]{_due(debt.overdue_s(moment))}[/]", str(len(debt.part.reminded_at) or ""),
            escaped(debt.words), escaped(debt.subject),
        ]
        for debt in owed
    ]  # fmt: skip
    columns = ["ID", "WHO", "OWES", "SINCE", "DUE", "PINGS", "NOW", "WHAT"]
    table(columns, rows, right=["SINCE", "PINGS"], free=["NOW", "WHAT"])


def _style(debt: Debt, moment: datetime) -> str:
    if debt.overdue_s(moment) < 0:
        return "default"
    return "yellow" if debt.is_excused else "bold red"


def _due(overdue_s: float) -> str:
    return f"in {length(-overdue_s)}" if overdue_s < 0 else f"{length(overdue_s)} ago"
