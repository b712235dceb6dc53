"""What each identity may publish and hear, as data. The broker enforces it; docs/security.md shows it as a table.

A new subject, stream or bucket gets its line here. Publishing is allowed where the subject carries one's own name as
a token, so that nobody can act as another; what somebody may not do, its client logs as a violation of permissions.
Nobody but the system makes or changes streams, and roles make no consumers: the provisioner has made theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.identity import BRIDGE, LEADER, OPERATOR, SERVERS, SYSTEM, VIEWER, inbox_prefix
from agenthub.messages import Priority

STRANGER = "stranger"
"""Who comes without a key. May knock at the public doors, and read how its message ended."""

EVERYTHING = (">",)


class Member(NamedTuple):
    """What must be known of a role to say what it may do."""

    name: str
    is_manager: bool = False
    granted_topics: tuple[str, ...] = ()
    """Topics on which a person has allowed it to publish, for now."""


class Rights(NamedTuple):
    """What one identity may publish and hear."""

    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    never: tuple[str, ...] = ()
    """What it may not publish, though `publish` allows it."""
    account: str = ""
    """Account of the broker that it belongs to; nothing: the one in which everybody works."""


_ADMINISTRATION = "$SYS"
"""The broker's own account, in which it takes orders."""


_SHARED_BUCKETS = (
    subjects.REGISTRY, subjects.HEALTH, subjects.TRACES, subjects.BREAKERS, subjects.BUDGETS, subjects.CALENDAR,
    subjects.MEETINGS, subjects.GRANTS,
)  # fmt: skip
"""Buckets that every role may read."""
_OWN_BUCKETS = (subjects.LEASES, subjects.REGISTRY, subjects.HEALTH, subjects.LEDGER, subjects.TRUST)
"""Buckets in which a role writes the keys that begin with its name; those that are not shared it reads there only."""
_COMMON_BUCKETS = (subjects.TRACES, subjects.BREAKERS, subjects.BUDGETS)
"""Buckets that every role writes: the limits of all, what a trace took, the breaker of an account."""


_PLANNING = ("added", "resting", "fired")
"""Keys of the calendar that belong to whose schedule it is."""


def rights_of(members: Sequence[Member], *, is_cluster: bool = False) -> dict[str, Rights]:
    """Everybody's rights, by the name of the key's file; the stranger's under its own name.

    Args:
        is_cluster: Whether values must be read from the stream's leader: only then is the newest one sure, and only
            the leader's way of asking cannot be limited to one's own keys.
    """
    roles = {f"role.{member.name}": _role(member, is_cluster=is_cluster) for member in members}
    others = [
        Rights(SYSTEM, EVERYTHING, EVERYTHING),
        _leader(),
        _operator([member.name for member in members]),
        _bridge(),
        Rights(VIEWER, (*_WATCHING, subjects.watch("*", VIEWER), subjects.ping("*", VIEWER)), _heard(VIEWER)),
        Rights(
            SERVERS,
            ("$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.*.RELOAD"),
            (f"{inbox_prefix(SERVERS)}.>",),
            account=_ADMINISTRATION,
        ),
        # One literal subject at a time: who does not know the id of a message does not find its end.
        Rights(
            STRANGER,
            (subjects.EVERY_DOOR, f"$JS.API.DIRECT.GET.{subjects.DONE}.{subjects.ALL_DONE}"),
            ("_INBOX.>",),
        ),
    ]
    return roles | {rights.name: rights for rights in others}


