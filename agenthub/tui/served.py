"""End a terminal UI that is shown in a browser when who serves it is gone, however that came.

Textual reads what a browser says from a pipe, and goes on reading at its end: a page whose server was killed would
otherwise live on, and keep a part of a core busy.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

import psutil

VARIABLE = "_AGENTHUB_SERVED_BY"
"""Environment variable that names the process that serves."""
_LOOK_EVERY_S = 1.0


def this_process() -> str:
    """What `VARIABLE` holds for pages that this process opens: numbers of processes are used again."""
    return f"{os.getpid()}:{psutil.Process().create_time()}"


def end_with_server() -> None:
    """Have this process end with the one that serves it; nothing if it is served by none."""
    pid, _, started = os.environ.get(VARIABLE, "").partition(":")
    if pid.isdecimal():
        threading.Thread(target=_watch, args=(int(pid), float(started)), name="served", daemon=True).start()


def _watch(pid: int, started: float) -> None:
    with contextlib.suppress(psutil.Error):
        server = psutil.Process(pid)
        while server.is_running() and abs(server.create_time() - started) < 1:
            time.sleep(_LOOK_EVERY_S)
    os._exit(0)  # it only watched: there is nothing to be put in order
