"""The fork floor: import what a role imports, fork, and have each child connect and write one heartbeat.

Run as `python -m bench.fork_floor <url> <number>`; says `ready` on stdout and ends on SIGTERM, children first.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

gc.disable()  # as the nursery does

import nats  # noqa: E402

from agenthub.cradle import die_with_parent  # noqa: E402
from agenthub.nursery import preload  # noqa: E402

BUCKET = "floor"


def main() -> None:
    url, number = sys.argv[1], int(sys.argv[2])
    preload()
    reading, writing = os.pipe()
    children = []
    die = die_with_parent()
    for key in range(number):
        pid = os.fork()
        if pid == 0:
            try:
                if die is not None:
                    die()
                asyncio.run(_beat(url, key, writing))
            finally:
                os._exit(1)
        children.append(pid)

    def end(*_: object) -> None:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    said = b""
    while len(said) < number:
        said += os.read(reading, number)
    print("ready", flush=True)
    signal.pause()


async def _beat(url: str, key: int, writing: int) -> None:
    nc = await nats.connect(url, name=f"floor {key}")
    await nc.jetstream().publish(f"$KV.{BUCKET}.{key}", b'{"state": "idle"}')
    os.write(writing, b".")
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
