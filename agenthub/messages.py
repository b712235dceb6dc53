"""What crosses a process: messages, completions, events, heartbeats. JSON on the wire, validated on the way in.

The message is public (DESIGN, section 4): any NATS client may publish one with five fields. Readers are
tolerant: fields that they do not know are kept, a priority that makes no sense is read as medium.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
)

from agenthub import subjects
from agenthub.auctions import TENDER, Bid
from agenthub.errors import MessageError
from agenthub.votes import BALLOT, Ballot
from agenthub.wire import Wire

MAX_MESSAGE_BYTES = 512 * 1024
"""Largest message that a stream stores; bigger bodies belong into a file or the object store."""

SCHEMA_VERSION = 1


class Priority(StrEnum):
    """How urgent a message is, most urgent first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for critical to 3 for low."""
        return _RANKS[self]

    @classmethod
    def read(cls, value: object) -> Priority:
        """Priority as a sender wrote it; `urgent` and `normal` are known, nonsense and nothing are medium."""
        word = value.strip().lower() if isinstance(value, str) else ""
        return _PRIORITY_WORDS.get(word, cls.MEDIUM)


_RANKS = {priority: rank for rank, priority in enumerate(Priority)}
_PRIORITY_WORDS = {str(p): p for p in Priority} | {"urgent": Priority.CRITICAL, "normal": Priority.MEDIUM}


class Outcome(StrEnum):
    """How the work on a message ended."""

    DONE = "done"
    BLOCKED = "blocked"
    NEEDS_HUMAN = "needs_human"
    FAILED = "failed"
    COMPLETED_UNVERIFIED = "completed_unverified"
    """Done, says who did it; the evidence, check or verification that was demanded is missing."""
    REFUSED = "refused"
    """Not worked off: the sender may not ask this, or must change it."""
    NOTED = "noted"
    """Read by code only: it asked for no work and is shown to the model with its next turn."""
    REASSIGNED = "reassigned"
    """Gone to the role's fallback, whose completion says how it ended."""
    DEAD = "dead"
    """Buried; the dead-letter stream has the message, the reason and the traceback."""


def utc_text(moment: datetime) -> str:
    """A moment as on the wire: `2026-05-17T08:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[AwareDatetime, PlainSerializer(utc_text, when_used="json")]
"""Aware moment, on the wire as `2026-05-17T08:00:00.000Z`."""


def now() -> datetime:
    """Current moment in UTC, as written into messages. Rules never call it: they are given the time."""
    return datetime.now(UTC)


def new_id() -> str:
    """Fresh id: 32 random hex digits. The first few are enough to name a message."""
    return uuid.uuid4().hex


def attachment_name(name: str) -> str:
    """A name that is safe as that of a file, whatever somebody called it: no folder, nothing hidden."""
    plain = re.sub(r"[^\w.+ -]", "_", name.replace("\\", "/").rpartition("/")[2]).strip(" .")
    return plain[-120:] or "attachment"


def derived_id(*parts: str) -> str:
    """Id made of what it derives from: 32 hex digits, the same for the same parts, on every machine.

    What is sent again after a crash has the same id, so the broker stores it once.
    """
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


class Usage(BaseModel):
    """What model calls took: tokens by kind, calls, and money at list price."""

    model_config = ConfigDict(frozen=True)

    calls: int = 0
    input_tokens: int = 0
    """Tokens read at full price: neither from nor into the cache."""
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
        )

    @property
    def tokens(self) -> int:
        """All tokens, read and written."""
        return self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens


class Attachment(Wire):
    """A file that goes with a message; its content lies in the broker's object store."""

    key: str = Field(max_length=240)
    name: str = Field(default="", max_length=200)
    size_bytes: int = Field(default=0, ge=0)
    sha256: str = Field(default="", max_length=64)
    """Of the content, in hex."""


class Check(Wire):
    """What came of the command by which a task is checked."""

    command: str
    exit_code: int | None = None
    """None: it was not run."""
    output: str = ""
    """The end of what it wrote."""
    problem: str = ""
    """Why it was not run, or was ended before it was through."""

    @property
    def has_passed(self) -> bool:
        return self.exit_code == 0 and not self.problem

    @property
    def words(self) -> str:
        """It in a line, for people."""
        how = self.problem or ("passed" if self.has_passed else f"failed with exit code {self.exit_code}")
        return f"`{' '.join(self.command.split())[:120]}` {how}"


