"""Commands that start a hub."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from agenthub.cli import EXIT_FAILED, EXIT_OK, EXIT_TIMEOUT
from agenthub.cli.names import RoleName
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import print_json, say
from agenthub.cradle import RUN_VARIABLE, Nursery, begin_nursery
from agenthub.errors import ConfigError, HubError

if TYPE_CHECKING:  # `up` and `demo` begin the nursery before these are imported
    from agenthub.organization import Organization
    from agenthub.run_file import RunFile
    from agenthub.settings import Settings

Flag = Parameter(negative="")
READY_WITHIN_S = 120.0
STUCK_S = 30.0
"""How long the event loop of a role may stand still. By then its lease is over, and it would have to end anyway."""


async def up(
    *,
    detach: Annotated[bool, Parameter(name=["--detach", "-d"], negative="")] = False,
    wait: Annotated[bool, Flag] = False,
    cluster: Literal[3, 5] | None = None,
    rehearse: Annotated[bool, Flag] = False,
    seed: int | None = None,
    speed: float | None = None,
    options: Options = DEFAULT,
) -> int:
    """Start the organization: a NATS server unless one is configured, and a process for each role.

    Args:
        detach: Run in the background.
        wait: With -d: return when all roles work.
        cluster: Run so many NATS servers as one cluster, for a trial on one machine.
        rehearse: Use the rehearsal model even if there is a key.
        seed: Of the rehearsal model: the same seed answers the same.
        speed: Of the rehearsal model: 1 is 400 tokens a second.
    """
    started = time.monotonic()
    with nullcontext() if detach else begin_nursery() as nursery:
        from agenthub.bus.cluster import check_data
        from agenthub.organization import load_organization
        from agenthub.run_file import lock
        from agenthub.settings import choose_model

        settings = choose_model(
            options.settings(
                rehearse=rehearse or None, rehearsal_seed=seed, rehearsal_speed=speed, nats_servers=cluster
            )
        )  # fmt: skip
        if settings.nats_url and settings.nats_servers > 1:
            raise ConfigError(
                f"`--cluster {settings.nats_servers}` runs servers of its own, but `nats.url` says "
                f"{settings.nats_url}. Leave one of the two out."
            )
        organization = load_organization(settings)
        lock(settings.state, organization.org).close()  # says at once if one runs already
        if not settings.nats_url:
            check_data(settings.state / "nats", settings.nats_servers)
        for problem in organization.problems:
            say(f"agenthub: {problem.level}: {problem}")
        if nursery is None:
            return await _detached(settings, organization, wait=wait, options=options)

        def ready(run: RunFile) -> None:
            if options.json:
                print_json(run, options)
            else:
                say(
                    f"{organization.org} is up on {run.nats_url}: {_how(run, organization)}, after"
                    f" {time.monotonic() - started:.1f} s. Ctrl-C lets each finish its message and stops."
                )

        if not options.json:
            say(_model_line(settings, organization))
        return await supervise(settings, organization, nursery, ready=ready, say=say)


async def supervise(
    settings: Settings,
    organization: Organization,
    nursery: Nursery,
    *,
    ready: Callable[[RunFile], None],
    say: Callable[[str], None],
    stop: asyncio.Event | None = None,
) -> int:
    """Run a supervisor in this process; the first SIGINT or SIGTERM stops it, the second ends it at once."""
    from agenthub import systemd
    from agenthub.logs import log_to_file
    from agenthub.supervisor import Supervisor

    supervisor = Supervisor(settings, organization, nursery, say=say)
    stopping = stop or asyncio.Event()

    def asked(number: int) -> None:
        if not stopping.is_set():
            if number == signal.SIGINT:
                say("stopping: each role finishes its message; Ctrl-C again ends at once")
            stopping.set()
        elif number == signal.SIGINT:
            say("ending at once; what was not finished goes on at the next start")
            supervisor.kill_now()

    def at_once() -> None:
        stopping.set()
        supervisor.kill_now()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked, number)
    loop.add_signal_handler(signal.SIGUSR1, at_once)  # `down --now`
    log_to_file(
        settings.state / "logs" / "supervisor.log", settings.log_level, form=settings.log_format,
        bound={"org": organization.org}, secrets=_secrets(settings),
    )  # fmt: skip

    def is_ready(run: RunFile) -> None:
        systemd.notify(f"READY=1\nSTATUS={_how(run, organization)}")
        ready(run)

    beating = asyncio.create_task(systemd.beat(), name="systemd watchdog")
    try:
        await supervisor.run(stop=stopping, ready=is_ready)
    finally:
        systemd.notify("STOPPING=1")
        beating.cancel()
    return EXIT_OK


async def _detached(settings: Settings, organization: Organization, *, wait: bool, options: Options) -> int:
    """Start `up` again as a process of its own session, and watch it come up."""
    from agenthub.run_file import RunFile
    from agenthub.starting import typed

    log = settings.state / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [word for word in sys.argv[1:] if word not in ("-d", "--detach", "--wait")]
    words = [word for word in words if not word.startswith("--json")]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220  # returns at once
            [sys.executable, "-m", "agenthub", *words],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={name: value for name, value in os.environ.items() if name != RUN_VARIABLE},
        )  # fmt: skip
    if not options.json:
        say(_model_line(settings, organization))
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        run = RunFile.read(settings.state)
        if run is not None and run.pid == process.pid and (run.is_ready or not wait):
            if options.json:
                print_json(run, options)
            else:
                how = _how(run, organization)
                say(f"{run.org} is up on {run.nats_url} (process {run.pid}): {how}. Next: {typed('agenthub ps')}")
            return EXIT_FAILED if run.left_alone else EXIT_OK
        if process.poll() is not None:
            raise HubError(f"It did not start:\n{log.read_text(errors='replace').strip()}")
        await asyncio.sleep(0.05)
    say(f"not ready after {READY_WITHIN_S:.0f} s; it goes on starting. See {log} and `agenthub logs supervisor`.")
    return EXIT_TIMEOUT


async def role(name: RoleName, /, *, replica: int | None = None, options: Options = DEFAULT) -> int:
    """Run one role in the foreground against a NATS server, as a container does. SIGTERM lets it finish.

    Args:
        name: Which role.
        replica: Number of this copy, from 0. Left out: the first that nobody has in this state folder.
    """
    from pydantic import SecretStr

    from agenthub.bus.admission import let_in
    from agenthub.equipment import secrets_of
    from agenthub.logs import log_to_stderr
    from agenthub.organization import load_organization
    from agenthub.replica_slots import free_replica
    from agenthub.runtime import RolePlace, run_role, stop_on_signals

    settings = _with_nats(options.settings())
    if settings.rehearse:
        if not settings.model_url:
            raise ConfigError("Rehearsing needs a rehearsal model: start `agenthub rehearsal`, set AGENTHUB_MODEL_URL.")
        settings = settings.model_copy(update={"api_key": SecretStr("rehearsal")})
    if settings.api_key is None:
        raise ConfigError("There is no key for the model. Set ANTHROPIC_API_KEY, or rehearse: AGENTHUB_REHEARSE=true.")
    organization = load_organization(settings)
    replicas = organization.role(name).settings.replicas
    if replica is not None and not 0 <= replica < replicas:
        raise ConfigError(f"`{name}` has {replicas} copies, from 0 to {replicas - 1}; `--replica {replica}` is none.")
    stop = asyncio.Event()
    stop_on_signals(stop)
    try:
        with free_replica(settings.state, name, replicas if replica is None else replica + 1, replica or 0) as number:
            place = RolePlace(settings, organization, name, number)
            log_to_stderr(
                settings.log_level, form=settings.log_format, bound={"org": organization.org, "role": place.key},
                secrets=secrets_of(settings, organization, name),
            )  # fmt: skip
            await let_in(settings.transport, settings.keys, name, is_role=True, within_s=settings.key_within_s)
            await _end_if_stuck(run_role(place, stop=stop))
    except BaseExceptionGroup as group:
        for error in group.exceptions:
            say(f"agenthub: {error}")
        return EXIT_FAILED
    return EXIT_OK


async def lead(*, options: Options = DEFAULT) -> int:
    """Do what is done once for the whole organization, in a process of its own, until SIGTERM."""
    from agenthub.bus.admission import let_in
    from agenthub.bus.identity import LEADER
    from agenthub.leading import run_leader
    from agenthub.logs import log_to_stderr
    from agenthub.organization import load_organization
    from agenthub.runtime import stop_on_signals

    settings = _with_nats(options.settings())
    organization = load_organization(settings)
    stop = asyncio.Event()
    stop_on_signals(stop)
    log_to_stderr(
        settings.log_level, form=settings.log_format, bound={"org": organization.org, "role": LEADER},
        secrets=_secrets(settings),
    )  # fmt: skip
    await let_in(settings.transport, settings.keys, LEADER, within_s=settings.key_within_s)
    await _end_if_stuck(run_leader(settings, organization, stop=stop))
    return EXIT_OK


async def rehearsal(
    *, host: str = "127.0.0.1", port: int = 8090, seed: int | None = None, speed: float | None = None,
    options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Run the rehearsal model in the foreground, for roles that run on their own, as in containers.

    Args:
        host: Where it listens; another than loopback only where nobody else can reach it.
        port: Its port; 0 is a free one.
        seed: The same seed answers the same.
        speed: 1 is 400 tokens a second.
    """
    from agenthub.health import open_health
    from agenthub.logs import log_to_stderr
    from agenthub.metrics import Metrics
    from agenthub.rehearsal.server import serve
    from agenthub.runtime import stop_on_signals

    settings = options.settings(rehearsal_seed=seed, rehearsal_speed=speed)
    log_to_stderr(settings.log_level, form=settings.log_format, bound={"role": "rehearsal"}, secrets=_secrets(settings))
    stop = asyncio.Event()
    stop_on_signals(stop)

    def ready(url: str) -> None:
        health.ready = lambda: {"answering": True}
        if options.json:
            print_json({"url": url}, options)
        else:
            say(f"the rehearsal model answers at {url}; roles find it by AGENTHUB_MODEL_URL")

    async with open_health(settings, "rehearsal", Metrics("rehearsal", org="")) as health:
        await serve(
            host=host, port=port, seed=settings.rehearsal_seed, speed=settings.rehearsal_speed, ready=ready, stop=stop
        )
    return EXIT_OK


