"""Commands for who sets a hub up."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub import __version__
from agenthub.cli import EXIT_OK, EXIT_USAGE
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import console, counted, escaped, print_json, say
from agenthub.errors import ConfigError, HubError, HubUnreachableError

if TYPE_CHECKING:
    from agenthub.organization import Organization
    from agenthub.settings import Settings


async def provision(
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    print_auth: Annotated[bool, Parameter(negative="")] = False,
    options: Options = DEFAULT,
) -> int:
    """Make keys, and create or adapt streams, consumers, buckets and permissions for the roles; prints what changes.

    Args:
        dry_run: Only print what would change.
        print_auth: Only print the authorization block for the configuration of an external nats-server.
    """
    from agenthub.bus.admission import let_in
    from agenthub.bus.identity import SYSTEM
    from agenthub.bus.server import admit_all
    from agenthub.client import access_of, open_client
    from agenthub.client.strays import provision_for
    from agenthub.organization import load_organization

    settings = options.settings()
    organization = load_organization(settings)
    topics, besides = await _known(settings, organization) if print_auth or not settings.nats_url else ({}, [])
    if print_auth:
        access = access_of(organization, settings, admits_strangers=False, topics=topics, besides=besides)
        print(access.text(), end="")
        return EXIT_OK
    if not dry_run and not settings.nats_url:  # our own servers; others are told by who runs them
        access = access_of(organization, settings, topics=topics, besides=besides)
        await admit_all(settings.state / "nats", access)
    if settings.nats_url:
        await let_in(settings.transport, settings.keys, SYSTEM, within_s=settings.key_within_s)
    if not dry_run and settings.nats_url:
        await _have_read_again(settings)
    async with open_client(settings, organization, as_=SYSTEM) as client:
        changes, kept = await provision_for(client.bus, organization, settings, dry_run=dry_run)
    for stray in kept:
        say(f"{stray.words}: its queues {'would ' if dry_run else ''}stay. Next: {stray.remedy}")
    if options.json:
        print_json(changes, options)
        return EXIT_OK
    signs = {"create": "[green]+[/]", "update": "[yellow]~[/]", "delete": "[red]-[/]"}
    for change in changes:
        console().print(f"{signs[change.action]} {change.kind:<8} {change.name}  [dim]{escaped(change.detail)}[/]")
    say(f"{counted(len(changes), 'change')}{' would be made' if dry_run else ''}")
    return EXIT_OK


async def _known(settings: Settings, organization: Organization) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Topics on which persons let roles publish, and roles without a file that keep their keys; none if no hub can be
    asked yet."""
    from agenthub.bus.identity import SYSTEM
    from agenthub.client import open_client
    from agenthub.client.grants import Granting
    from agenthub.client.strays import keep_keys
    from agenthub.grants import topics_of
    from agenthub.messages import now

    try:
        async with open_client(settings, organization, as_=SYSTEM) as client:
            besides = await keep_keys(client.bus, organization, settings)
            return topics_of(await Granting(client).all(), now()), besides
    except (HubError, ConfigError):
        return {}, []


async def _have_read_again(settings: Settings) -> None:
    """Have servers that run elsewhere read who may come in, where the key to tell them is here."""
    from agenthub.bus.connecting import connect
    from agenthub.bus.identity import SERVERS, Keyring
    from agenthub.bus.reloading import reload_servers

    identity = Keyring(settings.keys).find(SERVERS)
    if identity is None or settings.transport.has_login:  # then who may do what is not told by our keys
        return
    try:
        async with connect(settings.transport, name="agenthub provision", identity=identity) as bus:
            for name in await reload_servers(bus):
                say(f"{name} has read who may come in")
    except HubUnreachableError as error:  # a server without keys, or one that was told of another organization
        say(f"no server was told to read its permissions again: {error}")


async def version(*, options: Options = DEFAULT) -> int:
    """Print the versions of what runs here."""
    from agenthub.bus.server import binary

    server = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=False).stdout.strip()  # noqa: ASYNC221
    versions = {
        "agenthub": __version__,
        "python": platform.python_version(),
        "nats-server": server.rpartition("v")[2],
        **{name: importlib.metadata.version(name) for name in ("nats-py", "anthropic", "pydantic")},
    }
    if options.json:
        print_json(versions, options)
    else:
        for name, value in versions.items():
            print(f"{name:<12} {value}")
    return EXIT_OK


async def roles_check(*, options: Options = DEFAULT) -> int:
    """Check all role files and agenthub.toml; prints each problem with its file and line."""
    from agenthub.organization import load_organization

    organization = load_organization(options.settings(), strict=False)
    errors = [problem for problem in organization.problems if problem.level == "error"]
    if options.json:
        data = [{**problem._asdict()} for problem in organization.problems]
        print_json({"roles": sorted(organization.roles), "problems": data}, options)
        return EXIT_USAGE if errors else EXIT_OK
    for problem in organization.problems:
        style = "red" if problem.level == "error" else "yellow"
        console().print(f"[{style}]{problem.level:<7}[/]  {escaped(str(problem))}")
    warnings = counted(len(organization.problems) - len(errors), "warning")
    say(f"{counted(len(organization.roles), 'role')}, {counted(len(errors), 'error')}, {warnings}")
    return EXIT_USAGE if errors else EXIT_OK


async def roles_ls(*, options: Options = DEFAULT) -> int:
    """List the roles as an org chart."""
    organization = options.organization()
    if options.json:
        print_json(
            [
                {
                    "name": role.name, "description": role.summary, "reports_to": role.settings.reports_to,
                    "skills": role.settings.skills, "subscribe": role.settings.subscribe,
                    "model": organization.terms(role.name).model, "path": str(role.path),
                }
                for role in organization.roles.values()
            ],
            options,
        )  # fmt: skip
        return EXIT_OK
    console().print(f"[bold]{organization.operator}[/]  [dim](the operator)[/]")
    _print_reports(organization, organization.operator, "")
    return EXIT_OK


def _print_reports(organization: Organization, name: str, indent: str) -> None:
    reports, out = organization.reports(name), console()
    for report in reports:
        is_last = report == reports[-1]
        role = organization.roles[report]
        branch, below = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        gap = " " * max(1, 22 - len(indent + branch + report))
        summary, room = role.summary, out.width - len(indent + branch + report + gap)
        if out.is_terminal and len(summary) > room:
            summary = summary[: max(0, room - 1)] + "…"
        out.print(f"[dim]{indent}{branch}[/][bold]{report}[/]{gap}{escaped(summary)}")
        _print_reports(organization, report, indent + below)
