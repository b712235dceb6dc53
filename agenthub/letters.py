"""Dead letters: what is kept of a message that was buried, and the rules by which one gets another life.

A replay is a new message that derives from the old one. It speaks for the same sender: a letter that was buried
because somebody pretended to be another stays buried, whoever replays it.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agenthub import subjects
from agenthub.errors import MessageError, RefusedError
from agenthub.messages import Message, Moment, derived_id

LONGEST_REASON = 500


class Life(BaseModel):
    """How a message ended before it was replayed."""

    model_config = ConfigDict(frozen=True, extra="allow")

    message_id: str
    reason: str = ""
    attempts: int = 1
    buried_at: Moment


class Replay(BaseModel):
    """A mark on a letter: it was given another life."""

    model_config = ConfigDict(frozen=True, extra="allow")

    message_id: str
    role: str
    number: int
    """The first replay of a letter is 1."""
    new_id: str
    replayed_at: Moment
    edited: bool = False
    """True if its body was replaced."""


class DeadLetter(BaseModel):
    """A buried message: what came, what was wrong, how often it was tried."""

    model_config = ConfigDict(frozen=True, extra="allow")

    message_id: str
    role: str
    reason: str
    traceback: str = ""
    attempts: int = 1
    buried_at: Moment
    stored_at: Moment
    stream: str
    sequence: int
    subject: str
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    """The message as text, if it is UTF-8."""
    body_base64: str | None = None
    """The message's bytes otherwise."""
    history: list[dict[str, Any]] = Field(default_factory=list)
    """Its earlier lives, oldest first; each has the fields of `Life`."""

    @property
    def data(self) -> bytes:
        """The message as it came."""
        return base64.b64decode(self.body_base64) if self.body_base64 is not None else (self.body or "").encode()

    def message(self) -> Message | None:
        """What it says; None if it cannot be read."""
        with contextlib.suppress(MessageError):
            return Message.read(self.data, default_id=self.message_id)
        return None


def lives_of(data: bytes) -> list[dict[str, Any]]:
    """The earlier lives that a message tells of; what makes no sense there is left out."""
    found = _object(data).get("history")
    lives = []
    for item in found if isinstance(found, list) else ():
        with contextlib.suppress(ValidationError):
            lives.append(Life.model_validate(item).model_dump(mode="json"))
    return lives


def publisher(subject: str, headers: Mapping[str, str], data: bytes) -> str:
    """Who sent a message, as far as it can be known: who published on the lane, else who it says.

    Empty if neither says.
    """
    lane = subjects.lane_of(subject)
    if lane is not None and subjects.DOOR not in headers:
        return lane.sender
    claimed = _object(data).get("from_role")
    return claimed if isinstance(claimed, str) and subjects.token(claimed) else ""


def stand_in(subject: str, headers: Mapping[str, str], data: bytes, *, default_id: str) -> Message | None:
    """As much of a message that cannot be read, or is forged, as must be known to tell its sender.

    None if nobody can be told. Its id is where it was stored: one that it claims could be another message's.
    """
    sender = publisher(subject, headers, data)
    if not sender:
        return None
    found = _object(data)
    payload = found.get("payload")
    title = payload.get("subject") if isinstance(payload, dict) else None
    raw = {
        "id": default_id, "from_role": sender, "origin": sender, "type": found.get("type"), "trace_id": default_id,
        "payload": {"subject": title if isinstance(title, str) else "a message that cannot be read"},
    }  # fmt: skip
    if not isinstance(raw["type"], str):
        raw["type"] = "direct_message"
    # A reply belongs to an ask only if the one who asked it sent this; that is known only of a lane.
    return Message.model_validate(raw)


def next_life(letter: DeadLetter, *, number: int, at: datetime, operator: str, body: bytes | None = None) -> Message:
    """The message by which a letter is replayed.

    Args:
        number: Of the replay; the same number gives the same message, so that a repeat is stored once.
        operator: Who may mend a message that says nothing of its sender.
        body: A message instead of the one that was buried.

    Raises:
        MessageError: If the body is no message.
        RefusedError: If it would speak for somebody who did not send it.
    """
    try:
        message = Message.read(letter.data if body is None else body, default_id=letter.message_id)
    except MessageError as error:
        what = f"The body of {letter.message_id}" if body is None else "The new body"
        hint = "Mend it: `agenthub dlq replay <id> --body FILE`." if body is None else "Nothing was sent."
        raise MessageError(f"{what} is no message: {error}. {hint}") from error
    sender = publisher(letter.subject, letter.headers, letter.data) or operator
    if message.from_role != sender:
        raise RefusedError(
            f"It says that it is from `{message.from_role}`, but `{sender}` sent it; a replay speaks for nobody else. "
            f"Send it in your own name: `agenthub send {letter.role} …`."
        )
    life = Life(
        message_id=letter.message_id, reason=letter.reason[:LONGEST_REASON], attempts=letter.attempts,
        buried_at=letter.buried_at,
    )  # fmt: skip
    before = letter.message()
    return message.model_copy(
        update={
            "id": derived_id(letter.role, letter.message_id, "replay", str(number)),
            "causation_id": letter.message_id,
            "trace_id": before.trace_id if before else message.trace_id,
            "deadline": message.deadline if message.deadline and message.deadline > at else None,
            "history": [*letter.history, life.model_dump(mode="json")],
        }
    )


def _object(data: bytes) -> dict[str, Any]:
    """The JSON object in these bytes; empty if they hold none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
