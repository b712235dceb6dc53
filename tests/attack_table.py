"""What may be tried at the broker, and who may do it: all else is an attack, and the broker must refuse it.

A new stream or bucket is in the table by itself; who may read it then must be said here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.identity import BRIDGE, LEADER, OPERATOR, SERVERS, SYSTEM, VIEWER, inbox_prefix
from agenthub.bus.permissions import STRANGER
from agenthub.bus.topology import RoleQueues, topology

PERSON = "you"
"""The operator's name in the organization."""
STREAMS = sorted(stream.name or "" for stream in topology([RoleQueues("backend")]).streams)


class Attempt(NamedTuple):
    """Something to be tried by who has a connection."""

    subject: str
    hears: bool = False
    """True: to subscribe; else to publish."""
    data: bytes = b"{}"


def attempts(victim: str, other: str) -> dict[str, Attempt]:
    """All that is tried, by name: at the expense of one role, and in the name of another."""
    return {**_inboxes(victim, other), **_words(victim, other), **_values(victim), **_streams(), **_listening(victim)}


def _inboxes(victim: str, other: str) -> dict[str, Attempt]:
    lane, consumer = subjects.lane(victim, "high", other), f"{subjects.AGENTS}.{subjects.lane_consumer(victim, 'high')}"
    place = f"{subjects.AGENTS}.{subjects.lane_consumer(victim, 'high')}.1.1.1.1.0"
    due = f"{subjects.SCHEDULES}.{subjects.due_consumer(victim)}"
    return {
        "publish as another role": Attempt(lane),
        "publish as the operator": Attempt(subjects.lane(victim, "critical", PERSON)),
        "publish as the leader": Attempt(subjects.lane(victim, "high", LEADER)),
        "publish as a program": Attempt(subjects.lane(victim, "high", BRIDGE)),
        "publish as its sorter": Attempt(subjects.lane(victim, "high", victim)),
        "knock at its door": Attempt(subjects.inbox(victim)),
        "pull from its lane": Attempt(f"$JS.API.CONSUMER.MSG.NEXT.{consumer}", data=b"1"),
        "pull what comes due": Attempt(f"$JS.API.CONSUMER.MSG.NEXT.{due}", data=b"1"),
        "acknowledge for it": Attempt(f"$JS.ACK.{place}", data=b"+TERM"),
        "acknowledge for it, newer": Attempt(f"$JS.ACK._.HASH.{place}", data=b"+TERM"),
        "ask how its lane stands": Attempt(f"$JS.API.CONSUMER.INFO.{consumer}"),
        "delete its consumer": Attempt(f"$JS.API.CONSUMER.DELETE.{consumer}"),
        "pause its consumer": Attempt(f"$JS.API.CONSUMER.PAUSE.{consumer}"),
        "change its consumer": Attempt(f"$JS.API.CONSUMER.CREATE.{consumer}"),
        "read its newest message": Attempt(f"$JS.API.DIRECT.GET.{subjects.AGENTS}.{lane}", data=b""),
    }


def _words(victim: str, other: str) -> dict[str, Attempt]:
    return {
        "stop it": Attempt(subjects.control(victim, "estop", PERSON)),
        "stop all": Attempt(subjects.control(subjects.ALL_ROLES, "estop", PERSON)),
        "nudge it as another": Attempt(subjects.control(victim, "nudge", other)),
        "say that it was stopped": Attempt(f"agent-hub.states.control.{victim}.estop.{PERSON}"),
        "say that its budget changed": Attempt(f"agent-hub.states.{subjects.BUDGETS}.real.role.{victim}"),
        "say that it got a grant": Attempt(f"agent-hub.states.{subjects.GRANTS}.{victim}"),
        "end its message": Attempt(subjects.done(victim, "x")),
        "tell of it": Attempt(subjects.event("completed", victim)),
        "bury for it": Attempt(subjects.dead_letter(victim)),
        "bring a result of it": Attempt(subjects.late(victim)),
        "teach as it": Attempt(subjects.learning(victim)),
        "schedule for it": Attempt(subjects.schedule(victim, "x")),
        "bring it its due": Attempt(subjects.due(victim)),
        "speak as it live": Attempt(subjects.live(victim)),
        "answer pings for it": Attempt(subjects.pong(victim)),
        "ping as the operator": Attempt(subjects.ping(victim, OPERATOR)),
        "ping as a program": Attempt(subjects.ping(victim, BRIDGE)),
        "ping as who watches": Attempt(subjects.ping(victim, VIEWER)),
        "write a guard's decision of it": Attempt(subjects.audit("rate", victim)),
        "forge a copy for the audit": Attempt(f"agent-hub.audit.{subjects.inbox(victim)}"),
        "count on a trace": Attempt(subjects.trace_count("messages", "t")),
        "publish tasks": Attempt("agent-hub.topics.tasks.sql"),
        "publish a status": Attempt("agent-hub.topics.status.deploy"),
        "publish a decision": Attempt("agent-hub.topics.decisions.money"),
        "announce": Attempt(subjects.ANNOUNCEMENTS),
        "have servers reload": Attempt("$SYS.REQ.SERVER.x.RELOAD"),
        "ping servers": Attempt("$SYS.REQ.SERVER.PING"),
        "have servers let somebody go": Attempt("$SYS.REQ.SERVER.x.KICK"),
        "read accounts": Attempt("$SYS.REQ.ACCOUNT.SYS.CONNZ"),
    }


