"""Schedules as values: which there are, what each did last, what it is to do now. Rules only; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from agenthub import subjects
from agenthub.errors import NotFoundError, unknown
from agenthub.messages import Message, Moment, Payload, Priority, derived_id
from agenthub.organization import Organization
from agenthub.role_settings import Misfire, RoleName, Schedule
from agenthub.times import When, coming, latest_due

SCHEDULED = "scheduled"
"""Type of the message of a firing."""
ON_TIME = timedelta(seconds=90)
"""A firing that comes later than this after its time was missed, and its misfire rule says what becomes of it."""
MOST_MISSED = 100
"""More than so many are not made up for, and not counted one by one."""
BUSY_AT_MOST = timedelta(days=7)
"""A firing that has no end after this is not waited for any more: its completion may be gone from the stream."""


class Added(BaseModel):
    """A schedule that was added while the hub runs."""

    model_config = ConfigDict(frozen=True, extra="allow")

    to: RoleName
    by: str
    """Who added it: a role, or the operator."""
    added_at: Moment
    rule: Schedule


class Resting(BaseModel):
    """A schedule is paused."""

    model_config = ConfigDict(frozen=True, extra="allow")

    by: str
    since: Moment


class Fired(BaseModel):
    """What a schedule did last."""

    model_config = ConfigDict(frozen=True, extra="allow")

    until: Moment
    """What was due up to here is settled."""
    message_id: str = ""
    """Of the last firing; empty: there was none yet."""
    fired_at: Moment | None = None
    is_waiting: bool = False
    """True if a firing waits for the end of the last one."""
    seen: dict[str, int] = Field(default_factory=dict)
    """How far streams were read for news."""


class Planned(NamedTuple):
    """One schedule of the organization, wherever it was written down."""

    owner: str
    """The role that it belongs to, or the operator."""
    name: str
    to: str
    """Role that gets the message."""
    rule: Schedule
    when: When
    source: str
    """`role file`, `agenthub.toml`, or who added it."""
    since: datetime | None = None
    """When it was added while the hub runs; None: it stands in a file."""

    @property
    def fires(self) -> str:
        """Who fires it: the leader; the role itself, if a command in its sandbox is asked before."""
        return self.to if self.rule.check else subjects.LEADER

    @property
    def id(self) -> str:
        """How people name it."""
        return f"{self.owner}.{self.name}"


def planned(organization: Organization, added: Mapping[str, Added]) -> list[Planned]:
    """All schedules, sorted by their ids. What was added for a role that is gone is left out.

    Args:
        added: By key in the calendar.
    """
    zone, operator = organization.calendar.zone, organization.operator
    found = [
        Planned(role.name, name, role.name, rule, rule.when(zone), "role file")
        for role in organization.roles.values()
        for name, rule in role.settings.schedule.items()
    ]
    found += [
        Planned(operator, name, rule.to, rule, rule.when(zone), "agenthub.toml")
        for name, rule in organization.schedules.items()
    ]
    known = {one.id for one in found}
    for key, one in added.items():
        author, name = key.split(".")[1:]
        if one.to in organization.roles and f"{author}.{name}" not in known:
            found.append(Planned(author, name, one.to, one.rule, one.rule.when(zone), one.by, one.added_at))
    return sorted(found)


def find(wanted: str, among: Iterable[Planned]) -> Planned:
    """The schedule of that id, or of that name if only one has it.

    Raises:
        NotFoundError: If there is none, or more than one.
    """
    everyone = list(among)
    found = [one for one in everyone if wanted == one.id] or [one for one in everyone if wanted == one.name]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFoundError(f"{len(found)} schedules are called `{wanted}`: {', '.join(one.id for one in found)}.")
    raise NotFoundError(f"{unknown('schedule', wanted, [one.id for one in everyone])} See `agenthub schedule ls`.")


class Pending(NamedTuple):
    """What a schedule is to do now."""

    due: tuple[datetime, ...]
    """Firings, oldest first; may be empty although times have passed."""
    until: datetime
    """What was due up to here is settled by that."""
    missed: int = 0
    """Times that passed while nothing ran, `MOST_MISSED` at most."""


def pending(when: When, misfire: Misfire, until: datetime, moment: datetime) -> Pending | None:
    """What is to be fired at `moment`, if all up to `until` is settled; None if nothing was due since."""
    latest = latest_due(when, until, moment)
    if latest is None:
        return None
    passed = [due for due in coming(when, until, most=MOST_MISSED) if due <= moment]
    late = [due for due in passed if moment - due > ON_TIME]
    is_late = moment - latest > ON_TIME
    if not is_late:
        # What is on time fires once, however short the interval: nobody needs two at the same moment.
        due = (*late, latest) if misfire == "all" else (latest,)
        return Pending(due, latest, len(late))
    fires: tuple[datetime, ...] = {"once": (latest,), "all": tuple(late), "skip": ()}[misfire]
    return Pending(fires, latest, len(late))


def firing(one: Planned, due: datetime, *, org: str, news: str = "") -> Message:
    """The message of one firing: the same schedule and time give the same id, whoever makes it.

    Args:
        news: What its check printed.
    """
    identity = derived_id("schedule", one.id, due.isoformat())
    text = one.rule.text or f"Do what `{one.name}` stands for in your instructions."
    if news:
        text = f"{text}\n\nWhat `{one.rule.check}` printed:\n{news}"
    return Message(
        id=identity, type=SCHEDULED, from_role=subjects.LEADER, from_operator=f"operator-{subjects.LEADER}",
        timestamp=due, trace_id=identity, origin=subjects.LEADER, org=org,
        coalesce=one.id if one.rule.while_busy == "coalesce" else "",
        payload=Payload(subject=f"Scheduled: {one.name}", message=text, priority=Priority.read(one.rule.priority)),
    )  # fmt: skip
