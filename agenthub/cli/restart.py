"""The command that has roles started again by their files as they are now; whose file is gone ends for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub.cli.names import AnyRole
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import say
from agenthub.cli.steer import All, check_one, said_all
from agenthub.errors import AgenthubError, HubError, RefusedError

if TYPE_CHECKING:
    from agenthub.client import Client
    from agenthub.client.steering import Effect
    from agenthub.client.strays import Stray

_UP_WITHIN_S = 15.0


async def restart(
    role: AnyRole = None, /, *, all_: All = False, now: Annotated[bool, Parameter(negative="")] = False,
    reason: str = "", options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Have the processes of a role end after their message, and be started again under its file as it is now.

    Args:
        role: Which role. One whose file is gone ends for good.
        all_: Every role, one after the other; first those end whose files are gone.
        now: Do not wait for the message in hand; it goes on from its last step.
        reason: Why; others read it.
    """
    check_one(role, all_)
    effects: list[Effect] = []
    failed: list[AgenthubError] = []
    async with options.client(strict=True) as client:
        strays = await _to_end(client, role)
        for stray in strays:  # before the others, which know them no more when they are started again
            try:
                effects.append(await _end(client, stray, reason, at_once=now))
            except (RefusedError, HubError) as error:
                failed.append(error)
        ended = [effect.control.role for effect in effects]
        names = list(client.organization.roles) if role is None else [] if strays else [role]
        is_new = bool(role and names) and await client.steering.was_never_seen(names[0])
        late = []
        for name in names:
            effect = await client.steering.restart(name, reason, at_once=now)
            effects.append(effect)
            if not await _is_up(client, effect, waits=role is None):
                late.append(name)
    if late:
        shown, was = ", ".join(f"`{name}`" for name in late), "was down, and has" if role else "has"
        failed.append(
            HubError(
                f"{shown} {was} not come up within {_UP_WITHIN_S:.0f} s. See `agenthub logs {late[0]}` and "
                "`agenthub logs supervisor`; without a supervisor, whoever runs its process starts it."
            )
        )
    if failed:
        others = "" if role or late else "Every role that has a file is started again. "
        raise type(failed[0])(others + " ".join(map(str, failed)))
    if is_new and not options.json:
        say(f"the other roles learn of {role} when they are started again: `agenthub restart --all`")
    if role and ended and not options.json:
        say(f"the other roles know {role} until they are started again: `agenthub restart --all`")
    return said_all(effects, _said_of(role, ended), "agenthub ps", options, is_list=all_)


def _said_of(role: str | None, ended: Sequence[str]) -> str:
    gone = f"{', '.join(ended)} ends for good" if ended else ""
    again = "" if role and ended else f"{role or 'every role'} is started again"
    return ", ".join(part for part in (gone, again) if part)


async def _is_up(client: Client, effect: Effect, *, waits: bool) -> bool:
    """False if no process works as a role that was down, or, if it `waits`, none after those that were told to end."""
    from agenthub.control import RESTARTS

    before = effect.control.processes
    if not before:
        return await client.steering.has_come_up(effect.control.role, within_s=_UP_WITHIN_S)
    # One that ends behind its message may take as long as that does: then nobody waits for the next one.
    if not waits or effect.silent or not {*effect.came.values()} <= {RESTARTS}:
        return True
    return await client.steering.has_come_up(effect.control.role, within_s=_UP_WITHIN_S, besides=before)


# ── whose file is gone ─────────────────────────────────────────────────────────────────────────────
async def _to_end(client: Client, role: str | None) -> list[Stray]:
    """Of all roles, those that have no file and run, or should; or the one that is named, if it has none.

    Raises:
        NotFoundError: If there is no such role.
        RefusedError: If it has no process that could end.
    """
    from agenthub.client.strays import strays
    from agenthub.org.registry import Registry

    if role in client.organization.roles:
        return []
    found = await strays(client.bus, client.organization)
    absences = await Registry(client.bus).absences()
    missed = {key.partition(".")[0] for key, absence in absences.items() if not absence.was_stopped}
    running = [one for one in found if one.processes or one.role in missed]
    if role is None:
        return running
    named = [one for one in found if one.role == role]
    if not named:
        client.organization.role(role)
    if named[0] not in running:
        raise RefusedError(f"{named[0].words}, and does not run. Next: {named[0].remedy}; or put its file back.")
    return named


async def _end(client: Client, stray: Stray, reason: str, *, at_once: bool) -> Effect:
    """Have a role end for good behind its message.

    Raises:
        RefusedError: If something waits for it: that would have no end.
        HubError: If it does not end in time.
    """
    from agenthub.client.strays import stray as look
    from agenthub.control import RESTARTS

    _check_may_end(stray, at_once=at_once)
    effect = await client.steering.restart(stray.role, reason, at_once=at_once)
    ends = {key: came.replace("restarts", "ends") for key, came in effect.came.items()}
    if effect.silent or not {*effect.came.values()} <= {RESTARTS}:  # as long as its message takes
        return effect._replace(came=ends)
    if not await client.steering.has_ended(stray.role, within_s=_UP_WITHIN_S):
        _check_may_end(await look(client.bus, stray.role), at_once=False)  # something came in that moment
        raise HubError(
            f"`{stray.role}` has not ended within {_UP_WITHIN_S:.0f} s. See `agenthub logs supervisor`; without a "
            "supervisor, whoever runs its process must end it, and `agenthub provision` then deletes its queues."
        )
    return effect._replace(came=ends)


def _check_may_end(stray: Stray, *, at_once: bool) -> None:
    if stray.has_work:
        raise RefusedError(f"{stray.words}, so it stays. Next: {stray.remedy}; or put its file back.")
    if at_once and stray.at_work:
        raise RefusedError(
            f"`{stray.role}` has no file, and nobody would go on with the message that it works on. Leave `--now` out: "
            f"it ends behind that; or end that first: `agenthub cancel {stray.role}`."
        )
