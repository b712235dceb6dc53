"""The tool by which a role plans for itself, within limits: how many, how often, and for whom."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.errors import RefusedError, problems
from agenthub.org.calendar import Calendar
from agenthub.organization import Organization
from agenthub.role_settings import NAME_RULE, Schedule
from agenthub.schedules import Added
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome
from agenthub.times import coming

SCHEDULE = "schedule"
_GAPS_LOOKED_AT = 50


class Plan(BaseModel):
    model_config = ConfigDict(extra="forbid")
    action: Literal["add", "list", "remove"]
    name: str = Field(default="", max_length=64, description="One word.")
    text: str = Field(default="", max_length=4000, description="What is to be done then.")
    cron: str | None = Field(default=None, description="Minute, hour, day, month, weekday; or @daily.")
    every: str | None = Field(default=None, description="`2h`, `1d`.")
    at: str | None = Field(default=None, description="Once: `2026-12-24 18:00`.")
    to: str = Field(default="", description="One of your people. Empty: you.")


def schedule_tools(role: str, organization: Organization, bus: Bus, *, clock: Callable[[], datetime]) -> list[Tool]:
    """The tool of one role. It may be repeated: the same schedule again changes nothing."""
    calendar, limits = Calendar(bus, organization), organization.calendar

    async def plan(arguments: Plan, call: ToolCall) -> ToolOutcome:
        mine = await calendar.added_by(role)
        if arguments.action == "list":
            lines = [f"- {one.name} ({one.rule.rule}) to {one.to}: {one.rule.text[:120]}" for one in mine]
            return ToolOutcome("\n".join(lines) or "(you have none)", summary=f"{len(mine)} schedules")
        if not subjects.token(arguments.name):
            raise RefusedError(f"`name` is {NAME_RULE}; found {arguments.name!r}")
        known = next((one for one in mine if one.name == arguments.name), None)
        if arguments.action == "remove":
            if known is None:
                raise RefusedError(f"You have no schedule `{arguments.name}`. Those of files are not yours to remove.")
            await calendar.remove(known)
            return ToolOutcome(f"Removed {arguments.name}.")
        to = arguments.to or role
        if to != role and (to not in organization.roles or role not in organization.managers_chain(to)):
            raise RefusedError(f"You may plan for yourself and your people; `{to}` is neither.")
        if not arguments.text.strip():
            raise RefusedError("`text` says what is to be done; it is empty.")
        if known is None and len(mine) >= limits.role_schedules:
            raise RefusedError(f"You have {len(mine)} schedules; {limits.role_schedules} are the most. Remove one.")
        rule = _rule(arguments)
        times = list(coming(rule.when(limits.zone), clock(), most=_GAPS_LOOKED_AT))
        if not times:
            raise RefusedError("That time has passed.")
        shortest_s = min(((b - a).total_seconds() for a, b in itertools.pairwise(times)), default=limits.role_every_s)
        if shortest_s < limits.role_every_s:
            raise RefusedError(f"At most every {limits.role_every_s / 60:g} min; that would be every {shortest_s:g} s.")
        await calendar.add(arguments.name, Added(to=to, by=role, added_at=clock(), rule=rule))
        return ToolOutcome(f"Added {arguments.name}; it is next due at {times[0]:%Y-%m-%d %H:%M} UTC.")

    return [
        Tool(
            SCHEDULE,
            "Have a message sent to you, or to one of your people, at a time or again and again. Only for what must "
            "really be done then: each one costs a turn.",
            Plan, plan,
            describe=lambda a: f"{a.action} {a.name}",
        )
    ]  # fmt: skip


def _rule(arguments: Plan) -> Schedule:
    try:
        return Schedule(cron=arguments.cron, every=arguments.every, at=arguments.at, text=arguments.text)
    except ValidationError as error:
        raise RefusedError(f"{problems(error)}.") from error