def _values(victim: str) -> dict[str, Attempt]:
    keys = {
        subjects.REGISTRY: victim, subjects.LEASES: victim, subjects.HEALTH: victim, subjects.LEDGER: f"{victim}.x",
        subjects.TRUST: victim, subjects.TRACES: "t", subjects.BREAKERS: f"role.{victim}",
        subjects.BUDGETS: f"real.role.{victim}", subjects.CALENDAR: subjects.added(victim, "x"),
        subjects.MEETINGS: subjects.meeting(victim, "x"), subjects.GRANTS: victim,
    }  # fmt: skip
    found: dict[str, Attempt] = {}
    for stream in STREAMS:
        if stream.startswith("KV_"):
            bucket = stream.removeprefix("KV_")
            value = subjects.key_value(bucket, keys[bucket])
            found[f"write its {bucket}"] = Attempt(value)
            found[f"read its {bucket}"] = Attempt(f"$JS.API.DIRECT.GET.{stream}.{value}", data=b"")
    found["take the lead"] = Attempt(subjects.key_value(subjects.LEASES, LEADER))
    found["write the operator's ledger"] = Attempt(subjects.key_value(subjects.LEDGER, f"{PERSON}.x"))
    found["store a file"] = Attempt(f"$O.{subjects.ATTACHMENTS}.C.x")
    return found


