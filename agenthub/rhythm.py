"""What recurs in a process recurs in the same moments: an idle one then wakes once for all of it, and the server too.

A wake-up costs an idle process more than what it does then, and a server several: for the packet, and for the answer.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import zlib

_GOLDEN = 0.6180339887  # spreads processes, whose ids are neighbours, over the time between two moments
_SPREAD_S = 5.0
_SAME, _SAME_S = 0.01, 0.01
"""Whoever asks so shortly before a moment, as a share of the distance and in seconds, was woken for it, a little early.
No more: what must be done again before its time is over may be set to hardly less than that."""


def until_next_s(every_s: float) -> float:
    """Seconds to the next of this process's moments, which are `every_s` apart; hardly more than `every_s`.

    The moments of a distance are among those of each distance that divides it. Those of other processes are others: all
    at once would be a burst.
    """
    shift_s = _share(socket.gethostname(), os.getpid()) * _SPREAD_S
    left_s = every_s - (asyncio.get_running_loop().time() - shift_s) % every_s
    return left_s if left_s > min(_SAME * every_s, _SAME_S) else left_s + every_s


@functools.cache
def _share(host: str, pid: int) -> float:
    """Where between two moments of others this process has its own; in containers only the host is another."""
    return (zlib.crc32(host.encode()) / 2**32 + pid * _GOLDEN) % 1.0


async def next_moment(every_s: float) -> None:
    """Return at the next of this process's moments, which are `every_s` apart."""
    await asyncio.sleep(until_next_s(every_s))