async def demo(
    directive: str = (
        "File attachments: design the API and the screens, build and test them, review the security, plan the rollout,"
        " write the guide, estimate the costs, and prepare the launch campaign."
    ),
    /,
    *,
    seed: int = 7,
    speed: float = 6.0,
    options: Options = DEFAULT,
) -> int:
    """Start an organization on the rehearsal model, give its head a directive, watch it work, stop everything.

    Args:
        directive: What the head of the organization shall do.
        seed: The same seed plays the same.
        speed: 1 is 400 tokens a second.
    """
    if not directive.strip():
        raise ConfigError("The directive is empty.")
    with begin_nursery() as nursery:
        from agenthub.cli.show import run_demo
        from agenthub.organization import load_organization

        settings = options.settings(rehearse=True, rehearsal_seed=seed, rehearsal_speed=speed)
        if options.state is None:  # beside the organization's own state, so that a running hub is not in the way
            settings = settings.model_copy(update={"state": settings.state / "demo"})
        settings = settings.at("")
        return await run_demo(settings, load_organization(settings), nursery, directive, options)


def _how(run: RunFile, organization: Organization) -> str:
    if not run.is_ready:
        return "starting"
    count = len(organization.roles)
    work = "are up" if run.held else "work"
    held = "".join(f"; {line}" for line in run.held)
    if not run.left_alone:
        return f"all {count} roles {work}{held}"
    alone, first = ", ".join(run.left_alone), run.left_alone[0]
    up = f"{count - len(run.left_alone)} of {count} roles {work}"
    return f"{up}; {alone} left alone, see `agenthub logs {first}`{held}"


