"""What commands print with `--json` of messages, beside what stands in them."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict

from agenthub.client.views import SentView
from agenthub.messages import Message


class SentMessage(Message):
    """A message that was stored."""

    to: str
    """In whose inbox."""


class SentTo(SentView):
    """What became of a message to one of several."""

    to: str
    """The same as `role`."""


class Expected(TypedDict):
    """An answer that is expected."""

    id: str
    role: str
    to: str
    """The same as `role`."""
    due_at: str


class Stored(TypedDict):
    """Where and since when a message waits."""

    subject: str
    sequence: int
    stored_at: str | None


class WaitingShown(Message):
    """A message that waits in an inbox."""

    stored: Stored


class Unreadable(TypedDict):
    """A message that is none."""

    error: str
    body: str
    subject: str
    sequence: NotRequired[int]
    stored_at: NotRequired[str | None]
