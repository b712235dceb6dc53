"""The command that says what was spent, on what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agenthub.cli import EXIT_OK
from agenthub.cli.budget import is_rehearsal
from agenthub.cli.choices import CostBy
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import counted, dollars, escaped, print_json, say, table, tokens

if TYPE_CHECKING:
    from agenthub.client.costs import Cost


async def cost(*, by: CostBy = "role", since: str = "24h", options: Options = DEFAULT) -> int:
    """Show what the model calls took.

    Args:
        by: What to add up by: role, model, day (UTC), or trace: all that one directive caused.
        since: From when on: 90m, 24h, 7d. Model calls are remembered for a week.
    """
    from agenthub.client import views
    from agenthub.client.costs import costs, total
    from agenthub.messages import now

    async with options.client() as client:
        found = await costs(client, by=by, since=now() - duration(since))
    if options.json:
        print_json([views.cost(one) for one in found], options)
        return EXIT_OK
    whole = total(found)
    rows = [
        [
            escaped(one.key[:12] if by == "trace" else one.key), str(one.usage.calls), tokens(_read(one)),
            f"{one.cached_share:.0%}", tokens(one.usage.output_tokens), dollars(one.usage.cost_usd),
            f"{one.usage.cost_usd / whole.usage.cost_usd:.0%}" if whole.usage.cost_usd else "",
            *([escaped(one.title)] if by == "trace" else []),
        ]
        for one in found
    ]  # fmt: skip
    columns = [by.upper(), "CALLS", "READ", "CACHED", "WRITTEN", "COST", "SHARE"]
    table([*columns, *(["WHAT"] if by == "trace" else [])], rows, right=columns[1:], free=["WHAT"])
    if not found:
        say(f"no model was called in the last {since}")
        return EXIT_OK
    rehearsed = "; rehearsed, so nothing was paid" if is_rehearsal(options) else ""
    say(
        f"{dollars(whole.usage.cost_usd)} at list prices in the last {since}: {counted(whole.usage.calls, 'call')}, "
        f"{tokens(whole.usage.tokens)} tokens, {whole.cached_share:.0%} of what was read came from the cache{rehearsed}"
    )
    return EXIT_OK


def _read(one: Cost) -> int:
    return one.usage.input_tokens + one.usage.cache_read_tokens + one.usage.cache_write_tokens
