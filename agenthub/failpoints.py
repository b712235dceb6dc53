"""Failpoints: named places at which a process can be told to die, as by `kill -9`. For fault runs only.

A file says which: `<state>/failpoints/<process>` holds a name and, after a space, how often the place is passed
before. It is read once when the process starts, and removed before the process dies, so the next one lives.
Without the file nothing is armed, and passing a place costs a look into an empty dictionary.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum
from pathlib import Path


class Failpoint(StrEnum):
    """The places, in the order in which a message passes them."""

    TAKEN = "taken"
    TURN_OPENED = "turn.opened"
    MODEL_ASKED = "model.asked"
    MODEL_ANSWERED = "model.answered"
    """Paid, and not yet recorded."""
    ANSWER_RECORDED = "answer.recorded"
    HAND_OVER_WRITTEN = "hand.over.written"
    """The model has summed up a long conversation, and the new one is not yet recorded."""
    HAND_OVER_RECORDED = "hand.over.recorded"
    TOOL_STARTED = "tool.started"
    TOOL_FINISHED = "tool.finished"
    """Done, and not yet recorded."""
    TOOL_RECORDED = "tool.recorded"
    CHECK_RUN = "check.run"
    CHECK_RECORDED = "check.recorded"
    COPY_MADE = "copy.made"
    """A task has a working copy, and nothing was done in it."""
    COPY_FETCHED = "copy.fetched"
    """What a task made is in the repository, and its copy is still there."""
    ASK_OPENED = "ask.opened"
    """In the ledger, and nobody was asked yet."""
    ASK_SENT = "ask.sent"
    ANSWER_COLLECTED = "answer.collected"
    POLL_DECIDED = "poll.decided"
    """What a vote or an auction came to is in the ledger, and nobody was told yet."""
    AWARD_SENT = "award.sent"
    """The winner of an auction has the task, and the auction is not yet closed."""
    TURN_RECORDED = "turn.recorded"
    COMPLETION_PUBLISHED = "completion.published"
    REPLY_PUBLISHED = "reply.published"
    ASK_CLOSED = "ask.closed"
    DELAYED = "delayed"
    """A message that is tried again later is with the broker, and not yet acknowledged."""
    DEAD_END_PUBLISHED = "dead.end.published"
    DEAD_LETTER_STORED = "dead.letter.stored"
    BEFORE_ACK = "before.ack"
    REASSIGNMENT_RECORDED = "reassignment.recorded"
    """A dead role's message has its end there, and is not yet in the fallback's lane."""
    REASSIGNED = "reassigned"
    """The fallback has it, and the old delivery is not yet acknowledged."""
    SCHEDULE_DUE = "schedule.due"
    """A firing is due, and not yet in the lane."""
    SCHEDULE_FIRED = "schedule.fired"
    """A firing is in the lane, and it is not yet noted that it is."""
    MEETING_ASKED = "meeting.asked"
    """A member is asked, and it is not yet noted that all are."""
    MEETING_REPORTED = "meeting.reported"
    """The report is published, and the meeting not yet closed."""


_armed: dict[str, int] = {}
_file: Path | None = None


def arm(file: Path) -> None:
    """Read which place this process shall die at; a file that is not there arms nothing."""
    global _file
    _armed.clear()
    if file.exists():
        name, _, passes = file.read_text().strip().partition(" ")
        _file, _armed[Failpoint(name)] = file, int(passes or 0)


def reach(point: Failpoint) -> None:
    """Die here if this place is armed and has been passed often enough."""
    if not _armed or point not in _armed:
        return
    _armed[point] -= 1
    if _armed[point] < 0:
        if _file is not None:
            _file.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)
