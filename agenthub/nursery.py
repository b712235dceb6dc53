"""The nursery: a process that has imported everything once and forks role processes from itself.

A fork shares what was imported, so eleven roles are ready in the time of one and cost a fifth of the
memory. `gc.freeze()` before the first fork keeps the collector from undoing that. The cradle starts the
nursery with one end of a pipe; on it the supervisor says where to log, and then what to fork, and is told what
ended. When the pipe closes, the supervisor is gone and everything here ends.

This process has no event loop and no threads: both would break in a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from agenthub.cradle import die_with_parent
from agenthub.equipment import secrets_of
from agenthub.errors import (
    AgenthubError,
    ConfigError,
    HubUnreachableError,
    LeaseLostError,
    RestartAskedError,
    StalledError,
)
from agenthub.forks import (
    EXIT_AWAY,
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_RESTART,
    EXIT_STALLED,
    Ended,
    Fork,
    Signal,
    Started,
)
from agenthub.logs import log_to_file
from agenthub.runtime import RolePlace, run_role, stop_on_signals

_STOP_WITHIN_S = 30.0
_STOPPING = (signal.SIGTERM, signal.SIGINT)


def preload() -> None:
    """Import what every role needs, once; then keep the collector's hands off it.

    The caller has disabled the collector: while importing it takes a fifth of the time and finds next to nothing.
    """
    import genai_prices.data
    import genai_prices.data_snapshot
    import genai_prices.decompose
    import genai_prices.validation  # noqa: F401
    import nkeys  # noqa: F401  # each role connects with a key, and signs

    from agenthub import logs
    from agenthub.sessions import anthropic

    logs.preload()
    anthropic.preload()
    gc.freeze()
    gc.enable()


def main() -> None:
    """The process: fork on demand, report ends, end with the supervisor."""
    connection = Connection(int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        preload()
    finally:  # what is wrong with the preload is said in the log, too
        _log_to(connection)
    signal.signal(signal.SIGTERM, lambda *_: connection.close())
    connection.send("ready")
    children: dict[int, str] = {}
    with selectors.DefaultSelector() as selector, contextlib.suppress(EOFError, OSError, ValueError):
        selector.register(connection.fileno(), selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            selector.select()
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
            while connection.poll():
                _obey(connection.recv(), connection, children)
            for pid, status in _reap():
                connection.send(Ended(children.pop(pid, "?"), pid, status))
            if connection.closed:
                break
    _end(children)


def _log_to(connection: Connection) -> None:
    """Have all that this process says written to the file that the supervisor names first."""
    try:
        log: Path = connection.recv()
    except (EOFError, OSError):  # no hub was to be started, after all
        os._exit(0)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def _obey(order: Fork | Signal, connection: Connection, children: dict[int, str]) -> None:
    if isinstance(order, Signal):
        if order.pid in children:  # not reaped yet: the number cannot belong to somebody else
            os.kill(order.pid, order.number)
        return
    die = die_with_parent()
    # A signal that came before the fork has its own handlers would run those of the nursery, and be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    pid = os.fork()
    if pid == 0:
        status = EXIT_FAILED
        try:
            if die is not None:
                die()
            connection.close()
            status = _live(order)
        finally:
            os._exit(status)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    children[pid] = order.key
    connection.send(Started(order.key, pid))


def _live(order: Fork) -> int:
    """What a forked process does; its exit status."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    log = order.settings.state / "logs" / f"{order.key}.log"
    secrets = secrets_of(order.settings, order.organization, order.role) if order.role else None
    log_to_file(
        log, order.settings.log_level, form=order.settings.log_format,
        bound={"org": order.organization.org, "role": order.key}, secrets=secrets,
    )  # fmt: skip
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable()
    set_title(f"agenthub: {order.key}")
    work: Callable[[asyncio.Event], Any]
    if order.kind == "rehearsal":
        from agenthub.rehearsal.server import serve

        def work(stop: asyncio.Event) -> Any:
            settings = order.settings
            return serve(
                port=order.port, seed=settings.rehearsal_seed, speed=settings.rehearsal_speed,
                ready=lambda url: None, stop=stop,
            )  # fmt: skip
    else:
        place = RolePlace(order.settings, order.organization, order.role, order.replica)

        def work(stop: asyncio.Event) -> Any:
            return run_role(place, stop=stop)

    return run_until_stopped(work)


def run_until_stopped(work: Callable[[asyncio.Event], Any]) -> int:
    """Run `work(stop)` where SIGTERM and SIGINT set `stop`; the exit status, with the reason in the log."""

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        await work(stop)

    logger = logging.getLogger("agenthub")
    try:
        asyncio.run(run())
    except BaseExceptionGroup as group:
        return _status_of(group, logger)
    except AgenthubError as error:
        return _status_of(error, logger)
    except Exception:
        logger.exception("ended by a bug")
        return EXIT_FAILED
    return 0


def _status_of(error: BaseException, logger: logging.Logger) -> int:
    """The exit status for what ended a process, said in the log."""
    if isinstance(error, BaseExceptionGroup):
        return max(_status_of(one, logger) for one in error.exceptions)
    if isinstance(error, AgenthubError):
        level = logging.INFO if isinstance(error, RestartAskedError) else logging.ERROR
        logger.log(level, "ended: %s", error)
        if isinstance(error, HubUnreachableError | LeaseLostError):
            return EXIT_AWAY
        if isinstance(error, StalledError):
            return EXIT_STALLED
        if isinstance(error, RestartAskedError):
            return EXIT_RESTART
        return EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
    logger.error("ended by a bug", exc_info=error)
    return EXIT_FAILED


def set_title(title: str) -> None:
    """Name this process for `ps` and `top` (Linux; 15 characters in `comm`)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(title.removeprefix("agenthub: ")[:15])


def _reap() -> list[tuple[int, int]]:
    ended = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended.append((pid, os.waitstatus_to_exitcode(status)))
    return ended


def _end(children: dict[int, str]) -> None:
    """The supervisor is gone: let each process finish its message, then end what is left."""
    for number, within_s in ((signal.SIGTERM, _STOP_WITHIN_S), (signal.SIGKILL, 5.0)):
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + within_s
        while children and time.monotonic() < deadline:
            for pid, _ in _reap():
                children.pop(pid, None)
            time.sleep(0.02)
