"""May the role make this tool call? Asked before each; what a person must decide parks the task."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from agenthub.approvals import MAX_INPUT_CHARACTERS, Approval
from agenthub.asks import Ask
from agenthub.coordination import Coordination
from agenthub.errors import RefusedError
from agenthub.guards.overrides import Overrides
from agenthub.guards.permissions import Decision, Permissions, Verdict, decide, is_covered
from agenthub.permission_rules import PermissionRules
from agenthub.sessions.session import Granted, ToolCall, ToolOutcome, TurnEnd, TurnResult


class Permits:
    """The permissions of one role, and the way to the person who may give more."""

    def __init__(
        self,
        permissions: Permissions,
        overrides: Overrides,
        coordination: Coordination,
        *,
        within_s: float,
        clock: Callable[[], datetime],
        policy: Callable[[], PermissionRules] = PermissionRules,
        granted: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """
        Args:
            policy: Gives the rules of the role's policy as they are at the moment.
            granted: Gives rules by which a person lets it make calls at the moment; only a deny is above them.
        """
        self._permissions, self._overrides, self._coordination = permissions, overrides, coordination
        self._within_s, self._clock, self._policy, self._granted = within_s, clock, policy, granted

    async def check(
        self, tool: str, arguments: dict[str, Any], call: ToolCall, granted: Granted | None = None
    ) -> ToolOutcome | None:
        """None if the call may be made, else what is its result instead.

        Args:
            granted: That a person said yes to this very call.
        """
        if granted is not None and granted.always:
            self._overrides.add(tool, arguments, at=self._clock())
        decision = self._decide(tool, arguments, is_approved=granted is not None)
        if decision.verdict is Verdict.ASK and self._overrides.covers(tool, arguments):
            return None
        if decision.verdict is Verdict.ASK:
            return await self._ask(tool, arguments, call, decision)
        return None if decision.verdict is Verdict.ALLOW else _denied(tool, decision)

    def refusal(self, tool: str, arguments: dict[str, Any]) -> str:
        """Why a call may not be made without asking anybody; empty: it may."""
        decision = self._decide(tool, arguments)
        if decision.verdict is Verdict.ALLOW:
            return ""
        if decision.verdict is Verdict.ASK and self._overrides.covers(tool, arguments):
            return ""
        return f"{decision.source} says `{decision.rule}`" if decision.rule else f"{decision.source} holds"

    def _decide(self, tool: str, arguments: dict[str, Any], *, is_approved: bool = False) -> Decision:
        permissions = replace(self._permissions, policy=self._policy())
        decision = decide(permissions, tool, arguments, is_approved=is_approved)
        if decision.verdict is not Verdict.ALLOW and is_covered(self._granted(), tool, arguments):
            return decide(permissions, tool, arguments, is_approved=True)
        return decision

    async def _ask(self, tool: str, arguments: dict[str, Any], call: ToolCall, decision: Decision) -> ToolOutcome:
        if (size := len(json.dumps(arguments))) > MAX_INPUT_CHARACTERS:
            text = (
                f"`{tool}` needs a person's approval, and nobody can decide about {size:,} characters of input; "
                f"{MAX_INPUT_CHARACTERS:,} are the most. Do it in smaller parts."
            )
            return ToolOutcome(text, is_error=True)
        approval = Approval(tool=tool, input=arguments, rule=decision.rule, source=decision.source)
        try:
            ask = await self._coordination.ask_person(approval, about=call.task, key=call.key, within_s=self._within_s)
        except RefusedError as error:
            return ToolOutcome(str(error), is_error=True)
        return parked(ask, f"`{tool}` was not called yet: it waits for a person's approval")


def parked(ask: Ask, what: str) -> ToolOutcome:
    """What a call comes to that waits for a person."""
    text = (
        f"{what} ({ask.id[:8]}), until {ask.deadline:%Y-%m-%d %H:%M} UTC at the latest. Your task is parked; "
        "you go on with it when that is decided."
    )
    return ToolOutcome(
        text, ends_turn=TurnResult(TurnEnd.PARKED, text=f"waits for {ask.parts[0].role}: {ask.parts[0].subject}"),
        summary=f"asked {ask.parts[0].role}",
    )  # fmt: skip


def _denied(tool: str, decision: Decision) -> ToolOutcome:
    why = f"{decision.source} says `{decision.rule}`" if decision.rule else f"{decision.source} holds"
    text = (
        f"You may not make this call of `{tool}`: {why}. Nothing was done. Do it another way, "
        "or end with `needs_human` and say what should be done and why."
    )
    return ToolOutcome(text, is_error=True, summary="not allowed")
