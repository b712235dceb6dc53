"""The tool to run commands, each in a sandbox of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from agenthub.errors import RefusedError
from agenthub.sandbox import INSIDE, Sandbox, isolation, own, shell
from agenthub.sessions.session import Repeat, Tool, ToolCall, ToolOutcome
from agenthub.tools.commands import Finished, run
from agenthub.tools.workplace import Workplace

RUN_COMMAND = "run_command"


class RunCommand(BaseModel):
    model_config = ConfigDict(extra="forbid")
    command: str = Field(description="What the shell shall run, for example `pytest -q tests`.", max_length=20_000)
    timeout_s: float | None = Field(default=None, gt=0, description="Seconds; less than your limit, if it counts.")


def shell_tools(sandbox: Sandbox, place: Workplace) -> list[Tool]:
    """The tool to run commands in a sandbox, at the place of the task. It may act twice if it is called twice."""
    owned: set[Path] = set()

    async def run_command(arguments: RunCommand, call: ToolCall) -> ToolOutcome:
        can = isolation()
        if can.remedy:
            raise RefusedError(
                f"No command is run on this machine: {can.found}. The operator can mend it: {can.remedy}, then "
                "restart. Work without commands, or finish with `needs_human`."
            )
        if "\0" in arguments.command:
            raise RefusedError("A command has no NUL characters.")
        command = [shell(), "-c", arguments.command.encode(errors="replace").decode()]
        limits = sandbox.limits
        timeout_s = min(arguments.timeout_s or limits.timeout_s, limits.timeout_s)
        at = sandbox._replace(workspace=await place.folder(call.task), reads=place.reads)
        if at.workspace not in owned:
            own(at.workspace, at)
            owned.add(at.workspace)
        return _outcome(await run(command, at, timeout_s=timeout_s, interrupted=call.interrupted))

    def patience_s(arguments: Any) -> float:
        return min(arguments.timeout_s or sandbox.limits.timeout_s, sandbox.limits.timeout_s)

    network = "the network" if sandbox.has_network else "no network"
    return [
        Tool(
            RUN_COMMAND,
            f"Run a shell command in your workspace, which is {INSIDE} there. It has {network} and nothing to read "
            f"from, may take {sandbox.limits.timeout_s:g} s, and nothing that it started runs on when it ends. "
            "Only what it leaves in the workspace stays.",
            RunCommand,
            run_command,
            repeat=Repeat.UNSAFE,
            changes=True,
            describe=lambda a: " ".join(a.command.split())[:120],
            patience_s=patience_s,
        )
    ]


def _outcome(finished: Finished) -> ToolOutcome:
    took = f"{finished.duration_s:.1f} s"
    end = f"killed after {took}: {finished.stopped}" if finished.stopped else f"exit code {finished.exit_code}, {took}"
    text = finished.output.rstrip("\n")
    return ToolOutcome(
        f"{text}\n[{end}]" if text else f"(no output)\n[{end}]",
        is_error=bool(finished.stopped or finished.exit_code),
        summary=end,
    )
