"""A tool whose results show no secret, and which takes none of the marks back that stand for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agenthub.errors import RefusedError
from agenthub.masking import OPENS, has_mask
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome

_TAKES_NO_MARKS = (
    f"This text holds `{OPENS}…`, which stands for a secret that you were not shown; written back, it would destroy "
    "the secret. Change the parts around it only, for example with `edit_file`."
)


def masked(tool: Tool, mask: Callable[[str], str]) -> Tool:
    """The tool with secrets masked in what it gives back."""

    async def run(arguments: Any, call: ToolCall) -> ToolOutcome:
        if tool.changes and has_mask(arguments.model_dump_json()):
            raise RefusedError(_TAKES_NO_MARKS)
        outcome = await tool.run(arguments, call)
        return replace(outcome, content=mask(outcome.content), summary=mask(outcome.summary))

    return replace(tool, run=run, describe=lambda arguments: mask(tool.describe(arguments)))
