"""Tools for files that go with messages: attach some of one's own, fetch those of others into the workspace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from agenthub import subjects
from agenthub.bus.attachments import get_attachment, put_attachment
from agenthub.bus.connection import Bus
from agenthub.errors import RefusedError
from agenthub.messages import Attachment, attachment_name, derived_id
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome
from agenthub.tools.workplace import Workplace
from agenthub.tools.workspace import resolve, write_text

FETCH_ATTACHMENT = "fetch_attachment"
MAX_FILES = 20
"""Of one message."""

Attach: TypeAlias = Callable[[Sequence[str], ToolCall], Awaitable[tuple[Attachment, ...]]]
"""Stores files of the workspace, named by their paths; what the message that goes with them must carry."""


class FetchAttachment(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str = Field(description="As in the `<hub:attachment>` of the message.", max_length=200)
    path: str = Field(
        default="", description="Where to put it, below your workspace. Default: `attachments/` and its name."
    )
    name: str = Field(default="", description="Its name in the message.", max_length=200)


def attaching(bus: Bus, role: str, place: Workplace) -> Attach:
    """How a role attaches files of its workspace. Attaching again after a crash stores them once."""

    async def attach(paths: Sequence[str], call: ToolCall) -> tuple[Attachment, ...]:
        if len(paths) > MAX_FILES:
            raise RefusedError(f"A message takes {MAX_FILES} files; these are {len(paths)}. Put them into one archive.")
        found, workspace = [], await place.folder(call.task)
        for number, path in enumerate(paths):
            target = resolve(workspace, path)
            if not target.is_file():
                raise RefusedError(f"There is no file `{path}` in your workspace; nothing was sent.")
            key = f"{role}.{derived_id(role, call.key, str(number), path)}"
            found.append(await put_attachment(bus, key, target.name, target.read_bytes()))
        return tuple(found)

    return attach


def attachment_tools(bus: Bus, place: Workplace) -> list[Tool]:
    """The tool `fetch_attachment`. It may be repeated: it sets the whole content of a file."""

    async def fetch(arguments: FetchAttachment, call: ToolCall) -> ToolOutcome:
        if not subjects.attachment_key(arguments.key):
            raise RefusedError(f"{arguments.key[:80]!r} is no key of an attachment; copy it from the message.")
        name = attachment_name(arguments.name or arguments.key)
        path = arguments.path or f"attachments/{name}"
        target = resolve(await place.folder(call.task), path)
        data = await get_attachment(bus, arguments.key)
        write_text(target, data, path, at_most=len(data))
        return ToolOutcome(f"{len(data):,} bytes are in `{path}`.", summary=f"{path}, {len(data):,} bytes")

    return [
        Tool(
            FETCH_ATTACHMENT,
            "Put a file that came with a message into your workspace.",
            FetchAttachment,
            fetch,
            changes=True,
            describe=lambda a: a.path or a.name or a.key[-12:],
        )
    ]
