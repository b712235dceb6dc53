"""Everything that can go wrong, sorted by who must act.

    AgenthubError
    ├── ConfigError                 the operator edits a file; the process does not start
    ├── HubError                    the hub as a whole is not as the caller needs it
    │   ├── HubUnreachableError     no NATS server answers at the address
    │   ├── HubRunningError         another hub runs in this folder already
    │   ├── NotFoundError           no such role or message
    │   └── PermissionDeniedError   the broker does not let this identity do it
    ├── MessageError                the bytes are wrong: buried
    │   └── ForgedError             it speaks for another: buried under the place where it lies, not under its id
    ├── RefusedError                the sender changes the request: refused reply, ack
    │   ├── RateExceededError       too many messages from one role to another: the sender waits
    │   └── TraceEndedError         a person ended all of this trace
    ├── StalledError                a turn made no progress whatever was tried: the process is started again
    ├── RestartAskedError           a person wants this process to end and be started again
    ├── LeaseLostError              another process took the role: this one stops, its deliveries go back
    └── SessionError                the turn failed: retried with back-off, then a failed reply
        ├── ModelUnavailableError   time heals it: given back until then, not a try
        │   └── BreakerOpenError    a role or a model account failed too often, or its provider asks for patience
        ├── BudgetExhaustedError    a window or a person heals it: given back, not a try
        ├── FrozenError             a person stopped it: stays in hand and goes on when they let it, not a try
        ├── TurnCancelledError      a person ended this message: it ends as failed, not retried
        ├── TraceParkedError        a person decides whether the trace goes on: given back, not a try
        ├── ContextOverflowError    the conversation is too long: handed over to a shorter one within the turn
        └── ModelRefusedError       the provider refuses for good (key, model, request): not retried

The class decides what becomes of a delivery, in one place (`loop.py`). Anything outside this tree is a
bug: retried, then buried with its traceback. A message names the thing, the value found and the next step.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class AgenthubError(Exception):
    """Base of all errors that agenthub raises on purpose."""


class ConfigError(AgenthubError):
    """A file or a setting is wrong; the operator mends it before anything starts."""


class HubError(AgenthubError):
    """The hub as a whole is not in the state that the caller needs."""


class HubUnreachableError(HubError):
    """No NATS server answers where one was expected."""


class HubRunningError(HubError):
    """A hub already runs in this folder."""


class NotFoundError(HubError):
    """There is no such role or message."""


class PermissionDeniedError(HubError):
    """The broker does not let this identity do it."""

    def __init__(self, who: str, subject: str) -> None:
        shown = f"`{who}`" if who else "Somebody without a key"
        super().__init__(f"{shown} may not publish on {subject}. docs/security.md lists who may do what.")
        self.who, self.subject = who, subject


class MessageError(AgenthubError):
    """The bytes of a message are wrong; trying again cannot help."""


class ForgedError(MessageError):
    """A message speaks for somebody who did not publish it; the id that it claims may be another message's."""


class RefusedError(AgenthubError):
    """The request is not allowed as it stands; the sender hears what to change."""


class RateExceededError(RefusedError):
    """One role sends another more messages than it may; what was to be sent was not."""

    def __init__(self, to: str, *, more: int, rate: float, window_s: float, retry_after_s: float, when: str) -> None:
        many = f"{more} messages to `{to}` at once are" if more > rate else f"Messages to `{to}` are now"
        super().__init__(
            f"{many} more than {rate:.0f} within {window_s:g} s (`defaults.pair_rate`). Nothing was sent. "
            + (
                "Put what you have to say into fewer messages."
                if more > rate
                else f"You may go on at {when}. Better put what you have to say into one message; "
                "if you two answer each other in a circle, finish."
            )
        )
        self.to, self.rate, self.window_s, self.retry_after_s = to, rate, window_s, retry_after_s


class TraceEndedError(RefusedError):
    """A person ended everything that belongs to a trace."""

    def __init__(self, trace_id: str, reason: str) -> None:
        super().__init__(f"The trace {trace_id} was ended by a person: {reason}")
        self.trace_id, self.reason = trace_id, reason


