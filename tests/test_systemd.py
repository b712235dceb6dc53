"""What systemd hears of a hub."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from agenthub import systemd


async def test_systemd_hears_that_it_is_ready_and_that_its_event_loop_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.bind(address)
        hears.settimeout(45)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        systemd.notify("READY=1")
        beating = asyncio.create_task(systemd.beat())
        heard = [await asyncio.to_thread(hears.recv, 100) for _ in range(3)]
        beating.cancel()
    assert heard == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


async def test_without_systemd_nobody_is_told_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
    systemd.notify("READY=1")
    await systemd.beat()
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    systemd.notify("READY=1")
