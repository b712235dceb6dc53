"""The organization under test: its folder, its processes as a platform starts and restarts them, and its way down."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil

from agenthub.bus.identity import SYSTEM, Identity, Keyring
from agenthub.bus.server import NatsServer
from agenthub.cradle import RUN_VARIABLE
from agenthub.run_file import RunFile, processes_of
from chaos import hook
from chaos.plan import MANAGERS, ROLES
from chaos.proxy import Proxy

UP_WITHIN_S = 60.0
DOWN_WITHIN_S = 60.0

_TOML = """\
org = "chaos"
[model]
url = "{model_url}"
[defaults]
budget_usd_day = "unlimited"
ask_within_s = 60.0
critical_grace_s = 1.0
breaker_failures = 100000  # many directives are told to fail, which says nothing about who does
[budget]
usd_day = "unlimited"
[process]
ack_wait_s = 5.0
keep_alive_s = 1.0
heartbeat_s = 1.0
lease_ttl_s = 4.0
grace_s = 5.0
"""
"""As shipped, but quicker to notice that somebody is gone."""


class Hub:
    """One organization. `folder` keeps everything that it leaves behind."""

    def __init__(self, folder: Path, *, model_url: str, broken: str = "", servers: int = 1) -> None:
        self.folder, self.state = folder, folder / ".agenthub"
        self.server_url = ""
        """Where the harness itself finds the server: not through the proxy."""
        self.proxy: Proxy | None = None
        self._servers = servers
        self.run_ids: list[str] = []
        self._server: NatsServer | None = None
        self._up: asyncio.subprocess.Process | None = None
        self._replacements: list[asyncio.subprocess.Process] = []
        self._is_wanted = False
        self._serving = asyncio.Lock()
        hidden = ("ANTHROPIC_API_KEY", RUN_VARIABLE)
        self._environment = {name: value for name, value in os.environ.items() if name not in hidden}
        self._environment |= hook.environment(folder, broken=broken) | {"AGENTHUB_API_KEY": "rehearsal"}
        _write_organization(folder, model_url)

    @property
    def identity(self) -> Identity | None:
        """As whom the harness itself comes in: it may do all. None: the server asks for no keys."""
        return None if self.proxy else Keyring(self.state / "keys").find(SYSTEM)

    # ── as a platform runs it ──────────────────────────────────────────────────────────────────────
    @contextlib.asynccontextmanager
    async def running(self, *, has_proxy: bool) -> AsyncIterator[Hub]:
        """Keep it up for the length of the block. With a proxy the server is ours, else the supervisor's own."""
        async with contextlib.AsyncExitStack() as stack:
            if has_proxy:
                self._server = NatsServer(self.folder / "nats")
                await self._server.start()
                stack.push_async_callback(self._server.stop)
                self.server_url = self._server.url
                self.proxy = await stack.enter_async_context(Proxy().run(self._server.port))
            self._is_wanted = True
            keeping: asyncio.Task[None] | None = None
            try:
                await self._start()
                keeping = asyncio.create_task(self._keep(), name="platform")
                yield self
            finally:
                self._is_wanted = False
                if keeping is not None:
                    keeping.cancel()
                await self._stop()

    async def _start(self) -> None:
        """Start the supervisor and return when its roles work; again if it does not come up."""
        words = ["up"] + (["--nats", self.proxy.url] if self.proxy else [])
        words += ["--cluster", str(self._servers)] if self._servers > 1 else []
        with (self.folder / "up.log").open("ab") as output:
            self._up = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agenthub", *words, cwd=self.folder, env=self._environment,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        async with asyncio.timeout(UP_WITHIN_S):
            while self._up.returncode is None:
                run = RunFile.read(self.state)
                if run is not None and run.pid == self._up.pid:
                    if run.run_id not in self.run_ids:
                        self.run_ids.append(run.run_id)
                    if not self.proxy:
                        self.server_url = run.nats_url
                    if run.is_ready:
                        return
                await asyncio.sleep(0.05)

    async def _keep(self) -> None:
        """Start the supervisor again when it has ended, as systemd does."""
        while self._is_wanted:
            assert self._up is not None
            await self._up.wait()
            await asyncio.sleep(0.2)
            with contextlib.suppress(TimeoutError):
                await self._start()

    async def _stop(self) -> None:
        for process in self._replacements:
            await _end(process)
        if self._up is not None:
            await _end(self._up)

    async def leftovers(self) -> list[str]:
        """What is alive of any run after the end; then it no longer is."""
        deadline = time.monotonic() + 10
        while (found := self._alive()) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        names = []
        for process in found:
            with contextlib.suppress(psutil.Error):
                names.append(f"{process.pid} {process.name()}")
                process.kill()
        return names

    def _alive(self) -> list[psutil.Process]:
        return [process for run_id in self.run_ids for process in processes_of(run_id)]

    # ── its processes ──────────────────────────────────────────────────────────────────────────────
    @property
    def supervisor(self) -> int | None:
        """Process id of the supervisor while it runs."""
        return self._up.pid if self._up and self._up.returncode is None else None

    def processes(self) -> dict[str, psutil.Process]:
        """What the supervisor has started: roles by name, `nursery`, `server`; of a cluster `n0`, `n1` ..."""
        found: dict[str, psutil.Process] = {}
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.supervisor).children() if self.supervisor else ():
                if child.name() == "nats-server":
                    found[_server_name(child)] = child
                else:
                    found["nursery"] = child
                    for role in child.children():
                        with contextlib.suppress(psutil.Error):
                            found[role.name()] = role
        if self._server is not None and self._server.pid is not None:
            found["server"] = psutil.Process(self._server.pid)
        return found

    def process(self, name: str) -> psutil.Process | None:
        """One of `processes`; None if it does not run at this moment."""
        return self.processes().get(name)

    def dump_tasks(self) -> None:
        """Have each role write into its log what its tasks wait for."""
        for name, process in self.processes().items():
            if name in ROLES:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGUSR2)

    async def kill_server(self, name: str = "server") -> bool:
        """Kill a server. The supervisor starts its own again; ours is started again here."""
        async with self._serving:  # one that is just being started again is killed when it serves
            process = self.process(name)
            if process is None:
                return False
            with contextlib.suppress(psutil.Error):
                process.kill()
            if self._server is not None:
                await self._server.wait()
                await self._server.start()
        return True

    @contextlib.asynccontextmanager
    async def replacement(self, role: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A second process of a role, as a platform starts one that takes the first for dead."""
        url = self.proxy.url if self.proxy else self.server_url
        with (self.folder / "replacements.log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agenthub", "role", role, "--nats", url, cwd=self.folder,
                env=self._environment, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self._replacements.append(process)
        try:
            yield process
        finally:
            await _end(process)


def _server_name(process: psutil.Process) -> str:
    """`server`, or which one of a cluster it is: that is the folder of its configuration."""
    words = process.cmdline()
    folder = Path(words[words.index("-c") + 1]).parent.name if "-c" in words else ""
    return folder if re.fullmatch(r"n\d+", folder) else "server"


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(DOWN_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _write_organization(folder: Path, model_url: str) -> None:
    (folder / "roles").mkdir(parents=True, exist_ok=True)
    (folder / "agenthub.toml").write_text(_TOML.format(model_url=model_url))
    managers = {report: manager for manager, reports in MANAGERS.items() for report in reports}
    for name in ROLES:
        ours = [f"reports_to: {managers[name]}"] if name in managers else []
        ours.append("subscribe: [topics.status.deploy]" if name in ("qa", "support") else "skills: [work]")
        keys = "".join(f"  {line}\n" for line in ours)
        head = f"---\nname: {name}\ndescription: The {name} of Chaos.\nagenthub:\n{keys}---\n"
        (folder / "roles" / f"{name}.md").write_text(f"{head}You are the {name} of Chaos.\n")


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """A process that does nothing for the length of the block, as in a machine that is suspended."""
    with contextlib.suppress(psutil.Error):
        process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.Error):
            process.resume()
