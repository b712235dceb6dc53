"""Commands to steer roles that work: pause, stop, cancel, nudge. Each is stored, and says what came of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL
from agenthub.cli.names import AnyRole, RoleName
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import ago, print_json, say
from agenthub.errors import ConfigError

if TYPE_CHECKING:
    from agenthub.client.steering import Effect

Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="")]
All = Annotated[bool, Parameter(name="--all", negative="")]


async def pause(role: AnyRole = None, /, *, all_: All = False, reason: str = "", options: Options = DEFAULT) -> int:
    """Have a role take nothing new; it finishes what it works on.

    Args:
        role: Which role.
        all_: Every role.
        reason: Why; others read it.
    """
    check_one(role, all_)
    async with options.client() as client:
        effect = await client.steering.pause(role, reason)
    return said(effect, f"{role or 'every role'} is paused", f"agenthub resume {role or '--all'}", options)


async def resume(role: AnyRole = None, /, *, all_: All = False, reason: str = "", options: Options = DEFAULT) -> int:
    """Let a paused role go on.

    Args:
        role: Which role.
        all_: Every role.
        reason: Why; others read it.
    """
    check_one(role, all_)
    async with options.client() as client:
        effect = await client.steering.resume(role, reason)
    what = (
        f"{role or 'every role'} goes on" if effect.is_new else f"{role} is not paused" if role else "no role is paused"
    )
    return said(effect, what, "agenthub ps", options)


async def estop(role: AnyRole = None, /, *, reason: str = "", options: Options = DEFAULT) -> int:
    """Stop everything, or one role, at its next step: no model is called any more, and nothing is lost.

    Args:
        role: Only this role.
        reason: Why; others read it.
    """
    async with options.client() as client:
        effect = await client.steering.estop(role, reason)
    return said(effect, f"{role or 'everything'} is stopped", f"agenthub thaw {role or ''}".strip(), options)


async def thaw(role: AnyRole = None, /, *, reason: str = "", options: Options = DEFAULT) -> int:
    """Let everything, or one role, go on where it was stopped.

    Args:
        role: Only this role.
        reason: Why; others read it.
    """
    async with options.client() as client:
        effect = await client.steering.thaw(role, reason)
    what = (
        f"{role or 'everything'} goes on where it was"
        if effect.is_new
        else f"{role} is not stopped"
        if role
        else "nothing is stopped"
    )
    return said(effect, what, "agenthub ps", options)


async def cancel(
    role: RoleName, /, *, requeue: Annotated[bool, Parameter(negative="")] = False, reason: str = "", yes: Yes = False,
    options: Options = DEFAULT,
) -> int:  # fmt: skip
    """End the message that a role works on, as failed; or put it back behind the others.

    Args:
        role: Which role.
        requeue: Do not end it: it goes on later, from its last step.
        reason: Why; who asked reads it.
        yes: Do not ask.
    """
    if not requeue and not confirmed(f"End what {role} works on, as failed?", yes=yes):
        say("nothing was cancelled")
        return EXIT_FAILED
    async with options.client() as client:
        effects = await client.steering.cancel(role, reason, requeue=requeue)
    ids = ", ".join(effect.control.message_id[:8] for effect in effects)
    what = f"{ids} of {role} goes back" if requeue else f"{ids} of {role} is cancelled"
    return said_all(effects, what, f"agenthub trace {effects[0].control.message_id[:8]}", options)


async def nudge(role: RoleName, words: str = "", /, *, options: Options = DEFAULT) -> int:
    """Have the model of a role that works read some words at its next step. It wakes nobody.

    Args:
        role: Which role.
        words: What it shall read; without them, that nobody sees any progress.
    """
    async with options.client() as client:
        effects = await client.steering.nudge(role, words)
    return said_all(effects, f"{role} reads it at its next step", f"agenthub attach {role}", options)


# ── what all of these say ──────────────────────────────────────────────────────────────────────────
def said(effect: Effect, what: str, next_: str, options: Options) -> int:
    """Say what came of one decision; the exit code."""
    return said_all([effect], what, next_, options)


def said_all(effects: Sequence[Effect], what: str, next_: str, options: Options, *, is_list: bool = False) -> int:
    """Say what came of decisions, and which command is next; the exit code. `is_list`: one is a list in JSON, too."""
    silent = sorted({key for effect in effects for key in effect.silent})
    if options.json:
        found = [
            {
                **effect.control.model_dump(mode="json"), "came": effect.came, "silent": effect.silent,
                "is_new": effect.is_new,
            }
            for effect in effects
        ]  # fmt: skip
        print_json(found[0] if len(found) == 1 and not is_list else found, options)
        return EXIT_PARTIAL if silent else EXIT_OK
    from agenthub.starting import typed

    next_ = typed(next_)
    for effect in effects:
        if not effect.is_new and effect.control.verb in ("pause", "estop"):
            say(f"{what} already, since {ago(effect.control.at)} ago, {effect.control.words}. Next: {next_}")
            return EXIT_OK
        for key, came in sorted(effect.came.items()):
            say(f"{key}: {came}")
    if silent:
        say(f"{', '.join(silent)}: no answer yet; it is stored, and holds as soon as they hear of it")
    say(f"{what}. Next: {next_}")
    return EXIT_PARTIAL if silent else EXIT_OK


def confirmed(question: str, *, yes: bool) -> bool:
    """True if a person says so, or said so before with `--yes`.

    Raises:
        ConfigError: If there is no terminal to ask at.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Here is no terminal to ask at: say `--yes`.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def check_one(role: str | None, all_: bool) -> None:
    """Return if either a role is named, or all are meant.

    Raises:
        ConfigError: Else.
    """
    if (role is None) != all_:
        raise ConfigError("Say which: a role, or `--all`.")