def _role(member: Member, *, is_cluster: bool) -> Rights:
    name = member.name
    lanes = [subjects.lane_consumer(name, priority) for priority in Priority]
    consumers = [(subjects.AGENTS, consumer) for consumer in [*lanes, subjects.door_consumer(name)]]
    consumers.append((subjects.SCHEDULES, subjects.due_consumer(name)))
    consumers.append((subjects.TOPICS, subjects.topics_consumer(name)))
    consumers.append((subjects.LEARNING, subjects.learning_consumer(name)))
    publish = [
        subjects.lanes_from(name),
        "agent-hub.topics.tasks.>", "agent-hub.topics.status.>", *member.granted_topics,
        subjects.learning(name),
        subjects.done(name, "*"), subjects.event("*", name), subjects.audit("*", name),
        subjects.schedule(name, "*"), subjects.dead_letter(name), subjects.late(name),
        subjects.ALL_TRACE_COUNTS, subjects.live(name), subjects.pong(name),
        *(subjects.key_value(bucket, key) for bucket in _OWN_BUCKETS for key in (name, f"{name}.>")),
        *(subjects.key_value(bucket, ">") for bucket in _COMMON_BUCKETS),
        *(subjects.key_value(subjects.CALENDAR, f"{what}.{name}.>") for what in _PLANNING),
        subjects.key_value(subjects.MEETINGS, subjects.meeting(name, ">")),
        *(subject for consumer in consumers for subject in _consuming(*consumer)),
        # An end says who has a message now, and counters belong to traces: all may read them, whose they are.
        f"$JS.API.DIRECT.GET.{subjects.AGENTS}.{subjects.inbox(name)}.>",
        *_reading(subjects.DONE), *_reading(subjects.TRACE_COUNTS),
        *(subject for bucket in _SHARED_BUCKETS for subject in _reading(f"KV_{bucket}")),
        *(subject for bucket in _OWN_BUCKETS for subject in _reading_own(bucket, name, is_cluster=is_cluster)),
        f"$JS.API.DIRECT.GET.KV_{subjects.LEASES}.{subjects.key_value(subjects.LEASES, LEADER)}",  # is anybody leading?
        "$JS.API.STREAM.NAMES", *_ATTACHING,
        *_reading(subjects.CONTROL),
    ]  # fmt: skip
    if member.is_manager:
        publish += ["agent-hub.topics.decisions.>", subjects.ANNOUNCEMENTS, subjects.control("*", "nudge", name)]
    heard = (
        *_heard(name, events=False), subjects.watch(name, "*"), subjects.ping(name, "*"), subjects.done(name, "*"),
    )  # fmt: skip
    return Rights(name, tuple(dict.fromkeys(publish)), heard)


_LED_BUCKETS = (subjects.LEASES, subjects.LEDGER, subjects.HEALTH, subjects.CALENDAR, subjects.MEETINGS)
_LED_STREAMS = (subjects.TOPICS, subjects.DONE, subjects.EVENTS)
"""What the leader reads from the beginning, by consumers that it makes and that take nothing."""


def _leader() -> Rights:
    """Looks after all: reminds, marks who is gone, moves what they held, fires schedules, holds meetings.

    One process at a time uses this key.
    """
    publish = [
        subjects.lanes_from(LEADER),
        subjects.done("*", "*"), subjects.event("*", "*"),
        "agent-hub.topics.status.>", subjects.DECISIONS,
        *(subjects.key_value(bucket, ">") for bucket in _LED_BUCKETS),
        f"$JS.ACK.{subjects.AGENTS}.>", f"$JS.API.CONSUMER.INFO.{subjects.AGENTS}.*",
        "$JS.API.STREAM.MSG.GET.*", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.NAMES", "$JS.API.DIRECT.GET.>",
        *(subject for stream in _LED_STREAMS for subject in _following(stream)),
    ]  # fmt: skip
    return Rights(LEADER, tuple(publish), _heard(LEADER))


def _operator(roles: Iterable[str]) -> Rights:
    """May do what a person may: all but to speak as a role, change streams, or take anything out of the audit."""
    never = [
        *(subjects.lanes_from(role) for role in roles),
        *(f"$JS.API.STREAM.{verb}.>" for verb in ("CREATE", "UPDATE", "DELETE", "RESTORE")),
        *(f"$JS.API.STREAM.{verb}.{subjects.AUDIT}" for verb in ("PURGE", "MSG.DELETE")),
        subjects.AUDIT_COPIES,
        subjects.key_value(subjects.LEASES, ">"),
    ]  # fmt: skip
    return Rights(OPERATOR, EVERYTHING, EVERYTHING, tuple(never))


