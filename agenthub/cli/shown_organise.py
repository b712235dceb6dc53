"""What commands about learnings, schedules, meetings and grants print with `--json`."""

from __future__ import annotations

from typing_extensions import TypedDict

from agenthub.minutes import Action, Decision
from agenthub.role_settings import Schedule


class Opinion(TypedDict):
    """What one role thinks of a learning."""

    trust: float
    confirmations: int
    contradictions: int
    state: str
    reason: str


class LearningShown(TypedDict):
    """A learning, and what each role thinks of it."""

    id: str
    trigger: str
    domain: list[str]
    approach: str
    outcome: str
    evidence: list[str]
    confidence: float
    ask: str
    state: str
    trust: float
    confirmations: int
    contradictions: int
    authors: list[str]
    shared_at: str | None
    suspicion: str
    """Why it is held back; empty: it is not."""
    promoted_by: list[str]
    """Roles in whose policy it is."""
    roles: dict[str, Opinion]


class LearningShared(TypedDict):
    """A learning that was published."""

    id: str


class LearningDecided(TypedDict):
    """What a person decided about a learning."""

    id: str
    verdict: str
    roles: list[str]


class RoleScore(TypedDict):
    """How the work of a role with a skill ended."""

    role: str
    skill: str
    """Empty: all of its work."""
    score: float
    done: int
    failed: int
    reworked: int
    verified: int
    """Of those that are done: somebody else approved of them."""
    rejected: int
    """How often somebody else rejected what was said to be done."""


class FiredLast(TypedDict):
    """What a schedule did last."""

    until: str
    message_id: str
    fired_at: str | None
    is_waiting: bool


class ScheduleShown(TypedDict):
    """A schedule, and when it is due."""

    id: str
    to: str
    source: str
    """`role file`, `agenthub.toml`, or who added it."""
    is_paused: bool
    coming: list[str]
    rule: Schedule
    last: FiredLast | None


class ScheduleAdded(TypedDict):
    """A schedule that was added."""

    id: str
    coming: list[str]
    """When it fires next."""


class ScheduleRun(TypedDict):
    """A firing."""

    message_id: str


class ScheduleChanged(TypedDict):
    """A schedule that was paused, resumed or removed."""

    id: str
    state: str


class Spoken(TypedDict):
    """What a member said in a round."""

    round: int
    role: str
    text: str | None
    """None: nothing yet, or not in time."""


class MeetingShown(TypedDict):
    """A meeting, from when it was convened to its report."""

    id: str
    kind: str
    subject: str
    chair: str
    by: str
    members: list[str]
    opened_at: str
    within_s: float
    present: list[str] | None
    """Who beat when the roll was called; None: it was not called yet."""
    facts: list[str]
    decisions: list[Decision]
    actions: list[Action]
    closed_at: str | None
    state: str
    said: list[Spoken]


class GrantShown(TypedDict):
    """What a person let a role do beyond its files."""

    id: str
    role: str
    kind: str
    what: str
    until: str
    at: str
    by: str
    """The operator."""
    login: str
    """By which name of the system: whoever of those that have the operator's key."""
    why: str
    revoked_at: str | None
    revoked_by: str
    revoked_login: str
    holds: bool
