"""What can be made to go wrong, on demand: refusals, cuts, stalls, errors in the middle of a stream."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agenthub.rehearsal.requests import ApiError

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"
]


class Fault(BaseModel):
    """One thing that goes wrong with the next requests that fit; the first fault that fits is used."""

    model_config = ConfigDict(extra="forbid")

    match: str = ""
    """Text in the last user message; empty fits all."""
    role: str = ""
    """Role of the organization that asks; empty fits all."""
    times: int | None = Field(default=1, ge=1)
    """For how many requests. null: for all from now on."""

    status: int | None = Field(default=None, ge=400, le=599)
    """Answer this status instead of a message."""
    retry_after: float | None = Field(default=None, ge=0)
    """Seconds for the header `retry-after`."""
    error_code: str | None = None
    """`details.error_code` of the error, such as `enforced_spend_limit_reached`."""
    message: str = "rehearsed fault"

    delay_first_byte_s: float = Field(default=0.0, ge=0)
    """Say nothing for so long."""
    cut_after_events: int | None = Field(default=None, ge=0)
    """Drop the connection in the middle of the body."""
    end_after_events: int | None = Field(default=None, ge=0)
    """End the body as if it were complete."""
    stall_after_events: int | None = Field(default=None, ge=0)
    """Fall silent and keep the connection."""
    error_in_stream: str | None = None
    """Type of an `error` event after the first events of a stream that began with 200."""
    stop_reason: StopReason | None = None
    """End the message for this reason."""


class _FaultList(BaseModel):
    model_config = ConfigDict(extra="forbid")
    faults: list[Fault]


class Faults:
    """The faults that are still to happen, in order."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, body: bytes) -> int:
        """Take faults from JSON `{"faults": [...]}`; how many wait now.

        Raises:
            ApiError: 400 if a field is unknown or has the wrong type.
        """
        try:
            self._waiting += _FaultList.model_validate_json(body).faults
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ApiError(400, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from error
        return len(self._waiting)

    def take(self, last_user_text: str, role: str) -> Fault | None:
        """The fault for a request, which is thereby used once. None: all goes well."""
        for fault in self._waiting:
            if fault.match in last_user_text and fault.role in ("", role):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._waiting.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        self._waiting.clear()

    def waiting(self) -> list[Fault]:
        return list(self._waiting)
