"""An auction: what bidders offer, and who wins. Values and rules; no I/O.

    worth = trust x confidence x ((1 + least cost) / (1 + cost) + (1 + least time) / (1 + time)) / 2

with cost in USD and time in minutes. Trust is how the bidder's work with the skill ended so far (`org.reputation`):
what somebody says of itself counts as far as it held before. The 1 is there so that cents and seconds decide nothing,
and a bid of nothing does not beat every other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agenthub.wire import Wire

TENDER = "tender"
"""Type of the message that asks for a bid."""
UNKNOWN_TRUST = 0.5


class Bid(Wire):
    """For how much, by when and how surely somebody would do a task."""

    cost_usd: float = Field(ge=0, le=1e6, allow_inf_nan=False, description="What it will cost, in USD.")
    eta_minutes: float = Field(ge=0, le=1e6, allow_inf_nan=False, description="Minutes until it is done.")
    confidence: float = Field(ge=0, le=1, allow_inf_nan=False, description="How sure you are to get it done: 0 to 1.")

    @classmethod
    def read(cls, value: object) -> Bid | None:
        """The bid in a message; None if it makes no sense."""
        try:
            return cls.model_validate(value)
        except ValidationError:
            return None


class Offer(BaseModel):
    """A bid with what it is worth."""

    model_config = ConfigDict(frozen=True, extra="allow")

    role: str
    bid: Bid
    trust: float
    """From 0 to 1; 0.5: nothing is known."""
    worth: float
    """The higher, the better."""

    @property
    def words(self) -> str:
        """It in a line, for people."""
        return (
            f"{self.bid.cost_usd:.2f} USD, {self.bid.eta_minutes:g} min, {self.bid.confidence:.0%} sure, "
            f"trusted {self.trust:.0%}"
        )


class Award(BaseModel):
    """What an auction came to."""

    model_config = ConfigDict(frozen=True, extra="allow")

    offers: list[Offer]
    """The best first: it wins."""

    @property
    def winner(self) -> str | None:
        """Who does it; None: nobody bid."""
        return self.offers[0].role if self.offers else None


def award(bids: Iterable[tuple[str, Bid]], trust: Mapping[str, float]) -> Award:
    """Who wins with these bids, in whatever order and however often they came; who made two different ones made none.

    Of bids that are worth the same wins who is trusted more, then who is cheaper, then faster, then the first name.

    Args:
        trust: By bidder, from 0 to 1. Who is not in it is not known.
    """
    made: dict[str, list[Bid]] = defaultdict(list)
    for bidder, bid in bids:
        if bid not in made[bidder]:
            made[bidder].append(bid)
    valid = {bidder: found[0] for bidder, found in made.items() if len(found) == 1}
    cheapest = min((bid.cost_usd for bid in valid.values()), default=0.0)
    fastest = min((bid.eta_minutes for bid in valid.values()), default=0.0)

    def offer(bidder: str, bid: Bid) -> Offer:
        known = trust.get(bidder, UNKNOWN_TRUST)
        price, time = (1 + cheapest) / (1 + bid.cost_usd), (1 + fastest) / (1 + bid.eta_minutes)
        return Offer(role=bidder, bid=bid, trust=known, worth=round(known * bid.confidence * (price + time) / 2, 6))

    offers = [offer(bidder, bid) for bidder, bid in valid.items()]
    offers.sort(key=lambda o: (-o.worth, -o.trust, o.bid.cost_usd, o.bid.eta_minutes, o.role))
    return Award(offers=offers)
