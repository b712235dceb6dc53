"""Every stream, subject, bucket and durable name. No other file spells one.

Role names, priorities and message ids stand in subjects as single tokens, so they are checked by `token`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# ── streams ────────────────────────────────────────────────────────────────────────────────────────
AGENTS = "GENBRAIN_AGENTS"
TOPICS = "AGENTHUB_TOPICS"
LEARNING = "AGENTHUB_LEARNING"
DONE = "AGENTHUB_DONE"
EVENTS = "AGENTHUB_EVENTS"
SCHEDULES = "AGENTHUB_SCHED"
DEAD_LETTERS = "AGENTHUB_DLQ"
AUDIT = "AGENTHUB_AUDIT"
TRACE_COUNTS = "AGENTHUB_TRACES"
CONTROL = "AGENTHUB_CONTROL"
"""What people decided about roles at run time. It is the record, and what holds now follows from it."""

# ── buckets ────────────────────────────────────────────────────────────────────────────────────────
REGISTRY = "registry"
LEASES = "leases"
LEDGER = "ledger"
HEALTH = "health"

ALL_ROLES = "_all"
"""Stands for every role in the subject of a control message. No role may have this name."""
LEADER = "leader"
"""Key of the lease of who leads. No role may have this name: the leases of roles have their names as keys."""
TRACES = "traces"
"""Traces that a guard parked, and what a person decided about them."""
BREAKERS = "breakers"
BUDGETS = "budgets"
"""What each role and the organization spent, and what is set aside for calls that run."""
TRUST = "trust"
"""How far each role trusts what it learned. The key is the role, which alone writes it; people's commands read it."""

CALENDAR = "calendar"
"""Schedules that were added while the hub runs, which ones rest, and what was fired last. The keys are made below."""

MEETINGS = "meetings"
"""Meetings and how far each has come. Who convenes one makes its key, and the leader goes on; all read them."""

GRANTS = "grants"
"""What persons let roles do beyond what files say. The key is the role; the operator alone writes, and signs."""

PRIVATE_STREAMS = frozenset(f"KV_{bucket}" for bucket in (LEASES, LEDGER, TRUST))
"""Of these a role reads what is under its own name: only requests for one subject name it to the broker."""

EVERY_ENTRY = (f"$KV.{LEDGER}.", f"$KV.{LEASES}.")
"""How the subjects of the ledger and of leases begin; the next token is whose entry it is."""

ATTACHMENTS = "attachments"
"""Object store of files that go with messages; any role may fetch one whose key it was told, and store its own."""

# ── headers ────────────────────────────────────────────────────────────────────────────────────────
MESSAGE_ID = "Nats-Msg-Id"
TTL = "Nats-TTL"
"""After how many seconds the broker forgets a message."""
EXPECTED_LAST_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
INCREMENT = "Nats-Incr"
"""What is added to a counter: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-49.md"""
SCHEDULE = "Nats-Schedule"
SCHEDULE_TARGET = "Nats-Schedule-Target"
TRACE_PARENT = "traceparent"
COPY_STREAM = "Nats-Stream"
"""Of what the broker reads from a stream for somebody: from which."""
COPY_SEQUENCE = "Nats-Sequence"
"""Of a copy for the audit: where its message was stored; `COPY_TIME`: when."""
COPY_TIME = "Nats-Time-Stamp"
DOOR = "Agenthub-Door"
"""Subject by which a message came in before the sorter put it into a lane."""
SCHEMA = "Agenthub-Schema"
"""Version of a value in a bucket; none: 1. Raised only by what older readers would misunderstand."""
ID = "Agenthub-Id"
"""Id that the sorter gave to a message whose sender gave it none."""
WAITS_FOR = "Agenthub-Waits-For"
"""What a delayed message waits for: `money`, `model`, `decision`; none: its next try."""
SIGNATURE = "Agenthub-Signature"
"""Of who published a message, over its subject, our other headers and its body; see `bus/signing.py`."""
ATTEMPTS = "Agenthub-Attempts"
"""How often a delayed message was tried before."""

# ── subjects ───────────────────────────────────────────────────────────────────────────────────────
ANNOUNCEMENTS = "agent-hub.global.announcements"
EVERY_DOOR = "agent-hub.operators.*.inbox"
ALL_TOPICS = ("agent-hub.topics.>", "agent-hub.global.>")
EVERY_TOPIC = ("agent-hub.topics.", "agent-hub.global.")
"""How these subjects begin."""
ALL_LEARNINGS = "genbrain.learning.*"
ALL_DONE = "agent-hub.done.*.*"
EVERY_END = "agent-hub.done."
ALL_DUE = "agent-hub.due."
"""How these subjects begin."""
ALL_EVENTS = "agent-hub.events.>"
ALL_SCHEDULES = ("agent-hub.sched.>", "agent-hub.due.*")
ALL_DEAD_LETTERS = "agent-hub.dlq.*"
ALL_REPLAYS = "agent-hub.dlq.*.*"
ALL_LATE = "agent-hub.late.*"
ALL_AUDIT = "agent-hub.audit.>"
AUDIT_COPIES = "agent-hub.audit.agent-hub.>"
"""Copies of messages, which the broker makes and nobody else."""
ALL_TRACE_COUNTS = "agent-hub.traces.*.*"
ALL_CONTROLS = "agent-hub.control.*.*.*"
UNDER_CONTROL = "agent-hub.control.>"
ALL_CONTROL_STATES = "agent-hub.states.control.>"
"""Control messages as the broker has stored them, told at once to whoever listens."""
ALL_TRACE_STATES = "agent-hub.states.traces.>"
"""What the bucket of traces has stored, told by the broker at once to whoever listens."""

