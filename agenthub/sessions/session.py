"""What the loop expects of a session, and what a session expects of a tool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeAlias

from pydantic import BaseModel

from agenthub.auctions import Bid
from agenthub.messages import Attachment, Check, Message, Outcome, Usage


class Granted(NamedTuple):
    """A tool call that waited for a person, who said yes."""

    tool: str
    input: dict[str, Any]
    always: bool = False
    """True if they said so for whatever is like this call."""

    def as_call(self) -> dict[str, Any]:
        """It as a block of an answer, without the id that it had there."""
        return {"name": self.tool, "input": self.input}


class Prompt(NamedTuple):
    """What a turn is about: the text for the model, and the message that is being worked off."""

    text: str
    task: Message
    goes_on: bool = False
    """True if the text brings what a parked task waited for; the task itself may have been shown long ago."""
    granted: Granted | None = None
    """To be done before the model is asked; it reads the result behind the text."""


class TurnEnd(Enum):
    """Why a turn ended."""

    FINISHED = "finished"
    """The model said how it ended."""
    STOPPED = "stopped"
    """The model just stopped talking."""
    PARKED = "parked"
    """The task waits for the answers of others."""
    INTERRUPTED = "interrupted"
    """The host ended the turn; it can be resumed."""


@dataclass(frozen=True)
class TurnResult:
    """How a turn ended."""

    end: TurnEnd
    outcome: Outcome = Outcome.DONE
    text: str = ""
    evidence: tuple[str, ...] = ()
    check: Check | None = None
    """What came of the command that the task named."""
    verified_by: str = ""
    """Who other than the doer approved."""
    attachments: tuple[Attachment, ...] = ()
    """Stored files that go to who asked."""
    vote: str = ""
    """On a ballot."""
    bid: Bid | None = None
    """On a tender."""


class TextDelta(NamedTuple):
    """A piece of what the model says, as it streams; empty while it thinks or writes the input of a tool."""

    text: str
    is_anew: bool = False
    """True if the answer broke off and is asked for again: what was streamed of it is void."""


class ToolStarted(NamedTuple):
    """The model calls a tool."""

    name: str
    summary: str
    """The call in a few words, for people."""
    patience_s: float = 0.0
    """Seconds that the call may legitimately take without a sign of progress."""


class ToolEnded(NamedTuple):
    """A tool call has its result."""

    name: str
    summary: str
    is_error: bool
    changes: bool = False
    """True if it changed something outside of the conversation."""
    duration_s: float = 0.0


class ModelCalled(NamedTuple):
    """A model call was answered and recorded, or failed and was paid."""

    usage: Usage
    model: str = ""
    duration_s: float = 0.0
    said: str = ""
    """The first line of its words, for people."""


SessionEvent: TypeAlias = TextDelta | ToolStarted | ToolEnded | ModelCalled | TurnResult


class ContextInfo(NamedTuple):
    """How full the conversation is."""

    tokens: int
    """Size of the last request and its answer."""
    window: int
    """Tokens that fit; 0 if unknown."""


class Meter(Protocol):
    """Whether there is money for a model call, and what it took."""

    async def reserve(self, turn_id: str, *, input_tokens: int) -> None:
        """Set aside what a call may take at the most; raises `BudgetExhaustedError` or `ModelUnavailableError`."""

    def settle(self, usage: Usage | None) -> None:
        """Note what the call took, also if it failed; None: it was cut off and nobody knows."""


class Session(Protocol):
    """A long-lived conversation with a model."""

    async def start(self) -> None:
        """Load what the journal holds; after this, turns may be taken."""

    def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent, None]:
        """Work on a prompt; the last event is the `TurnResult`.

        A turn that the journal knows goes on where it was: answered model calls are not paid again.
        """

    async def inject(self, notice: str) -> bool:
        """Show words of the host to the model at its next tool step. False if no turn runs."""

    async def interrupt(self) -> None:
        """End the running turn at the next step; the history stays valid."""

    async def context(self) -> ContextInfo:
        """How full the conversation is."""

    async def close(self) -> None:
        """Let go of connections."""


class Repeat(Enum):
    """What happens if a tool call whose outcome is unknown is made again."""

    SAFE = "safe"
    """Nothing: it has an id or sets a state. It is repeated after a crash."""
    UNSAFE = "unsafe"
    """It may act twice. After a crash the model is told that the outcome is unknown."""


@dataclass(frozen=True)
class ToolOutcome:
    """What a tool call gives back."""

    content: str
    is_error: bool = False
    ends_turn: TurnResult | None = None
    """Set if nothing is left to say: the turn ends with this, without another model call."""
    summary: str = ""
    """A few words for people; empty: the first line of `content`."""


@dataclass(frozen=True)
class ToolCall:
    """Circumstances of one call, for the tool."""

    key: str
    """Unique and the same when the call is repeated after a crash: `<turn id>~<number>`. Ids derive from it."""
    task: Message
    """The message that is being worked off."""
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the turn is interrupted: what takes long ends then, and says so."""


MayCall: TypeAlias = Callable[[str, dict[str, Any], ToolCall, Granted | None], Awaitable[ToolOutcome | None]]
"""Asked before a call of a tool with an input: None if it may be made, else what is its result instead."""


@dataclass(frozen=True)
class Tool:
    """Something that the model may do."""

    name: str
    description: str
    arguments: type[BaseModel]
    """Model of the input; its schema and field descriptions are what the model sees."""
    run: Callable[[Any, ToolCall], Awaitable[ToolOutcome]]
    """Gets a validated instance of `arguments`. `RefusedError` and the like become an error result."""
    repeat: Repeat = Repeat.SAFE
    changes: bool = False
    """True if a call changes something that others could see: a file, a service. Messages do not count."""
    describe: Callable[[Any], str] = field(default=lambda _: "")
    """The call in a few words, for people."""
    patience_s: Callable[[Any], float] = field(default=lambda _: 0.0)
    """Seconds that a call may legitimately take without a sign of progress."""

    def definition(self) -> dict[str, Any]:
        """The tool as the Messages API takes it."""
        schema = self.arguments.model_json_schema()
        schema.pop("title", None)
        schema.pop("description", None)
        return {"name": self.name, "description": self.description, "input_schema": schema}
