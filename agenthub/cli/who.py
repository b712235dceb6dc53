"""Who is here: the people and roles of the organization, and whether a role answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agenthub.cli import EXIT_OK
from agenthub.cli.names import RoleName, Target
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import console, escaped, length, print_json, table
from agenthub.cli.ps import marked

if TYPE_CHECKING:
    from agenthub.presence import Heartbeat


async def who(target: Target = "@all", /, *, options: Options = DEFAULT) -> int:
    """List the people and roles of the organization.

    Args:
        target: Only these: a role, `@cto` for all who work for the cto, `?skill=sql` for who has a skill.
    """
    from agenthub.client import views
    from agenthub.client.states import state_named
    from agenthub.client.targets import ALL, recipients

    async with options.client() as client:
        names = recipients(client.organization, target)
        everybody = [client.organization.operator] if target == ALL else []
        found = views.people(client.organization, [*everybody, *names], await client.roles())
    if options.json:
        print_json(found, options)
        return EXIT_OK
    rows = [
        [
            f"[bold]{escaped(one.name)}[/]", marked(state_named(one.state)),
            one.reports_to or "",
            escaped(", ".join(one.skills)), escaped(one.description),
        ]
        for one in found
    ]  # fmt: skip
    table(["NAME", "STATE", "MANAGER", "SKILLS", "WHAT FOR"], rows, free=["SKILLS", "WHAT FOR"])
    return EXIT_OK


async def ping(role: RoleName, /, *, timeout: str = "5s", times: int = 1, options: Options = DEFAULT) -> int:
    """Have a role's process answer, and print how long it took.

    Args:
        role: Which role.
        timeout: How long to wait for each answer: 5s, 1m.
        times: How often.
    """
    from agenthub.client.inboxes import state_of
    from agenthub.client.pings import ping as ask_for_life

    within_s = duration(timeout, "--timeout").total_seconds()
    async with options.client() as client:
        for number in range(max(1, times)):
            if number:
                await asyncio.sleep(0.2)
            answered = await ask_for_life(client, role, within_s=within_s)
            beat = answered.pong.beat
            if options.json:
                print_json(
                    {
                        "role": role, "process": answered.pong.key, "round_trip_s": round(answered.round_trip_s, 6),
                        "state": state_of(beat), "doing": beat.doing, "pid": beat.pid, "host": beat.host,
                    },
                    options,
                )  # fmt: skip
                continue
            doing = f": {escaped(beat.doing)}" if beat.doing else ""
            console().print(
                f"[bold]{answered.pong.key}[/] answered after {answered.round_trip_s * 1000:.1f} ms  [dim]process "
                f"{beat.pid} on {escaped(beat.host)}, {state_of(beat)} for {length(_since_s(beat))}{doing}[/]"
            )
    return EXIT_OK


def _since_s(beat: Heartbeat) -> float:
    return float((beat.beat_at - beat.since).total_seconds())
