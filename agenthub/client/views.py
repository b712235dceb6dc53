"""What programs read about a hub: one model for each thing, the same for `--json`, `agenthub schema` and MCP tools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from agenthub.asks import Ask
from agenthub.causation import Node
from agenthub.client.broadcast import Published, Sent
from agenthub.client.costs import Cost
from agenthub.client.inboxes import RoleStatus, WaitingMessage, state_of
from agenthub.messages import Attachment, Message, Moment, Priority, Usage
from agenthub.org.pending import Debt
from agenthub.organization import Organization


class PersonView(BaseModel):
    """Somebody who belongs to the organization."""

    name: str
    kind: Literal["person", "role"]
    description: str
    skills: list[str]
    reports_to: str | None
    state: str
    """`operator` for the person; of a role idle, working, stopping, stuck, down, or how far a stall has gone."""
    doing: str
    model: str | None


class ApprovalView(BaseModel):
    """A tool call, a question or a wish for a grant that waits for a person."""

    id: str
    role: str
    task_id: str
    task: str
    kind: str
    tool: str
    input: dict[str, Any]
    rule: str
    """The rule that says to ask; empty: no rule names the call."""
    source: str
    """Where that rule stands."""
    question: str
    choices: list[str]
    wanted: dict[str, Any] | None
    """Of a grant: kind, what, for_s, why."""
    since: Moment
    expires_at: Moment


class DebtView(BaseModel):
    """An answer that somebody owes somebody."""

    id: str
    message_id: str
    debtor: str
    asked: str
    """Who was asked; another than the debtor if that one is gone, or waits for others."""
    creditor: str
    subject: str
    priority: Priority
    since: Moment
    due_at: Moment
    is_overdue: bool
    overdue_s: float
    reminders: int
    reminded_at: Moment | None
    state: str
    waits_for: list[str]
    busy_with: str
    now: str
    """What the debtor does about it, in words."""
    is_excused: bool
    from_outside: bool
    """True if a person or a program waits, and no role."""


class CostView(Usage):
    """What the model calls of one role, model, day or trace took."""

    key: str
    cached_share: float
    """0 to 1, of what was read."""
    title: str = ""


class SentView(BaseModel):
    """A message that was put into an inbox."""

    role: str
    id: str
    error: str | None = None
    """Why it is not stored; null: it is."""


class PublishedView(BaseModel):
    """A message that was said on a topic."""

    id: str
    topic: str
    subscribers: list[str]
    """Roles that will read it."""


class WaitingView(BaseModel):
    """A message in an inbox."""

    id: str
    from_role: str
    type: str
    priority: Priority
    subject: str
    message: str
    stored_at: Moment | None
    attachments: list[Attachment] = []


def people(organization: Organization, names: Iterable[str], statuses: Sequence[RoleStatus]) -> list[PersonView]:
    """The operator and roles of these names, with what they do now."""
    return [_person(organization, name, statuses) for name in names]


def _person(organization: Organization, name: str, statuses: Sequence[RoleStatus]) -> PersonView:
    if name == organization.operator:
        return PersonView(
            name=name, kind="person", description="The operator: gives directives, decides.", skills=[],
            reports_to=None, state="operator", doing="", model=None,
        )  # fmt: skip
    role = organization.roles[name]
    beats = [
        status.heartbeat
        for status in statuses
        if status.role.partition(".")[0] == name and status.heartbeat is not None
    ]
    busy = next((beat for beat in beats if beat.state == "working"), next(iter(beats), None))
    return PersonView(
        name=name, kind="role", description=role.summary, skills=list(role.settings.skills),
        reports_to=role.settings.reports_to, state=state_of(busy) if busy else "down", doing=busy.doing if busy else "",
        model=organization.terms(name).model,
    )  # fmt: skip


def approval(ask: Ask) -> ApprovalView:
    """A decision that a role waits for."""
    assert ask.approval is not None
    said = ask.approval.model_dump(
        mode="json", include={"kind", "tool", "input", "rule", "source", "question", "choices", "wanted"}
    )
    return ApprovalView(
        id=ask.id, role=ask.role, task_id=ask.task.id, task=ask.task.title, since=ask.opened_at,
        expires_at=ask.deadline, **said,
    )  # fmt: skip


def debt(owed: Debt, at: datetime) -> DebtView:
    """An answer that is owed, as of a moment."""
    part, overdue_s = owed.part, owed.overdue_s(at)
    return DebtView(
        id=owed.ask.id, message_id=owed.message_id, debtor=owed.debtor, asked=part.role, creditor=owed.creditor,
        subject=owed.subject, priority=part.priority, since=owed.ask.opened_at, due_at=owed.due_at,
        is_overdue=overdue_s >= 0, overdue_s=round(max(0.0, overdue_s), 3), reminders=len(part.reminded_at),
        reminded_at=part.reminded_at[-1] if part.reminded_at else None, state=owed.state,
        waits_for=list(owed.waits_for), busy_with=owed.busy_with, now=owed.words, is_excused=owed.is_excused,
        from_outside=owed.ask.from_outside,
    )  # fmt: skip


def cost(one: Cost) -> CostView:
    """What something took."""
    usage = one.usage.model_dump() | {"cost_usd": round(one.usage.cost_usd, 6)}
    return CostView(key=one.key, cached_share=round(one.cached_share, 4), title=one.title, **usage)


def sent(one: Sent) -> SentView:
    """What became of a message that was sent."""
    return SentView(role=one.role, id=one.message.id, error=one.error or None)


def stored(role: str, message: Message) -> SentView:
    """A message that is in an inbox."""
    return SentView(role=role, id=message.id)


def published(one: Published) -> PublishedView:
    """What became of a message that was said on a topic."""
    return PublishedView(id=one.message.id, topic=one.topic, subscribers=one.subscribers)


def waiting(item: WaitingMessage) -> WaitingView | None:
    """A message in an inbox; None if it cannot be read."""
    message = item.message
    if message is None:
        return None
    return WaitingView(
        id=message.id, from_role=message.from_role, type=message.type, priority=message.payload.priority,
        subject=message.payload.subject, message=message.payload.message, stored_at=item.stored_at,
        attachments=message.payload.attachments,
    )  # fmt: skip


def trace(tree: Node) -> dict[str, Any]:
    """A tree as data, with the times of its stages in seconds since the root was stored."""
    data = tree.model_dump(mode="json")
    _add_seconds(tree, data, tree.at)
    return data


def _add_seconds(node: Node, data: dict[str, Any], root_at: datetime | None) -> None:
    for stage, shown in zip(node.stages, data["stages"], strict=True):
        shown["at_s"] = None if root_at is None else round((stage.at - root_at).total_seconds(), 4)
    for child, below in zip(node.children, data["children"], strict=True):
        _add_seconds(child, below, root_at)
