"""What commands print with `--json` where it is no model of the wire: typed dictionaries."""

from __future__ import annotations

from typing import Any, NotRequired

from typing_extensions import TypedDict

from agenthub.control import Control
from agenthub.guards.budget import Account, Grant
from agenthub.guards.circuit_breaker import Breaker
from agenthub.letters import DeadLetter
from agenthub.messages import Completion, Usage
from agenthub.org.traces import TraceState
from agenthub.transcript import LiveEvent


class Ponged(TypedDict):
    """The answer of a process."""

    role: str
    process: str
    round_trip_s: float
    state: str
    doing: str
    pid: int
    host: str


class AuditShown(TypedDict):
    """One thing that somebody did."""

    sequence: int
    at: str
    who: str
    what: str
    to: str
    message_id: str
    title: str


class AuditExported(TypedDict):
    """What was added to an export."""

    file: str
    added: int
    last_sequence: int
    last_hash: str


class GapShown(TypedDict):
    """Where something is missing, or was changed."""

    place: str
    reason: str


class AuditVerdict(TypedDict):
    """Whether a record is whole."""

    count: int
    gaps: list[GapShown]
    last_hash: str


class KeyShown(TypedDict):
    """A key by which somebody comes in."""

    name: str
    public: str
    has_seed: bool


class Held(TypedDict):
    """Who holds a role, since when and why."""

    by: str
    at: str
    reason: str


class RoleNow(TypedDict):
    """A role process; of one that is down only the first few."""

    role: str
    state: str
    health: str
    waiting: dict[str, int]
    delayed: int
    has_file: bool
    needs_you: str
    circuit: str
    since: NotRequired[str]
    since_s: NotRequired[float]
    reason: NotRequired[str]
    doing: NotRequired[str]
    message_id: NotRequired[str]
    priority: NotRequired[str | None]
    progress_at: NotRequired[str | None]
    holds: NotRequired[list[str]]
    beat_at: NotRequired[str]
    heartbeat_age_s: NotRequired[float]
    started_at: NotRequired[str]
    pid: NotRequired[int]
    host: NotRequired[str]
    health_port: NotRequired[int]
    usage_today: NotRequired[Usage]
    tokens_today: NotRequired[int]
    cost_usd_today: NotRequired[float]
    context_tokens: NotRequired[int]
    context_window: NotRequired[int]
    parked: NotRequired[int]
    model: NotRequired[str]
    paused: NotRequired[Held | None]
    stopped: NotRequired[Held | None]


class Decision(TypedDict):
    """What was decided."""

    id: str
    role: str
    task_id: str
    decision: str


class LetterShown(DeadLetter):
    """A dead letter, who sent its message, and its replays."""

    from_role: str | None
    title: str | None
    replays: list[dict[str, Any]]


class Replayed(TypedDict):
    """What became of a letter."""

    message_id: str
    role: str
    new_id: NotRequired[str]
    number: NotRequired[int]
    replayed_at: NotRequired[str]
    edited: NotRequired[bool]
    error: NotRequired[str]


class Dropped(TypedDict):
    message_id: str
    role: str


class LevelShown(TypedDict):
    """One limit of an account."""

    account: str
    limit: str
    spent: float
    amount: float
    reserved: float
    share: float
    opens_at: str
    by: str
    """What the operator decided about it."""
    logins: list[str]
    """By which names of the system."""


class Down(TypedDict):
    """What stopping came to."""

    org: str
    processes: int
    left: list[int]
    seconds: float


class LogLine(TypedDict):
    line: str


class BreakerShown(Breaker):
    """A circuit breaker of a role or a model account."""

    name: str


class Reset(TypedDict):
    name: str
    woken: int


class Tripped(TypedDict):
    name: str
    state: str


class Woken(TraceState):
    """A trace that was decided about."""

    woken: int


class TraceShown(TraceState):
    """A trace that was parked, and what it took."""

    messages: int
    cost_usd: float


class AccountSet(Account):
    """An account whose limits were set."""

    woken: int


class Granted(Grant):
    """An extra amount."""

    woken: int


class RoleRow(TypedDict):
    """A role of the org chart."""

    name: str
    description: str
    reports_to: str | None
    skills: list[str]
    subscribe: list[str]
    model: str
    path: str


class RoleShown(TypedDict):
    """A role as it works."""

    name: str
    description: str
    path: str
    reports_to: str | None
    reports: list[str]
    skills: list[str]
    subscribe: list[str]
    tools: list[str] | None
    replicas: int
    fallback: str | None
    terms: dict[str, Any]
    budget: dict[str, float]
    permissions: dict[str, Any]
    prompt: str


class ProblemShown(TypedDict):
    path: str
    line: int | None
    level: str
    text: str


class Checked(TypedDict):
    roles: list[str]
    problems: list[ProblemShown]


class ChangeShown(TypedDict):
    """One thing that provisioning made, adapted or removed."""

    action: str
    kind: str
    name: str
    detail: str


class WrittenShown(TypedDict):
    """What became of a file."""

    path: str
    what: str
    note: str


class Begun(TypedDict):
    folder: str
    files: list[WrittenShown]
    dry_run: bool


class SettingShown(TypedDict):
    key: str
    value: Any
    origin: str


class Script(TypedDict):
    shell: str
    script: str


class SheetLine(TypedDict):
    topic: str
    command: str
    what: str


class Fetched(TypedDict):
    """An attachment."""

    key: str
    size_bytes: int
    path: str | None


class FindingShown(TypedDict):
    """One thing that doctor looked at."""

    level: str
    what: str
    found: str
    remedy: str


class ProcessFound(TypedDict):
    """Whether a process is well."""

    process: str
    ok: bool
    state: str


class Compose(TypedDict):
    compose: str


class ComposeChecked(TypedDict):
    file: str
    is_current: bool


class Steered(Control):
    """A decision about a role, and what came of it: by process, and who has not answered yet."""

    came: dict[str, str]
    silent: list[str]
    is_new: bool
    """False if it held already."""


class Lived(LiveEvent):
    """What a process of a role said or did."""

    role: str


class Resumable(TypedDict):
    """How a conversation is opened in Claude Code."""

    role: str
    session_id: str
    command: str


class Demonstrated(TypedDict):
    """The last line of a demo: the report, and what it took."""

    report: Completion
    messages: int
    turns: int
    usage: Usage
    seconds: float
    left: int
    """Processes that are still there."""
