"""Tools to read and write files in the role's own workspace, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from agenthub.errors import RefusedError
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome

MAX_FILE_BYTES = 1024 * 1024
_MAX_LISTED = 500


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReadFile(_Arguments):
    path: str = Field(description="Path below your workspace, for example `notes/plan.md`.")


class WriteFile(_Arguments):
    path: str = Field(description="Path below your workspace; folders are made.")
    content: str = Field(description="The whole new content of the file.")


class ListFiles(_Arguments):
    path: str = Field(default=".", description="Folder below your workspace.")


def resolve(workspace: Path, path: str) -> Path:
    """Where `path` leads, links followed.

    Raises:
        RefusedError: If that is outside of the workspace.
    """
    root = workspace.resolve()
    target = (root / path).resolve() if "\0" not in path else None
    if target is None or not target.is_relative_to(root):
        raise RefusedError(f"`{path}` is outside of your workspace. Use a path below it, without `..`.")
    return target


def workspace_tools(workspace: Path) -> list[Tool]:
    """The tools for one workspace. All may be repeated: writing sets the whole content."""
    workspace.mkdir(parents=True, exist_ok=True)

    async def read_file(arguments: ReadFile, call: ToolCall) -> ToolOutcome:
        target = resolve(workspace, arguments.path)
        if not target.is_file():
            raise RefusedError(f"There is no file `{arguments.path}` in your workspace.")
        with target.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise RefusedError(f"`{arguments.path}` has more than {MAX_FILE_BYTES:,} bytes.")
        lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
        return ToolOutcome(data.decode(errors="replace") or "(empty)", summary=f"{arguments.path}, {lines} lines")

    async def write_file(arguments: WriteFile, call: ToolCall) -> ToolOutcome:
        target = resolve(workspace, arguments.path)
        data = arguments.content.encode(errors="replace")
        if len(data) > MAX_FILE_BYTES:
            raise RefusedError(f"The content has {len(data):,} bytes, a file may have {MAX_FILE_BYTES:,}.")
        if target == workspace.resolve() or target.is_dir():
            raise RefusedError(f"`{arguments.path}` is a folder.")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and moved: a crash leaves the old file or the new one, never half of it.
        beside = target.with_name(f".{target.name}.new")
        beside.write_bytes(data)
        os.replace(beside, target)  # noqa: PTH105  # Path.replace would follow a link in the way
        return ToolOutcome(
            f"Wrote {len(data):,} bytes to {arguments.path}.",
            summary=f"{arguments.path}, {len(arguments.content.splitlines())} lines",
        )

    async def list_files(arguments: ListFiles, call: ToolCall) -> ToolOutcome:
        folder = resolve(workspace, arguments.path)
        if not folder.is_dir():
            raise RefusedError(f"There is no folder `{arguments.path}` in your workspace.")
        root = workspace.resolve()
        names = []
        for where, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if name != ".git")
            names += [str((Path(where) / name).relative_to(root)) for name in sorted(files)]
            if len(names) > _MAX_LISTED:
                names = [*names[:_MAX_LISTED], "..."]
                break
        return ToolOutcome("\n".join(names) or "(no files)", summary=f"{len(names)} files")

    return [
        Tool("read_file", "Read a text file of your workspace.", ReadFile, read_file, describe=lambda a: a.path),
        Tool("write_file", "Write a text file in your workspace.", WriteFile, write_file, describe=lambda a: a.path),
        Tool("list_files", "List the files of your workspace.", ListFiles, list_files, describe=lambda a: a.path),
    ]
