"""Words of which an option takes one. The types that they stand for need pydantic; `--help` and completion do not."""

from __future__ import annotations

from typing import Literal

PriorityWord = Literal["critical", "high", "medium", "low"]
MeetingKind = Literal["standup", "planning", "incident", "retrospective"]
GrantKind = Literal["topic", "tool", "memory", "spend"]
CostBy = Literal["role", "model", "day", "trace"]
Misfire = Literal["once", "all", "skip"]
WhileBusy = Literal["wait", "skip", "coalesce"]
