"""The trace of a message: what became of it, stage by stage, and of everything that it caused. Rules; no I/O.

It is put together from what happens to be there: copies of stored messages, events, completions. Each of them may
be missing (events are told, not stored for sure), and what remains still makes a tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError, computed_field

from agenthub.messages import Completion, Event, Message, Moment, Outcome, Usage

Place = tuple[str, str]
"""A role and the id of a message that it has to work off. One message of a topic has several places."""

_INNER = ("task_result", "reply", "decision", "system_event")
"""Types of messages that are a stage of what they belong to, and no work of their own."""


class Copy(NamedTuple):
    """A message as it was stored in an inbox."""

    message: Message
    role: str
    """Whose inbox."""
    at: datetime
    """When the broker stored it."""


class Waits(NamedTuple):
    """Where in its lane a message waits that nobody has taken."""

    position: int
    """1 for the next one."""
    of: int
    lane: str


class Stage(BaseModel):
    """Something that happened to a message."""

    kind: str
    """stored, waits, replied, settled, or the kind of an event: taken, model, step, parked, resumed, delayed …"""
    at: Moment
    text: str = ""
    duration_s: float | None = None
    """What it took; of `taken` how long the message had waited, of `settled` from being stored to the end."""
    data: dict[str, Any] = Field(default_factory=dict)


class Node(BaseModel):
    """One message at one role: its stages, and the messages that working on it has sent."""

    message_id: str
    role: str
    from_role: str = ""
    subject: str = ""
    type: str = ""
    priority: str = ""
    trace_id: str = ""
    causation_id: str = ""
    at: Moment | None = None
    """When it was stored, or what is known first of it."""
    outcome: Outcome | None = None
    """How it ended; None: it has not."""
    attempts: int = 0
    turns: int = 0
    usage: Usage = Usage()
    """What working on it took."""
    usage_in_all: Usage = Usage()
    """The same with everything that it caused."""
    stages: list[Stage] = Field(default_factory=list)
    children: list[Node] = Field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        return self.outcome is not None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def state(self) -> str:
        """Its outcome, else in a word where it is now."""
        if self.outcome is not None:
            return str(self.outcome)
        kinds = [stage.kind for stage in self.stages if stage.kind in _STATES]
        return _STATES[kinds[-1]] if kinds else "waits"

    def walk(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


_STATES = {
    "taken": "working", "resumed": "working", "parked": "parked", "delayed": "delayed", "interrupted": "set aside",
}  # fmt: skip


class _Facts(NamedTuple):
    """All that is known of one place."""

    copies: list[Copy]
    sent: list[Event]
    events: list[Event]
    completions: list[Completion]


def assemble(
    message_id: str,
    *,
    copies: Iterable[Copy] = (),
    events: Iterable[Event] = (),
    completions: Iterable[Completion] = (),
    waits: Mapping[Place, Waits] | None = None,
) -> list[Node]:
    """The tree below a message: one for each role that has it to work off, mostly one; none if nothing is known of it.

    Whatever is missing, doubled, or refers to itself, this ends, and each place is in the trees at most once.
    """
    places: dict[Place, _Facts] = {}
    replies: dict[Place, list[Copy]] = {}

    def facts(role: str, identity: str) -> _Facts:
        return places.setdefault((role, identity), _Facts([], [], [], []))

    for copy in copies:
        message = copy.message
        if message.type in _INNER and message.id != message_id:
            replies.setdefault((message.from_role, message.causation_id), []).append(copy)
        else:
            facts(copy.role, message.id).copies.append(copy)
    for event in events:
        if not event.message_id:
            continue
        if event.kind != "sent":
            facts(event.role, event.message_id).events.append(event)
        elif event.data.get("type") not in _INNER:
            facts(str(event.data.get("to", "")), event.message_id).sent.append(event)
        elif event.data.get("causation_id"):
            facts(event.role, str(event.data["causation_id"])).sent.append(event)
    for completion in completions:
        facts(completion.role, completion.message_id).completions.append(completion)

    nodes = {
        place: _node(place, found, replies.get(place, []), (waits or {}).get(place)) for place, found in places.items()
    }
    below: dict[Place, list[Node]] = {}
    for node in nodes.values():
        if (parent := _parent(node, nodes)) is not None:
            below.setdefault(parent, []).append(node)
    seen = {place for place in nodes if place[1] == message_id}
    return [_grown(nodes[place], below, seen) for place in sorted(seen)]


def _parent(node: Node, nodes: Mapping[Place, Node]) -> Place | None:
    """Where working on the cause has sent this; of a replay, where the buried message was."""
    cause = node.causation_id
    if not cause or cause == node.message_id:
        return None
    for place in ((node.from_role, cause), (node.role, cause)):
        if place in nodes:
            return place
    return next((place for place in sorted(nodes) if place[1] == cause), None)


def _grown(node: Node, below: Mapping[Place, list[Node]], seen: set[Place]) -> Node:
    """A node with its children; who was seen above or beside is no child, so that a circle ends."""
    mine = [child for child in below.get((node.role, node.message_id), []) if _place(child) not in seen]
    seen.update(_place(child) for child in mine)
    children = [_grown(child, below, seen) for child in sorted(mine, key=lambda child: (child.at is None, child.at))]
    in_all = sum((child.usage_in_all for child in children), node.usage)
    return node.model_copy(update={"children": children, "usage_in_all": in_all})


def _place(node: Node) -> Place:
    return node.role, node.message_id


def _node(place: Place, found: _Facts, replies: Sequence[Copy], waits: Waits | None) -> Node:
    role, identity = place
    copies = sorted(found.copies, key=lambda copy: copy.at)
    first = copies[0] if copies else None
    asking = [event for event in found.sent if event.message_id == identity]
    answering = [event for event in found.sent if event.message_id != identity]
    end = min(found.completions, key=lambda completion: completion.ended_at, default=None)
    known: list[dict[str, Any]] = []
    if first is not None:
        said = first.message
        known.append(
            {
                "from_role": said.from_role, "subject": said.title, "type": said.type, "trace_id": said.trace_id,
                "priority": str(said.payload.priority), "causation_id": said.causation_id, "at": first.at,
            }
        )  # fmt: skip
    known += [
        {
            "from_role": event.role, "subject": event.text, "type": str(event.data.get("type", "")),
            "priority": str(event.data.get("priority", "")), "trace_id": event.trace_id, "at": event.at,
            "causation_id": str(event.data.get("causation_id", "")),
        }
        for event in asking
    ]  # fmt: skip
    known += [
        {"from_role": str(event.data.get("from_role", "")), "subject": event.text, "trace_id": event.trace_id}
        for event in found.events
        if event.kind == "taken"
    ]
    if end is not None:
        known.append(
            {
                "from_role": end.from_role, "subject": end.subject, "priority": str(end.priority),
                "trace_id": end.trace_id, "causation_id": end.causation_id,
            }
        )  # fmt: skip
    about: dict[str, Any] = {}
    for fields in known:  # the surest first: what it leaves open is taken from the next
        about = fields | {name: value for name, value in about.items() if value}
    stages = [*_stages(found.events, about.get("at"), has_end=end is not None), *_replied(replies, answering)]
    if about.get("at") is not None:
        stages.append(Stage(kind="stored", at=about["at"], text=about.get("priority", "")))
    about.setdefault("at", min((stage.at for stage in stages), default=end.started_at if end else None))
    if end is not None:
        text = end.text if end.outcome is Outcome.DEAD else ""
        took_s = _seconds(about["at"] or end.started_at, end.ended_at)
        stages.append(Stage(kind="settled", at=end.ended_at, text=text, duration_s=took_s))
    elif waits is not None and about["at"] is not None:
        stages.append(Stage(kind="waits", at=about["at"], data=waits._asdict()))
    attempts = [int(event.data.get("attempt") or 0) for event in found.events if _is_count(event.data.get("attempt"))]
    models = [stage for stage in stages if stage.kind == "model"]
    return Node(
        message_id=identity, role=role, **about,
        outcome=end.outcome if end else None,
        attempts=max([*attempts, end.attempts if end else 0]),
        turns=end.turns if end else 0,
        usage=end.usage if end else sum((usage_in(stage.data) for stage in models), Usage()),
        stages=sorted(stages, key=lambda stage: (_ORDER.get(stage.kind, _AMONG), stage.at)),
    )  # fmt: skip


_ORDER, _AMONG = {"stored": 0, "waits": 1, "settled": 3}, 2
"""What stands first and last, whatever the clocks of different machines say."""


def _stages(events: Sequence[Event], stored_at: datetime | None, *, has_end: bool) -> Iterator[Stage]:
    for event in events:
        if event.kind in ("completed", "noted") or (event.kind == "dead" and has_end):
            continue  # the completion says it
        duration_s = event.data.get("duration_s")
        if event.kind == "taken" and stored_at is not None:
            duration_s = _seconds(stored_at, event.at)
        is_number = isinstance(duration_s, int | float) and not isinstance(duration_s, bool) and duration_s >= 0
        yield Stage(
            kind=event.kind, at=event.at, text=event.text, data=event.data,
            duration_s=float(duration_s) if is_number and duration_s is not None else None,
        )  # fmt: skip


def _replied(replies: Sequence[Copy], told: Sequence[Event]) -> Iterator[Stage]:
    """The replies that were sent: as they were stored, else as it was told that they are."""
    seen: set[str] = set()
    for copy in sorted(replies, key=lambda copy: copy.at):
        if copy.message.is_answer and copy.message.id not in seen:
            seen.add(copy.message.id)
            yield Stage(kind="replied", at=copy.at, data={"to": copy.role, "message_id": copy.message.id})
    for event in told:
        if event.message_id not in seen and event.data.get("type") != "system_event":
            seen.add(event.message_id)
            data = {"to": str(event.data.get("to", "")), "message_id": event.message_id}
            yield Stage(kind="replied", at=event.at, data=data)


def usage_in(data: Mapping[str, Any]) -> Usage:
    """The usage that an event tells of; nothing if it makes no sense."""
    try:
        return Usage.model_validate({name: value for name, value in data.items() if name in Usage.model_fields})
    except ValidationError:
        return Usage()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _seconds(begin: datetime, end: datetime) -> float:
    return max(0.0, round((end - begin).total_seconds(), 4))
