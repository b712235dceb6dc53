"""The table of roles: once, or again and again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.budget import is_rehearsal, money_line
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import (
    PRIORITY_STYLE,
    ago,
    console,
    counted,
    dollars,
    escaped,
    grid,
    print_json,
    put,
    say,
    tokens,
)
from agenthub.errors import ConfigError

if TYPE_CHECKING:
    from rich.text import Text

    from agenthub.asks import Ask
    from agenthub.client import Client, RoleStatus
    from agenthub.client.states import State
    from agenthub.guards.circuit_breaker import Breaker
    from agenthub.messages import Priority

STYLES = {
    "hot": "bold magenta", "bad": "bold red", "warn": "yellow", "good": "green", "cool": "dim", "dim": "dim",
    "text": "none",
}  # fmt: skip
"""What the colours of states are called here."""

_LEAST_EVERY_S = 0.2
_LEAST_DOING = 10
"""So that a row fits into 80 columns also if its role needs a person."""
_RIGHT = ["SINCE", "C", "H", "M", "L", "TOKENS", "COST", "BEAT"]


async def ps(*, options: Options = DEFAULT) -> int:
    """Show each role: state, what it does now, since when, what waits, tokens and cost of today, heartbeat."""
    async with options.client() as client:
        seen = await _look(client, options)
    if options.json:
        print_json([_as_data(row) for row in seen.rows], options)
        return EXIT_OK
    put(_grid(seen.rows))
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
                    print_json([_as_data(row) for row in seen.rows], options)
                else:
                    show(seen)
                count += 1
                if count == times:
                    return EXIT_OK
                await asyncio.sleep(every_s)


class _Row(NamedTuple):
    """One role, how it is, and what it does or waits for."""

    status: RoleStatus
    state: State
    doing: str
    ask: Ask | None
    breaker: Breaker | None


class _Seen(NamedTuple):
    """The organization at one moment."""

    rows: Sequence[_Row]
    lines: Sequence[str]
    """What is to be said beside the table."""


async def _look(client: Client, options: Options) -> _Seen:
    from agenthub.breakers import Breakers
    from agenthub.budgets import Budgets
    from agenthub.client.approvals import Approvals
    from agenthub.client.states import DOWN, asks_by_role, breakers_by_role, state_and_doing
    from agenthub.guards.circuit_breaker import Rules
    from agenthub.messages import now

    statuses, accounts, breakers, decisions = await asyncio.gather(
        client.roles(also_without_file=True), Budgets(client.bus).accounts(),
        Breakers(client.bus, rules=Rules(), clock=now).all(), Approvals(client).waiting(),
    )  # fmt: skip
    lines = []
    if decisions:
        lines.append(
            f"{len(decisions)} {'waits' if len(decisions) == 1 else 'wait'} for your decision: agenthub approvals"
        )
    unsorted = sum(status.unsorted for status in statuses if status.heartbeat is None)
    if unsorted:
        waiting = counted(unsorted, "message waits", "messages wait")
        lines.append(f"{waiting} at the plain inboxes of roles that are down")
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
    asks, of_roles = asks_by_role(decisions), breakers_by_role(breakers.values())
    rows = []
    for status in statuses:
        role = status.role.partition(".")[0]
        ask, of_role = asks.get(role), of_roles.get(role)
        rows.append(_Row(status, *state_and_doing(status, ask, of_role), ask, of_role))
    if strays := sorted({status.role.partition(".")[0] for status in statuses if not status.has_file}):
        lines.append(f"no file: {', '.join(strays)}; `agenthub doctor` says why and how that ends")
    if down := [row.status.role.partition(".")[0] for row in rows if row.state == DOWN]:
        lines.insert(0, f"down: `agenthub restart {down[0]}` starts it, `agenthub logs {down[0]}` may say why")
    return _Seen(rows, lines)


@contextlib.contextmanager
def _screen(*, is_shown: bool) -> Iterator[Callable[[_Seen], None]]:
    """How each look is shown: on a terminal in place of the one before, else below it."""
    out = console()
    if not is_shown or not out.is_terminal:

        def below(seen: _Seen) -> None:
            put(_grid(seen.rows))
            out.print()

        yield below
        return
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=out, auto_refresh=False, screen=True) as live:

        def in_place(seen: _Seen) -> None:
            words = Text("\n".join(seen.lines), style="dim")
            live.update(Group(_grid(seen.rows), Text(""), words), refresh=True)

        yield in_place


def _grid(rows: Sequence[_Row]) -> Text:
    columns = ["ROLE", "STATE", "DOING", "SINCE", "C", "H", "M", "L", "TOKENS", "COST", "BEAT"]
    return grid(columns, [_row(row) for row in rows], right=_RIGHT, free=["DOING"], least=_LEAST_DOING)


def _row(row: _Row) -> list[str]:
    from agenthub.client.states import CIRCUIT, HELD, NEEDS_YOU, PAUSED, since_when
    from agenthub.messages import Priority

    status, state, doing = row.status, row.state, row.doing
    beat, since = status.heartbeat, ago(since_when(status, row.ask))
    waits = [_count(status.waiting[priority], priority) for priority in Priority]
    held = status.standing.stopped or status.standing.paused
    if state in (HELD, PAUSED) and held is not None:
        doing = beat.doing if beat and beat.doing else f"{doing}, {ago(held.at)} ago"
    is_quiet = state not in (NEEDS_YOU, CIRCUIT) and (beat is None or not beat.doing)
    shown = f"[dim]{escaped(doing)}[/]" if is_quiet else escaped(doing)
    late = f"[yellow]+{status.delayed} put off[/] " if status.delayed else ""
    if beat is None:
        return [status.role, marked(state), late + shown, since, *waits, "-", "-", "-"]
    return [
        status.role, marked(state), late + shown, since, *waits,
        tokens(beat.usage_today.tokens), dollars(beat.usage_today.cost_usd), ago(beat.beat_at),
    ]  # fmt: skip


def marked(state: State) -> str:
    """A state as markup."""
    return f"[{STYLES[state.colour]}]{state.glyph} {escaped(state.word)}[/]"


def _as_data(row: _Row) -> dict[str, object]:
    from agenthub.messages import now

    status = row.status
    beat, gone = status.heartbeat, status.absence
    data: dict[str, object] = {"role": status.role, "state": "down", "health": "unhealthy"}
    if gone is not None:
        data |= {"health": "stopped" if gone.was_stopped else "unhealthy", "reason": gone.reason}
        data |= {"since": gone.since, "since_s": round((now() - gone.since).total_seconds(), 3)}
    if beat is not None:
        data |= beat.model_dump(mode="json", exclude={"role"})
        data |= {
            "since_s": round((now() - beat.since).total_seconds(), 3),
            "heartbeat_age_s": round((now() - beat.beat_at).total_seconds(), 3),
            "tokens_today": beat.usage_today.tokens,
            "cost_usd_today": round(beat.usage_today.cost_usd, 6),
        }
    for name, control in (("paused", status.standing.paused), ("stopped", status.standing.stopped)):
        held = None if control is None else {"by": control.by, "at": control.at, "reason": control.reason}
        data[name] = held
    data["waiting"] = {str(priority): count for priority, count in status.waiting.items()}
    data["delayed"] = status.delayed
    data["has_file"] = status.has_file
    data["needs_you"] = row.ask.id if row.ask else ""
    data["circuit"] = row.breaker.reason if row.breaker else ""
    return data


def _count(count: int, priority: Priority) -> str:
    if not count:
        return "[dim]·[/]"
    style = PRIORITY_STYLE[priority]
    return f"[{style}]{count}[/]" if style else str(count)
