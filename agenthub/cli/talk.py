"""Commands to talk to roles."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, EXIT_REFUSED
from agenthub.cli.choices import PriorityWord
from agenthub.cli.names import RoleName, RoleOrOperator, Target
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import counted, length, print_json, say
from agenthub.cli.waiting import shown_while_waiting
from agenthub.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from agenthub.client import Client
    from agenthub.messages import Completion, Priority


Words = Annotated[str, Parameter(allow_leading_hyphen=True)]
Subject = Annotated[str, Parameter(name=["--subject", "-s"])]
PriorityName = Annotated[PriorityWord, Parameter(name=["--priority", "-p"])]
Attach = Annotated[tuple[Path, ...], Parameter(name=["--attach", "-a"], negative="")]
File = Annotated[Path | None, Parameter(name="--file")]


async def send(
    to: Target,
    text: Words = "-",
    /,
    *,
    subject: Subject = "",
    priority: PriorityName = "medium",
    file: File = None,
    attach: Attach = (),
    check: str = "",
    verify: RoleOrOperator = "",
    evidence: Annotated[bool, Parameter(negative="")] = False,
    wait: Annotated[bool, Parameter(negative="")] = False,
    timeout: str | None = None,
    expect_reply: Annotated[bool, Parameter(negative="")] = False,
    within: str | None = None,
    options: Options = DEFAULT,
) -> int:
    """Send a role a directive; it is stored in its inbox when this returns.

    Args:
        to: Role, as `agenthub ps` lists them. Also several: `qa,growth`, `@all`, a team such as `@cto`,
            `?skill=sql`; or a topic: `topic:status.deploy`.
        text: What it shall do; `-` or nothing reads it from stdin, `@brief.md` from that file.
        subject: A few words for lists. Default: the first line of the text.
        priority: How urgent it is; critical goes before everything that waits.
        file: Read the text from this file.
        attach: A file that goes with it; give it several times for several files.
        check: A shell command that must succeed in the role's workspace when it says `done`: else it works on.
        verify: Another role, or you, that must approve of what was done.
        evidence: `done` counts only with evidence.
        wait: Wait for the end and print the reply.
        timeout: With --wait: how long to wait, such as 90s, 10m or 2h; a bare number is seconds. The role goes on.
        expect_reply: Return at once, and have the role reminded if there is no answer in time: `agenthub pending`.
        within: With --expect-reply: when the answer is due, such as 90s, 10m, 2h or 1d; a bare number is
            seconds. Default: the organization's `reply_within_s`.
    """
    from agenthub.client.replies import Question, Replies
    from agenthub.messages import Priority

    if within is not None and not expect_reply:
        raise ConfigError("--within says when an expected answer is due; add --expect-reply.")
    if wait and expect_reply:
        raise ConfigError("--wait waits for the answer, --expect-reply does not: choose one of them.")
    if expect_reply and attach:
        raise ConfigError("--attach does not go with --expect-reply; send the files first.")
    demands = bool(check or verify or evidence)
    if expect_reply and demands:
        raise ConfigError("--check, --verify and --evidence do not go with --expect-reply; use --wait, or neither.")
    if timeout is not None and not wait:
        raise ConfigError("--timeout says how long --wait waits; add --wait, or leave it out.")
    timeout_s = None if timeout is None else duration(timeout, "--timeout").total_seconds()
    within_s = None if within is None else duration(within, "--within").total_seconds()
    body = body_of(text, file)
    for path in attach:
        if not path.exists() or path.is_dir():
            raise ConfigError(f"--attach: there is no file {path}.")
    if to.startswith(("@", "?", "topic:")) or "," in to:
        if wait or expect_reply:
            raise ConfigError(f"`{to}` is not one role: --wait and --expect-reply take one.")
        if demands:
            raise ConfigError(f"`{to}` is not one role: --check, --verify and --evidence take one.")
        return await _send_many(to, body, subject, Priority(priority), attach, options)
    async with options.client() as client:
        if wait and to == client.organization.operator:
            raise ConfigError(f"`{to}` is a person: nobody works off that inbox by itself, so --wait would never end.")
        replies = Replies(client)
        if expect_reply:
            ask = await replies.expect(Question(to, body, subject, Priority(priority)), within_s=within_s)
            if options.json:
                print_json({"id": ask.id, "role": to, "to": to, "due_at": ask.deadline}, options)
            else:
                print(ask.id)
                say(f"stored in the inbox of {to}; the answer is due at {_local(ask.deadline)}: see `agenthub pending`")
            return EXIT_OK
        message = await client.send(
            to, body, subject=subject, priority=Priority(priority), attach=attach,
            check=check, verify=verify, needs_evidence=evidence,
        )  # fmt: skip
        if not wait:
            if options.json:
                print_json(message.model_dump(mode="json") | {"to": to}, options)
            else:
                print(message.id)
                say(f"stored in the inbox of {to}; watch it with `agenthub tail -f`")
                await _say_if_it_waits(client, to, "the directive")
            return EXIT_OK
        if not options.json:
            await _say_if_it_waits(client, to, "the directive")
        try:
            async with shown_while_waiting(client, to):
                done = await client.completion(to, message.id, timeout_s=timeout_s)
        except TimeoutError as error:
            held = await _held(client, to)
            doing = f"it is {held}" if held else "it goes on. See `agenthub ps`"
            raise TimeoutError(
                f"{to} has not finished {message.id[:8]} within {length(timeout_s or 0)}; {doing}."
            ) from error
    return _print_end(done, options)


async def ask(
    to: RoleName,
    text: Words = "-",
    /,
    *,
    timeout: str | None = None,
    subject: Subject = "",
    priority: PriorityName = "medium",
    file: File = None,
    options: Options = DEFAULT,
) -> int:
    """Ask a role a question, wait for the answer and print it.

    Args:
        to: Role, as `agenthub ps` lists them.
        text: The question; `-` or nothing reads it from stdin.
        timeout: How long to wait, such as 90s, 10m or 2h; a bare number is seconds. The role goes on after that.
            Default: the organization's `reply_within_s`.
        subject: A few words for lists. Default: the first line of the question.
        priority: How urgent it is; critical goes before everything that waits.
        file: Read the question from this file.
    """
    from agenthub.client.replies import Question, Replies
    from agenthub.messages import Priority

    timeout_s = None if timeout is None else duration(timeout, "--timeout").total_seconds()
    body = body_of(text, file)
    async with options.client() as client:
        replies = Replies(client)
        asked = await replies.expect(
            Question(to, body, subject, Priority(priority)), within_s=timeout_s, kind="question"
        )
        if not options.json:
            await _say_if_it_waits(client, to, "the question")
        within_s = (asked.deadline - asked.opened_at).total_seconds()
        try:
            async with shown_while_waiting(client, to):
                done = await replies.answer_to(asked, timeout_s=within_s)
        except TimeoutError as error:
            owed = [debt for debt in await replies.pending() if debt.ask.id == asked.id]
            doing = f"{owed[0].debtor} {owed[0].words}" if owed else f"{to} has just ended it"
            held = await _held(client, to)
            goes_on = f"It is {held}" if held else "It goes on"
            raise TimeoutError(
                f"No answer from {to} within {length(within_s)}: {doing}. {goes_on}; see `agenthub pending`, "
                f"or `agenthub pending drop {asked.id[:8]}` to be reminded of it no more."
            ) from error
    return _print_end(done, options)


async def attachment(
    key: str,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    options: Options = DEFAULT,
) -> int:
    """Fetch a file that came with a message.

    Args:
        key: As the message shows it.
        output: Where to put it; a file that is there is not replaced. Default: stdout.
    """
    if output is not None and output.exists():
        raise ConfigError(f"{output} is there already; choose another name.")
    async with options.client() as client:
        data = await client.attachment(key)
    if output is None and not options.json:
        if sys.stdout.isatty() and b"\0" in data:
            raise ConfigError("That is no text; write it into a file with --output.")
        sys.stdout.buffer.write(data)
        return EXIT_OK
    if output is not None:
        output.write_bytes(data)
    if options.json:
        print_json({"key": key, "size_bytes": len(data), "path": str(output) if output else None}, options)
    else:
        say(f"{len(data):,} bytes are in {output}")
    return EXIT_OK


async def _send_many(
    to: str, body: str, subject: str, priority: Priority, attach: Sequence[Path], options: Options
) -> int:  # fmt: skip
    """A directive of its own for each that `to` stands for, or one message on a topic."""
    from agenthub.cli.broadcast import print_published, print_sent
    from agenthub.client.broadcast import broadcast, publish

    async with options.client() as client:
        if to.startswith("topic:"):
            return print_published(
                await publish(client, to, body, subject=subject, priority=priority, attach=attach), options
            )
        sent = await broadcast(
            client, to, body, subject=subject, priority=priority, kind="task_assignment", attach=attach
        )
    return print_sent(sent, "stored in the inboxes of", options)


async def _say_if_it_waits(client: Client, role: str, what: str) -> None:
    """Say why nothing will come of it for now, if that is so."""
    if role not in client.organization.roles:
        return
    if held := await _held(client, role):
        say(f"{role} is {held}; {what} waits")
    elif all(status.heartbeat is None for status in await client.roles() if status.role.partition(".")[0] == role):
        say(f"{role} is down; {what} waits in its inbox until it is back")


async def _held(client: Client, role: str) -> str:
    """That a person has stopped or paused it, who, and what lets it go on; empty if nobody has."""
    from agenthub.control import holdings

    standing = (await client.steering.standing()).get(role)
    found = holdings({role: standing}) if standing else []
    command = {"stopped": "thaw", "paused": "resume"}
    return next((f"{one.word} {one.control.words} until `agenthub {command[one.word]} {role}`" for one in found), "")


def _print_end(done: Completion, options: Options) -> int:
    """Print how a message ended; the exit code of that."""
    from agenthub.messages import Outcome

    if options.json:
        print_json(done, options)
    else:
        say(_verdict(done))
        print(done.text)
        for item in done.evidence:
            say(f"evidence: {item}")
        if done.check is not None:
            say(f"check: {done.check.words}")
        if done.verified_by:
            say(f"verified by {done.verified_by}")
    codes = {
        Outcome.DONE: EXIT_OK, Outcome.REFUSED: EXIT_REFUSED, Outcome.COMPLETED_UNVERIFIED: EXIT_PARTIAL,
    }  # fmt: skip
    return codes.get(done.outcome, EXIT_FAILED)


def body_of(text: str, file: Path | None) -> str:
    """The text of a message, from wherever it comes.

    Raises:
        ConfigError: If there is none, or it cannot be read.
    """
    body = _read(text, file)
    if not body.strip():
        raise ConfigError("There is no text: give it as an argument, on stdin, or with --file.")
    return body


def _read(text: str, file: Path | None) -> str:
    if file is None and text.startswith("@") and not any(map(str.isspace, text)):
        named = Path(text[1:])
        if named.is_file():
            file = named
        elif named.suffix or len(named.parts) > 1:
            raise ConfigError(f"There is no file {named}. To say `{text}` itself, put it on stdin.")
    if file is not None:
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror or error) if isinstance(error, OSError) else error
            raise ConfigError(f"{file} cannot be read as text: {why}.") from error
    if text != "-":
        return text
    if sys.stdin.isatty():
        say("reading the text from the terminal; end it with Ctrl-D")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"What came on stdin is not UTF-8 text: {error}") from error


def _verdict(done: Completion) -> str:
    seconds = (done.ended_at - done.started_at).total_seconds()
    implicit = " (it stopped without saying how it ended)" if done.implicit else ""
    turns, calls = counted(done.turns, "turn"), counted(done.usage.calls, "call")
    return f"{done.role}: {done.outcome}{implicit} after {seconds:.1f} s, {turns}, {calls}"


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
