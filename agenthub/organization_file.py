"""The tables of config/agenthub.toml: what may stand in them, and what holds where nothing is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from agenthub.permission_rules import PermissionRules
from agenthub.role_files import DEFAULT_GLOBS
from agenthub.role_settings import Amounts, Dollars, RoleName, RoleSettings, Schedule, SessionKind, Spend
from agenthub.times import cron, zone_of

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _count(value: object) -> object:
    if value == "unlimited":
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"must be a whole number above 0, or the word `unlimited`; found {value!r}")
    return float(value)


Count = Annotated[float, BeforeValidator(_count)]
"""How many, above 0; `math.inf` where the file says `unlimited`."""


class _Table(BaseModel):
    """A table of agenthub.toml: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="strings")


class Defaults(_Table):
    """`[defaults]`: what holds for a role whose file does not say otherwise, and for all messages."""

    model: str = "claude-sonnet-5-5"
    session: SessionKind = "anthropic"
    """Who holds the conversations: our own tool loop, or Claude Code."""
    budget_usd_day: Spend = 5.0
    """Short for `budget.usd_day`: US dollars a day and role; `math.inf` if the file says `unlimited`."""
    budget: Amounts = Amounts()
    """What each role may spend."""
    ask_within_s: _Seconds = 1800.0
    """Seconds that others get to answer an ask."""
    reply_within_s: _Seconds = 600.0
    """Seconds after which an answer that a role owes, or a person did not say otherwise for, is overdue."""
    max_tries: int = Field(default=3, ge=1)
    """Tries of a message before it is buried."""
    ageing_s: _Seconds = 300.0
    """Seconds of waiting after which a message counts as one priority more urgent."""
    max_hops: int = Field(default=16, ge=1)
    """Roles that one directive may pass through."""
    max_trace_messages: Count = 200.0
    """Messages between roles that one directive may cause; then its trace is parked until a person decides."""
    max_trace_usd: Dollars = 5.0
    """US dollars that one directive may cost at all roles together; then its trace is parked."""
    max_repeats: Annotated[Count, Field(ge=2)] = 3.0
    """The same words between the same two roles, so often without a change of state, park their trace."""
    pair_rate: Count = 40.0
    """Messages that one role may send another within `pair_window_s`; answers are not counted."""
    pair_window_s: _Seconds = 10.0
    """Seconds in which they are counted."""
    tasks_from: Literal["managers", "colleagues", "anyone"] = "colleagues"
    """From which roles a role takes tasks, besides the operator: `managers`, who is above it in the org chart;
    `colleagues`, also who has the same manager, and who reports to it; `anyone`. Others are told whom to ask."""
    rate_gate: Literal["enforce", "observe", "off"] = "enforce"
    """`observe` tells what `enforce` would refuse, and lets it pass."""
    max_turn_steps: int = Field(default=50, ge=1)
    """Model calls in one turn."""
    max_output_tokens: int = Field(default=16_000, ge=1)
    """Tokens that one model call may write."""
    turn_timeout_s: _Seconds = 1800.0
    """Seconds from the first call of a turn to its end."""
    conversation: Literal["rolling", "per_task"] = "rolling"
    """`rolling`: a role keeps one conversation. `per_task`: it has a fresh one for each task."""
    compact_at_tokens: int = Field(default=40_000, ge=1000)
    """Size of a conversation from which on it is handed over to a fresh one before the next task."""
    compact_at_share: float = Field(default=0.6, gt=0, le=0.9)
    """The same as a share of the model's window; whichever comes first."""
    breaker_failures: int = Field(default=5, ge=1)
    """Ends of turns within ten minutes, half of them failed, that open the circuit breaker of a role."""
    breaker_open_s: _Seconds = 60.0
    """Seconds that it stays open before one message is tried; doubled each time that fails."""
    breaker_usd: Dollars = 2.5
    """US dollars that a role may spend within ten minutes; more opens its circuit breaker."""
    critical_grace_s: _Seconds = 30.0
    """Seconds that a busy role gets to make way for a critical message by itself, before it is interrupted."""
    stall_s: _Seconds = 300.0
    """Seconds without progress in a turn after which a role counts as stalled. Its model is told after twice
    that time, the turn is interrupted after three times, the process started again after four times."""
    reassign_after_s: _Seconds = 60.0
    """Seconds that a role must be gone before what it had in hand goes to its `fallback`."""
    mcp_servers: Annotated[tuple[str, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)] = ()
    """Servers of `.mcp.json` that every role has; `*`: all. Each role starts its own."""
    approval_within_s: _Seconds = 24 * 3600.0
    """Seconds that a person gets to decide about a tool call; after that it is rejected."""
    permissions: PermissionRules = PermissionRules()
    """Rules for all roles, beside their own."""


