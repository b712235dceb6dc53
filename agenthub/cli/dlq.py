"""Commands for dead letters: look at what was buried, give it another life, throw it away."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_FAILED, EXIT_OK
from agenthub.cli.letter import first_line, print_letter, short
from agenthub.cli.names import AnyRole
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import ago, console, escaped, print_json, say, table
from agenthub.errors import ConfigError, MessageError, RefusedError

if TYPE_CHECKING:
    from agenthub.client.letters import Buried, Letters

Flag = Annotated[bool, Parameter(negative="")]


async def ls(*, role: AnyRole = None, since: str | None = None, options: Options = DEFAULT) -> int:
    """List the dead letters, oldest first.

    Args:
        role: Only those of this role.
        since: Only what was buried this long ago or later: `90s`, `10m`, `2h`, `7d`; a bare number is seconds.
    """
    from agenthub.letters import publisher
    from agenthub.messages import now

    begin = None if since is None else now() - duration(since)
    async with options.client() as client:
        found = await client.letters.all(role=role, since=begin)
    if options.json:
        print_json([_as_data(buried) for buried in found], options)
        return EXIT_OK
    rows = []
    for letter, _, replays in found:
        message = letter.message()
        sender = publisher(letter.subject, letter.headers, letter.data) or "-"
        title = message.title if message else "(cannot be read)"
        age, tries = ago(letter.buried_at), str(letter.attempts)
        mark = f"[green]replayed as {escaped(replays[-1].new_id[:8])}[/]  " if replays else ""
        reason = f"{mark}[{'dim' if mark else 'red'}]{escaped(first_line(letter.reason))}[/]"
        cells = [short(letter.message_id), letter.role, age, tries, sender, title]
        rows.append([*map(escaped, cells), reason])
    columns = ["ID", "ROLE", "AGE", "TRIES", "FROM", "SUBJECT", "REASON"]
    table(columns, rows, right=["AGE", "TRIES"], free=["SUBJECT", "REASON"])
    if not found:
        say("there are no dead letters" if since is None and role is None else "there are no such dead letters")
    return EXIT_OK


async def late(*, role: AnyRole = None, options: Options = DEFAULT) -> int:
    """List results that came too late: another process had ended the message, or had taken the role.

    Args:
        role: Only those of this role.
    """
    async with options.client() as client:
        found = await client.letters.late(role=role)
    if options.json:
        print_json(found, options)
        return EXIT_OK
    if not found:
        say("no result came too late")
        return EXIT_OK
    rows = [[short(c.message_id), c.role, ago(c.ended_at), c.outcome, c.subject, first_line(c.text)] for c in found]
    columns = ["ID", "ROLE", "AGE", "OUTCOME", "SUBJECT", "TEXT"]
    table(columns, [[*map(escaped, row)] for row in rows], right=["AGE"], free=["SUBJECT", "TEXT"])
    return EXIT_OK


async def show(id_: str, /, *, role: AnyRole = None, body: Flag = False, options: Options = DEFAULT) -> int:
    """Print everything about one dead letter.

    Args:
        id_: Id of the message, or its beginning.
        role: Whose letter, if several roles buried the same message.
        body: Print only the message, as it came.
    """
    async with options.client() as client:
        buried = await client.letters.find(id_, role=role)
    if body:
        sys.stdout.buffer.write(buried.letter.data)
        sys.stdout.buffer.flush()
    elif options.json:
        print_json(_as_data(buried), options)
    else:
        print_letter(buried)
    return EXIT_OK


async def replay(
    *ids: str, all_: Annotated[bool, Parameter(name="--all", negative="")] = False, role: AnyRole = None,
    body: Path | None = None, again: Flag = False, options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Give dead letters another life: each goes into its role's inbox as a new message of the same sender.

    Args:
        ids: Ids of messages, or their beginnings.
        all_: All that were not replayed yet.
        role: Only letters of this role.
        body: With one id: a file with the message to send instead of the one that was buried.
        again: Also what was replayed already.
    """
    if bool(ids) == all_:
        raise ConfigError("Say which: ids of dead letters, or `--all`. `agenthub dlq ls` lists them.")
    if body is not None and len(ids) != 1:
        raise ConfigError("`--body` replaces the message of one letter: give one id.")
    text = None if body is None else _read(body)
    done: list[dict[str, object]] = []
    async with options.client() as client:
        letters = await _chosen(client.letters, ids, role)
        if all_ and not again:
            letters = [buried for buried in letters if not buried.replays]
        for buried in letters:
            old = buried.letter.message_id
            try:
                mark = await client.letters.replay(buried, body=text, again=again)
            except (MessageError, RefusedError) as error:
                if not all_ and len(letters) == 1:
                    raise
                done.append({"message_id": old, "role": buried.letter.role, "error": str(error)})
                if not options.json:
                    say(f"{short(old)}  not replayed: {error}")
                continue
            done.append(mark.model_dump(mode="json"))
            if not options.json:
                console().print(f"{short(old)} → [bold]{mark.new_id[:8]}[/]  [dim]in the inbox of {mark.role}[/]")
    failed = sum("error" in item for item in done)
    if options.json:
        print_json(done, options)
    elif not done:
        say("there is nothing to replay")
    elif len(done) > 1:
        say(f"{len(done) - failed} replayed" + (f", {failed} not" if failed else ""))
    return EXIT_FAILED if failed else EXIT_OK


async def drop(
    *ids: str, all_: Annotated[bool, Parameter(name="--all", negative="")] = False, role: AnyRole = None,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False, options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Throw dead letters away for good.

    Args:
        ids: Ids of messages, or their beginnings.
        all_: All of them.
        role: Only letters of this role.
        yes: Do not ask.
    """
    if bool(ids) == all_:
        raise ConfigError("Say which: ids of dead letters, or `--all`. `agenthub dlq ls` lists them.")
    if not yes and not sys.stdin.isatty():
        raise ConfigError("What is dropped is gone for good, and here is no terminal to ask at: say `--yes`.")
    async with options.client() as client:
        letters = await _chosen(client.letters, ids, role)
        if letters and not yes and not _confirmed(f"Drop {_count(letters)} for good?"):
            say("nothing was dropped")
            return EXIT_FAILED
        await client.letters.drop(letters)
    if options.json:
        data = [{"message_id": buried.letter.message_id, "role": buried.letter.role} for buried in letters]
        print_json(data, options)
    else:
        say(f"dropped {_count(letters)}")
    return EXIT_OK


async def _chosen(letters: Letters, ids: tuple[str, ...], role: str | None) -> list[Buried]:
    from agenthub.client.letters import choose

    there = await letters.all(role=role)
    if not ids:
        return there
    chosen = {(b.letter.role, b.letter.message_id): b for b in (choose(prefix, there) for prefix in ids)}
    return list(chosen.values())


def _count(letters: list[Buried]) -> str:
    return "1 dead letter" if len(letters) == 1 else f"{len(letters)} dead letters"


def _confirmed(question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _as_data(buried: Buried) -> dict[str, object]:
    letter, message = buried.letter, buried.letter.message()
    return letter.model_dump(mode="json") | {
        "from_role": message.from_role if message else None,
        "title": message.title if message else None,
        "replays": [replay.model_dump(mode="json") for replay in buried.replays],
    }