class Payload(Wire):
    """What a message says. Types of message may add fields of their own."""

    subject: str = ""
    message: str = ""
    priority: Annotated[Priority, BeforeValidator(Priority.read)] = Priority.MEDIUM
    outcome: Outcome | None = None
    """In replies: how the work ended."""
    evidence: list[str] = Field(default_factory=list)
    """In replies: what shows it (paths, commands, ids)."""
    attachments: list[Attachment] = Field(default_factory=list, max_length=50)
    """Files that go with it."""
    check: str | None = Field(default=None, max_length=4000)
    """In tasks: shell command that must succeed in the role's workspace once the task is done. Of those only who
    may instruct the role, and if its rules let it run the command."""
    verify: str | None = Field(default=None, max_length=64)
    """In tasks: role that must approve of what was done. It cannot be who does it."""
    needs_evidence: bool | None = None
    """In tasks: whether `done` counts only with evidence."""
    verifies: str | None = Field(default=None, max_length=160)
    """In tasks: id of the task whose result is to be verified."""
    verified_by: str | None = Field(default=None, max_length=64)
    """In replies: role or person other than the doer that approved."""
    checked: Check | None = None
    """In replies: what came of the check."""
    tender: str | None = Field(default=None, max_length=160)
    """In tasks that were auctioned: id of the message by which the role was asked for its bid."""
    ballot: Ballot | None = None
    """In ballots: what may be voted for."""
    vote: str | None = Field(default=None, max_length=200)
    """In replies to ballots."""
    bid: Annotated[Bid | None, BeforeValidator(Bid.read)] = None
    """In replies to tenders; what makes no sense is none."""

    @property
    def demands_proof(self) -> bool:
        """True if its word alone is not enough for `done`."""
        return bool(self.check or self.verify or self.needs_evidence)


class Message(Wire):
    """One message from a role, a person or a program to a role: who, what kind, about what, how urgent."""

    from_operator: str = ""
    from_role: str
    timestamp: Moment = Field(default_factory=now)
    type: str
    payload: Payload

    id: str = ""
    """Unique. Also the Nats-Msg-Id, so publishing twice stores once."""
    trace_id: str = ""
    """Id of the directive at the root of all this; the same in everything that it caused."""
    causation_id: str = ""
    """Id of the message whose handling sent this one."""
    correlation_id: str = ""
    """Id of the ask that this message belongs to; a reply carries the one of its request."""
    hop: int = Field(default=0, ge=0)
    """How many roles the trace passed through before."""
    origin: str = ""
    """Who sent the root of the trace."""
    reply_to: str = ""
    """Role that gets the reply. Empty: the sender."""
    on_behalf_of: str = ""
    """Role that was asked, if its fallback does it or answers. The id of what was asked is `causation_id` then."""
    deadline: Moment | None = None
    """Moment after which an answer is worthless. None: no deadline."""
    coalesce: str = ""
    """Key of a recurring message: while several of the same sender with the same key wait, only the newest is
    worked off, and the others are noted."""
    at_door: bool | None = None
    """Set by the role that takes it in: it came by the public door, and nobody vouches for who sent it."""
    is_stranger: bool | None = None
    """Set likewise: it came by the public door to this very role, so the model is told that nobody knows its author."""
    org: str = ""
    version: int = SCHEMA_VERSION
    """Only a change that older readers would misunderstand raises it; new fields do not: they are kept and ignored."""

    @field_validator("from_role", "reply_to", "origin", "on_behalf_of")
    @classmethod
    def _is_token(cls, value: str) -> str:
        if value and not subjects.token(value):
            raise ValueError("must be a role name: letters, digits, `_` and `-`, at most 64")
        return value

    @field_validator("id", "causation_id", "correlation_id")
    @classmethod
    def _is_id(cls, value: str) -> str:
        if value and not subjects.message_id(value):
            raise ValueError("must be letters, digits, `_`, `-` and `~`, at most 160")
        return value

    @classmethod
    def read(cls, data: bytes, *, default_id: str) -> Message:
        """Message from a stranger or a lane, with the fields filled in that the sender left out.

        Raises:
            MessageError: If the bytes are not a message, or `from_role` is empty.
        """
        message = cls.decode(data)
        if not message.from_role:
            raise MessageError("`from_role` is empty; it must name who sends")
        if message.version > SCHEMA_VERSION:
            raise MessageError(
                f"it is of version {message.version}, and this agenthub reads up to {SCHEMA_VERSION}. "
                "Upgrade the role, then `agenthub dlq replay`"
            )
        identity = message.id or default_id
        return message.having(
            id=identity, from_operator=message.from_operator or f"operator-{message.from_role}",
            trace_id=message.trace_id or identity, origin=message.origin or message.from_role,
        )  # fmt: skip

    @property
    def is_answer(self) -> bool:
        """True for replies and results: they close something and never ask for work."""
        return self.type in ("reply", "task_result", "decision")

    @property
    def is_actionable(self) -> bool:
        """False for what is only read: it wakes no model and is shown with the next turn."""
        if self.type == "announcement":
            return self.payload.priority.rank <= Priority.HIGH.rank
        return not self.is_answer and self.type not in (
            "learning", "system_event", "control", "reminder", "meeting_report"
        )  # fmt: skip

    @property
    def is_poll(self) -> bool:
        """True if it asks for a vote or a bid: for the role's own word, and for no work."""
        return self.type in (BALLOT, TENDER)

    @property
    def title(self) -> str:
        """One line for people: the subject, or the first line of the text."""
        return self.payload.subject or next(iter(self.payload.message.strip().splitlines()), f"({self.type})")

    def masked(self, mask: Callable[[str], str]) -> Message:
        """The message with secrets taken out of what it says."""
        said = self.payload.subject, self.payload.message, self.payload.evidence
        subject, message, evidence = mask(said[0]), mask(said[1]), [mask(text) for text in said[2]]
        if (subject, message, evidence) == said:
            return self
        update = {"subject": subject, "message": message, "evidence": evidence}
        return self.model_copy(update={"payload": self.payload.model_copy(update=update)})

    def trace_parent(self) -> str:
        """W3C traceparent header (https://www.w3.org/TR/trace-context/) of this message."""
        trace = _hex(self.trace_id, 32)
        return f"00-{trace}-{_hex(self.id, 16)}-01"


