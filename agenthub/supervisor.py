"""The supervisor: plain code that starts an organization, keeps it running and stops it. It never asks a model.

Order of starting: server, queues, rehearsal model, roles. Order of stopping: the reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from multiprocessing.connection import Connection
from typing import IO, Any

from pydantic import SecretStr

from agenthub import forks
from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus
from agenthub.bus.identity import SYSTEM, Keyring
from agenthub.children import Child, RoleState, Verdict, children_of
from agenthub.client import access_of, ensure_signers
from agenthub.client.steering import Steering
from agenthub.client.strays import provision_for
from agenthub.control import holdings
from agenthub.cradle import RUN_VARIABLE, Nursery
from agenthub.errors import HubError
from agenthub.granting import keep_granted
from agenthub.guards.senders import Senders
from agenthub.messages import now
from agenthub.org.events import Events
from agenthub.organization import Organization
from agenthub.ports import Port
from agenthub.rereading import Files
from agenthub.restarts import obey_restarts
from agenthub.run_file import RunFile, lock
from agenthub.servers import Servers
from agenthub.settings import Settings
from agenthub.silent_children import LOOK_WITHIN_S, sign_off, until_all_beat, watch_beats

logger = logging.getLogger(__name__)

READY_WITHIN_S = 60.0
REHEARSAL = "rehearsal"
HUB = "hub"
"""Whose events are those of no role."""


class Supervisor:
    """Runs one organization in this process's folder."""

    def __init__(
        self, settings: Settings, organization: Organization, nursery: Nursery, *, say: Callable[[str], None]
    ) -> None:
        """`say` gets one line for each thing that a person should know."""
        self.settings, self._files = settings, Files(organization, say=say)
        self._say = say
        self._servers: Servers | None = None
        self._bus: Bus | None = None
        self._lock: IO[str] | None = None
        self._nursery = nursery
        self._connection: Connection | None = None
        self._nursery_ready = asyncio.Event()
        self._children: dict[str, Child] = {}
        self._ended = asyncio.Event()
        self._is_stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.run_id = nursery.run_id
        self._failed: asyncio.Future[None] | None = None
        self._rehearsal_port: Port | None = None

    @property
    def organization(self) -> Organization:
        """By its files as they were taken in last."""
        return self._files.organization

    @property
    def is_rehearsal(self) -> bool:
        """True if the roles talk to the rehearsal model."""
        return self.settings.rehearse

    async def run(self, *, stop: asyncio.Event, ready: Callable[[RunFile], None]) -> None:
        """Start everything, call `ready` when all roles work, and keep them working until `stop` is set.

        Raises:
            HubRunningError: If a hub runs in this folder already; says which.
            HubError: If something does not come up.
        """
        self._lock = lock(self.settings.state, self.organization.org)
        self._failed = asyncio.get_running_loop().create_future()
        try:
            os.environ[RUN_VARIABLE] = self.run_id
            self._adopt_nursery()
            async with self._running_server() as url:
                self.settings = self.settings.model_copy(update={"nats_url": url})
                run_file = self._write_run_file()
                identity = Keyring(self.settings.keys).find(SYSTEM)
                async with connect(self.settings.transport, name="agenthub supervisor", identity=identity) as bus:
                    self._bus = bus
                    changes, kept = await provision_for(bus, self.organization, self.settings)
                    for change in changes:
                        logger.info("%s %s %s %s", *change)
                    for stray in kept:
                        self._say(f"{stray.words}: {stray.remedy}")
                    if await self._nursery_imported(stop):
                        await self._start_children()
                        self._in_background(
                            watch_beats(bus, self.settings, self._children, self._kill, may_judge=self._may_judge)
                        )
                        operator = self.organization.operator
                        if self._servers is not None:
                            self._in_background(
                                keep_granted(bus, lambda: self.organization, self.settings, self._servers.nats.admit)
                            )
                        senders = Senders(Keyring(self.settings.keys), operator=operator)
                        self._in_background(
                            obey_restarts(
                                bus, senders, operator, self._children, self._start_or_end, self._signal,
                                self._new_children,
                            )
                        )  # fmt: skip
                        await self._until_ready(stop)
                    if not stop.is_set():
                        alone = [key for key, state in self.states().items() if state is RoleState.QUARANTINED]
                        held = [one.line for one in holdings(await Steering(bus, self.organization).standing())]
                        run_file = run_file.model_copy(update={"is_ready": True, "left_alone": alone, "held": held})
                        run_file.write(self.settings.state)
                        ready(run_file)
                    await self._first(stop)
                    await self._stop_children()
                    self._bus = None
            if self._failed.done():
                self._failed.result()
        finally:
            self._is_stopping = True
            await self._end_nursery()
            if self._rehearsal_port is not None:
                self._rehearsal_port.close()
            RunFile.path(self.settings.state).unlink(missing_ok=True)
            if self._lock is not None:
                self._lock.close()

    def states(self) -> dict[str, RoleState]:
        """What each process is in."""
        return {key: child.state for key, child in self._children.items()}

    # ── starting ───────────────────────────────────────────────────────────────────────────────────
    @contextlib.asynccontextmanager
    async def _running_server(self) -> AsyncIterator[str]:
        if self.settings.nats_url:
            ensure_signers(self.organization, self.settings)
            yield self.settings.nats_url
            return
        self._servers = Servers(
            self.settings.state / "nats", self.settings.nats_servers,
            access=access_of(self.organization, self.settings),
            say=self._say, tell=lambda kind, text: self._tell(HUB, kind, text), fail=self._fail,
        )  # fmt: skip
        self._files.admit = self._servers.nats.admit
        async with self._servers.running() as url:
            yield url

    def _write_run_file(self) -> RunFile:
        model = "the rehearsal model" if self.is_rehearsal else self.organization.defaults.model
        run_file = RunFile(
            run_id=self.run_id, pid=os.getpid(), org=self.organization.org, nats_url=self.settings.nats_url,
            nats_context=self.settings.nats_context, servers=self._servers.monitor_ports if self._servers else {},
            model=model, is_rehearsal=self.is_rehearsal, started_at=now(),
        )  # fmt: skip
        run_file.write(self.settings.state)
        return run_file

    def _adopt_nursery(self) -> None:
        """Listen to the nursery, which goes on importing while the server starts and the queues are made."""
        log = self.settings.state / "logs" / "supervisor.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self._connection = Connection(self._nursery.pipe.detach())
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._listen)
        with contextlib.suppress(BrokenPipeError):  # it has ended already, which the reader says
            self._connection.send(log.absolute())

    async def _nursery_imported(self, stop: asyncio.Event) -> bool:
        """True when the nursery can fork; False if a person or a failure came first."""
        await self._first(self._nursery_ready, stop)
        return self._nursery_ready.is_set() and not self._has_failed

    @property
    def _has_failed(self) -> bool:
        return self._failed is not None and self._failed.done()

    async def _first(self, *events: asyncio.Event) -> None:
        """Return when one of the events is set, or the hub has failed."""
        assert self._failed is not None
        waits = [asyncio.create_task(event.wait()) for event in events]
        everything: list[asyncio.Future[Any]] = [*waits, self._failed]
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _listen(self) -> None:
        assert self._connection is not None
        try:
            while self._connection.poll():
                said = self._connection.recv()
                if said == "ready":
                    self._nursery_ready.set()
                elif isinstance(said, forks.Started):
                    child = self._children[said.key]
                    child.pid, child.started_s = said.pid, time.monotonic()
                    child.state = RoleState.RUNNING
                    if self._is_stopping:  # it was under way when the others were told
                        self._signal([child], signal.SIGTERM)
                elif isinstance(said, forks.Ended):
                    self._has_ended(self._children[said.key], said.status)
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            if not self._is_stopping:
                self._fail(HubError("The nursery process has ended; see .agenthub/logs/supervisor.log."))

    async def _start_children(self) -> None:
        if self.is_rehearsal:
            self._rehearsal_port = Port()
            url = f"http://127.0.0.1:{self._rehearsal_port.number}"
            self.settings = self.settings.model_copy(update={"model_url": url, "api_key": SecretStr("rehearsal")})
            self._start(Child(REHEARSAL, "", replica=self._rehearsal_port.number))
        for child in children_of(self.organization):
            self._start(child)

    async def _new_children(self, role: str) -> list[Child]:
        """Processes that a role has by its file as it is now, and which were never started."""
        await self._read_again()
        return [
            child for child in children_of(self.organization)
            if child.role == role and role not in self._files.gone
            and (child.key not in self._children or self._children[child.key].state is RoleState.STOPPED)
        ]  # fmt: skip

    async def _read_again(self) -> None:
        assert self._bus is not None
        await self._files.read(self._bus, self.settings)

    async def _start_or_end(self, child: Child) -> None:
        """Start a process again that has ended; but not if its role's file is gone."""
        assert self._bus is not None
        if child.role not in self._files.gone:
            self._start(child)
            return
        others = [one for one in self._children.values() if one.role == child.role and one is not child]
        await self._files.end(self._bus, self.settings, child, others, start=self._start, report=self._report)

    def _start(self, child: Child) -> None:
        assert self._connection is not None
        self._children[child.key] = child
        child.state = RoleState.STARTING
        is_role = child.key != REHEARSAL
        settings = self.settings
        if is_role and settings.health_port > 0:
            place = [key for key in self._children if key != REHEARSAL].index(child.key)
            settings = settings.model_copy(update={"health_port": settings.health_port + place})
        self._connection.send(
            forks.Fork(
                child.key, "role" if is_role else REHEARSAL, settings, self.organization, child.role,
                replica=child.replica if is_role else 0, port=0 if is_role else child.replica,
            )
        )  # fmt: skip

    async def _until_ready(self, stop: asyncio.Event) -> None:
        assert self._bus is not None

        def waits() -> bool:
            return not stop.is_set() and not self._has_failed

        if late := await until_all_beat(self._bus, self._children, within_s=READY_WITHIN_S, may_go_on=waits):
            names = ", ".join(late)
            self._fail(HubError(f"Not ready after {READY_WITHIN_S:.0f} s: {names}; `agenthub logs {late[0]}`"))

    # ── keeping ────────────────────────────────────────────────────────────────────────────────────
    def _has_ended(self, child: Child, status: int) -> None:
        if self._is_stopping:
            child.pid, child.state = None, RoleState.STOPPED
            self._ended.set()
            return
        if status > 0 and self._servers is not None and not self._servers.can_store:
            status = forks.EXIT_AWAY  # its journal lies on the same disk
        verdict = child.has_ended(status, at_s=time.monotonic())
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
        if child.state is RoleState.QUARANTINED:
            why = "again and again" if verdict is Verdict.CRASH_LOOP else "its configuration is wrong"
            next_step = f"see .agenthub/logs/{child.key}.log, mend it, then `agenthub restart {child.role}`"
            self._report(child, "quarantined", f"{how}, {why}; left alone: {next_step}")
            self._sign_off(child, f"left alone: {how}, {why}")
            return
        if verdict in (Verdict.AWAY, Verdict.ASKED):
            why = "could not work" if verdict is Verdict.AWAY else "was asked to restart"
            logger.info("%s %s; started again in %.0f s", child.key, why, child.pause_s)
        else:
            self._report(child, "crashed", f"{how}; started again in {child.pause_s:.1f} s")
        self._sign_off(child, how)
        self._in_background(self._start_again(child, read=verdict is Verdict.ASKED))

    def _sign_off(self, child: Child, how: str) -> None:
        if child.role and self._bus is not None:
            child.signing_off = self._in_background(sign_off(self._bus, child, how))

    def _may_judge(self) -> bool:
        """False while processes stop, or cannot store that they live."""
        return not self._is_stopping and (self._servers is None or self._servers.can_store)

    async def _kill(self, child: Child, why: str) -> None:
        """Kill a process, once the broker has stored why: if it cannot, that is why nobody beats."""
        assert self._bus is not None
        pid = child.pid
        async with asyncio.timeout(LOOK_WITHIN_S):
            await Events(self._bus, child.role).store("killed", why)
        if child.pid != pid:
            return  # it has ended meanwhile, and who saw that has it started again
        logger.warning("%s %s", child.key, why)
        self._say(f"{child.key}: {why}")
        child.state = RoleState.KILLED
        self._signal([child], signal.SIGKILL)

    async def _start_again(self, child: Child, *, read: bool) -> None:
        await child.until_signed_off()
        await asyncio.sleep(child.pause_s)
        if read and not self._is_stopping:
            await self._read_again()
        if not self._is_stopping and child.state is RoleState.WAITING:  # else a person was faster
            if read:
                await self._start_or_end(child)
            else:
                self._start(child)

    def _report(self, child: Child, kind: str, text: str) -> None:
        logger.warning("%s %s", child.key, text)
        self._say(f"{child.key} {text}")
        if child.role:
            self._tell(child.role, kind, text)

    def _tell(self, who: str, kind: str, text: str) -> None:
        if self._bus is not None:
            self._in_background(Events(self._bus, who).tell(kind, text))

    def _in_background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _fail(self, error: Exception) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    # ── stopping ───────────────────────────────────────────────────────────────────────────────────
    async def _stop_children(self) -> None:
        """Let each role finish its message; the model it talks to stops last."""
        self._is_stopping = True
        within_s = self.settings.grace_s + 5
        roles = [child for child in self._children.values() if child.key != REHEARSAL]
        others = [child for child in self._children.values() if child.key == REHEARSAL]
        for group in (roles, others):
            self._signal(group, signal.SIGTERM)
            if not await self._until_ended(group, within_s):
                late = ", ".join(child.key for child in group if child.pid)
                self._say(f"{late}: not finished after {within_s:.0f} s, killed; the message goes on at the next start")
                self._signal(group, signal.SIGKILL)
                await self._until_ended(group, 5)

    def _signal(self, children: list[Child], number: int) -> None:
        assert self._connection is not None
        for child in children:
            if child.pid is not None:
                self._connection.send(forks.Signal(child.pid, number))

    async def _until_ended(self, children: list[Child], within_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(child.pid is not None or child.state is RoleState.STARTING for child in children):
                    self._ended.clear()
                    await self._ended.wait()
        return not any(child.pid is not None for child in children)

    def kill_now(self) -> None:
        """End every process at once: a second Ctrl-C."""
        self._is_stopping = True
        if self._connection is not None:
            self._signal(list(self._children.values()), signal.SIGKILL)

    async def _end_nursery(self) -> None:
        if self._connection is not None:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._connection.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.grace_s + 15):
                    await asyncio.to_thread(self._nursery.process.wait)
        self._nursery.end()