def _streams() -> dict[str, Attempt]:
    found = {"make a stream": Attempt("$JS.API.STREAM.CREATE.MINE", data=b'{"name":"MINE","subjects":["mine"]}')}
    for stream in STREAMS:
        found |= {
            f"read {stream}": Attempt(f"$JS.API.STREAM.MSG.GET.{stream}", data=b'{"seq":1}'),
            f"read {stream} by place": Attempt(f"$JS.API.DIRECT.GET.{stream}", data=b'{"seq":1}'),
            f"follow {stream}": Attempt(f"$JS.API.CONSUMER.CREATE.{stream}.mine"),
            f"follow {stream} for long": Attempt(f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.mine"),
            f"change {stream}": Attempt(f"$JS.API.STREAM.UPDATE.{stream}"),
            f"take out of {stream}": Attempt(f"$JS.API.STREAM.MSG.DELETE.{stream}", data=b'{"seq":1}'),
            f"purge {stream}": Attempt(f"$JS.API.STREAM.PURGE.{stream}", data=b'{"filter":"nothing"}'),
            f"copy {stream}": Attempt(f"$JS.API.STREAM.SNAPSHOT.{stream}"),
            f"bring back {stream}": Attempt(f"$JS.API.STREAM.RESTORE.{stream}"),
            f"delete {stream}": Attempt(f"$JS.API.STREAM.DELETE.{stream}"),
        }
    return found


def _listening(victim: str) -> dict[str, Attempt]:
    heard = {
        "hear everything": ">", "hear its inbox": f"{subjects.inbox(victim)}.>",
        "hear its answers": f"{inbox_prefix(victim)}.>", "hear the operator's answers": f"{inbox_prefix(OPERATOR)}.>",
        "hear strangers' answers": "_INBOX.>", "hear events": subjects.ALL_EVENTS, "hear ends": subjects.ALL_DONE,
        "hear it live": subjects.live(victim), "hear it answer pings": subjects.pong(victim),
        "hear who watches it": subjects.watch(victim, "*"), "hear decisions": subjects.ALL_CONTROLS,
        "hear what is kept of all": "agent-hub.states.>", "hear buckets": "$KV.>", "hear topics": "agent-hub.topics.>",
        "hear acknowledgements": "$JS.ACK.>", "hear the API": "$JS.API.>", "hear the broker": "$SYS.>",
        "hear the audit": subjects.ALL_AUDIT, "hear files": "$O.>", "hear dead letters": subjects.ALL_DEAD_LETTERS,
    }  # fmt: skip
    return {name: Attempt(subject, hears=True) for name, subject in heard.items()}


EVERYTHING = frozenset(attempts("backend", "cto"))
_FILES = f"OBJ_{subjects.ATTACHMENTS}"
_OPEN_TO_ROLES = [
    subjects.DONE, subjects.TRACE_COUNTS, subjects.CONTROL,
    *(f"KV_{bucket}" for bucket in (
        subjects.REGISTRY, subjects.HEALTH, subjects.TRACES, subjects.BREAKERS, subjects.BUDGETS, subjects.CALENDAR,
        subjects.MEETINGS, subjects.GRANTS,
    )),
]  # fmt: skip
"""What roles read though it is of others."""
_SHOWN = [subjects.EVENTS, subjects.DONE, subjects.CONTROL, subjects.DEAD_LETTERS, subjects.AUDIT, subjects.LEARNING]
"""What who watches may follow."""
_READ = {
    *(f"read its {stream.removeprefix('KV_')}" for stream in STREAMS if stream.startswith("KV_")),
    *(f"read {stream}{how}" for stream in STREAMS for how in ("", " by place")),
}
"""What who looks after all, or watches, reads."""

_ROLE = {
    "publish tasks", "publish a status", "count on a trace", "store a file", f"follow {_FILES}",
    "hear what is kept of all",
    *(f"write its {bucket}" for bucket in (subjects.TRACES, subjects.BREAKERS, subjects.BUDGETS)),
    f"read {_FILES}", *(f"read {stream}{how}" for stream in _OPEN_TO_ROLES for how in ("", " by place")),
    *(f"read its {stream.removeprefix('KV_')}" for stream in _OPEN_TO_ROLES if stream.startswith("KV_")),
}  # fmt: skip
_WATCHING = {
    "ask how its lane stands", "read its newest message", "hear events", "hear ends", "hear it live",
    "hear it answer pings", "hear what is kept of all", *_READ, *(f"follow {stream}" for stream in _SHOWN),
}  # fmt: skip
MAY: Mapping[str, frozenset[str]] = {
    "a role": frozenset(_ROLE),
    "a manager": frozenset(_ROLE | {"publish a decision", "announce"}),
    LEADER: frozenset({
        "publish as the leader", "publish a status", "publish a decision", "end its message", "tell of it",
        "acknowledge for it", "ask how its lane stands", "read its newest message", "take the lead",
        "write the operator's ledger", "hear events", "hear ends", "hear it live", "hear it answer pings",
        "hear what is kept of all", *_READ,
        *(f"write its {bucket}" for bucket in (
            subjects.LEASES, subjects.LEDGER, subjects.HEALTH, subjects.CALENDAR, subjects.MEETINGS,
        )),
        *(f"follow {stream}" for stream in (subjects.TOPICS, subjects.DONE, subjects.EVENTS)),
    }),
    OPERATOR: EVERYTHING - {
        "publish as another role", "publish as its sorter", "make a stream", "take the lead", "write its leases",
        "forge a copy for the audit", f"take out of {subjects.AUDIT}", f"purge {subjects.AUDIT}",
        *(f"{verb} {stream}" for verb in ("change", "bring back", "delete") for stream in STREAMS),
    },
    BRIDGE: frozenset({
        "publish as a program", "knock at its door", "publish tasks", "publish a status", "ping as a program",
        "store a file", f"follow {_FILES}", *_WATCHING,
    }),
    VIEWER: frozenset({"ping as who watches", *_WATCHING}),
    STRANGER: frozenset({"knock at its door", "hear strangers' answers"}),
    SERVERS: frozenset({"have servers reload", "ping servers"}),
    SYSTEM: EVERYTHING,
}  # fmt: skip
"""By identity, what of it all it may do; roles are all like `a role` or `a manager`."""
DOCUMENTED = {
    "a role R": ("a role", "a manager"), "the leader": (LEADER,), "the operator": (OPERATOR,), "the bridge": (BRIDGE,),
    "the viewer": (VIEWER,), "a stranger": (STRANGER,), "the system": (SYSTEM,), "`servers`": (SERVERS,),
}  # fmt: skip
"""Lines of the table in docs/security.md, and who of these they are about."""


def refusal(attempt: Attempt) -> str:
    """What the server says to who may not."""
    what = "subscription" if attempt.hears else "publish"
    return f'permissions violation for {what} to "{attempt.subject.lower()}"'