_STATES = "agent-hub.states"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PLACE = re.compile(r"(?:agent-hub\.audit\.)?agent-hub\.operators\.operator-([^.]+)\.inbox(?:\.([^.]+)\.([^.]+))?")
_ID = re.compile(r"[A-Za-z0-9_~-]{1,160}")


def token(value: str) -> bool:
    """True if `value` may stand as one token of a subject: letters, digits, `_` and `-`, at most 64."""
    return _TOKEN.fullmatch(value) is not None


def message_id(value: str) -> bool:
    """True if `value` may be a message id: one token of at most 160 characters, `~` allowed."""
    return _ID.fullmatch(value) is not None


def attachment_key(value: str) -> bool:
    """True if `value` may be the key of an attachment: who stored it, a dot, an id."""
    who, dot, identity = value.partition(".")
    return bool(dot) and token(who) and message_id(identity)


def attachment_subjects() -> tuple[str, str]:
    """Where the broker keeps the pieces of attachments, and what it knows of each."""
    return f"$O.{ATTACHMENTS}.C.>", f"$O.{ATTACHMENTS}.M.>"


def inbox(role: str) -> str:
    """Public door of a role: any NATS client may publish here."""
    return f"agent-hub.operators.operator-{role}.inbox"


def lane(role: str, priority: str, sender: str) -> str:
    """Subject for one priority of a role's inbox; the last token is who sends."""
    return f"{inbox(role)}.{priority}.{sender}"


def lane_filter(role: str, priority: str) -> str:
    """Every sender's messages of one priority."""
    return f"{inbox(role)}.{priority}.*"


def lanes_from(sender: str) -> str:
    """Everybody's lanes of every priority, as far as `sender` publishes there."""
    return f"{EVERY_DOOR}.*.{sender}"


class Lane(NamedTuple):
    """A place in a role's inbox."""

    role: str
    priority: str
    """Empty at the plain inbox."""
    sender: str
    """Who published; empty at the plain inbox."""


def lane_of(subject: str) -> Lane | None:
    """The lane that a subject names; None if it is none, also of the plain inbox."""
    place = place_of(subject)
    return place if place is not None and place.priority else None


def place_of(subject: str) -> Lane | None:
    """The lane or the plain inbox that a subject names, also that of a copy for the audit; None if neither."""
    match = _PLACE.fullmatch(subject)
    return Lane(match[1], match[2] or "", match[3] or "") if match else None


def is_of_the_role(subject: str) -> bool:
    """True if a role stored this for itself: what its sorter put into a lane, or what comes due."""
    lane = lane_of(subject)
    return subject.startswith("agent-hub.due.") or (lane is not None and lane.sender == lane.role)


def inbox_subjects(role: str, priorities: Iterable[str]) -> list[str]:
    """What GENBRAIN_AGENTS stores for a role. Roles and priorities are listed one by one, so that a message
    for one that does not exist finds no stream and its publisher gets an error, instead of a void."""
    return [inbox(role), *(lane_filter(role, priority) for priority in priorities)]


def task_topic(skill: str) -> str:
    return f"agent-hub.topics.tasks.{skill}"


def decision_topic(area: str) -> str:
    return f"agent-hub.topics.decisions.{area}"


def status_topic(kind: str) -> str:
    return f"agent-hub.topics.status.{kind}"


def topic(name: str) -> str:
    """Full subject of a topic as people write it: `tasks.sql`, `topics.status.deploy` or the whole subject."""
    if name.startswith("agent-hub."):
        return name
    if name in ("announcements", "global.announcements"):
        return ANNOUNCEMENTS
    return f"agent-hub.topics.{name.removeprefix('topics.')}"


def type_on(topic_: str) -> str:
    """What a message on a topic is, if nobody says another type."""
    if topic_ == ANNOUNCEMENTS:
        return "announcement"
    return {"tasks": "task_assignment", "decisions": "direct_message"}.get(topic_.split(".")[2], "status")


def learning(agent_id: str) -> str:
    """Where one role publishes what it learned, or the operator also decisions about it; every role reads all."""
    return f"genbrain.learning.{agent_id}"


