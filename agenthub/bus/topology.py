"""Streams, consumers and buckets as data.

Everything that a configured role needs is made before anything can be sent to it. Limits and their reasons:
a full inbox refuses (`discard=new`, a quota per subject) instead of dropping; the inbox is a work queue,
since interest retention acknowledges a message for a role without a consumer and then throws it away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    PersistMode,
    RePublish,
    RetentionPolicy,
    StorageType,
    StoreCompression,
    StreamConfig,
)
from nats.js.errors import NotFoundError as StreamMissing

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.messages import MAX_MESSAGE_BYTES, Priority

DAY_S = 24 * 3600.0
SORTER_BATCH = 256
LANE_DELIVERIES = 3
"""Of each lane one may be worked on and one held: else a second critical message would still be on its way
when the first is done, and what is held of a lower lane would go before it. The third is one whose
acknowledgement is under way: a consumer that has handed out all it may does not even answer."""
OURS = "agenthub"
"""Key in the metadata of a consumer that says for which role agenthub made it."""
CLUSTER_REPLICAS = 3
"""Of each stream in a cluster: one server may die."""
WAITING_PER_LANE = 200_000
"""Messages of one sender in one lane, at the most."""
WAITING_IN_ALL = 2_000_000
_LEAST_PER_LANE = 1000
INBOX_BYTES = 4 * 1024**3
"""Of all inboxes: a fifth of what the server may store. Who fills them with large messages leaves room for the rest."""


@dataclass(frozen=True)
class RoleQueues:
    """What provisioning must know of a role."""

    name: str
    topics: tuple[str, ...] = ()
    replicas: int = 1
    ack_wait_s: float = 20.0
    works: bool = True
    """False for the human operator, whose inbox nobody works off by itself."""


@dataclass
class Topology:
    """Streams and consumers that an organization needs."""

    streams: list[StreamConfig] = field(default_factory=list)
    consumers: list[tuple[str, ConsumerConfig]] = field(default_factory=list)


def topology(roles: Sequence[RoleQueues], *, replicas: int = 1) -> Topology:
    """Streams and consumers for these roles; `replicas` is 3 on a cluster."""
    result = Topology(streams=_streams(roles, replicas))
    for role in roles:
        if role.works:
            result.consumers += _consumers(role)
    result.consumers.append((subjects.TOPICS, _knowledge()))
    return result


def waiting_per_lane(roles: int) -> int:
    """How much of one sender may wait in one lane: in all lanes of all roles no more than half of what may wait.

    So one sender can fill the lanes that carry its name, and nobody else's.
    """
    fair = WAITING_IN_ALL // 2 // (len(Priority) * max(1, roles))
    return min(WAITING_PER_LANE, max(_LEAST_PER_LANE, fair))


async def topology_of(bus: Bus, roles: Sequence[RoleQueues], *, replicas: int | None = None) -> Topology:
    """Streams and consumers for these roles on the broker of `bus`; `replicas` overrides what suits it."""
    return topology(roles, replicas=replicas or await suitable_replicas(bus))


async def suitable_replicas(bus: Bus) -> int:
    """3 on a cluster of at least three servers, else 1; what streams have already stays.

    So a server that is away at the moment lowers nothing. A client cannot ask a cluster how large it is; it
    knows the addresses that the servers tell, unless they are told not to, and those that it was given.
    """
    try:
        info = await bus.patiently(lambda: bus.js.stream_info(subjects.AGENTS), subjects.AGENTS)
        return info.config.num_replicas or 1
    except StreamMissing:
        return CLUSTER_REPLICAS if bus.cluster_size >= CLUSTER_REPLICAS else 1


def _streams(roles: Sequence[RoleQueues], replicas: int) -> list[StreamConfig]:
    def stream(name: str, names: Iterable[str], **more: Any) -> StreamConfig:
        # Fields that the server would fill in are said here, so that the comparison finds only real changes.
        base: dict[str, Any] = {
            "retention": RetentionPolicy.LIMITS,
            "discard": DiscardPolicy.OLD,
            "duplicate_window": 120.0,
        }
        return StreamConfig(
            name=name, subjects=list(names), storage=StorageType.FILE, num_replicas=replicas, **(base | more)
        )

    # What only shows what happens need not be on disk before the next step; of a crashed server's last moments
    # some may be missing. With replicas the others have them, and the server does not offer this.
    fleeting: dict[str, Any] = {} if replicas > 1 else {"persist_mode": PersistMode.ASYNC}

    def bucket(name: str, **more: Any) -> StreamConfig:
        return stream(
            f"KV_{name}", [f"$KV.{name}.>"], allow_rollup_hdrs=True, deny_delete=True, allow_direct=True,
            allow_msg_ttl=True, max_msgs_per_subject=1, discard=DiscardPolicy.NEW, max_msg_size=1024 * 1024, **more,
        )  # fmt: skip

    return [
        stream(
            subjects.AGENTS,
            sorted(name for role in roles for name in subjects.inbox_subjects(role.name, Priority)),
            retention=RetentionPolicy.WORK_QUEUE, discard=DiscardPolicy.NEW, discard_new_per_subject=True,
            max_msgs_per_subject=waiting_per_lane(len(roles)), max_msgs=WAITING_IN_ALL, max_bytes=INBOX_BYTES,
            max_msg_size=MAX_MESSAGE_BYTES,
            duplicate_window=3600.0, republish=RePublish(src=">", dest="agent-hub.audit.>"), allow_direct=True,
        ),
        stream(
            subjects.TOPICS, subjects.ALL_TOPICS, retention=RetentionPolicy.INTEREST, max_age=7 * DAY_S,
            max_msg_size=MAX_MESSAGE_BYTES, duplicate_window=3600.0,
        ),
        stream(
            subjects.LEARNING, [subjects.ALL_LEARNINGS], max_age=90 * DAY_S, max_msgs_per_subject=10_000,
            duplicate_window=3600.0,
        ),
        stream(subjects.DONE, [subjects.ALL_DONE], max_age=30 * DAY_S, duplicate_window=3600.0, allow_direct=True),
        stream(
            subjects.EVENTS, [subjects.ALL_EVENTS], max_age=7 * DAY_S, max_bytes=1024**3, allow_direct=True, **fleeting,
        ),
        # Message scheduling cannot use discard=new (10052): so schedules have a stream of their own.
        stream(
            subjects.SCHEDULES, subjects.ALL_SCHEDULES, retention=RetentionPolicy.WORK_QUEUE,
            allow_msg_schedules=True, allow_msg_ttl=True, allow_rollup_hdrs=True, duplicate_window=3600.0,
        ),
        stream(
            subjects.DEAD_LETTERS, [subjects.ALL_DEAD_LETTERS, subjects.ALL_REPLAYS, subjects.ALL_LATE],
            discard=DiscardPolicy.NEW, max_bytes=1024**3, duplicate_window=3600.0, allow_direct=True,
        ),
        stream(
            subjects.AUDIT, [subjects.ALL_AUDIT], max_age=30 * DAY_S, max_bytes=2 * 1024**3,
            deny_delete=True, deny_purge=True,  # by nobody: it only grows, and forgets what is old
            compression=StoreCompression.S2, **fleeting,
        ),
        # A window long enough for a message that is delivered again; what goes back for longer, its role remembers.
        stream(
            subjects.TRACE_COUNTS, [subjects.ALL_TRACE_COUNTS], allow_msg_counter=True, max_msgs_per_subject=1,
            max_age=7 * DAY_S, duplicate_window=3600.0, allow_direct=True, **fleeting,
        ),
        stream(
            f"OBJ_{subjects.ATTACHMENTS}", subjects.attachment_subjects(), max_age=30 * DAY_S, max_bytes=4 * 1024**3,
            discard=DiscardPolicy.NEW, allow_rollup_hdrs=True, allow_direct=True,
        ),
        # No age limit: what was decided holds until somebody decides otherwise.
        stream(
            subjects.CONTROL, [subjects.ALL_CONTROLS], max_msgs_per_subject=50, max_msg_size=64 * 1024,
            duplicate_window=3600.0, allow_direct=True,
            republish=RePublish(src=subjects.UNDER_CONTROL, dest=subjects.ALL_CONTROL_STATES),
        ),
        bucket(subjects.REGISTRY, subject_delete_marker_ttl=60.0, **fleeting),
        bucket(subjects.LEASES, subject_delete_marker_ttl=60.0),
        bucket(subjects.LEDGER),
        bucket(subjects.HEALTH),
        bucket(
            subjects.TRACES, max_age=7 * DAY_S,
            republish=RePublish(src=f"$KV.{subjects.TRACES}.>", dest=subjects.ALL_TRACE_STATES),
        ),
        bucket(
            subjects.BREAKERS,
            republish=RePublish(src=f"$KV.{subjects.BREAKERS}.>", dest=subjects.states(subjects.BREAKERS)),
        ),
        bucket(
            subjects.BUDGETS,
            republish=RePublish(src=f"$KV.{subjects.BUDGETS}.>", dest=subjects.states(subjects.BUDGETS)),
        ),
        bucket(
            subjects.GRANTS,
            republish=RePublish(src=f"$KV.{subjects.GRANTS}.>", dest=subjects.states(subjects.GRANTS)),
        ),
        bucket(subjects.TRUST),
        bucket(subjects.CALENDAR),
        bucket(subjects.MEETINGS, max_age=90 * DAY_S),
    ]  # fmt: skip


def _knowledge() -> ConsumerConfig:
    """Keeps on the topics what the knowledge base is made of."""
    return ConsumerConfig(
        durable_name=subjects.KNOWLEDGE_CONSUMER,
        filter_subjects=[subjects.DECISIONS, subjects.status_topic("meeting")],
        ack_policy=AckPolicy.EXPLICIT, max_deliver=-1, deliver_policy=DeliverPolicy.ALL,
        metadata={OURS: subjects.LEADER},
    )  # fmt: skip


def _consumers(role: RoleQueues) -> list[tuple[str, ConsumerConfig]]:
    def consumer(durable: str, filters: Sequence[str], pending: int) -> ConsumerConfig:
        # max_deliver -1: a message past it would stay in the stream for ever; tries are counted by us.
        one = filters[0] if len(filters) == 1 else None
        return ConsumerConfig(
            durable_name=durable, filter_subject=one, filter_subjects=None if one else list(filters),
            ack_policy=AckPolicy.EXPLICIT, ack_wait=role.ack_wait_s, max_deliver=-1, max_ack_pending=pending,
            deliver_policy=DeliverPolicy.ALL, max_waiting=64, metadata={OURS: role.name},
        )  # fmt: skip

    lanes = [
        (
            subjects.AGENTS,
            consumer(
                subjects.lane_consumer(role.name, p),
                [subjects.lane_filter(role.name, p)],
                pending=LANE_DELIVERIES * role.replicas,
            ),
        )
        for p in Priority
    ]
    doors = [
        (subjects.AGENTS, consumer(subjects.door_consumer(role.name), [subjects.inbox(role.name)], SORTER_BATCH)),
        (subjects.SCHEDULES, consumer(subjects.due_consumer(role.name), [subjects.due(role.name)], SORTER_BATCH)),
        (subjects.LEARNING, consumer(subjects.learning_consumer(role.name), [subjects.ALL_LEARNINGS], SORTER_BATCH)),
    ]
    if role.topics:
        doors.append(
            (subjects.TOPICS, consumer(subjects.topics_consumer(role.name), sorted(set(role.topics)), SORTER_BATCH))
        )
    return lanes + doors
