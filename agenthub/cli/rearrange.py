"""Commands for messages that wait: move, put back, make more urgent, cancel."""

from __future__ import annotations

from agenthub.cli import EXIT_FAILED
from agenthub.cli.choices import PriorityWord
from agenthub.cli.names import RoleName
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import counted, say
from agenthub.cli.steer import All, Yes, confirmed, said, said_all
from agenthub.errors import ConfigError, RefusedError


async def move(
    role: RoleName, id_: str | None = None, /, *, to: RoleName, all_: All = False, reason: str = "",
    options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Have another role do what waits for this one; who asked is answered on its behalf.

    Args:
        role: In whose inbox it waits.
        id_: Its id, or the beginning of it, as `inbox ls` lists it.
        to: The role that shall do it.
        all_: Everything that waits there or is put off.
        reason: Why; others read it.
    """
    if (id_ is None) != all_:
        raise ConfigError(f"Say which: an id, or `--all`. `agenthub inbox ls {role}` lists them.")
    async with options.client() as client:
        if id_ is None:
            effects, stay = await client.inboxes.move_all(role, to, reason)
            if stay:
                raise RefusedError(f"{counted(len(effects), 'message')} moved, {len(stay)} not: {' '.join(stay)}")
            what = f"{counted(len(effects), 'message')} of {role} for {to} now"
            return said_all(effects, what, f"agenthub inbox ls {to}", options, is_list=True)
        effect = await client.inboxes.move(role, id_, to, reason)
    short = effect.control.message_id[:8]
    return said(effect, f"{short} is for {to} now", f"agenthub trace {short}", options)


async def requeue(role: RoleName, id_: str, /, *, reason: str = "", options: Options = DEFAULT) -> int:
    """Put a waiting message behind the others of its priority.

    Args:
        role: In whose inbox it waits.
        id_: Its id, or the beginning of it.
        reason: Why; others read it.
    """
    async with options.client() as client:
        effect = await client.inboxes.requeue(role, id_, reason)
    return said(effect, f"{effect.control.message_id[:8]} is behind the others", f"agenthub inbox ls {role}", options)


async def reprioritize(
    role: RoleName, id_: str, priority: PriorityWord, /, *, reason: str = "", options: Options = DEFAULT
) -> int:
    """Give a waiting message another priority.

    Args:
        role: In whose inbox it waits.
        id_: Its id, or the beginning of it.
        priority: critical, high, medium or low.
        reason: Why; others read it.
    """
    from agenthub.messages import Priority

    async with options.client() as client:
        effect = await client.inboxes.reprioritize(role, id_, Priority(priority), reason)
    return said(effect, f"{effect.control.message_id[:8]} is {priority} now", f"agenthub inbox ls {role}", options)


async def cancel(role: RoleName, id_: str, /, *, reason: str = "", yes: Yes = False, options: Options = DEFAULT) -> int:
    """End a waiting message as failed; who sent it is told why.

    Args:
        role: In whose inbox it waits.
        id_: Its id, or the beginning of it.
        reason: Why; who sent it reads it.
        yes: Do not ask.
    """
    if not confirmed(f"End {id_}, which waits for {role}, as failed?", yes=yes):
        say("nothing was cancelled")
        return EXIT_FAILED
    async with options.client() as client:
        effect = await client.inboxes.cancel(role, id_, reason)
    short = effect.control.message_id[:8]
    return said(effect, f"{short} is cancelled", f"agenthub trace {short}", options)
