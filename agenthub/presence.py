"""Whether a role process is there: what it says of itself every few seconds, and what is known of one that is not."""

from __future__ import annotations

from pydantic import Field

from agenthub.messages import Moment, Priority, Usage
from agenthub.wire import Wire


class Heartbeat(Wire):
    """State of one role process, renewed every few seconds; gone from the registry when it stops beating."""

    role: str
    state: str
    """idle, working, stopping, stuck"""
    doing: str = ""
    message_id: str = ""
    priority: Priority | None = None
    """Of the message that is worked on."""
    since: Moment
    """When it entered this state."""
    health: str = "ok"
    """`ok`; else how far the host has gone with a turn that makes no progress: stalled, nudged, interrupted."""
    progress_at: Moment | None = None
    """When it last got on with its work."""
    holds: list[str] = Field(default_factory=list)
    """Where the broker takes acknowledgements of what it has in hand: whoever knows that it is dead gives it back."""
    beat_at: Moment
    started_at: Moment
    pid: int
    host: str
    model: str = ""
    usage_today: Usage = Usage()
    context_tokens: int = 0
    context_window: int = 0
    parked: int = 0
    """Tasks that wait for answers of others."""
    health_port: int = 0
    """Where it answers /livez, /readyz and /metrics on its host; 0: nowhere."""


class Absence(Wire):
    """A role process that should beat and does not, as the leader has found it."""

    role: str
    since: Moment
    """Of its last sign of life; of the first look, if there never was one."""
    reason: str
    """A few words for people."""
    was_stopped: bool = False
    """True if it had said that it was stopping: then nothing is wrong."""
    is_told: bool = False
    """False if its supervisor has noted it and may start it again at once: then nobody need know yet."""
    holds: list[str] = Field(default_factory=list)
    """What it had in hand and nobody has given back yet; see `Heartbeat`."""
