"""The terminal UI under load: 50 roles and 200 events a second; its CPU, and how soon a key press is on the screen."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable

import psutil

from agenthub import subjects
from agenthub.bus.connecting import connect
from agenthub.messages import Event, Usage, new_id, now
from agenthub.org.registry import Registry
from agenthub.presence import Heartbeat
from bench.children import Job, environment, running
from bench.hub import Hub, empty_folder, open_hub
from bench.table import Result

ROLES = tuple(f"role-{number:02}" for number in range(50))
EVENTS_A_SECOND = 200
_BEAT_S = 2.0
_OVER_S = 6.0
_PRESSES = 6
_WITHIN_S = 20.0
_SIZE = (42, 168)
_VIEWS = ((b"2", b"nothing is taken by looking"), (b"1", b"needs you first"))
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][0-9A-B]|\x1b[=>]")


async def measure(rounds: int = 3) -> list[Result]:
    """CPU of the terminal UI at rest and under load as a share of a core, and the wait from a key to its view."""
    resting, loaded, waits = [], [], []
    with empty_folder() as folder:
        async with open_hub(folder, ROLES) as hub, running(Job(beat, (hub.server.url,))):
            for _ in range(rounds):
                async with screen(hub) as seen:
                    resting.append(await seen.share())
                    async with running(Job(happen, (hub.server.url,))):
                        await asyncio.sleep(1.0)  # it has begun
                        loaded.append(await seen.share())
                        waits.append(statistics.median([await seen.press(*view) for view in _VIEWS * _PRESSES]) * 1000)
    return [
        Result("tui, 50 roles at rest, CPU", "% of a core", resting, [], None, is_at_least=False),
        Result("tui, 50 roles and 200 events/s, CPU", "% of a core", loaded, [], 25.0, is_at_least=False),
        Result("tui, key press to its view under that load", "ms", waits, [], 100.0, is_at_least=False),
    ]


async def beat(stop: asyncio.Event, url: str) -> None:
    """Every role gives signs of life, a fifth of them at work."""
    async with connect(url, name="beats") as bus:
        registry, since = Registry(bus), now()
        while not stop.is_set():
            for number, role in enumerate(ROLES):
                state, doing = ("working", "write the migration and its tests") if number % 5 == 0 else ("idle", "")
                mark = Heartbeat(
                    role=role, state=state, doing=doing, since=since, beat_at=now(), started_at=since, pid=number,
                    host="bench", usage_today=Usage(calls=number, cost_usd=number / 10), context_tokens=number * 1000,
                    context_window=200_000,
                )  # fmt: skip
                await registry.put(role, mark, every_s=_BEAT_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEAT_S):
                    await stop.wait()


async def happen(stop: asyncio.Event, url: str) -> None:
    """Events of all roles at an even pace."""
    kinds = ("taken", "step", "step", "sent", "completed")
    async with connect(url, name="events") as bus:
        begun, number = time.monotonic(), 0
        while not stop.is_set():
            role, kind = ROLES[number % len(ROLES)], kinds[number % len(kinds)]
            event = Event(kind=kind, role=role, at=now(), text=f"run_command pytest -q tests/part_{number}",
                          message_id=new_id(), data={"tool": "run_command", "outcome": "done"})  # fmt: skip
            await bus.tell(subjects.event(kind, role), event.encode())
            number += 1
            await asyncio.sleep(max(0.0, begun + number / EVENTS_A_SECOND - time.monotonic()))


class Screen:
    """`agenthub tui` in a terminal of its own."""

    def __init__(self, process: psutil.Process, terminal: int) -> None:
        self._process, self._terminal = process, terminal
        self._drawn = b""
        self._more = asyncio.Event()

    def read(self) -> None:
        with contextlib.suppress(OSError):
            self._drawn = self._drawn[-1_000_000:] + os.read(self._terminal, 1 << 20)
        self._more.set()

    async def until(self, is_there: Callable[[bytes], bool]) -> None:
        """Return as soon as what was drawn since the last key is like that."""
        async with asyncio.timeout(_WITHIN_S):
            while not is_there(_ESCAPES.sub(b"", self._drawn)):
                self._more.clear()
                await self._more.wait()

    async def press(self, key: bytes, words: bytes) -> float:
        """Press a key; seconds until these words are drawn."""
        self._drawn = b""
        began = time.perf_counter()
        os.write(self._terminal, key)
        await self.until(lambda drawn: words in drawn)
        return time.perf_counter() - began

    async def share(self) -> float:
        """CPU over some seconds, in percent of a core."""
        before, began = self._process.cpu_times(), time.monotonic()
        await asyncio.sleep(_OVER_S)
        after, ended = self._process.cpu_times(), time.monotonic()
        return 100 * (after.user + after.system - before.user - before.system) / (ended - began)


@contextlib.asynccontextmanager
async def screen(hub: Hub) -> AsyncIterator[Screen]:
    """The terminal UI, once it shows all roles."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *_SIZE, 0, 0))
    process = subprocess.Popen(  # noqa: ASYNC220  # it returns as soon as it is forked
        [sys.executable, "-m", "agenthub", "tui", "--config", str(hub.settings.config), "--nats", hub.server.url],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**environment(), "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )  # fmt: skip
    os.close(theirs)
    loop = asyncio.get_running_loop()
    seen = Screen(psutil.Process(process.pid), ours)
    loop.add_reader(ours, seen.read)
    try:
        await seen.until(lambda drawn: b"role-00" in drawn and b"working" in drawn)
        yield seen
    finally:
        loop.remove_reader(ours)
        process.kill()
        await asyncio.to_thread(process.wait)
        os.close(ours)