class RestartAskedError(AgenthubError):
    """A person asked for a restart: the process ends, and whoever started it starts it again."""


class LeaseLostError(AgenthubError):
    """Another process holds this role's lease now; this one must not act any more."""


class StalledError(AgenthubError):
    """A turn makes no progress and cannot be interrupted either: only a new process helps."""


class SessionError(AgenthubError):
    """A turn failed in a way that another try may mend."""

    waits_for = ""
    """What the message waits for, in one word; empty: its next try."""


class ModelUnavailableError(SessionError):
    """The model's provider asks for patience; nothing is wrong with the message."""

    waits_for = "model"

    def __init__(self, reason: str, *, retry_after_s: float, whole_wait_s: float | None = None) -> None:
        super().__init__(f"{reason}; next try in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s
        self.whole_wait_s = retry_after_s if whole_wait_s is None else whole_wait_s
        """From its beginning, which others may have seen."""


class BreakerOpenError(ModelUnavailableError):
    """A circuit breaker is open; nothing was sent to the model."""

    def __init__(
        self, whose: str, reason: str, *, retry_after_s: float, whole_wait_s: float | None = None,
        is_of_role: bool = False,
    ) -> None:  # fmt: skip
        why = f"the circuit breaker of {whose} is open ({reason})"
        super().__init__(why, retry_after_s=retry_after_s, whole_wait_s=whole_wait_s)
        self.whose, self.reason, self.is_of_role = whose, reason, is_of_role
        """`is_of_role`: another role can do what is asked meanwhile. Else its model account is the cause."""


class BudgetExhaustedError(SessionError):
    """The next model call would cross a limit; nothing was sent to the model."""

    waits_for = "money"

    def __init__(self, account: str, limit: str, *, spent: str, opens: str, retry_after_s: float) -> None:
        super().__init__(
            f"`{account}` has spent {spent} (`{limit}`); its next window opens {opens}. "
            f"A person may allow more: `agenthub budget allow {account} {limit}=…`"
        )
        self.account, self.limit, self.retry_after_s = account, limit, retry_after_s


class FrozenError(SessionError):
    """A person has stopped this role, or all: no step is made, and no model is called, until they thaw it."""

    def __init__(self, words: str) -> None:
        super().__init__(f"Stopped {words}. `agenthub thaw` lets it go on.")


class TurnCancelledError(SessionError):
    """A person has ended the message that is worked on."""

    def __init__(self, words: str) -> None:
        super().__init__(f"cancelled {words}")


class TraceParkedError(SessionError):
    """The trace is parked; nothing was sent to the model."""

    waits_for = "decision"

    def __init__(self, trace_id: str, reason: str, *, retry_after_s: float) -> None:
        super().__init__(
            f"the trace {trace_id} is parked: {reason} A person decides: `agenthub traces release {trace_id}` or "
            f"`agenthub traces end {trace_id}`"
        )
        self.trace_id, self.reason, self.retry_after_s = trace_id, reason, retry_after_s


class ContextOverflowError(SessionError):
    """The conversation and the answer to it do not fit into the model's window together."""


class ModelRefusedError(SessionError):
    """The provider refuses the request for good: a wrong key, an unknown model, a malformed request."""


def unknown(kind: str, value: str, known: Iterable[str]) -> str:
    """Sentence for a name that does not exist: says the nearest right one, or lists what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.6)
    if near:
        return f"There is no {kind} `{value}`. Did you mean `{near[0]}`?"
    listed = ", ".join(f"`{name}`" for name in names)
    return f"There is no {kind} `{value}`. {f'There are: {listed}.' if names else 'There is none at all.'}"


def problems(error: ValidationError) -> str:
    """What is wrong with the fields of something, in words."""
    found = (
        (".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, "))
        for one in error.errors(include_url=False)
    )
    return "; ".join(f"`{where}`: {what}" if where else what for where, what in found)
