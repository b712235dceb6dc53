"""Burying a message: it ends here for good, with the reason, and a person can look at it and replay it.

Exactly one end a message: the end is first written to the message's done subject, where the broker refuses
a second one, then the letter itself is stored. Both carry ids, so a repeat after a crash stores nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.failpoints import Failpoint, reach
from agenthub.letters import DeadLetter, lives_of
from agenthub.messages import Completion, Outcome, now

_MAX_TEXT_BYTES = 768 * 1024
"""Longer JSON text would not fit into a message of the server (1 MB) with its history and traceback."""


class Letter(Protocol):
    """What must be known of a message to bury it; a delivery has all of it."""

    data: bytes
    subject: str
    headers: dict[str, str]
    stream: str
    sequence: int
    deliveries: int
    stored_at: datetime

    @property
    def default_id(self) -> str: ...


async def bury(
    bus: Bus, role: str, letter: Letter, reason: str, *, traceback: str = "", attempts: int = 1,
    message_id: str | None = None, about: Mapping[str, Any] | None = None,
) -> bool:  # fmt: skip
    """Store a dead letter; the caller acknowledges the delivery after that.

    Args:
        about: Further fields of the completion (`from_role`, `subject`, `trace_id` ...), where they are known.

    Returns:
        False if the message had another end before: then nothing is buried.
    """
    identity = message_id or letter.default_id
    moment = now()
    end = Completion(
        message_id=identity, role=role, outcome=Outcome.DEAD, text=reason, attempts=attempts,
        started_at=moment, ended_at=moment, **(about or {}),
    )  # fmt: skip
    stored = await bus.publish(
        subjects.done(role, identity), end.encode(), message_id=f"{role}.{identity}.done", only_first=True
    )
    reach(Failpoint.DEAD_END_PUBLISHED)
    if not stored.is_new and not await _is_dead(bus, role, identity):
        return False
    body, encoded = _as_text(letter.data)
    dead = DeadLetter(
        message_id=identity, role=role, reason=reason, traceback=traceback[-20_000:], attempts=attempts,
        buried_at=moment, stored_at=letter.stored_at, stream=letter.stream, sequence=letter.sequence,
        subject=letter.subject,
        headers=letter.headers, body=body, body_base64=encoded, history=lives_of(letter.data),
    )  # fmt: skip
    data = dead.model_dump_json(exclude_none=True).encode()
    await bus.publish(subjects.dead_letter(role), data, message_id=f"{role}.{identity}.dead")
    return True


def _as_text(data: bytes) -> tuple[str | None, str | None]:
    """The body as text, else in base64: of bytes that are no text, or whose JSON escapes would be too long."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and len(json.dumps(text)) < _MAX_TEXT_BYTES:
        return text, None
    return None, base64.b64encode(data).decode()


async def _is_dead(bus: Bus, role: str, identity: str) -> bool:
    found = await bus.last(subjects.DONE, subjects.done(role, identity))
    return found is not None and Completion.decode(found).outcome is Outcome.DEAD