class Completion(Wire):
    """The one end of a message at a role: how it ended and what it took."""

    message_id: str
    role: str
    outcome: Outcome
    subject: str = ""
    text: str = ""
    """What the role says about it; for `dead`, the reason."""
    evidence: list[str] = Field(default_factory=list)
    attachments: list[Attachment] = Field(default_factory=list)
    """Files that the role hands in."""
    implicit: bool = False
    """True if the model stopped without saying how it ended."""
    type: str = ""
    """Of the message; empty: an older version did not say."""
    vote: str = ""
    """Of a ballot."""
    bid: Annotated[Bid | None, BeforeValidator(Bid.read)] = None
    """Of a tender."""
    check: Check | None = None
    """What came of the command that the task named."""
    verified_by: str = ""
    """Role or person other than the doer that approved of what was done; empty: nobody."""
    verifies: str = ""
    """Id of the message whose end this role was asked to verify: `done` approved of it, `failed` rejected it."""
    from_role: str = ""
    """Who had asked."""
    trace_id: str = ""
    causation_id: str = ""
    priority: Priority = Priority.MEDIUM
    started_at: Moment
    ended_at: Moment
    turns: int = 0
    attempts: int = 1
    reassigned_to: str = ""
    """The fallback, if it was reassigned."""
    reassigned_id: str = ""
    """Id of the message there."""
    usage: Usage = Usage()
    """What this role's own turns took; what it delegated is in the completions of the others."""

    @property
    def is_verified(self) -> bool:
        """True if it is done and more than the doer's word shows it: a check that passed, or somebody's approval."""
        has_passed = self.check is not None and self.check.has_passed
        return self.outcome is Outcome.DONE and (has_passed or bool(self.verified_by))


class Event(Wire):
    """Something that happened at a role, for people and other listeners; the loop never reads one."""

    kind: str
    role: str
    at: Moment
    text: str = ""
    message_id: str = ""
    trace_id: str = ""
    data: dict[str, Any] = Field(default_factory=dict)


def _hex(identity: str, digits: int) -> str:
    """`identity` as hex digits of a fixed length; other ids are hashed."""
    if len(identity) >= digits and all(c in "0123456789abcdef" for c in identity):
        return identity[-digits:]
    return hashlib.sha256(identity.encode()).hexdigest()[:digits]
