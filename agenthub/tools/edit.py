"""The tool to change a part of a file: exact text for exact text, in one place."""

from __future__ import annotations

import difflib

from pydantic import BaseModel, ConfigDict, Field

from agenthub.errors import RefusedError
from agenthub.sessions.session import Repeat, Tool, ToolCall, ToolOutcome
from agenthub.tools.workplace import Workplace
from agenthub.tools.workspace import read_whole, resolve, write_text

_AROUND = 3
_MAX_SHOWN = 60


class EditFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    path: str = Field(description="Path below your workspace.")
    old_text: str = Field(
        description="The text to replace, exactly as it is, with enough around it to be the only one."
    )
    new_text: str = Field(description="What shall stand there.")
    replace_all: bool = Field(default=False, description="Replace each place, not just the only one.")


def replaced(text: str, old: str, new: str, *, everywhere: bool, path: str) -> str:
    """The text with `old` replaced.

    Raises:
        RefusedError: If it is not there, or several times; says where, or what is most like it.
    """
    if not old:
        raise RefusedError("`old_text` is empty. Use `write_file` for a new file, or say what is to be replaced.")
    if old == new:
        raise RefusedError("`old_text` and `new_text` are the same.")
    count = text.count(old)
    if count == 1 or (count and everywhere):
        return text.replace(old, new)
    if count:
        places: list[str] = []
        at = -1
        while (at := text.find(old, at + 1)) >= 0 and len(places) < 10:
            places.append(str(text.count("\n", 0, at) + 1))
        raise RefusedError(
            f"`old_text` is {count} times in `{path}`, at lines {', '.join(places)}. Take in more of the lines around "
            "the one you mean, or set `replace_all`."
        )
    raise RefusedError(f"`old_text` is not in `{path}`.{_nearest(text, old)} Read the file again and copy it exactly.")


def _nearest(text: str, old: str) -> str:
    first = next((line for line in old.splitlines() if line.strip()), "")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if line.split() == first.split() and line != first:
            return f" Line {number} differs only in its spaces: {line[:200]!r}."
        if line == first:
            return f" Line {number} is as its first line, but what follows differs."
    near = difflib.get_close_matches(first[:200], [line[:200] for line in lines[:5000]], n=1, cutoff=0.7)
    return (
        f" Most like its first line is line {[*(x[:200] for x in lines)].index(near[0]) + 1}: {near[0]!r}."
        if near
        else ""
    )


def around(before: str, after: str) -> str:
    """The lines of `after` that differ from those of `before`, with numbers and some around them."""
    old, new = before.splitlines(), after.splitlines()
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    end = 0
    while end < min(len(old), len(new)) - same and old[-1 - end] == new[-1 - end]:
        end += 1
    first, last = max(0, same - _AROUND), min(len(new), len(new) - end + _AROUND)
    shown = [f"{number + 1:>6}  {new[number]}" for number in range(first, last)]
    if len(shown) > _MAX_SHOWN:
        half = _MAX_SHOWN // 2
        shown = [*shown[:half], f"        ... {len(shown) - 2 * half} lines ...", *shown[-half:]]
    return "\n".join(shown)


def edit_tools(place: Workplace) -> list[Tool]:
    """The tool to edit files of one workspace. A second call might replace what the first one wrote."""

    async def edit_file(arguments: EditFile, call: ToolCall) -> ToolOutcome:
        target = resolve(await place.folder(call.task), arguments.path)
        data = read_whole(target, arguments.path)
        try:
            before = data.decode()
        except UnicodeDecodeError as error:
            raise RefusedError(f"`{arguments.path}` is not UTF-8 text; byte {error.start} is wrong.") from error
        old, new = arguments.old_text, arguments.new_text
        if "\r\n" in before and "\r\n" not in old:  # models write line feeds; the file keeps its own ends of lines
            old, new = old.replace("\n", "\r\n"), new.replace("\n", "\r\n")
        after = replaced(before, old, new, everywhere=arguments.replace_all, path=arguments.path)
        write_text(target, after.encode(errors="replace"), arguments.path)
        times = before.count(old)
        return ToolOutcome(
            f"Replaced {'once' if times == 1 else f'{times} times'} in {arguments.path}:\n{around(before, after)}",
            summary=f"{arguments.path}, {times} place{'s' if times > 1 else ''}",
        )

    return [
        Tool(
            "edit_file",
            "Replace a piece of text in a file of your workspace by another one. It must be there exactly once.",
            EditFile,
            edit_file,
            repeat=Repeat.UNSAFE,
            changes=True,
            describe=lambda a: a.path,
        )
    ]
