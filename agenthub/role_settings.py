"""What a role file may say under `agenthub:`. Values and their rules; the reader is in `roles`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from agenthub import subjects, times
from agenthub.messages import Priority
from agenthub.permission_rules import PermissionRules

MODEL_ALIASES: Mapping[str, str] = {
    "haiku": "claude-haiku-5-5",
    "sonnet": "claude-sonnet-5-5",
    "opus": "claude-opus-5-5",
    "fable": "claude-fable-5-2",
}
"""Short names that Claude Code's agent files use; the Messages API knows only the full ones."""

NAME_RULE = "letters, digits, `_` and `-`, at most 64"


def _role_name(value: str) -> str:
    if not subjects.token(value):
        raise ValueError(f"must be a name: {NAME_RULE}; found {value!r}")
    return value


def _words(value: object) -> object:
    """`a, b` and `[a, b]` mean the same."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return tuple(value) if isinstance(value, list) else value


def _dollars(value: object) -> object:
    if value == "unlimited":
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"must be US dollars above 0, or the word `unlimited`; found {value!r}")
    return float(value)


_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)([kKmM]?)")
_TIMES = {"": 1, "k": 1e3, "m": 1e6}


def amount(value: object) -> object:
    """What may be spent: a number from 0, `500k`, `2M`, or `unlimited` (`math.inf`).

    Raises:
        ValueError: If it is none of these.
    """
    if value == "unlimited":
        return math.inf
    if isinstance(value, str) and (found := _AMOUNT.fullmatch(value.strip())):
        return float(found[1]) * _TIMES[found[2].lower()]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(
            f"must be a number (0: nothing may be spent; `500k`, `2M`) or the word `unlimited`; found {value!r}"
        )
    return float(value)


def _schedule(value: object) -> object:
    """`@every 30m` and `0 9 * * 1-5` are short for a mapping."""
    if isinstance(value, str):
        every = value.removeprefix("@every ")
        return {"every": every.strip()} if every != value else {"cron": value}
    return value


Misfire = Literal["once", "all", "skip"]
WhileBusy = Literal["wait", "skip", "coalesce"]
LEAST_EVERY_S = 10.0


def _moment(value: object) -> object:
    """YAML and TOML make a moment of what looks like one."""
    return value.isoformat() if isinstance(value, date) else value


SessionKind = Literal["anthropic", "claude-code"]
"""`anthropic`: our own tool loop over the Messages API. `claude-code`: Claude Code's, an extra."""

RoleName = Annotated[str, AfterValidator(_role_name)]
Dollars = Annotated[float, BeforeValidator(_dollars)]
"""US dollars above 0; `math.inf` where the file says `unlimited`."""


Spend = Annotated[float, BeforeValidator(amount)]
"""What may be spent, from 0; `math.inf` where the file says `unlimited`."""


class _Strict(BaseModel):
    """Part of a file of ours: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="strings")


class Limits(_Strict):
    """What a single turn may take. None: the organization's default."""

    max_turn_steps: int | None = Field(default=None, ge=1)
    """Model calls."""
    max_output_tokens: int | None = Field(default=None, ge=1)
    """Tokens that one model call may write."""
    turn_timeout_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds from the first call to the end of the turn."""
    compact_at_tokens: int | None = Field(default=None, ge=1000)
    """Size of the conversation from which on it is handed over to a fresh one before the next task."""
    compact_at_share: float | None = Field(default=None, gt=0, le=0.9)
    """The same as a share of the model's window; whichever comes first."""
    command_timeout_s: float = Field(default=300.0, gt=0, le=24 * 3600, allow_inf_nan=False)
    """Seconds that one command may take."""
    command_memory_mib: int = Field(default=2048, ge=16)
    """Of all processes of a command together."""
    command_processes: int = Field(default=256, ge=8)
    """That run at the same time for the role's commands."""
    command_file_mib: int = Field(default=256, ge=1)
    """Size of the largest file that a command may write."""
    command_disk_mib: int = Field(default=2048, ge=1)
    """What the files may take that one command writes."""


class Amounts(_Strict):
    """What may be spent in an hour, a day and a month (UTC). None: what the organization's default says."""

    usd_hour: Spend | None = None
    usd_day: Spend | None = None
    usd_month: Spend | None = None
    """US dollars at list prices."""
    tokens_hour: Spend | None = None
    tokens_day: Spend | None = None
    tokens_month: Spend | None = None
    """Tokens read and written, also from the cache."""
    turns_hour: Spend | None = None
    turns_day: Spend | None = None
    turns_month: Spend | None = None
    """Turns that are begun; each takes one or more model calls."""

    def said(self) -> dict[str, float]:
        """The limits that are written down, `math.inf` for unlimited."""
        return {name: value for name in self.model_fields_set if (value := getattr(self, name)) is not None}


