"""What a role's own work may teach others: found by plain code in its tool calls and tasks, put to the agent.

Code sees that something happened, not why; so a candidate is never published by it. It is shown to the agent with its
next task, one at a time, each once, and the agent decides whether it is a learning. The detectors are those of
agent.ceo's learning loop (failure then success, failure again and again) and rework. Nothing here asks a model.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from agenthub.messages import Message

FAILURES = 3
"""Of the same action in one task, without a success, that are worth a thought."""
_MOST_WAITING = 10
_MOST_KNOWN = 500
_NUMBERS = re.compile(r"\d+")
_OWN = frozenset(
    ["finish", "delegate", "call_vote", "auction", "send", "report_status", "yield_turn", "ask_human", "share_learning"]
)


class Step(NamedTuple):
    """A tool call and whether it failed."""

    tool: str
    what: str
    """The call in a few words."""
    is_error: bool

    @property
    def signature(self) -> str:
        """The same for the same action, whatever numbers are in it."""
        return f"{self.tool} {_NUMBERS.sub('#', self.what)[:120]}".strip()


class Candidate(NamedTuple):
    """Something that may be a learning."""

    signature: str
    text: str
    """What the host saw, for the agent."""
    task: str
    """Id of the task in which it did: the evidence."""


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
    """Keeps what was seen in a role's work until it is shown to the agent."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._waiting: deque[Candidate] = deque(maxlen=_MOST_WAITING)
        self._known: dict[str, None] = {}
        self._done: dict[tuple[str, str], str] = {}

    def acted(self, step: Step) -> None:
        """Take note of a tool call."""
        self._steps.append(step)

    def ended(self, task: Message, *, is_done: bool) -> None:
        """Look at what was done for a task that has ended."""
        for candidate in in_steps(self._steps, task.id):
            self._keep(candidate)
        self._steps.clear()
        if is_done and task.type == "task_assignment":
            self._done[task.trace_id, task.from_role] = task.id
            while len(self._done) > _MOST_KNOWN:
                del self._done[next(iter(self._done))]

    def arrived(self, task: Message) -> None:
        """Look whether a task asks anew for what its sender was told is done."""
        before = self._done.get((task.trace_id, task.from_role))
        if before is not None and before != task.id and task.type == "task_assignment":
            text = f"{task.from_role} asks again, in the same trace, after you had reported that it was done: rework"
            self._keep(Candidate(f"rework {before}", text, before))

    def take(self) -> Candidate | None:
        """The next candidate for the agent to look at; each is given once."""
        return self._waiting.popleft() if self._waiting else None

    def _keep(self, candidate: Candidate) -> None:
        if candidate.signature in self._known:
            return
        self._known[candidate.signature] = None
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._waiting.append(candidate)


def _shown(step: Step) -> str:
    return f"{step.tool} {step.what}"[:120].strip().replace("`", "'")
