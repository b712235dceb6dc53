"""What a role's own work may teach others: found by plain code in its tool calls and tasks, put to the agent.

Code sees that something happened, not why; so a candidate is never published by it. It is shown to the agent with its
next task, one at a time, each once, and the agent decides whether it is a learning. The detectors are those of
agent.ceo's learning loop (failure then success, failure again and again) and rework. Nothing here asks a model.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence

from agenthub.messages import Message
from agenthub.org.own_work import Candidate, OwnWork, Step

logger = logging.getLogger(__name__)

_KEEPING_ERRORS = (sqlite3.Error, OSError)
FAILURES = 3
"""Of the same action in one task, without a success, that are worth a thought."""
_OWN = frozenset(
    ["finish", "delegate", "call_vote", "auction", "send", "report_status", "yield_turn", "ask_human", "share_learning"]
)


def in_steps(steps: Sequence[Step], task: str) -> list[Candidate]:
    """Candidates in the tool calls of one task."""
    found = []
    acts = [step for step in steps if step.tool not in _OWN]
    for signature in dict.fromkeys(step.signature for step in acts if step.is_error):
        at = [number for number, step in enumerate(acts) if step.signature == signature]
        failed = [number for number in at if acts[number].is_error]
        mended = next((number for number in at if number > failed[0] and not acts[number].is_error), None)
        if mended is not None:
            between = [one for one in acts[failed[0] + 1 : mended] if one.signature != signature and not one.is_error]
            how = f" after {', '.join(f'`{_shown(one)}`' for one in between[-3:])}" if between else ""
            found.append(Candidate(signature, f"`{_shown(acts[mended])}` failed and then worked{how}", task))
        elif len(failed) >= FAILURES:
            text = f"`{_shown(acts[failed[-1]])}` failed {len(failed)} times and never worked"
            found.append(Candidate(signature, text, task))
    return found


class Watch:
    """Keeps what was seen in a role's work until it is shown to the agent, also over a restart.

    It must never end a turn: what cannot be kept, as on a full disk, is logged and forgotten.
    """

    def __init__(self, kept: OwnWork) -> None:
        self._kept = kept

    def close(self) -> None:
        self._kept.close()

    def acted(self, task: Message, step: Step) -> None:
        """Take note of a tool call."""
        if step.tool not in _OWN:
            try:
                self._kept.acted(task.id, step)
            except _KEEPING_ERRORS as error:
                _log(error)

    def ended(self, task: Message, *, is_done: bool) -> None:
        """Look at what was done for a task that has ended."""
        try:
            if steps := self._kept.steps(task.id):
                self._kept.ended(task.id, in_steps(steps, task.id))
            if is_done and task.type == "task_assignment":
                self._kept.reported_done(task)
        except _KEEPING_ERRORS as error:
            _log(error)

    def begins(self, task: Message) -> Candidate | None:
        """The candidate for the agent to look at with a task that begins; each is given with one task.

        Before that it looks whether the task asks anew for what its sender was told is done.
        """
        try:
            if not self._kept.has_something_for(task):
                return None
            before = self._kept.done_before(task) if task.type == "task_assignment" else ""
            if before:
                asks = f"{task.from_role} asks again, in the same trace"
                text = f"{asks}, after you had reported that it was done: rework"
                self._kept.keep(Candidate(f"rework {before}", text, before))
            return self._kept.take(task.id)
        except _KEEPING_ERRORS as error:
            _log(error)
            return None


def _log(error: Exception) -> None:
    logger.error("what a role's own work shows is not kept: %s", error)


def _shown(step: Step) -> str:
    return f"{step.tool} {step.what}"[:120].strip().replace("`", "'")