class Schedule(_Strict):
    """A message that a role gets at given times."""

    cron: str | None = None
    """Minute, hour, day of the month, month, day of the week; or `@daily` and the like."""
    every: str | None = None
    """`30m`, `1h30m`; at full multiples of it."""
    at: Annotated[str | None, BeforeValidator(_moment)] = None
    """Once, at this moment: `2026-12-24 18:00`."""
    zone: str | None = None
    """Time zone of `cron` and `at`. None: that of the organization."""
    text: str = ""
    """What is to be done. Empty: the name of the schedule says it."""
    priority: str = Priority.MEDIUM
    misfire: Misfire = "once"
    """What becomes of times that passed while nothing ran: one firing for all, one for each, or none."""
    while_busy: WhileBusy = "wait"
    """What becomes of a firing while the last one is in the inbox or in work. `wait`: it comes when that has ended.
    `skip`: it does not come. `coalesce`: it comes, and of those that wait only the newest is worked off."""
    news: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """It fires only if an event of one of these kinds was told since the last time; `any`: if work ended."""
    news_of: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Roles whose events count. None: all."""
    check: str = ""
    """It fires only if this command, in the role's workspace and sandbox, ends with 0; what it prints goes along.
    1 means that there is no news."""

    @model_validator(mode="after")
    def _says_when(self) -> Schedule:
        if sum(value is not None for value in (self.cron, self.every, self.at)) != 1:
            raise ValueError("needs one of `cron`, `every` and `at`, and only one of them")
        if self.check and self.news:
            raise ValueError("has a `check` command or waits for `news`, not both")
        for kind in (*self.news, *self.news_of):
            if not subjects.token(kind):
                raise ValueError(f"`news` and `news_of` are words of {NAME_RULE}; found {kind!r}")
        self.when("UTC")
        return self

    def when(self, zone: str) -> times.When:
        """When it is due; in `zone`, if it says no other."""
        where = times.zone_of(self.zone or zone)
        if self.cron is not None:
            return times.When(cron=times.cron(self.cron), zone=where)
        if self.every is not None:
            every_s = times.length_s(self.every)
            if every_s < LEAST_EVERY_S:
                raise ValueError(f"`every` is at least {LEAST_EVERY_S:g} s; found {self.every!r}")
            return times.When(every_s=every_s, zone=where)
        return times.When(at=times.moment_of(self.at or "", where), zone=where)

    @property
    def rule(self) -> str:
        """When it is due, for people."""
        said = self.cron or (f"every {self.every}" if self.every else f"at {self.at}")
        return f"{said} {self.zone}" if self.zone and not self.every else said


class RoleSettings(_Strict):
    """What stands under `agenthub:` in a role file, or under `[roles.<name>]` in agenthub.toml."""

    reports_to: RoleName | None = None
    """Manager. None: the operator."""
    skills: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """What the role can do, one word each; work is offered by them."""
    subscribe: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()
    """Topics whose messages wake it, as whole subjects."""
    budget_usd_day: Spend | None = None
    """Short for `budget.usd_day`."""
    budget: Amounts = Amounts()
    """What it may spend."""
    limits: Limits = Limits()
    schedule: dict[str, Annotated[Schedule, BeforeValidator(_schedule)]] = Field(default_factory=dict)
    replicas: int = Field(default=1, ge=1)
    """How many processes play it."""
    fallback: RoleName | None = None
    """Role that gets what this one had in hand when it is gone for `reassign_after_s`. The operator: nobody does."""
    conversation: Literal["rolling", "per_task"] | None = None
    """`rolling`: one conversation for all it does. `per_task`: a fresh one for each task, to which the work on the
    task returns. None: the organization's default."""
    repository: str = ""
    """Path of a git repository, from the organization's folder: each task works in a working copy of its own, and
    comes home as the branch `agenthub/<role>/<id>`. Empty: the role has one folder for all it does."""
    network: bool = False
    """Whether its commands reach the network: all that this machine reaches, the broker too."""
    ask_within_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Seconds that others get to answer it. None: the organization's default."""
    mcp_servers: Annotated[tuple[str, ...], BeforeValidator(_words)] | None = None
    """Servers of `.mcp.json` whose tools it has; `*`: all. None: the organization's default."""
    permissions: PermissionRules = PermissionRules()
    """Which tool calls it may make, and which a person is asked about."""
    session: SessionKind | None = None
    """Who holds its conversation. None: the organization's default."""
    verified_by: RoleName | None = None
    """Role, or the operator, that must approve of what it says is done. None: nobody, unless the task says so."""

    @field_validator("skills")
    @classmethod
    def _skills_are_tokens(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for skill in value:
            if not subjects.token(skill):
                raise ValueError(f"a skill is one word of {NAME_RULE}; found {skill!r}")
        return value

    @field_validator("subscribe")
    @classmethod
    def _topics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_topic(name) for name in value)


def _topic(name: str) -> str:
    """Whole subject of a topic as people write it.

    Raises:
        ValueError: If it is not a topic, or not a subject that NATS knows.
    """
    subject = subjects.topic(name)
    *parts, last = subject.split(".")
    if not all(part == "*" or subjects.token(part) for part in parts) or not (
        last in ("*", ">") or subjects.token(last)
    ):
        raise ValueError(
            f"{name!r} is not a topic: words of {NAME_RULE}, dots between; `*` is one, a last `>` the rest"
        )
    if not subject.startswith(("agent-hub.topics.", "agent-hub.global.")):
        raise ValueError(f"{name!r} is not a topic; topics are `tasks.…`, `decisions.…`, `status.…`")
    return subject
