"""How a role votes and bids in rehearsal: by its trade, by what it was told to, and else by what looks like chance."""

from __future__ import annotations

from typing import Any, NamedTuple

from agenthub.rehearsal import trades, writing
from agenthub.rehearsal.frames import Arrival, Colleague
from agenthub.rehearsal.steering import Steering

_SURE_AT = 8
"""Fit of a task from which on a role is as sure as it gets."""


class Polled(NamedTuple):
    """A vote or a bid, and why."""

    outcome: str
    summary: str
    answer: dict[str, Any]
    """Inputs of `finish`."""


def polled(me: Colleague, arrival: Arrival, steered: Steering, seed: int) -> Polled:
    """What a role says on a ballot or a tender."""
    chance = trades.pick(seed, me.name, arrival.subject, steered.text)
    return _voted(me, arrival, steered, chance) if arrival.options else _bid(me, steered, chance)


def _voted(me: Colleague, arrival: Arrival, steered: Steering, chance: int) -> Polled:
    """Mostly the first option: who puts a question proposes something."""
    first, *others = arrival.options
    vote = steered.vote or (first if chance % 3 else others[chance // 3 % len(others)])
    trade = trades.trade_of(me)
    why = f"what I mind is this: {trade.risk}" if vote != first else f"then we {trade.next}"
    return Polled("done", f"As {me.name} I am for “{writing.clip(vote, 80)}”; {why}.", {"vote": vote})


def _bid(me: Colleague, steered: Steering, chance: int) -> Polled:
    fits = min(trades.fit(me, steered.text), _SURE_AT)
    # Who does not know the field takes longer and is less sure, but bids: else nobody might.
    usual = (round(0.5 + chance % 100 / 50, 2), 10.0 + chance // 100 % 30 + 5 * (_SURE_AT - fits), 0.4 + fits / 16)
    cost_usd, eta_minutes, confidence = steered.bid or usual
    trade = trades.trade_of(me)
    said = f"As {me.name} I would deliver {trade.deliverable}. What can go wrong: {trade.risk}."
    return Polled("done", said, {
        "bid": {"cost_usd": cost_usd, "eta_minutes": eta_minutes, "confidence": round(confidence, 2)}
    })  # fmt: skip
