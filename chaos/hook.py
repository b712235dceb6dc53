"""What the run adds to the role processes: a tool whose effects can be counted, and rules that are broken on purpose.

The product knows nothing of this. `environment` gives every Python process below it a `sitecustomize` that calls
`install`, which does nothing but in a nursery or a role process.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = "CHAOS_EFFECTS"
BREAK = "CHAOS_BREAK"
STALL_S = 5.0
"""How long a role waits for a model that has fallen silent; two minutes would be longer than most of a run."""

STILL = "and stand still"
"""A line behind which a role stands still, once, if its `stand_still` says so; somebody else wakes it."""

SLOW_S = 8.0
"""A role that takes longer to stop says what it waits for."""

BROKEN = {
    "ack-first": "a delivery is acknowledged before anything of it is recorded",
    "random-ids": "what a turn sends has a new id each time instead of a derived one",
    "no-fence": "a process that lost its role goes on",
}
"""Rules that can be broken, to see that the checker sees it."""


def environment(folder: Path, *, broken: str = "") -> dict[str, str]:
    """Variables under which role processes get the hook; writes what they import into `folder`."""
    hook = folder / "hook"
    hook.mkdir(parents=True, exist_ok=True)
    (hook / "sitecustomize.py").write_text("import chaos.hook\n\nchaos.hook.install()\n")
    effects = folder / "effects"
    effects.mkdir(exist_ok=True)
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(hook), str(root), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    return {"PYTHONPATH": path, FOLDER: str(effects), BREAK: broken}


def stand_still(folder: Path, role: str) -> Path:
    """The file that tells a role to stand still in the middle of its work; it is gone once it does."""
    return effects_of(folder, role).with_suffix(".still")


def effects_of(folder: Path, role: str) -> Path:
    """Where the lines are that a role appended: each its moment, process, key and text."""
    return folder / "effects" / f"{role}.log"


def install() -> None:
    """Change this process if it is one that roles live in."""
    words = sys.orig_argv
    if FOLDER not in os.environ or not (any("agenthub.nursery" in word for word in words) or "role" in words):
        return
    runtime: Any = importlib.import_module("agenthub.runtime")
    equipment: Any = importlib.import_module("agenthub.equipment")
    effects = Path(os.environ[FOLDER])
    tools = equipment.role_tools
    equipment.role_tools = lambda role, place, **more: [
        *tools(role, place, **more), _append_line(effects / f"{role.name}.log"),
    ]  # fmt: skip
    equipment.AnthropicModel = functools.partial(equipment.AnthropicModel, no_event_s=STALL_S)
    runtime.run_role = _dumping(runtime.run_role)
    _break(os.environ.get(BREAK, ""))


def _dumping(run_role: Any) -> Any:
    """`run_role` in a process that says on SIGUSR2, or if it is slow to stop, what each of its tasks waits for."""

    async def run(place: Any, *, stop: asyncio.Event, **named: Any) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, dump)
        watching = asyncio.create_task(watch(stop))
        try:
            await run_role(place, stop=stop, **named)
        finally:
            watching.cancel()

    async def watch(stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.sleep(SLOW_S)
        dump()

    def dump() -> None:
        for task in asyncio.all_tasks():
            task.print_stack()

    return run


def _append_line(log: Path) -> Any:
    """A tool that must not be repeated: each call leaves a line with its moment, process and key."""
    from pydantic import BaseModel

    from agenthub.sessions.session import Repeat, Tool, ToolCall, ToolOutcome

    class AppendLine(BaseModel):
        text: str

    async def append_line(arguments: AppendLine, call: ToolCall) -> ToolOutcome:
        line = f"{time.time():.6f} {os.getpid()} {call.key} {arguments.text}\n"
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
        if arguments.text == STILL:
            with contextlib.suppress(FileNotFoundError):
                log.with_suffix(".still").unlink()
                os.kill(os.getpid(), signal.SIGSTOP)
        return ToolOutcome("Appended.")

    return Tool("append_line", "Append a line, for good.", AppendLine, append_line, repeat=Repeat.UNSAFE)


def _break(rule: str) -> None:
    from agenthub.bus.buckets import Lease
    from agenthub.bus.deliveries import Delivery
    from agenthub.loop import Loop
    from agenthub.messages import new_id
    from agenthub.sessions.journal import Journal

    match rule:
        case "ack-first":
            handle = Loop.handle

            async def acknowledge_first(self: Loop, delivery: Delivery) -> bool:
                await delivery.ack()
                return await handle(self, delivery)

            Loop.handle = acknowledge_first  # type: ignore[method-assign]
        case "random-ids":
            coordination: Any = importlib.import_module("agenthub.coordination")
            coordination.derived_id = lambda *parts: new_id()
        case "no-fence":

            async def ensure(self: Lease) -> None:
                return None

            async def keep(self: Lease) -> None:
                await _for_ever()

            Journal.check_alone = lambda self: None  # type: ignore[method-assign]
            Lease.ensure = ensure  # type: ignore[method-assign]
            Lease.keep = keep  # type: ignore[method-assign]
            Lease.is_held = property(lambda self: True)  # type: ignore[assignment,method-assign]


async def _for_ever() -> None:
    await asyncio.Event().wait()
