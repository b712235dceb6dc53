"""Runs the command by which a task is checked: where the role's own commands run, and only if its rules allow it."""

from __future__ import annotations

from collections.abc import Callable

from agenthub.acceptance import RunCheck
from agenthub.messages import Check
from agenthub.sandbox import Sandbox, isolation, own, shell
from agenthub.sessions.session import ToolCall
from agenthub.tools.commands import run
from agenthub.tools.permits import Permits
from agenthub.tools.shell import RUN_COMMAND
from agenthub.tools.workplace import Workplace

MAX_SHOWN_CHARACTERS = 6_000
"""Of the output of a check: its end says what failed."""


def checking(sandbox: Sandbox | None, place: Workplace, permits: Permits, *, mask: Callable[[str], str]) -> RunCheck:
    """How the checks of a role are run.

    Args:
        place: Where its tools work.
        sandbox: How its commands run. None: it has no shell, and nobody can have it run one.
        mask: Takes secrets out of what a check shows.
    """

    async def run_check(command: str, call: ToolCall) -> Check:
        if why := _refusal(command, sandbox, permits):
            return Check(command=command, problem=f"was not run: {why}")
        assert sandbox is not None
        at = sandbox._replace(workspace=await place.folder(call.task), reads=place.reads)
        own(at.workspace, at)
        argv = [shell(), "-c", command.encode(errors="replace").decode()]
        finished = await run(argv, at, interrupted=call.interrupted)
        output = mask(finished.output.strip())
        if (more := len(output) - MAX_SHOWN_CHARACTERS) > 0:
            output = f"[... {more:,} characters left out ...]\n{output[more:]}"
        problem = f"was ended: {finished.stopped}" if finished.stopped else ""
        return Check(command=command, exit_code=finished.exit_code, output=output, problem=problem)

    return run_check


def _refusal(command: str, sandbox: Sandbox | None, permits: Permits) -> str:
    if sandbox is None:
        return "the role has no shell"
    if "\0" in command:
        return "a command has no NUL characters"
    return permits.refusal(RUN_COMMAND, {"command": command}) or (isolation().found if isolation().remedy else "")
