"""The tool to search the files of a workspace, by a program of its own that ends in time."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from agenthub.errors import RefusedError
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome
from agenthub.tools.workplace import Workplace
from agenthub.tools.workspace import resolve

SEARCH_WITHIN_S = 20.0
_PROGRAM = str(Path(__file__).with_name("search_program.py"))


class SearchFiles(BaseModel):
    model_config = ConfigDict(extra="forbid")
    pattern: str = Field(
        default="", max_length=2000, description="Regular expression (Python) for a line. Empty: list the files."
    )
    glob: str = Field(default="", max_length=500, description="Only these files: `*.py`, `src/**/*.sql`.")
    path: str = Field(default=".", description="Folder below your workspace to search.")
    ignore_case: bool = False
    most: int = Field(default=100, ge=1, le=500, description="Lines to show.")


def search_tools(place: Workplace) -> list[Tool]:
    """The tool to search one workspace; it changes nothing and may be repeated."""

    async def search_files(arguments: SearchFiles, call: ToolCall) -> ToolOutcome:
        workspace = await place.folder(call.task)
        folder = resolve(workspace, arguments.path)
        if not folder.is_dir():
            raise RefusedError(f"There is no folder `{arguments.path}` in your workspace.")
        if not arguments.pattern and not arguments.glob:
            raise RefusedError("Say a `pattern` for lines or a `glob` for files.")
        try:
            re.compile(arguments.pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise RefusedError(f"`pattern` is no regular expression: {error}. Escape signs with `\\`.") from error
        root = workspace.resolve()
        wanted = arguments.model_dump() | {"root": str(root), "path": str(folder.relative_to(root))}
        answer = await _answer(json.dumps(wanted).encode())
        lines: list[str] = answer["found"]
        text = "\n".join(lines) or "(nothing found)"
        if answer["more"]:
            text += f"\n[only the first {len(lines)}; narrow the search by `path`, `glob` or `pattern`]"
        return ToolOutcome(text, summary=f"{len(lines)}{'+' if answer['more'] else ''} in {answer['files']} files")

    return [
        Tool(
            "search_files",
            "Search the files of your workspace: lines by a regular expression, files by a glob.",
            SearchFiles,
            search_files,
            describe=lambda a: f"{a.pattern} {a.glob}".strip()[:80],
            patience_s=lambda _: SEARCH_WITHIN_S,
        )
    ]


async def _answer(wanted: bytes) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", _PROGRAM, env={}, cwd="/",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SEARCH_WITHIN_S):
            output, errors = await process.communicate(wanted)
    except TimeoutError as error:
        raise RefusedError(
            f"The search took longer than {SEARCH_WITHIN_S:g} s. Narrow it by `path` or `glob`, or write a pattern "
            "without nested repetitions."
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RefusedError(f"The search failed: {errors.decode(errors='replace').strip().splitlines()[-1:]}")
    answer: dict[str, Any] = json.loads(output)
    return answer