def done(role: str, message: str) -> str:
    """Where the one completion of a message by a role is stored; the broker refuses a second."""
    return f"agent-hub.done.{role}.{message}"


def event(kind: str, role: str) -> str:
    return f"agent-hub.events.{kind}.{role}"


def control(role: str, verb: str, sender: str) -> str:
    """A person's decision about a role, or about all (`ALL_ROLES`): pause, estop, cancel ... Published by the operator
    and, a nudge, by the role's managers; the last token is who. Read by the role and by the supervisor."""
    return f"agent-hub.control.{role}.{verb}.{sender}"


class ControlPlace(NamedTuple):
    """What the subject of a control message says."""

    role: str
    verb: str
    sender: str


def control_of(subject: str) -> ControlPlace | None:
    """What the subject of a control message says, also that of the broker's copy; None if it is none."""
    prefix = next((p for p in ("agent-hub.states.control.", "agent-hub.control.") if subject.startswith(p)), None)
    tokens = subject.removeprefix(prefix).split(".") if prefix else []
    return ControlPlace(*tokens) if len(tokens) == len(ControlPlace._fields) else None


def live(role: str) -> str:
    """What a role says and does while it happens. Published by the role alone, read by whoever watches; not stored,
    and published only while somebody watches."""
    return f"agent-hub.live.{role}"


def watch(role: str, watcher: str) -> str:
    """Published every few seconds by who watches a role; read by the role, which then tells what it does. `*` for
    `watcher` is everybody."""
    return f"agent-hub.watch.{role}.{watcher}"


def audit(kind: str, role: str) -> str:
    """Where a guard's decision is kept, beside the copies of all messages."""
    return f"agent-hub.audit.guards.{kind}.{role}"


def trace_count(what: str, trace: str) -> str:
    """Counter of a trace: `messages`, or `micro_usd`."""
    return f"agent-hub.traces.{what}.{trace}"


def key_value(bucket: str, key: str) -> str:
    """Where the value of a key is stored; `>` for all keys."""
    return f"$KV.{bucket}.{key}"


def states(bucket: str) -> str:
    """What a bucket has stored, told by the broker at once to whoever listens; the rest is the key."""
    return f"{_STATES}.{bucket}.>"


def ping(role: str, sender: str) -> str:
    """A person or program, named by the last token, asks whether a role's processes live; they listen. Not stored."""
    return f"agent-hub.ping.{role}.{sender}"


def pong(role: str) -> str:
    """A role's processes answer pings here; whoever pinged listens. Not stored."""
    return f"agent-hub.pong.{role}"


def schedule(role: str, name: str) -> str:
    return f"agent-hub.sched.{role}.{name}"


def due(role: str) -> str:
    return f"agent-hub.due.{role}"


def added(author: str, name: str) -> str:
    """Key in the calendar of a schedule that a role or the operator added; the author alone writes it, all read it."""
    return f"added.{author}.{name}"


def resting(owner: str, name: str) -> str:
    """Key in the calendar of a schedule that is paused; the operator writes it, or the role that owns it."""
    return f"resting.{owner}.{name}"


def fired(by: str, owner: str, name: str) -> str:
    """Key in the calendar of what a schedule did last; written by who fires it: the leader, or a role that checks."""
    return f"fired.{by}.{owner}.{name}"


def meeting(by: str, identity: str) -> str:
    """Key of a meeting: who convened it, and its id."""
    return f"{by}.{identity}"


def dead_letter(role: str) -> str:
    return f"agent-hub.dlq.{role}"


def replays(role: str, message: str) -> str:
    """Where it is noted that a dead letter was replayed, beside the letters."""
    return f"{dead_letter(role)}.{message}"


def late(role: str) -> str:
    """Results that came after another process had ended the message; kept for a person to look at."""
    return f"agent-hub.late.{role}"


# ── durable consumers ──────────────────────────────────────────────────────────────────────────────
def lane_consumer(role: str, priority: str) -> str:
    return f"{role}-{priority}"


def door_consumer(role: str) -> str:
    """Reads the plain inbox for the sorter."""
    return f"{role}-plain"


def due_consumer(role: str) -> str:
    """Reads what a schedule has put on the role's due subject, for the sorter."""
    return f"{role}-due"


def topics_consumer(role: str) -> str:
    """Reads the role's topic subscriptions, for the sorter."""
    return f"{role}-topics"


KNOWLEDGE_CONSUMER = "knowledge"
"""Nobody pulls from it: it keeps decisions and reports of meetings on the topics until the leader has read them,
since a topic keeps nothing that no consumer wants."""
DECISIONS = "agent-hub.topics.decisions.>"


def listener_consumer(person: str) -> str:
    """Reads the inbox of a person for `agenthub listen`; made by who listens, gone soon after the last one left."""
    return f"{person}-listen"


def learning_consumer(role: str) -> str:
    """Reads the learnings of all, for the role's own store of them."""
    return f"{role}-learning"
