"""Commands to see circuit breakers, and to open and close them by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.names import AccountWord
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import ago, escaped, length, print_json, say, table
from agenthub.errors import NotFoundError, unknown

if TYPE_CHECKING:
    from agenthub.breakers import Breakers
    from agenthub.client import Client
    from agenthub.guards.circuit_breaker import Breaker

_STATES = {"open": "[bold red]open[/]", "half_open": "[yellow]half-open[/]", "closed": "[green]closed[/]"}


async def breaker_ls(*, options: Options = DEFAULT) -> int:
    """List the circuit breakers that something was held against."""
    async with options.client() as client:
        found = await _breakers(client).all()
    if options.json:
        print_json([{"name": _name(key), **found[key].model_dump(mode="json")} for key in sorted(found)], options)
        return EXIT_OK
    rows = [
        [escaped(_name(key)), _STATES[breaker.state], ago(breaker.since), _next(breaker), escaped(breaker.reason)]
        for key, breaker in sorted(found.items())
    ]  # fmt: skip
    table(["BREAKER", "STATE", "SINCE", "NEXT TRY", "REASON"], rows, right=["SINCE", "NEXT TRY"], free=["REASON"])
    if not any(breaker.state != "closed" for breaker in found.values()):
        say("all are closed")
    return EXIT_OK


async def breaker_reset(name: AccountWord, /, *, options: Options = DEFAULT) -> int:
    """Close a circuit breaker; what waits for it is looked at at once.

    Args:
        name: A role, or an account as `breaker ls` names it.
    """
    async with options.client() as client:
        breakers = _breakers(client)
        key = await _key(client, breakers, name)
        woken = await breakers.reset(key)
    if options.json:
        print_json({"name": name, "woken": woken}, options)
        return EXIT_OK
    say(f"{name} is closed; {woken} waited")
    return EXIT_OK


async def breaker_trip(
    name: AccountWord, /, *, for_: Annotated[str, Parameter(name="--for")] = "10m", reason: str = "a person did it",
    options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Open a circuit breaker: no new turn and no model call, then one message is tried.

    Args:
        name: A role, or an account as `breaker ls` names it.
        for_: For how long, such as 30m or 2h.
        reason: Why; others read it.
    """
    async with options.client() as client:
        breakers = _breakers(client)
        key = await _key(client, breakers, name)
        await breakers.hold(key, reason, shown=name, for_s=duration(for_, "--for").total_seconds())
    if options.json:
        print_json({"name": name, "state": "open"}, options)
        return EXIT_OK
    say(f"{name} is open for {for_}")
    return EXIT_OK


def _breakers(client: Client) -> Breakers:
    from agenthub.breakers import Breakers
    from agenthub.guards.circuit_breaker import Rules
    from agenthub.messages import now

    return Breakers(client.bus, rules=Rules(), clock=now)


async def _key(client: Client, breakers: Breakers, name: str) -> str:
    """Key of the breaker that a person names.

    Raises:
        NotFoundError: If there is none.
    """
    from agenthub.breakers import role_key

    if name in client.organization.roles:
        return role_key(name)
    names = {_name(key): key for key in await breakers.all()}
    if name not in names:
        raise NotFoundError(unknown("breaker", name, [*client.organization.roles, *names]))
    return names[name]


def _name(key: str) -> str:
    return key.removeprefix("role.")


def _next(breaker: Breaker) -> str:
    from agenthub.messages import now

    if breaker.state == "half_open":
        return f"{escaped(breaker.probe)} tries"
    if breaker.state == "closed" or breaker.retry_at is None:
        return "-"
    return length(max(0.0, (breaker.retry_at - now()).total_seconds()))
