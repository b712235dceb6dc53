"""Commands about what roles may do beyond their files: list, give, take back."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.budget import Rehearsal, is_rehearsal
from agenthub.cli.choices import GrantKind
from agenthub.cli.names import AnyRole, RoleName
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import ago, escaped, length, print_json, say, table
from agenthub.errors import ConfigError, problems

if TYPE_CHECKING:
    from agenthub.grants import Grant


async def grants_ls(
    *, role: AnyRole = None, all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    options: Options = DEFAULT,
) -> int:  # fmt: skip
    """List what roles may do beyond their files.

    Args:
        role: Only of this role.
        all_: Also what is over, of the last month.
    """
    from agenthub.client.grants import Granting
    from agenthub.messages import now

    at = now()
    async with options.client() as client:
        if role is not None:
            client.organization.role(role)
        found = [one for one in await Granting(client).all() if role in (None, one.role) and (all_ or one.holds(at))]
        operator = client.organization.operator
    if options.json:
        print_json([_as_data(one, at, operator) for one in found], options)
        return EXIT_OK
    rows = [
        [one.id[:8], one.role, escaped(one.title), _ends(one, at, operator), ago(one.at), operator, escaped(one.why)]
        for one in found
    ]
    table(["ID", "ROLE", "MAY", "ENDS", "SINCE", "BY", "WHY"], rows, right=["SINCE"], free=["WHY"])
    if not found:
        say("no role may do more than its files say; `agenthub grants add --help`")
    return EXIT_OK


async def grants_add(
    role: RoleName, kind: GrantKind, what: str, /, *, for_: Annotated[str, Parameter(name="--for")] = "1d",
    reason: str = "", rehearsal: Rehearsal = None, options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Let a role do something beyond its files, for a while.

    Args:
        role: Which role.
        kind: topic, tool, memory or spend.
        what: A topic such as `decisions.api`; a rule such as `Bash(git push:*)`; the role whose notes may be read; an
            extra amount such as `usd_day=2`.
        for_: For how long: 30m, 8h, 7d; 90 days at the most.
        reason: Why; others read it.
        rehearsal: Of money: the account of rehearsals, or --real: that of real money. Default: what runs here.
    """
    from pydantic import ValidationError

    from agenthub.client.grants import Granting
    from agenthub.grants import LONGEST_S, Wanted
    from agenthub.messages import now

    for_s = duration(for_, "--for").total_seconds()
    if not 0 < for_s <= LONGEST_S:
        raise ConfigError(f"--for is above 0 and at most {LONGEST_S / 86_400:.0f}d; found {for_}")
    values: dict[str, Any] = {
        "kind": kind, "what": what, "for_s": for_s, "why": reason,
        "is_rehearsal": is_rehearsal(options, rehearsal) if kind == "spend" else False,
    }  # fmt: skip
    try:
        wanted = Wanted.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"Nothing was granted: {problems(error)}.") from error
    async with options.client() as client:
        grant, operator = await Granting(client).give(role, wanted, by=getpass.getuser()), client.organization.operator
    if options.json:
        print_json(_as_data(grant, now(), operator), options)
        return EXIT_OK
    # What was added to a limit is spent or runs out; only the others can be taken back.
    back = "" if kind == "spend" else f"; `agenthub grants revoke {grant.id[:8]}`"
    say(f"{role} may {grant.title} until {grant.until:%Y-%m-%d %H:%M} UTC{back}")
    if kind == "topic" and options.settings().nats_url:
        say("Servers that run elsewhere are told by their own list of who may do what: docs/operations.md, Grants.")
    return EXIT_OK


async def grants_revoke(identity: str, /, *, options: Options = DEFAULT) -> int:
    """Take a grant back; it counts no more from then on.

    Args:
        identity: As `agenthub grants ls` lists it; its first digits are enough.
    """
    from agenthub.client.grants import Granting
    from agenthub.messages import now

    async with options.client() as client:
        grant, operator = await Granting(client).revoke(identity, by=getpass.getuser()), client.organization.operator
    if options.json:
        print_json(_as_data(grant, now(), operator), options)
        return EXIT_OK
    say(f"{grant.role} may no longer {grant.title}")
    return EXIT_OK


def _ends(grant: Grant, at: datetime, operator: str) -> str:
    if grant.revoked_at is not None:
        return f"revoked by {operator}"
    return f"in {length((grant.until - at).total_seconds())}" if grant.holds(at) else "over"


def _as_data(grant: Grant, at: datetime, operator: str) -> dict[str, Any]:
    """It with the operator as who decided, as everywhere; what is recorded is the login name of the person."""
    said = {"by": operator, "login": grant.by, "revoked_by": operator if grant.revoked_at else ""}
    data = grant.model_dump(mode="json", exclude={"signature"})
    return data | said | {"revoked_login": grant.revoked_by, "holds": grant.holds(at)}
