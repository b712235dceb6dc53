"""Commands to decide what roles wait for a person to decide."""

from __future__ import annotations

import json
from textwrap import indent
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.names import AnyRole
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import ago, console, escaped, length, print_json, say, table
from agenthub.errors import ConfigError

if TYPE_CHECKING:
    from agenthub.asks import Ask


async def approvals(identity: str | None = None, /, *, role: AnyRole = None, options: Options = DEFAULT) -> int:
    """List what waits for your decision, or show one in full.

    Args:
        identity: Show this one in full; its first digits are enough.
        role: Only what this role waits for.
    """
    from agenthub.client import views
    from agenthub.client.approvals import Approvals
    from agenthub.client.states import in_short
    from agenthub.messages import now

    if identity is not None and role is not None:
        raise ConfigError("Say which one, or whose: not both.")
    async with options.client() as client:
        if identity is None:
            waiting = await Approvals(client).waiting(role=role)
        else:
            waiting = [await Approvals(client).find(identity)]
    if options.json:
        print_json([views.approval(ask) for ask in waiting], options)
        return EXIT_OK
    if identity is not None:
        for line in _in_full(waiting[0]).splitlines():
            console().print(escaped(line))
        return EXIT_OK
    moment = now()
    rows = [
        [
            ask.id[:8], escaped(ask.role), ago(ask.opened_at), length((ask.deadline - moment).total_seconds()),
            escaped(ask.approval.rule or ask.approval.kind), escaped(in_short(ask.approval.title)),
        ]
        for ask in waiting
        if ask.approval is not None
    ]  # fmt: skip
    table(["ID", "ROLE", "SINCE", "LEFT", "RULE", "WHAT"], rows, right=["SINCE", "LEFT"], free=["WHAT"])
    if not waiting:
        say("nothing waits for your decision")
    for ask in waiting:
        for number, choice in enumerate(ask.approval.choices if ask.approval else (), 1):
            say(f"{ask.id[:8]}  {number}. {choice}")
    if waiting:
        say(f"`agenthub approvals {waiting[0].id[:8]}` shows all of it, and how to decide")
    return EXIT_OK


def _in_full(ask: Ask) -> str:
    """All that a person needs to decide, and the commands that do; nothing is cut."""
    from agenthub.messages import now

    approval = ask.approval
    assert approval is not None
    head = (
        f"asked {ago(ask.opened_at)} ago, rejected by itself in {length((ask.deadline - now()).total_seconds())}\n"
        f"It works on: {ask.task.title}\nfrom {ask.task.from_role}, {ask.task.id[:8]}\n"
    )
    if approval.kind != "tool":
        return f"{head}\n{approval.words(ask.role, ask.id)}"
    why = f"{approval.source} says `{approval.rule}`" if approval.rule else approval.source
    arguments = "\n".join(_argument(name, value) for name, value in approval.input.items())
    return (
        f"{ask.role} wants to call {approval.tool} ({why})\n{head}\n{arguments}\n\n"
        f'agenthub approve {ask.id[:8]}\nagenthub reject {ask.id[:8]} --reason "…"'
    )


def _argument(name: str, value: object) -> str:
    """An argument of a call: what has several lines stands below its name, as it is."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{name}: {text}" if "\n" not in text else f"{name}:\n{indent(text, '  ')}"


async def approve(
    identity: str, /, *, always: Annotated[bool, Parameter(negative="")] = False, options: Options = DEFAULT
) -> int:
    """Let a tool call be made, or give a role what it asked for.

    Args:
        identity: As `agenthub approvals` lists it; its first digits are enough.
        always: Of this role, let all such calls be made without a question: of the shell this very command, of
            other tools every call. `.agenthub/permissions/<role>.toml` holds them.
    """
    from agenthub.client.approvals import Approvals

    async with options.client() as client:
        ask = await Approvals(client).approve(identity, always=always)
    return _said(ask, "approved, from now on always" if always else "approved", options)


async def reject(identity: str, /, *, reason: str = "", options: Options = DEFAULT) -> int:
    """Do not let a tool call be made, or leave a question unanswered.

    Args:
        identity: As `agenthub approvals` lists it; its first digits are enough.
        reason: What the role reads about it.
    """
    from agenthub.client.approvals import Approvals

    async with options.client() as client:
        ask = await Approvals(client).reject(identity, reason)
    return _said(ask, "rejected", options)


async def reply(
    identity: str, text: Annotated[str, Parameter(allow_leading_hyphen=True)], /, *, options: Options = DEFAULT
) -> int:
    """Answer a question of a role.

    Args:
        identity: As `agenthub approvals` lists it; its first digits are enough.
        text: The answer; of a question with choices one of them, or its number.
    """
    from agenthub.client.approvals import Approvals

    async with options.client() as client:
        ask = await Approvals(client).reply(identity, text)
    return _said(ask, "answered", options)


def _said(ask: Ask, word: str, options: Options) -> int:
    if options.json:
        print_json(
            {"id": ask.id, "role": ask.role, "task_id": ask.task.id, "decision": word.partition(",")[0]}, options
        )
    else:
        say(f"{word}; {ask.role} goes on with: {ask.task.title[:120]}")
    return EXIT_OK
