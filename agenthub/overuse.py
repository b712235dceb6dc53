"""What the kernel does not limit for all processes of a sandbox together: memory, and what they do to the disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from pathlib import Path

import psutil

from agenthub.sandbox import Sandbox

LEAST_FREE_BYTES = 1024**3
"""Processes are ended when they bring the disk below this, whoever filled it; no role works on a full disk."""
_COUNT_SHARE = 20
"""Counting the files of a workspace takes one part in so many of the time, more only if the disk shrinks."""


class Overuse:
    """What is below a process, held against the limits of its sandbox, each time that somebody looks."""

    def __init__(self, pid: int, sandbox: Sandbox) -> None:
        """From now on: what stands on the disk already does not count."""
        self._pid, self._limits = pid, sandbox.limits
        self._folders = (sandbox.workspace, *sandbox.writes)
        self._began_at_s = time.time()  # files have the wall clock's times
        self._free_bytes = self._free()
        self._least_bytes = min(LEAST_FREE_BYTES, self._free_bytes // 2)
        self._count_at_s = 0.0

    async def look(self) -> str:
        """Why the processes are to be ended; empty if they take no more than they may."""
        limits = self._limits
        if await asyncio.to_thread(_memory_bytes, self._pid) > limits.memory_bytes:
            return f"its processes took more than {limits.memory_bytes / 1024**2:.0f} MiB of memory"
        left_bytes = self._free()
        if left_bytes < self._least_bytes:
            return f"the disk has only {left_bytes // 1024**2} MiB left"
        has_shrunk = self._free_bytes - left_bytes > limits.disk_bytes
        if has_shrunk or time.monotonic() >= self._count_at_s:  # others may free meanwhile what this one fills
            counting_since_s = time.monotonic()
            if await asyncio.to_thread(self._written_bytes) > limits.disk_bytes:
                return f"it filled the disk by more than {limits.disk_bytes // 1024**2} MiB"
            self._count_at_s = time.monotonic() + _COUNT_SHARE * (time.monotonic() - counting_since_s)
            self._free_bytes = left_bytes if has_shrunk else self._free_bytes
        return ""

    def _free(self) -> int:
        return shutil.disk_usage(self._folders[0]).free

    def _written_bytes(self) -> int:
        return sum(_written_bytes(folder, self._began_at_s) for folder in self._folders)


def _memory_bytes(pid: int) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                memory = process.memory_info()
                total += memory.rss - memory.shared
    return total


def _written_bytes(folder: Path, since_s: float) -> int:
    """What the files take on disk that were changed since; the change time cannot be set by who owns a file."""
    total = 0
    for _, _, files, at in os.fwalk(folder, follow_symlinks=False):
        for name in files:
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=at, follow_symlinks=False)
                total += status.st_blocks * 512 if status.st_ctime >= since_s - 1 else 0
    return total
