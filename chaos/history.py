"""What a run left behind, as values: who accepted, took, recorded, ended and did what. No I/O.

Each list has one witness: the broker's streams, the roles' journals, the model's own count, the files that effects
left. The rules compare what one says with what the others say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Accepted(NamedTuple):
    """A message that the broker said it had stored."""

    id: str
    role: str
    sequence: int
    """Place in the stream; says the order."""
    priority: str = "medium"
    sender: str = ""
    way: str = "lane"
    """By which door it came: `lane`, `plain`, `stranger`, `garbage`, or `role` if a role sent it."""
    is_work: bool = True
    """False for what no turn is taken for, such as garbage."""


class Ended(NamedTuple):
    """A completion, as the broker stored it."""

    id: str
    role: str
    outcome: str
    at: float = 0.0


class Buried(NamedTuple):
    """A dead letter, as the broker stored it."""

    id: str
    role: str
    reason: str = ""


class Opened(NamedTuple):
    """The first time that a role took a message into its hands, by its journal."""

    role: str
    id: str
    at: float


class Recorded(NamedTuple):
    """An answer of the model that a role has in its journal."""

    role: str
    position: int
    """How many messages the conversation had before it."""
    at: float
    conversation: int = 0
    """Which one of the role: it begins anew when one has become long."""


class Begun(NamedTuple):
    """A conversation of a role that began with what was handed over of the one before."""

    role: str
    conversation: int
    at: float


class Asked(NamedTuple):
    """A model call, by the model's own count."""

    role: str
    position: int
    at: float
    status: int = 200


class Effect(NamedTuple):
    """Something that cannot be undone was done in the world, seen there."""

    kind: str
    key: str
    """The same key twice is the same effect twice."""
    role: str
    process: int = 0
    at: float = 0.0


class Merged(NamedTuple):
    """An answer of a colleague that a role was shown to go on with."""

    role: str
    turn: str
    part: str


class Injected(NamedTuple):
    """A fault that was carried out."""

    kind: str
    target: str
    at: float
    is_crash: bool = False
    """True if it ended a process, so that a recovery can be measured."""


class Alive(NamedTuple):
    """A sign that a role works: it said that it is ready, or recorded something."""

    role: str
    at: float


@dataclass
class History:
    """All that is known of a run."""

    accepted: list[Accepted] = field(default_factory=list)
    offered: set[str] = field(default_factory=set)
    """Ids that were sent and never confirmed: they may end or not."""
    ended: list[Ended] = field(default_factory=list)
    buried: list[Buried] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    recorded: list[Recorded] = field(default_factory=list)
    begun: list[Begun] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    merged: list[Merged] = field(default_factory=list)
    injected: list[Injected] = field(default_factory=list)
    alive: list[Alive] = field(default_factory=list)
    put_off: set[tuple[str, str]] = field(default_factory=set)
    """Role, and id or `GENBRAIN_AGENTS-<sequence>`, of what was taken and went back for a while, by the roles' logs:
    the turn that was begun is not in the journal any more."""
    left_alone: list[str] = field(default_factory=list)
    """Roles that the supervisor gave up."""
    leftovers: list[str] = field(default_factory=list)
    """Processes that were still there after the end."""
    problems: list[str] = field(default_factory=list)
    """What the run itself could not do: what it has seen then proves little."""
