"""Tools to read and write files in the role's own workspace, and nowhere else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from agenthub.errors import RefusedError
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome
from agenthub.tools.workplace import Workplace
from agenthub.whole_files import BESIDE, write_whole

MAX_FILE_BYTES = 1024 * 1024
MAX_READ_BYTES = 32 * 1024 * 1024
_SHOWN_CHARACTERS = 28_000
_MAX_LISTED = 500


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReadFile(_Arguments):
    path: str = Field(description="Path below your workspace, for example `notes/plan.md`.")
    from_line: int = Field(default=1, ge=1, description="For files too long to be shown at once: where to begin.")
    lines: int | None = Field(default=None, ge=1, description="How many lines. Default: as many as can be shown.")


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
    if not path.isprintable():
        raise RefusedError(f"{path[:80]!r} is no path: it has characters that nobody can see.")
    with _refused(path):
        target = (root / path).resolve()
        target.exists()
    if not target.is_relative_to(root):
        raise RefusedError(f"`{path}` is outside of your workspace. Use a path below it, without `..`.")
    return target


@contextlib.contextmanager
def _refused(path: str) -> Iterator[None]:
    """Say what is wrong with a path in the words of the caller, who need not know where the workspace lies."""
    try:
        yield
    except OSError as error:
        raise RefusedError(f"`{path[:200]}`: {error.strerror or error}") from error
    except (RuntimeError, ValueError) as error:  # links in a ring; characters that a file system does not take
        raise RefusedError(f"`{path[:200]!a}` is no path that can be used here.") from error


def _as_it_was(target: Path) -> Callable[[Path], None]:
    """What makes a new file like the one whose place it takes, or belong to whom the folder belongs to."""

    def prepare(made: Path) -> None:
        if target.exists():
            made.chmod(target.stat().st_mode & 0o777)  # a script stays one
        _hand_over(made)

    return prepare


def read_whole(target: Path, path: str, *, at_most: int = MAX_FILE_BYTES) -> bytes:
    """The content of a text file.

    Raises:
        RefusedError: If it is none, or too long; names it as the caller did.
    """
    if not target.is_file():
        raise RefusedError(f"There is no file `{path}` in your workspace.")
    with _refused(path), target.open("rb") as file:
        data = file.read(at_most + 1)
    if len(data) > at_most:
        raise RefusedError(f"`{path}` has more than {at_most:,} bytes. Search it with `search_files`.")
    if b"\0" in data:
        raise RefusedError(f"`{path}` is not a text file; it has {len(data):,} bytes.")
    return data


def write_text(target: Path, data: bytes, path: str, *, at_most: int = MAX_FILE_BYTES) -> None:
    """Set the content of a file; folders are made.

    Raises:
        RefusedError: If it cannot be, or is too long; names it as the caller did.
    """
    if len(data) > at_most:
        raise RefusedError(f"The content has {len(data):,} bytes, a file may have {at_most:,}.")
    if target.is_dir():
        raise RefusedError(f"`{path}` is a folder.")
    if ".git" in target.parts:  # what stands there is executed by whoever uses git next
        raise RefusedError(f"`{path}` is git's own. Change it by git commands.")
    with _refused(path):
        _make(target.parent)
        write_whole(target, data, is_durable=True, before=_as_it_was(target))


def _make(folder: Path) -> None:
    """Make a folder and those above it; what root makes belongs to whom the folder above belongs to."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    _hand_over(folder)


def _hand_over(made: Path) -> None:
    if os.geteuid() == 0:  # the role's commands run as its own user
        above = made.parent.stat()
        os.chown(made, above.st_uid, above.st_gid, follow_symlinks=False)


def _part(lines: list[str], first: int, most: int | None) -> tuple[str, int]:
    """Whole lines from `first` on, as many as can be shown, and the number of the last one."""
    size, last = 0, first - 1
    for line in lines[first - 1 : None if most is None else first - 1 + most]:
        size += len(line)
        if size > _SHOWN_CHARACTERS and last >= first:
            break
        last += 1
    return "".join(lines[first - 1 : last]), last


def workspace_tools(place: Workplace) -> list[Tool]:
    """The tools for one workspace. All may be repeated: writing sets the whole content."""

    async def read_file(arguments: ReadFile, call: ToolCall) -> ToolOutcome:
        data = read_whole(
            resolve(await place.folder(call.task), arguments.path), arguments.path, at_most=MAX_READ_BYTES
        )
        lines = data.decode(errors="replace").splitlines(keepends=True)
        if arguments.from_line > max(1, len(lines)):
            raise RefusedError(f"`{arguments.path}` has only {len(lines)} lines.")
        text, last = _part(lines, arguments.from_line, arguments.lines)
        if last < len(lines):
            text += f"\n[lines {arguments.from_line}-{last} of {len(lines):,}; go on with `from_line` {last + 1}]"
        return ToolOutcome(text or "(empty)", summary=f"{arguments.path}, {len(lines)} lines")

    async def write_file(arguments: WriteFile, call: ToolCall) -> ToolOutcome:
        data = arguments.content.encode(errors="replace")
        write_text(resolve(await place.folder(call.task), arguments.path), data, arguments.path)
        return ToolOutcome(
            f"Wrote {len(data):,} bytes to {arguments.path}.",
            summary=f"{arguments.path}, {len(arguments.content.splitlines())} lines",
        )

    async def list_files(arguments: ListFiles, call: ToolCall) -> ToolOutcome:
        workspace = await place.folder(call.task)
        folder = resolve(workspace, arguments.path)
        if not folder.is_dir():
            raise RefusedError(f"There is no folder `{arguments.path}` in your workspace.")
        root = workspace.resolve()
        names: list[str] = []
        for where, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if name != ".git")
            inner = Path(where).relative_to(root)
            names += [str(inner / name) for name in sorted(files) if not name.startswith(BESIDE)]
            if len(names) > _MAX_LISTED:
                names = [*names[:_MAX_LISTED], f"... and more; list a folder below `{arguments.path}`"]
                break
        shown = min(len(names), _MAX_LISTED)
        return ToolOutcome("\n".join(names) or "(no files)", summary=f"{shown} files")

    return [
        Tool("read_file", "Read a text file of your workspace.", ReadFile, read_file, describe=lambda a: a.path),
        Tool(
            "write_file",
            "Write a text file in your workspace.",
            WriteFile,
            write_file,
            changes=True,
            describe=lambda a: a.path,
        ),
        Tool("list_files", "List the files of your workspace.", ListFiles, list_files, describe=lambda a: a.path),
    ]
