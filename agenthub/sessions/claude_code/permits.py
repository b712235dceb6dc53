"""What a role's rules say of the tools of Claude Code itself: asked before each call, a person's yes holds once."""

from __future__ import annotations

from typing import Any

from agenthub.sessions.session import Granted, MayCall, ToolCall, ToolOutcome

_MANNER = frozenset({"description", "timeout", "run_in_background"})
"""Inputs that say how a call is shown or run, not what it does."""


class OwnPermits:
    """Asks about the calls of one turn, and knows the call that a person has approved before it."""

    def __init__(self, may_call: MayCall | None, granted: Granted | None) -> None:
        self._may_call, self._granted = may_call, granted

    async def refusal(self, name: str, arguments: dict[str, Any], call: ToolCall) -> ToolOutcome | None:
        """None if the call may be made, else what is its result instead. A call that was approved may be made once."""
        granted = self._granted if self._granted is not None and is_same(self._granted, name, arguments) else None
        if self._may_call is None:
            return None
        instead = await self._may_call(name, arguments, call, granted)
        if granted is not None and instead is None:
            self._granted = None
        return instead


def is_same(granted: Granted, name: str, arguments: dict[str, Any]) -> bool:
    """True if a call does what was approved: the same tool and input, however it is described."""
    return granted.tool == name and _what(granted.input) == _what(arguments)


def _what(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name not in _MANNER}
