"""What systemd is told: ready, stopping, alive. Without it nothing happens.

Protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket


def notify(state: str) -> None:
    """Tell systemd something, for example `READY=1`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending,
    ):
        sending.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


async def beat() -> None:
    """Tell systemd that the event loop turns, twice as often as its `WatchdogSec=` asks for; until cancelled."""
    every_s = float(os.environ.get("WATCHDOG_USEC") or 0) / 2e6
    while every_s > 0:
        notify("WATCHDOG=1")
        await asyncio.sleep(every_s)
