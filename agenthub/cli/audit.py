"""Commands for the record of who did what."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agenthub.cli import EXIT_FAILED, EXIT_OK
from agenthub.cli.letter import short
from agenthub.cli.names import AnyBody
from agenthub.cli.options import DEFAULT, Last, Options, duration
from agenthub.cli.output import ago, console, counted, escaped, print_json, say, table

if TYPE_CHECKING:
    from agenthub.audit import Entry, Verdict


async def ls(
    *, who: AnyBody = None, what: str | None = None, since: str | None = None,
    last: Last = 50, options: Options = DEFAULT,
) -> int:  # fmt: skip
    """List who did what, oldest first.

    Args:
        who: Only what this role, person or program did.
        what: Only this: `task_assignment`, `reply`, `budget`, `breaker` ...
        since: Only what happened this long ago or later: `90s`, `10m`, `2h`, `7d`; a bare number is seconds.
        last: How many at the most.
    """
    from agenthub.client.audit import entries
    from agenthub.messages import now

    begin = None if since is None else now() - duration(since)
    found: deque[Entry] = deque(maxlen=last)
    known: dict[str, set[str]] = {"--who": set(), "--what": set()}
    async with options.client() as client:
        async for entry in entries(client.bus, since=begin):
            known["--who"].add(entry.who)
            known["--what"].add(entry.what)
            if who in (None, entry.who) and what in (None, entry.what):
                found.append(entry)
    for flag, wanted in (("--who", who), ("--what", what)):
        if wanted is not None and wanted not in known[flag]:
            there = ", ".join(sorted(known[flag])) or "none"
            say(f"nothing is recorded with {flag} {wanted}; there are: {there}")
    if options.json:
        print_json([_as_data(entry) for entry in found], options)
        return EXIT_OK
    if not found:
        say("nothing is recorded" if (who, what, since) == (None, None, None) else "nothing such is recorded")
        return EXIT_OK
    rows = [
        [str(one.sequence), ago(one.at), *map(escaped, (one.who, one.what, one.to, short(one.message_id), one.title))]
        for one in found
    ]  # fmt: skip
    columns = ["ENTRY", "AGE", "WHO", "WHAT", "TO", "MESSAGE", "TITLE"]
    table(columns, rows, right=["ENTRY", "AGE"], free=["TITLE"])
    return EXIT_OK


async def export(file: Path, /, *, options: Options = DEFAULT) -> int:
    """Write the record into a file, a JSON line for each entry, chained by hashes; goes on where the file ends.

    Args:
        file: Where to; of an export that is there only what is new is added.
    """
    from agenthub.client.audit import export as export_to

    async with options.client() as client:
        done = await export_to(client.bus, file, org=client.organization.org)
    if options.json:
        print_json({"file": str(file), **done._asdict()}, options)
        return EXIT_OK
    print(done.last_hash)
    added = counted(done.added, "entry", "entries")
    say(f"{added} added to {file}, up to {done.last_sequence:,}. Note the hash down elsewhere.")
    return EXIT_OK


async def verify(
    file: Path | None = None, /, *, ends_with: str | None = None, options: Options = DEFAULT
) -> int:  # fmt: skip
    """See whether anything is missing from the record, or was changed in an export of it.

    Args:
        file: An export; left out: the record at the broker.
        ends_with: The hash that `audit export` printed: then the file was not shortened either.
    """
    from agenthub.audit import Gap
    from agenthub.client.audit import verify as verify_record
    from agenthub.client.audit import verify_file

    if file is None:
        async with options.client() as client:
            found = await verify_record(client.bus)
    else:
        found = verify_file(file)
        if ends_with is not None and found.last_hash != ends_with:
            gap = Gap("the last line", f"has the hash {found.last_hash or '(none)'}, not {ends_with}")
            found = found._replace(gaps=(*found.gaps, gap))
    _print(found, "the record" if file is None else str(file), options)
    return EXIT_FAILED if found.gaps else EXIT_OK


def _print(found: Verdict, what: str, options: Options) -> None:
    if options.json:
        gaps = [gap._asdict() for gap in found.gaps]
        print_json({"count": found.looked_at, "gaps": gaps, "last_hash": found.last_hash}, options)
        return
    for gap in found.gaps:
        console().print(f"[red]✗[/] {escaped(str(gap))}")
    say(
        f"{what} has {counted(found.looked_at, 'entry', 'entries')}, "
        + (counted(len(found.gaps), "gap") if found.gaps else "and none is missing")
    )


def _as_data(entry: Entry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence, "at": entry.at, "who": entry.who, "what": entry.what, "to": entry.to,
        "message_id": entry.message_id, "title": entry.title,
    }  # fmt: skip
