"""The table of roles: once, or again and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from agenthub.breakers import Breakers
from agenthub.budgets import Budgets
from agenthub.cli import EXIT_OK
from agenthub.cli.budget import is_rehearsal, money_line
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import (
    PRIORITY_STYLE,
    ago,
    console,
    dollars,
    escaped,
    grid,
    print_json,
    put,
    say,
    tokens,
)
from agenthub.client import Client, RoleStatus
from agenthub.client.inboxes import state_of
from agenthub.errors import ConfigError
from agenthub.guards.circuit_breaker import Rules
from agenthub.messages import Priority, now
from agenthub.presence import Heartbeat

if TYPE_CHECKING:
    from rich.text import Text

STATES = {
    "working": "[green]● working[/]",
    "idle": "[dim]○ idle[/]",
    "stopping": "[yellow]◌ stopping[/]",
    "down": "[bold red]✖ down[/]",
    "stalled": "[yellow]▲ stalled[/]",
    "nudged": "[yellow]▲ nudged[/]",
    "interrupted": "[bold yellow]▲ interrupted[/]",
    "paused": "[yellow]‖ paused[/]",
    "pausing": "[yellow]‖ pausing[/]",
    "stopped": "[bold red]■ stopped[/]",
}

_LEAST_EVERY_S = 0.2
_RIGHT = ["SINCE", "C", "H", "M", "L", "TOKENS", "COST", "BEAT"]


async def ps(*, options: Options = DEFAULT) -> int:
    """Show each role: state, what it does now, since when, what waits, tokens and cost of today, heartbeat."""
    async with options.client() as client:
        seen = await _look(client, options)
    if options.json:
        print_json([_as_data(status) for status in seen.statuses], options)
        return EXIT_OK
    put(_grid(seen.statuses))
    for line in seen.lines:
        say(line)
    return EXIT_OK


async def watch(
    *,
    every: str = "1s",
    times: Annotated[int | None, Parameter(name=["--times", "-n"])] = None,
    options: Options = DEFAULT,
) -> int:
    """Show the table of `ps` again and again, until Ctrl-C.

    Args:
        every: How often: 1s, 5s, 1m; at most five times a second.
        times: End after so many looks. Default: never.
    """
    every_s = duration(every, "--every").total_seconds()
    if every_s < _LEAST_EVERY_S:
        raise ConfigError(f"--every is at least {_LEAST_EVERY_S:g}s; found {every!r}")
    if times is not None and times < 1:
        raise ConfigError(f"--times is at least 1; found {times}")
    count = 0
    async with options.client() as client:
        with _screen(is_shown=not options.json) as show:
            while True:
                seen = await _look(client, options)
                if options.json:
                    print_json([_as_data(status) for status in seen.statuses], options)
                else:
                    show(seen)
                count += 1
                if count == times:
                    return EXIT_OK
                await asyncio.sleep(every_s)


class _Seen(NamedTuple):
    """The organization at one moment."""

    statuses: Sequence[RoleStatus]
    lines: Sequence[str]
    """What is to be said beside the table."""


async def _look(client: Client, options: Options) -> _Seen:
    statuses, accounts, breakers = await asyncio.gather(
        client.roles(), Budgets(client.bus).accounts(), Breakers(client.bus, rules=Rules(), clock=now).all()
    )
    lines = []
    unsorted = sum(status.unsorted for status in statuses if status.heartbeat is None)
    if unsorted:
        lines.append(f"{unsorted} messages wait at the plain inboxes of roles that are down")
    if delayed := {status.role.partition(".")[0]: status.delayed for status in statuses if status.delayed}:
        first = next(iter(delayed))
        lines.append(f"{sum(delayed.values())} put off; `agenthub inbox ls {first}` says what for and until when")
    if any(status.standing.stopped for status in statuses):
        lines.append("stopped: no model is called; `agenthub thaw` lets it go on where it was")
    paused = [status.role for status in statuses if status.standing.paused and not status.standing.stopped]
    if paused:
        lines.append(f"paused: what comes in waits; `agenthub resume {paused[0]}` lets it go on")
    for breaker in breakers.values():
        if breaker.state != "closed":
            state = breaker.state.replace("_", "-")
            lines.append(f"circuit breaker of {breaker.shown} {state}: {breaker.reason[:120]}")
    if money := money_line(client.organization, accounts, is_rehearsal=is_rehearsal(options)):
        lines.append(money)
    return _Seen(statuses, lines)


@contextlib.contextmanager
def _screen(*, is_shown: bool) -> Iterator[Callable[[_Seen], None]]:
    """How each look is shown: on a terminal in place of the one before, else below it."""
    out = console()
    if not is_shown or not out.is_terminal:

        def below(seen: _Seen) -> None:
            put(_grid(seen.statuses))
            out.print()

        yield below
        return
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=out, auto_refresh=False, screen=True) as live:

        def in_place(seen: _Seen) -> None:
            words = Text("\n".join(seen.lines), style="dim")
            live.update(Group(_grid(seen.statuses), Text(""), words), refresh=True)

        yield in_place


def _grid(statuses: Sequence[RoleStatus]) -> Text:
    columns = ["ROLE", "STATE", "DOING", "SINCE", "C", "H", "M", "L", "TOKENS", "COST", "BEAT"]
    return grid(columns, [_row(status) for status in statuses], right=_RIGHT, free=["DOING"])


def _row(status: RoleStatus) -> list[str]:
    beat, gone = status.heartbeat, status.absence
    late = f"[yellow]+{status.delayed} put off[/] " if status.delayed else ""
    waits = [_count(status.waiting[priority], priority) for priority in Priority]
    if beat is None:
        why, since = (escaped(gone.reason), ago(gone.since)) if gone else ("", "-")
        return [status.role, STATES["down"], f"{late}[dim]{why}[/]", since, *waits, "-", "-", "-"]
    doing = escaped(beat.doing) or (f"[dim]{beat.parked} parked[/]" if beat.parked else "")
    held = status.standing.stopped or status.standing.paused
    if held is not None and not beat.doing:
        doing = f"[dim]{escaped(held.words)}, {ago(held.at)} ago[/]"
    state = _held(status, beat) or state_of(beat)
    return [
        status.role, STATES.get(state, state), f"{late}{doing}", ago(beat.since), *waits,
        tokens(beat.usage_today.tokens), dollars(beat.usage_today.cost_usd), ago(beat.beat_at),
    ]  # fmt: skip


def _held(status: RoleStatus, beat: Heartbeat) -> str:
    """One word for how a person holds a role; empty: nobody does."""
    if status.standing.stopped:
        return "stopped"
    if status.standing.paused:
        return "pausing" if beat.message_id else "paused"
    return ""


def _as_data(status: RoleStatus) -> dict[str, object]:
    beat, gone = status.heartbeat, status.absence
    data: dict[str, object] = {"role": status.role, "state": "down", "health": "unhealthy"}
    if gone is not None:
        data |= {"health": "stopped" if gone.was_stopped else "unhealthy", "reason": gone.reason}
        data |= {"since": gone.since.isoformat(), "since_s": round((now() - gone.since).total_seconds(), 3)}
    if beat is not None:
        data |= beat.model_dump(mode="json", exclude={"role"})
        data |= {
            "since_s": round((now() - beat.since).total_seconds(), 3),
            "heartbeat_age_s": round((now() - beat.beat_at).total_seconds(), 3),
            "tokens_today": beat.usage_today.tokens,
            "cost_usd_today": round(beat.usage_today.cost_usd, 6),
        }
    for name, control in (("paused", status.standing.paused), ("stopped", status.standing.stopped)):
        held = None if control is None else {"by": control.by, "at": control.at.isoformat(), "reason": control.reason}
        data[name] = held
    data["waiting"] = {str(priority): count for priority, count in status.waiting.items()}
    data["delayed"] = status.delayed
    return data


def _count(count: int, priority: Priority) -> str:
    if not count:
        return "[dim]·[/]"
    style = PRIORITY_STYLE[priority]
    return f"[{style}]{count}[/]" if style else str(count)
