"""The tool by which a role looks up what the organization decided and reported."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from agenthub.org.knowledge import Knowledge
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome

RECALL = "recall"
_SHOWN_CHARACTERS = 12_000


class Recall(BaseModel):
    model_config = ConfigDict(extra="forbid")
    words: str = Field(default="", max_length=300, description="Words to look for. Empty: the latest entries.")
    path: str = Field(default="", max_length=300, description="An entry that was found, to read all of it.")


def recall_tools(folder: Path) -> list[Tool]:
    """The tool for the knowledge base in a folder."""
    knowledge = Knowledge(folder)

    async def recall(arguments: Recall, call: ToolCall) -> ToolOutcome:
        if arguments.path:
            text = await asyncio.to_thread(knowledge.read, arguments.path)
            if text is None:
                return ToolOutcome(f"There is no entry {arguments.path!r}.", is_error=True)
            return ToolOutcome(text[:_SHOWN_CHARACTERS], summary=arguments.path)
        found = await asyncio.to_thread(knowledge.search, arguments.words)
        lines = [f"- {one.path}: {one.title}" + (f"\n  {one.excerpt}" if one.excerpt else "") for one in found]
        return ToolOutcome("\n".join(lines) or "(nothing)", summary=f"{len(found)} entries")

    return [
        Tool(
            RECALL, "Look up what the organization decided, what meetings came to, and which learnings roles trust.",
            Recall, recall,
            describe=lambda a: a.path or a.words,
        )
    ]  # fmt: skip