def _model_line(settings: Settings, organization: Organization) -> str:
    if settings.rehearse:
        why = "" if settings.api_key else "; set ANTHROPIC_API_KEY to work with Claude"
        return f"{organization.org}: rehearsing, without Claude: the model is a local stand-in{why}"
    return f"{organization.org}: working with {organization.defaults.model}"


def _secrets(settings: Settings) -> dict[str, str]:
    from agenthub.secret_sources import known_secrets

    return known_secrets(os.environ) | settings.secrets


def _with_nats(settings: Settings) -> Settings:
    """Settings that name a server: the one that is configured, else the one of the hub that runs here.

    Raises:
        ConfigError: If there is none.
    """
    from agenthub.run_file import RunFile

    if settings.nats_url:
        return settings
    run = RunFile.read(settings.state)
    if run is None:
        raise ConfigError("There is no NATS server to work with. Name one with --nats, or use `agenthub up`.")
    return settings.at(run.nats_url, run.nats_context)


async def _end_if_stuck(work: Coroutine[Any, Any, None]) -> None:
    """Do the work, and end this process if its event loop stands still: no platform restarts what merely looks ill.

    Under `agenthub up` the supervisor does that.
    """
    working = asyncio.ensure_future(work)
    try:
        while not working.done():
            faulthandler.dump_traceback_later(STUCK_S, exit=True)
            await asyncio.wait([working], timeout=STUCK_S / 6)
        await working
    finally:
        faulthandler.cancel_dump_traceback_later()
        working.cancel()
