"""What a role says and does, moment by moment, as watchers read it. Values only; no I/O.

It holds what people may see of a turn: the model's words, tool calls in a few words, how the turn ended. Never the
input or the whole result of a tool.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from agenthub.errors import MessageError
from agenthub.messages import Moment

ASKS_PAST = b"past"
"""What a watcher publishes who wants to know the recent past; any other body says that it is still there."""

Kind = Literal["started", "turn", "text", "tool", "tool_ended", "model", "notice", "ended"]


class LiveEvent(BaseModel):
    """One thing that a role said or did."""

    model_config = ConfigDict(frozen=True, extra="allow")

    number: int
    """Counts up within one process."""
    kind: Kind
    """`started`: the process works. `turn`: it begins or goes on with a message, whose title is `text`. `text`: the
    model says more. `tool`: it calls a tool. `tool_ended`. `model`: a model call was answered. `notice`: words of
    the host to the model. `ended`: the turn ended, as `outcome` says."""
    at: Moment
    text: str = ""
    """The words, or the tool call in a few words."""
    message_id: str = ""
    """What is being worked off."""
    from_role: str = ""
    """Of a turn: who asked."""
    tool: str = ""
    is_error: bool = False
    is_anew: bool = False
    """Of text: the answer broke off and is given again, so what there was of it since the last `model` is void."""
    outcome: str = ""
    """Of an end: done, blocked, needs_human, failed, refused; or parked, interrupted, broken_off: it goes on later."""
    duration_s: float = 0.0
    """Of a tool or model call that ended."""


class LiveBatch(BaseModel):
    """What one process of a role published at once."""

    model_config = ConfigDict(frozen=True, extra="allow")

    key: str
    """Name of the process: that of the role, with a number behind it for a replica."""
    process: str
    """Another one after each start."""
    is_past: bool = False
    """True if it is the recent past, with everything that was published so far."""
    events: list[LiveEvent]

    def encode(self) -> bytes:
        """UTF-8 JSON without what is not set."""
        return self.model_dump_json(exclude_defaults=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> LiveBatch:
        """Read a batch.

        Raises:
            MessageError: If it is none, or of a newer version.
        """
        try:
            return cls.model_validate_json(data)
        except ValueError as error:
            raise MessageError(f"This is no live batch: {error}") from error
