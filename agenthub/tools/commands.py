"""Runs one command in a sandbox to its end, and sees to it that nothing of it is left.

Whatever ends it (the command itself, the time, a limit, the turn, this process): when `run` returns or raises, all
that the command started is gone, since everything inside ends with the first process there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from agenthub.overuse import Overuse
from agenthub.sandbox import Sandbox, environment

HEAD_BYTES = 8_000
TAIL_BYTES = 16_000
MAX_OUTPUT_BYTES = 256 * 1024**2
"""What writes more than this is taken for a flood and ended."""
_READ_BYTES = 64 * 1024
_LOOK_EVERY_S = 0.2
_GONE_WITHIN_S = 10.0


class Finished(NamedTuple):
    """How a command ended."""

    exit_code: int
    """128 and more: ended by a signal, as in a shell."""
    output: str
    """What it wrote on both its outputs, in order; the middle is left out if it is long."""
    duration_s: float
    stopped: str = ""
    """Why it was ended before it was through; empty: it ended by itself."""


class Output:
    """The beginning and the end of a stream of any length."""

    def __init__(self, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._head_bytes, self._tail_bytes = head_bytes, tail_bytes
        self.size_bytes = 0

    def add(self, data: bytes) -> None:
        self.size_bytes += len(data)
        room = self._head_bytes - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._tail_bytes:
            del self._tail[: -self._tail_bytes]

    def text(self) -> str:
        """What there was, and in the middle how much was left out."""
        tail = self._tail[-self._tail_bytes :]
        left_out = self.size_bytes - len(self._head) - len(tail)
        if not left_out:
            return (self._head + tail).decode(errors="replace")
        middle = f"\n[... {left_out:,} bytes left out; write to a file and search it to see them ...]\n"
        return self._head.decode(errors="replace") + middle + tail.decode(errors="replace")


async def run(
    command: Sequence[str], sandbox: Sandbox, *, timeout_s: float = math.inf, interrupted: asyncio.Event | None = None
) -> Finished:
    """Run a program with its arguments in a sandbox.

    Args:
        timeout_s: Less than the sandbox's own limit, if it counts.
        interrupted: Ends the command when it is set.
    """
    limits = sandbox.limits._replace(timeout_s=min(timeout_s, sandbox.limits.timeout_s))
    left = asyncio.Event()
    # Never cancelled itself: a start that is cut off half-way would leave what it started behind.
    running = asyncio.create_task(_run(command, sandbox._replace(limits=limits), interrupted, left), name="command")
    try:
        return await asyncio.shield(running)
    finally:
        left.set()
        await asyncio.wait([running])


async def _run(
    command: Sequence[str], sandbox: Sandbox, interrupted: asyncio.Event | None, left: asyncio.Event
) -> Finished:
    began_at_s, output = time.monotonic(), Output()
    with _pipe() as (info, info_writes):
        process = await asyncio.create_subprocess_exec(
            *sandbox.argv(command, info_fd=info_writes.fileno()),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=environment(), cwd="/", pass_fds=[info_writes.fileno()], start_new_session=True,
        )  # fmt: skip
        info_writes.close()
        inside = await _first_process(info.fileno())
    try:
        stopped = await _until_over(process, output, sandbox, [left, *([interrupted] if interrupted else [])])
    finally:
        await _end(process, inside)
    code = process.returncode or 0
    return Finished(128 - code if code < 0 else code, output.text(), time.monotonic() - began_at_s, stopped)


async def _until_over(
    process: asyncio.subprocess.Process, output: Output, sandbox: Sandbox, ends: Sequence[asyncio.Event]
) -> str:
    """Take in the output until the command is over; why, if it did not end by itself."""
    limits = sandbox.limits
    reading = asyncio.create_task(_read(process, output), name="read command")
    watching = asyncio.create_task(_watch(process.pid, sandbox), name="watch command")
    waiting = [asyncio.create_task(event.wait(), name="command interrupted") for event in ends]
    tasks: set[asyncio.Task[Any]] = {reading, watching, *waiting}
    try:
        done, _ = await asyncio.wait(tasks, timeout=limits.timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return f"it took longer than {limits.timeout_s:g} s"
        if reading in done:
            return reading.result()
        return watching.result() if watching in done else "the turn was interrupted"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(process: asyncio.subprocess.Process, output: Output) -> str:
    assert process.stdout is not None
    while data := await process.stdout.read(_READ_BYTES):
        output.add(data)
        if output.size_bytes > MAX_OUTPUT_BYTES:
            return f"it wrote more than {MAX_OUTPUT_BYTES // 1024**2} MiB of output"
        await asyncio.sleep(0)  # a read that finds something does not let others run
    await process.wait()
    return ""


async def _watch(pid: int, sandbox: Sandbox) -> str:
    """Why the command is to be ended; runs until it is."""
    overuse, why = Overuse(pid, sandbox), ""
    while not why:
        await asyncio.sleep(_LOOK_EVERY_S)
        why = await overuse.look()
    return why


# ── the end ────────────────────────────────────────────────────────────────────────────────────────
async def _first_process(info: int) -> int | None:
    """A pidfd of the first process inside; None if it is gone, or never came to be."""
    said = b""
    while await _readable(info) and (data := os.read(info, 4096)):
        said += data
        with contextlib.suppress(json.JSONDecodeError):
            pid = json.loads(said)["child-pid"]
            with contextlib.suppress(ProcessLookupError):
                return os.pidfd_open(pid)
            return None
    return None


async def _end(process: asyncio.subprocess.Process, inside: int | None) -> None:
    """Kill what is left, and come back when it is gone: the first process inside ends as the last."""
    try:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if inside is not None:  # one that has only just begun does not end with bubblewrap yet, and waits for it
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(inside, signal.SIGKILL)
        assert process.stdout is not None
        while await process.stdout.read(_READ_BYTES):  # a full pipe would keep `wait` from coming back
            pass
        await process.wait()
        if inside is not None:
            async with asyncio.timeout(_GONE_WITHIN_S):
                await _readable(inside)
    finally:
        if inside is not None:
            os.close(inside)


async def _readable(descriptor: int) -> bool:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        return await ready.wait()
    finally:
        loop.remove_reader(descriptor)


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb", buffering=0) as out, os.fdopen(writes, "wb", buffering=0) as into:
        yield out, into
