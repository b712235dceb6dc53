"""Votes and auctions of one role: ask for them, decide each once when it is over, hand out what was auctioned.

Both are asks like any other. What they come to is computed by plain code (`votes.tally`, `auctions.award`) and entered
in the ledger before anybody hears of it; the first entry stays, so that whoever dies in between, there is one decision.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from agenthub.asks import Ask, Part, Request, Tender
from agenthub.auctions import TENDER, UNKNOWN_TRUST, award
from agenthub.bus.connection import StreamFullError
from agenthub.coordination import Coordination
from agenthub.failpoints import Failpoint, reach
from agenthub.messages import Message, Priority, derived_id
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.org.reputation import ALL, Score
from agenthub.org.track_record import TrackRecord
from agenthub.votes import BALLOT, Ballot, tally

_TRIES = 50


class Polls:
    """The votes and auctions that one role calls."""

    def __init__(
        self,
        role: str,
        *,
        coordination: Coordination,
        ledger: Ledger,
        record: TrackRecord,
        events: Events,
        clock: Callable[[], datetime],
    ) -> None:
        """The polls of one role.

        Args:
            record: Says how far bidders are trusted.
        """
        self._role, self._coordination, self._ledger = role, coordination, ledger
        self._record, self._events, self._clock = record, events, clock

    async def call_vote(
        self, question: str, ballot: Ballot, voters: Sequence[str], *, about: Message, key: str, within_s: float
    ) -> Ask:
        """Ask for votes and park the task until all have voted, or the time is over. Each votes once.

        Raises:
            RefusedError: If a voter is no role, is this one, or got too many messages from it just now.
        """
        requests = [vote_request(voter, question, ballot, about.payload.priority) for voter in dict.fromkeys(voters)]
        return await self._coordination.ask(requests, about=about, key=key, within_s=within_s, ballot=ballot)

    async def auction(
        self, tender: Tender, bidders: Sequence[str], *, about: Message, key: str, close_within_s: float
    ) -> Ask:
        """Ask for bids and park the task; when all have answered, or the time is over, the best bidder gets it.

        The task goes on with the winner's answer, or if nobody bid.

        Raises:
            RefusedError: If a bidder is no role, is this one, or got too many messages from it just now.
        """
        requests = [bid_request(bidder, tender) for bidder in dict.fromkeys(bidders)]
        return await self._coordination.ask(requests, about=about, key=key, within_s=close_within_s, tender=tender)

    async def decided(self, ask: Ask) -> Ask | None:
        """An ask that is over, with what came of it; None if its task is not to go on yet: somebody won it."""
        if ask.auction_id:  # a crash may have come between handing out and closing the auction
            await self._coordination.close_other(ask.task, ask.auction_id)
            return ask
        found: Ask | None = ask
        for _ in range(_TRIES):
            if found is None or not found.is_poll or found.is_decided:
                break
            found, is_new = await self._ledger.decide(found, await self._with_decision(found))
            if found is not None and is_new:
                reach(Failpoint.POLL_DECIDED)
                await self._tell(found)
        if found is None or found.tender is None or found.award is None or found.award.winner is None:
            return found
        await self._hand_out(found, found.tender, found.award.winner)
        return None

    async def _with_decision(self, ask: Ask) -> Ask:
        if ask.ballot is not None:
            found = tally(ask.ballot, [part.role for part in ask.parts], ask.votes)
            return ask.model_copy(update={"tally": found})
        assert ask.tender is not None
        known = trust_in([role for role, _ in ask.bids], ask.tender.skill, await self._record.scores())
        return ask.model_copy(update={"award": award(ask.bids, known)})

    async def _hand_out(self, auction: Ask, tender: Tender, winner: str) -> None:
        """Tell the others, then give the winner the task, each by a message with an id; then the auction is closed.

        In this order: once the winner has the task it may end, and with it the auction, before all are told.
        """
        for bidder, _ in auction.bids:
            if bidder != winner:
                notice = self._coordination.message(
                    "announcement", lost(bidder, tender.subject), about=auction.task,
                    message_id=derived_id(auction.id, "lost", bidder),
                )  # fmt: skip
                with contextlib.suppress(StreamFullError):  # not worth waiting for: nothing depends on it
                    await self._coordination.put(bidder, notice)
        moment, task = self._clock(), auction.task
        deadline = moment + timedelta(seconds=tender.within_s)
        identity = derived_id(auction.id, "award")
        bid_on = next((part.message_id for part in auction.parts if part.role == winner), None)
        request = Request(winner, tender.subject, tender.text, tender.priority, tender=bid_on)
        message = self._coordination.message(
            request.type, request, about=task, message_id=derived_id(identity, "0"), ask_id=identity
        )
        part = Part(message_id=message.id, role=winner, subject=request.subject, priority=request.priority)
        await self._coordination.hand_out(
            Ask(
                id=identity, role=self._role, task=task, turn_id=auction.turn_id, parts=[part], opened_at=moment,
                deadline=min(deadline, task.deadline) if task.deadline else deadline, award=auction.award,
                auction_id=auction.id,
            ),
            message,
        )  # fmt: skip
        reach(Failpoint.AWARD_SENT)
        await self._coordination.close(auction)

    async def _tell(self, ask: Ask) -> None:
        if ask.tally is not None:
            await self._events.tell(
                "voted", f"{ask.parts[0].subject}: {ask.tally.words}", ask.task, ask=ask.id,
                decision=ask.tally.decision, counts=ask.tally.counts, votes=ask.tally.votes, silent=ask.tally.silent,
            )  # fmt: skip
        elif ask.award is not None:
            won = f"{ask.award.winner} won: {ask.award.offers[0].words}" if ask.award.offers else "nobody bid"
            offers = [offer.model_dump(mode="json") for offer in ask.award.offers]
            await self._events.tell("awarded", f"{ask.parts[0].subject}: {won}", ask.task, ask=ask.id, offers=offers)


def vote_request(voter: str, question: str, ballot: Ballot, priority: Priority) -> Request:
    """What a voter is asked."""
    return Request(voter, f"Vote: {' '.join(question.split())}"[:200], question, priority, type=BALLOT, ballot=ballot)


def bid_request(bidder: str, tender: Tender) -> Request:
    """What a bidder is asked."""
    return Request(bidder, f"Bid: {tender.subject}"[:200], tender.text, tender.priority, type=TENDER)


def lost(bidder: str, subject: str) -> Request:
    """What a bidder hears that did not win: an announcement that wakes no model. It names nobody: bids are secret."""
    return Request(bidder, f"Not yours: {subject}"[:200], "Another bid won. There is nothing to do.", Priority.LOW)


def trust_in(bidders: Sequence[str], skill: str, scores: Mapping[str, Mapping[str, Score]]) -> dict[str, float]:
    """How far bidders are trusted with work of a skill, or with all their work if none of it is known."""

    def trust(bidder: str) -> float:
        known = scores.get(bidder, {})
        score = known.get(skill) or known.get(ALL)
        return score.value if score else UNKNOWN_TRUST

    return {bidder: trust(bidder) for bidder in bidders}
