"""The tool to read on in a message that is too long for its frame."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from agenthub import subjects
from agenthub.errors import RefusedError
from agenthub.long_texts import LongTexts
from agenthub.sessions.prompts import quoted
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome

READ_MESSAGE = "read_message"
_SHOWN = 20_000


class ReadMessage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="As in the `<hub:more>` of the frame.", max_length=200)
    from_character: int = Field(default=0, ge=0, description="Where to begin.")


def long_message_tools(texts: LongTexts) -> list[Tool]:
    """The tool `read_message`. What it shows was written by others and is framed as such."""

    async def read(arguments: ReadMessage, call: ToolCall) -> ToolOutcome:
        if not subjects.message_id(arguments.id):
            raise RefusedError(f"{arguments.id[:80]!r} is no id of a message.")
        text = texts.read(arguments.id)
        begin, end = arguments.from_character, arguments.from_character + _SHOWN
        if begin >= len(text):
            raise RefusedError(f"The message has only {len(text):,} characters.")
        shown = f'<hub:part of="{arguments.id}" from="{begin}">\n{quoted(text[begin:end])}\n</hub:part>'
        if end < len(text):
            shown += f"\n[{len(text) - end:,} characters are left; go on with `from_character` {end}]"
        return ToolOutcome(shown, summary=f"{arguments.id[:8]}, {begin:,} to {min(end, len(text)):,}")

    return [
        Tool(
            READ_MESSAGE,
            "Read on in a message that was too long to be shown at once.",
            ReadMessage,
            read,
            describe=lambda a: f"{a.id[:8]} from {a.from_character:,}",
        )
    ]
