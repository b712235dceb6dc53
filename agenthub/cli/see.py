"""Commands to see what happens. None of them changes anything."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub import subjects
from agenthub.cli import EXIT_OK
from agenthub.cli.lines import as_markup, who_width
from agenthub.cli.names import AnyRole, LogName, RoleName
from agenthub.cli.options import DEFAULT, Last, Options, duration
from agenthub.cli.output import (
    PRIORITY_STYLE,
    ago,
    console,
    escaped,
    length,
    print_json,
    say,
    table,
)
from agenthub.errors import NotFoundError, unknown
from agenthub.logs import readable

if TYPE_CHECKING:
    from agenthub.client import Client, WaitingMessage

Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative="")]

QUIET_KINDS = {"model"}
"""Events that tell more than a person wants to see pass by; `agenthub trace` shows them in their place."""
_POLL_S = 0.2
_MOST = 1000
"""Messages of each inbox that are looked through for an id."""
_ID = re.compile(rf"[0-9a-f]{{4,32}}|{subjects.AGENTS}-[0-9]+")


async def tail(
    *,
    follow: Follow = False,
    last: Last = 50,
    since: str | None = None,
    role: AnyRole = None,
    kind: str | None = None,
    all_: Annotated[bool, Parameter(name=["--all", "-a"], negative="")] = False,
    options: Options = DEFAULT,
) -> int:
    """Show what happened, oldest first; with -f also what happens from now on.

    Args:
        follow: Go on until Ctrl-C.
        last: How many events to begin with; not with --since.
        since: Begin this long ago: `90s`, `10m`, `2h`, `7d`; a bare number is seconds.
        role: Only events of this role.
        kind: Only events of this kind, for example `completed`, `sent`, `step`, `dead`.
        all_: Also each model call.
    """
    from agenthub.messages import now

    begin = None if since is None else now() - duration(since)
    async with options.client() as client:
        if role is not None:
            client.organization.role(role)
        if kind is not None:
            kinds = {event.kind async for event in client.events()}
            if kind not in kinds:
                say(f"no event of that kind; there are {', '.join(sorted(kinds)) or 'none of any kind'}")
        out = console()
        width = who_width(list(client.organization.roles))
        most = None if begin is not None else last
        hidden = set() if all_ or kind in QUIET_KINDS else QUIET_KINDS
        async for event in client.events(last=most, since=begin, follow=follow, without=hidden):
            if (role and event.role != role) or (kind and event.kind != kind):
                continue
            if options.json:
                print_json(event, options)
            else:
                out.print(as_markup(event, width=out.width if out.is_terminal else None, who_width=width))
    return EXIT_OK


async def inbox_ls(role: RoleName, /, *, last: Last = 50, options: Options = DEFAULT) -> int:
    """List what waits in a role's inbox, most urgent first, oldest first, then what is put off. Nothing is taken.

    Args:
        role: Whose inbox.
        last: How many at the most.
    """
    async with options.client() as client:
        found = await client.waiting(role, most=last)
        if role != client.organization.operator and len(found) < last:
            found += await client.put_off(role, most=last - len(found))
    if options.json:
        print_json([_waiting_data(item) for item in found], options)
        return EXIT_OK
    rows = []
    for item in found:
        if item.message is None:
            rows.append([str(item.sequence), "-", ago(item.stored_at), "-", _state(item), "[red]cannot be read[/]"])
            continue
        priority = item.message.payload.priority
        style = PRIORITY_STYLE[priority] or "none"
        sender, title = escaped(item.message.from_role), escaped(item.message.title)
        rows.append([item.message.id[:8], f"[{style}]{priority}[/]", ago(item.stored_at), sender, _state(item), title])
    columns = ["ID", "PRIORITY", "AGE", "FROM", "STATE", "SUBJECT"]
    table(columns, rows, right=["AGE"], free=["SUBJECT"])
    if not found:
        say(f"nothing waits for {role}")
    return EXIT_OK


async def inbox_peek(role: RoleName, /, *, last: Last = 1, options: Options = DEFAULT) -> int:
    """Print the next messages of a role's inbox in full, or one that waits by its id. Nothing is taken.

    Args:
        role: Whose inbox; or the id of a message that waits anywhere, of which the first digits are enough.
        last: How many.
    """
    async with options.client() as client:
        names = {client.organization.operator, *client.organization.roles}
        if role not in names and _ID.fullmatch(role):
            found = await _waiting_by_id(client, role)
        else:
            found = await client.waiting(role, most=last)
    if options.json:
        print_json([_waiting_data(item) for item in found], options)
        return EXIT_OK
    if not found:
        say(f"nothing waits for {role}")
    out = console()
    for item in found:
        if item.message is None:
            out.print(f"[bold]{item.sequence}[/]  [red]cannot be read[/]  {escaped(item.subject)}")
            out.print(escaped(item.data[:500].decode(errors="replace")))
            continue
        message = item.message
        out.print(
            f"[bold]{message.id}[/]  {message.payload.priority}  {escaped(message.type)}  from"
            f" [bold]{escaped(message.from_role)}[/]  {ago(item.stored_at)} ago"
        )
        if message.payload.subject:
            out.print(f"[bold]{escaped(message.payload.subject)}[/]")
        for line in message.payload.message.splitlines():
            out.print(escaped(line))
        for file in message.payload.attachments:
            out.print(
                f"[dim]attached[/]  {escaped(file.name)}  {file.size_bytes:,} bytes  agenthub attachment {file.key}"
            )
        out.print()
    return EXIT_OK


async def _waiting_by_id(client: Client, prefix: str) -> list[WaitingMessage]:
    """What waits or is put off in any inbox and has an id that begins so.

    Raises:
        NotFoundError: If nothing does.
    """
    roles = client.organization.roles
    found = await asyncio.gather(
        *(client.waiting(name, most=_MOST) for name in (client.organization.operator, *roles)),
        *(client.put_off(name, most=_MOST) for name in roles),
    )
    those = [one for some in found for one in some if one.message and one.message.id.startswith(prefix)]
    if not those:
        raise NotFoundError(f"`{prefix}` waits in no inbox; `agenthub trace {prefix}` shows what became of it.")
    return those


def _state(item: WaitingMessage) -> str:
    return f"[yellow]{item.put_off.words}[/]" if item.put_off else "waits"


def _waiting_data(item: WaitingMessage) -> dict[str, object]:
    data: dict[str, object] = {
        "subject": item.subject,
        "sequence": item.sequence,
        "stored_at": item.stored_at,
    }
    if item.put_off is not None:
        until = item.put_off.until
        data["put_off"] = {"waits_for": item.put_off.waits_for, "until": until}
    if item.message is None:
        return data | {"error": "cannot be read", "body": item.data[:2000].decode(errors="replace")}
    return item.message.model_dump(mode="json") | {"stored": data}


async def logs(role: LogName, /, *, follow: Follow = False, last: Last = 100, options: Options = DEFAULT) -> int:
    """Show the log of a role's process; also of `supervisor`, `rehearsal` and `nats` (of a cluster `nats.n0`).

    Args:
        role: Whose log.
        follow: Go on until Ctrl-C.
        last: How many lines to begin with.
    """
    settings = options.settings()
    organization = options.organization_of_hub(settings)
    others = ("supervisor", "rehearsal", "nats")
    if role.split(".")[0] not in (*organization.roles, *others):
        raise NotFoundError(unknown("log", role, [*organization.roles, *others]))
    kind, _, node = role.partition(".")
    path = settings.state / "nats" / node / "nats.log" if kind == "nats" else settings.state / "logs" / f"{role}.log"
    if not path.exists() and not follow:
        raise NotFoundError(f"{role} has written no log yet; it would be {path}.")
    await _print_file(path, last=last, follow=follow, options=options)
    return EXIT_OK


async def _print_file(path: Path, *, last: int, follow: bool, options: Options) -> None:
    def put(line: str) -> None:
        if options.json:
            print_json({"line": line}, options)
        else:
            print(readable(line), flush=True)

    position = 0
    inode = 0
    if path.exists():
        with path.open(errors="replace") as file:
            for line in deque(file, maxlen=last):
                put(line.rstrip("\n"))
            position, inode = file.tell(), path.stat().st_ino
    while follow:
        await asyncio.sleep(_POLL_S)
        if not path.exists():
            continue
        status = path.stat()
        if status.st_ino != inode or status.st_size < position:  # it was rotated
            position, inode = 0, status.st_ino
        if status.st_size > position:
            with path.open(errors="replace") as file:
                file.seek(position)
                for line in file:
                    put(line.rstrip("\n"))
                position = file.tell()


def uptime(started_at: datetime) -> str:
    """How long something runs."""
    from agenthub.messages import now

    return length((now() - started_at).total_seconds())