def _bridge() -> Rights:
    publish = [
        subjects.EVERY_DOOR, subjects.lanes_from(BRIDGE),
        "agent-hub.topics.tasks.>", "agent-hub.topics.status.>", subjects.event("*", BRIDGE),
        subjects.watch("*", BRIDGE), subjects.ping("*", BRIDGE), *_ATTACHING,
        subjects.key_value(subjects.LEDGER, f"{BRIDGE}.>"), *_WATCHING,
    ]  # fmt: skip
    return Rights(BRIDGE, tuple(publish), _heard(BRIDGE))


_FILES = f"OBJ_{subjects.ATTACHMENTS}"
_ATTACHING = (
    *subjects.attachment_subjects(), f"$JS.API.STREAM.MSG.GET.{_FILES}", f"$JS.API.DIRECT.GET.{_FILES}.>",
    f"$JS.API.STREAM.INFO.{_FILES}", f"$JS.API.CONSUMER.CREATE.{_FILES}.>", f"$JS.API.CONSUMER.CREATE.{_FILES}",
    f"$JS.API.CONSUMER.DELETE.{_FILES}.>", f"$JS.API.CONSUMER.INFO.{_FILES}.>", f"$JS.FC.{_FILES}.>",
)  # fmt: skip
"""Storing files and fetching them, which needs a consumer of one's own on this stream alone. Pieces have no owner: a
message says the SHA-256 of what it means, and whoever fetches compares."""
_FOLLOWED = (subjects.EVENTS, subjects.DONE, subjects.CONTROL, subjects.DEAD_LETTERS, subjects.AUDIT, subjects.LEARNING)
_WATCHING = (
    "$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.>", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.NAMES",
    "$JS.API.CONSUMER.INFO.>", *(f"$JS.API.CONSUMER.{verb}.{stream}.>" for stream in _FOLLOWED
    for verb in ("CREATE", "DELETE")), *(f"$JS.API.CONSUMER.CREATE.{stream}" for stream in _FOLLOWED),
)  # fmt: skip
"""Reading everything without taking anything. Consumers can be made on streams alone that keep what was read."""


def _heard(name: str, *, events: bool = True) -> tuple[str, ...]:
    told = (subjects.ALL_EVENTS, subjects.ALL_DONE, subjects.live("*"), subjects.pong("*")) if events else ()
    return (f"{inbox_prefix(name)}.>", "agent-hub.states.>", *told)


def _consuming(stream: str, consumer: str) -> list[str]:
    """Pull from one's own consumer, settle what came, ask how it stands."""
    return [
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", f"$JS.API.CONSUMER.INFO.{stream}.{consumer}",
        f"$JS.ACK.{stream}.{consumer}.>",
    ]  # fmt: skip


def _following(stream: str) -> list[str]:
    """Read a stream from the beginning by an ordered consumer."""
    return [
        *(f"$JS.API.CONSUMER.{verb}.{stream}.>" for verb in ("CREATE", "DELETE", "INFO")),
        f"$JS.API.CONSUMER.CREATE.{stream}", f"$JS.FC.{stream}.>",
    ]  # fmt: skip


def _reading(stream: str) -> list[str]:
    direct = f"$JS.API.DIRECT.GET.{stream}"
    return [f"$JS.API.STREAM.MSG.GET.{stream}", f"$JS.API.STREAM.INFO.{stream}", direct, f"{direct}.>"]


def _reading_own(bucket: str, name: str, *, is_cluster: bool) -> list[str]:
    """Values below one's own name. The names of the other keys can be listed, not what they hold."""
    if is_cluster:
        return _reading(f"KV_{bucket}")
    asking = f"$JS.API.DIRECT.GET.KV_{bucket}"
    own = [f"{asking}.{subjects.key_value(bucket, key)}" for key in (name, f"{name}.>")]
    return [*own, f"$JS.API.STREAM.INFO.KV_{bucket}"]