class Budget(Amounts):
    """`[budget]`: what all roles together may spend."""

    usd_day: Spend = 20.0
    """US dollars a day; `math.inf` if the file says `unlimited`."""


class Price(_Table):
    """`[prices."<model>"]`: what a model costs, in US dollars per million tokens. For models without a list price."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    cache_read: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """None: a tenth of `input`."""
    cache_write: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Kept for five minutes. None: 1.25 times `input`."""
    cache_write_1h: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Kept for an hour. None: twice `input`."""

    def filled(self) -> Rates:
        """With what was left out."""
        return Rates(
            self.input,
            self.output,
            self.input * 0.1 if self.cache_read is None else self.cache_read,
            self.input * 1.25 if self.cache_write is None else self.cache_write,
            self.input * 2 if self.cache_write_1h is None else self.cache_write_1h,
        )


class Rates(NamedTuple):
    """US dollars per million tokens, by kind."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    cache_write_1h: float


ROLE_BUDGET: Mapping[str, float] = {"usd_day": 5.0, "tokens_day": 50e6, "turns_day": 2000.0}
ORGANIZATION_BUDGET: Mapping[str, float] = {"usd_day": 20.0, "tokens_day": 200e6, "turns_day": 10_000.0}
"""What holds where nothing is written. Tokens and turns too: a subscription reports no spend."""


class Calendar(_Table):
    """`[calendar]`: what holds for all schedules, and what roles may plan for themselves."""

    zone: str = "UTC"
    """Time zone of schedules that say no other."""
    role_schedules: int = Field(default=10, ge=0)
    """Schedules that one role may have added itself at a time."""
    role_every_s: _Seconds = 900.0
    """Shortest interval of a schedule that a role adds."""
    standup: str = "0 9 * * *"
    """When the stand-up is held, as a cron line; `off`: never. Nothing happened: there is none."""

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        zone_of(value)
        return value

    @field_validator("standup")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        if value != "off":
            cron(value)
        return value


class KnowledgeBase(_Table):
    """`[knowledge]`: what was decided and learned, as files."""

    folder: str = Field(default="", max_length=400)
    """Where it is kept: below the folder of the organization, or absolute. Empty: in the state folder."""

    @field_validator("folder")
    @classmethod
    def _is_folder(cls, value: str) -> str:
        parts = Path(value).parts
        if value and (".." in parts or not parts or "\0" in value or value.startswith("~")):
            raise ValueError(f"must be a folder below the organization's, or absolute, without `..`; found {value!r}")
        return value


class OrganizationSchedule(Schedule):
    """`[schedules.<name>]`: a message that a role gets at given times."""

    to: RoleName
    """The role that gets it."""


class RoleOverride(RoleSettings):
    """`[roles.<name>]`: anything a role file may say, without touching the user's file."""

    model: str | None = None
    description: str | None = None


class OrganizationFile(_Table):
    """The whole of agenthub.toml; `[nats]`, `[model]`, `[rehearsal]` and `[process]` are read by `settings`."""

    org: RoleName | None = None
    operator: RoleName = "you"
    role_files: Annotated[tuple[str, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)] = (
        DEFAULT_GLOBS
    )
    defaults: Defaults = Defaults()
    budget: Budget = Budget()
    calendar: Calendar = Calendar()
    knowledge: KnowledgeBase = KnowledgeBase()
    schedules: dict[RoleName, OrganizationSchedule] = Field(default_factory=dict)
    prices: dict[str, Price] = Field(default_factory=dict)
    roles: dict[str, RoleOverride] = Field(default_factory=dict)
