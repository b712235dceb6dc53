"""Commands to talk to roles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from agenthub.cli import EXIT_FAILED, EXIT_OK, EXIT_REFUSED
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import print_json, say
from agenthub.errors import ConfigError

if TYPE_CHECKING:
    from agenthub.messages import Completion


async def send(
    to: str,
    text: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    /,
    *,
    subject: Annotated[str, Parameter(name=["--subject", "-s"])] = "",
    priority: Annotated[Literal["critical", "high", "medium", "low"], Parameter(name=["--priority", "-p"])] = "medium",
    file: Annotated[Path | None, Parameter(name="--file")] = None,
    wait: Annotated[bool, Parameter(negative="")] = False,
    timeout: float | None = None,
    options: Options = DEFAULT,
) -> int:
    """Send a role a directive; it is stored in its inbox when this returns.

    Args:
        to: Role, as `agenthub ps` lists them.
        text: What it shall do; `-` or nothing reads it from stdin.
        subject: A few words for lists. Default: the first line of the text.
        priority: How urgent it is; critical goes before everything that waits.
        file: Read the text from this file.
        wait: Wait for the end and print the reply.
        timeout: With --wait: seconds after which to give up waiting; the role goes on.
    """
    from agenthub.messages import Outcome, Priority

    body = _body(text, file)
    async with options.client() as client:
        if wait and to == client.organization.operator:
            raise ConfigError(f"`{to}` is a person: nobody works off that inbox by itself, so --wait would never end.")
        message = await client.send(to, body, subject=subject, priority=Priority(priority))
        if not wait:
            if options.json:
                print_json(message, options)
            else:
                print(message.id)
                say(f"stored in the inbox of {to}; watch it with `agenthub tail -f`")
            return EXIT_OK
        if not options.json and next(role for role in await client.roles() if role.role == to).heartbeat is None:
            say(f"{to} is down; the directive waits in its inbox until it is back")
        try:
            done = await client.completion(to, message.id, timeout_s=timeout)
        except TimeoutError as error:
            raise TimeoutError(
                f"{to} has not finished {message.id[:8]} within {timeout:g} s; it goes on. See `agenthub ps`."
            ) from error
    if options.json:
        print_json(done, options)
    else:
        say(_verdict(done))
        print(done.text)
        for item in done.evidence:
            say(f"evidence: {item}")
    return {Outcome.DONE: EXIT_OK, Outcome.REFUSED: EXIT_REFUSED}.get(done.outcome, EXIT_FAILED)


def _body(text: str, file: Path | None) -> str:
    body = _read(text, file)
    if not body.strip():
        raise ConfigError("There is no text: give it as an argument, on stdin, or with --file.")
    return body


def _read(text: str, file: Path | None) -> str:
    if file is not None:
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read as text: {error}") from error
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
    return f"{done.role}: {done.outcome}{implicit} after {seconds:.1f} s, {done.turns} turns, {done.usage.calls} calls"
