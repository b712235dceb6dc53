"""What a person must decide: a tool call that waits for a yes, or a question. Values and rules; no I/O.

For the ledger it is an ask like any other, whose one part is the operator's; the decision comes as a message of
the type `decision` through the inbox of the role.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agenthub.errors import ForgedError
from agenthub.grants import Wanted

APPROVAL = "approval"
"""Type of the message that asks the operator."""
DECISION = "decision"
"""Type of the message that says what was decided; only the operator may send it."""
MAX_INPUT_CHARACTERS = 100_000
"""What a person shall decide about must be readable, and stands in the ledger beside the task."""


class Approval(BaseModel):
    """What is to be decided."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: Literal["tool", "question", "grant"] = "tool"
    tool: str = ""
    """Tool that the role wants to call."""
    input: dict[str, Any] = Field(default_factory=dict)
    rule: str = ""
    """The rule that says to ask, as it is written; empty: no rule names the call."""
    source: str = ""
    """Where that rule stands."""
    question: str = ""
    choices: list[str] = Field(default_factory=list)
    """Answers to choose from; empty: any."""
    wanted: Wanted | None = None
    """Of `grant`: what the role asks for."""

    @property
    def title(self) -> str:
        """It in a line, for lists."""
        if self.kind == "question":
            return " ".join(self.question.split())
        return f"grant: {self.wanted.title}" if self.wanted else f"{self.tool}: {_line_of(self.input)}"

    def words(self, role: str, identity: str) -> str:
        """What the operator reads in the inbox."""
        short = identity[:8]
        if self.kind == "question":
            choices = "".join(f"\n{number}. {choice}" for number, choice in enumerate(self.choices, 1))
            return f'{self.question}\n{choices}\n\nagenthub reply {short} "…"\nagenthub reject {short} --reason "…"'
        yes_or_no = f'agenthub approve {short}\nagenthub reject {short} --reason "…"'
        if self.wanted is not None:
            hours = self.wanted.for_s / 3600
            return f"`{role}` asks to {self.wanted.title} for {hours:g} h: {self.wanted.why}\n\n{yes_or_no}"
        why = f"{self.source} says `{self.rule}`" if self.rule else self.source
        return (
            f"`{role}` wants to call `{self.tool}` ({why}):\n\n"
            f"{json.dumps(self.input, ensure_ascii=False, indent=2)}\n\n"
            f"{yes_or_no}"
        )


def check_decider(publisher: str, operator: str) -> None:
    """Return if who published a decision may decide: today whoever publishes on the operator's own lane.

    The public door says nothing of who comes in by it, so `publisher` is empty there.

    Raises:
        ForgedError: Else.
    """
    if publisher != operator:
        who = f"`{publisher}`" if publisher else "somebody at the public door"
        raise ForgedError(f"only the operator `{operator}` may decide, and {who} published this decision")


def _line_of(arguments: Mapping[str, Any]) -> str:
    command = arguments.get("command")
    text = command if isinstance(command, str) else json.dumps(arguments, ensure_ascii=False)
    return " ".join(text.split())
