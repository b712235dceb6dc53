"""What people decide about roles at run time: pause, stop, cancel, move ... Values and rules; no I/O.

A decision is a control message. What holds follows from all of them: of two that speak about the same thing the newer
one counts, and a decision about every role is one about each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, field_validator

from agenthub import subjects
from agenthub.errors import MessageError
from agenthub.messages import Moment, now

Verb = Literal["pause", "resume", "estop", "thaw", "cancel", "nudge", "restart", "move", "requeue", "reprioritize"]
LASTING: tuple[tuple[Verb, Verb], ...] = (("pause", "resume"), ("estop", "thaw"))
"""Verbs that hold until the other one of the pair is said."""
STOPPING: tuple[Verb, ...] = tuple(stops for stops, _ in LASTING)
_LONGEST_WORDS = 2000

RESTARTS = "restarts"
"""What a process answers that restarts at once, and not after the message that it works on."""


class Control(BaseModel):
    """One decision of a person."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    """Unique; the same again changes nothing."""
    verb: Verb
    role: str
    """Whom it is about; `subjects.ALL_ROLES`: everybody."""
    by: str
    """Who decided; also the last token of the subject, which the broker checks."""
    at: Moment
    reason: str = ""
    """Why. Of a nudge: the words for the model."""
    message_id: str = ""
    """Of cancel, nudge, move, requeue and reprioritize: the message that it is about."""
    sequence: int = 0
    """Where that message waits in the stream of inboxes; 0: it is in hand, or put off."""
    envelope: dict[str, Any] = {}
    """Of cancel: the message that waits, without its text, so that the role can end it without taking it."""
    requeue: bool = False
    """Of cancel: the message goes back behind the others instead of ending."""
    at_once: bool = False
    """Of restart: without waiting for the message in hand."""
    processes: list[str] = []
    """Of restart: the processes that shall end, as `process_name` names them. Those after them are restarted."""
    to: str = ""
    """Of move: the role that gets the message; of reprioritize: its new priority."""

    @field_validator("reason")
    @classmethod
    def _is_short(cls, value: str) -> str:
        return value[:_LONGEST_WORDS]

    @property
    def words(self) -> str:
        """Who did it and why, in a line: `by you: too expensive`."""
        reason = " ".join(self.reason.split())
        return f"by {self.by}: {reason}" if reason else f"by {self.by}"

    def encode(self) -> bytes:
        """UTF-8 JSON without what is not set."""
        return self.model_dump_json(exclude_defaults=True).encode()

    @classmethod
    def read(cls, subject: str, data: bytes) -> Control:
        """A control message as it was published on `subject`, or the broker's copy of it.

        Raises:
            MessageError: If it is none, or says otherwise than its subject.
        """
        place = subjects.control_of(subject)
        try:
            control = cls.model_validate_json(data)
        except ValueError as error:
            raise MessageError(f"{subject}: no control message: {error}") from error
        if place != (control.role, control.verb, control.by):
            said = f"{control.verb} {control.role} by {control.by}"
            raise MessageError(f"{subject}: the body says otherwise than the subject: {said}")
        return control


class Decided(NamedTuple):
    """A control message, and its place in the order in which the broker stored them."""

    sequence: int
    control: Control


class Standing(NamedTuple):
    """What holds for a role."""

    paused: Control | None = None
    """Who paused it: it takes nothing new, and finishes what it has begun."""
    stopped: Control | None = None
    """Who stopped it, or everything: it makes no step, and no model is called."""

    @property
    def words(self) -> str:
        """How it is held, in a line without the reason: `stopped by you since 2026-05-17 08:00 UTC`; empty: not."""
        held, word = (self.stopped, "stopped") if self.stopped is not None else (self.paused, "paused")
        return "" if held is None else f"{word} by {held.by} since {held.at:%Y-%m-%d %H:%M} UTC"


class Holding(NamedTuple):
    """Roles that are held in the same way."""

    word: str
    """`stopped` or `paused`."""
    who: str
    """Names with commas between them; `all`."""
    control: Control
    """Of the first of them."""
    remedy: str
    """The command that lets them go on."""

    @property
    def line(self) -> str:
        """For people: `all stopped by you: too dear, since 2026-05-17 08:00 UTC; `agenthub thaw``."""
        return (
            f"{self.who} {self.word} {self.control.words}, since {self.control.at:%Y-%m-%d %H:%M} UTC; `{self.remedy}`"
        )


def standing(decided: Iterable[Decided], role: str) -> Standing:
    """What holds for a role by all that was decided, in whatever order it is given."""
    concerned = [one for one in decided if one.control.role in (role, subjects.ALL_ROLES)]
    newest = [
        max((one for one in concerned if one.control.verb in pair), key=lambda one: one.sequence, default=None)
        for pair in LASTING
    ]
    holding = [
        one.control if one is not None and one.control.verb == pair[0] else None
        for one, pair in zip(newest, LASTING, strict=True)
    ]
    return Standing(*holding)


def holdings(standings: Mapping[str, Standing]) -> list[Holding]:
    """Which roles people hold, by role what holds for it: those that are stopped, then those that are only paused."""
    stopped = {role: one.stopped for role, one in standings.items() if one.stopped}
    paused = {role: one.paused for role, one in standings.items() if one.paused and not one.stopped}
    found = []
    for word, command, held in (("stopped", "thaw", stopped), ("paused", "resume", paused)):
        if held:
            is_all, first = len(held) == len(standings), next(iter(held))
            target = "" if word == "stopped" else " --all"
            remedy = f"agenthub {command}{target if is_all else f' {first}'}"
            found.append(Holding(word, "all" if is_all else ", ".join(held), held[first], remedy))
    return found


def may_decide(control: Control, *, operator: str, managers: Iterable[str]) -> bool:
    """True if who sent it may: the operator everything, a manager of the role may nudge it."""
    if control.by == operator:
        return True
    return control.verb == "nudge" and control.role != subjects.ALL_ROLES and control.by in managers


def process_name(key: str, host: str, pid: int) -> str:
    """How a restart names a process: another one after each start."""
    return f"{key}@{host}/{pid}"


def new_control(verb: Verb, role: str, by: str, *, identity: str, **more: object) -> Control:
    """A decision of this moment."""
    return Control.model_validate({"id": identity, "verb": verb, "role": role, "by": by, "at": now(), **more})
