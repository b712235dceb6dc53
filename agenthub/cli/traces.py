"""Commands to decide about traces that were parked."""

from __future__ import annotations

import asyncio

from agenthub.cli import EXIT_OK
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import ago, dollars, escaped, print_json, say, table

_STATES = {"parked": "[bold yellow]parked[/]", "released": "[green]released[/]", "ended": "[dim]ended[/]"}


async def traces_ls(*, options: Options = DEFAULT) -> int:
    """List the traces that were parked in the last week."""
    from agenthub.org.traces import Traces

    async with options.client() as client:
        traces = Traces(client.bus)
        states = await traces.all()
        counts = await asyncio.gather(*(traces.counts(state.trace_id) for state in states))
    now_taken = list(zip(states, counts, strict=True))
    if options.json:
        print_json([{**state.model_dump(mode="json"), **taken._asdict()} for state, taken in now_taken], options)
        return EXIT_OK
    rows = [
        [
            escaped(state.trace_id[:12]), _STATES[state.state], ago(state.at), str(taken.messages),
            dollars(taken.cost_usd), state.role or "-", escaped(state.reason),
        ]
        for state, taken in now_taken
    ]  # fmt: skip
    columns = ["TRACE", "STATE", "SINCE", "MESSAGES", "COST", "BY", "REASON"]
    table(columns, rows, right=["SINCE", "MESSAGES", "COST"], free=["REASON"])
    if not states:
        say("no trace was parked in the last week")
    return EXIT_OK


async def traces_release(trace: str, /, *, options: Options = DEFAULT) -> int:
    """Let a parked trace go on.

    Args:
        trace: Its id, or the first letters of it.
    """
    from agenthub.org.traces import Traces

    async with options.client() as client:
        traces, limits = Traces(client.bus), client.organization.defaults
        identity = await traces.resolve(trace)
        state = await traces.release(
            identity, max_messages=limits.max_trace_messages, max_usd=limits.max_trace_usd
        )  # fmt: skip
        hastened = await traces.hasten(identity)
    if options.json:
        print_json({**state.model_dump(mode="json"), "woken": hastened}, options)
        return EXIT_OK
    to = " and ".join(
        [f"{state.max_messages} messages"] * bool(state.max_messages) + [dollars(state.max_usd)] * bool(state.max_usd)
    )
    say(f"{identity} goes on{f', up to {to}' if to else ''}; {_count(hastened)} waited")
    return EXIT_OK


async def traces_end(trace: str, /, *, reason: str = "it is not needed.", options: Options = DEFAULT) -> int:
    """End a trace.

    Args:
        trace: Its id, or the first letters of it.
        reason: What those hear who asked for something that now ends.
    """
    from agenthub.org.traces import Traces

    async with options.client() as client:
        traces = Traces(client.bus)
        identity = await traces.resolve(trace)
        state = await traces.end(identity, reason)
        hastened = await traces.hasten(identity)
    if options.json:
        print_json({**state.model_dump(mode="json"), "woken": hastened}, options)
        return EXIT_OK
    say(f"{identity} is ended: {state.reason} {_count(hastened)} waited")
    return EXIT_OK


def _count(number: int) -> str:
    return "one message" if number == 1 else f"{number} messages"
