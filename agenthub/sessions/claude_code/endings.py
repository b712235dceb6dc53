"""What a turn of Claude Code came to, and what it cost: rules about its result message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agenthub.errors import ModelRefusedError, ModelUnavailableError, SessionError
from agenthub.messages import Outcome, Usage
from agenthub.sessions.session import TurnEnd, TurnResult

_KEY_REFUSED_S = 60.0
_OUT_OF_MONEY_S = 900.0
_RATE_LIMITED_S = 60.0
_OVERLOADED_S = 15.0
_NEW_PROCESS_S = 1.0
_FULL = ("prompt_too_long", "blocking_limit")


class ContextFullError(SessionError):
    """The conversation does not fit any more: only a new one helps."""


def end_of(result: Any, *, max_steps: int) -> TurnResult:
    """How the turn ended, by Claude Code's `ResultMessage`. `subtype` says success for a failed request too.

    Raises:
        SessionError: The one that fits, if the turn failed.
    """
    said = "; ".join(result.errors or []) or str(result.result or "").strip() or str(result.subtype)
    if result.subtype == "error_max_turns":
        text = f"stopped after {max_steps} steps in one turn without an end"
        return TurnResult(TurnEnd.FINISHED, Outcome.FAILED, text)
    if result.subtype == "error_max_budget_usd":  # by its own count; the next turn asks ours
        raise ModelUnavailableError("Claude Code spent what one process of it may", retry_after_s=_NEW_PROCESS_S)
    if not result.is_error:
        return TurnResult(TurnEnd.STOPPED, text=str(result.result or "").strip())
    if result.terminal_reason in _FULL or "too long" in said:
        raise ContextFullError(f"The conversation is too long: {said}")
    raise failure(result.api_error_status, said)


def failure(status: int | None, said: str) -> SessionError:
    """The error for a request that the provider did not answer. Claude Code has tried it a few times by then."""
    what = f"{status or ''} {said}".strip()[:500]
    if status in (401, 403):
        return ModelUnavailableError(what, retry_after_s=_KEY_REFUSED_S)
    if status == 402:
        return ModelUnavailableError(what, retry_after_s=_OUT_OF_MONEY_S)
    if status == 429:
        return ModelUnavailableError(what, retry_after_s=_RATE_LIMITED_S)
    if status in (408, 409) or (status or 0) >= 500:
        return ModelUnavailableError(what, retry_after_s=_OVERLOADED_S)
    if status is not None and status >= 400:
        return ModelRefusedError(f"The model's provider refuses: {what}")
    return SessionError(f"Claude Code broke off: {what}")


def usage_of(counted: Mapping[str, Any]) -> Usage:
    """Usage in the words of the Messages API, without its price."""
    return Usage(
        calls=1,
        input_tokens=counted.get("input_tokens") or 0,
        output_tokens=counted.get("output_tokens") or 0,
        cache_read_tokens=counted.get("cache_read_input_tokens") or 0,
        cache_write_tokens=counted.get("cache_creation_input_tokens") or 0,
    )
