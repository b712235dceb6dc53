"""Votes and auctions as rules: what is decided depends on who said what, never on when or how often it came."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agenthub.asks import Answer, Ask, Part
from agenthub.auctions import TENDER, Bid, award
from agenthub.messages import Completion, Message, Outcome, Payload, now
from agenthub.org.reputation import ALL, Score, scores
from agenthub.polls import trust_in
from agenthub.reassignment import is_reassignable
from agenthub.votes import BALLOT, Ballot, share, tally

VOTERS = ["backend", "cto", "ops", "qa"]
BALLOT_OF_TWO = Ballot(options=["yes", "no"], quorum="1/2")
votes = st.lists(st.tuples(st.sampled_from([*VOTERS, "stranger"]), st.sampled_from(["yes", "no", "No ", "maybe", ""])))
bids = st.builds(
    Bid,
    cost_usd=st.floats(0, 1e6),
    eta_minutes=st.floats(0, 1e6),
    confidence=st.floats(0, 1),
)
made = st.lists(st.tuples(st.sampled_from(VOTERS), bids), max_size=12)
trusts = st.dictionaries(st.sampled_from(VOTERS), st.floats(0, 1))


@given(votes, st.randoms(use_true_random=False))
def test_neither_the_order_of_votes_nor_their_repetition_changes_a_tally(
    cast: list[tuple[str, str]], chance: object
) -> None:
    again = [*cast, *cast]
    chance.shuffle(again)  # type: ignore[attr-defined]
    assert tally(BALLOT_OF_TWO, VOTERS, again) == tally(BALLOT_OF_TWO, VOTERS, cast)


@given(votes)
def test_each_voter_counts_once_at_the_most_and_nobody_else_does(cast: list[tuple[str, str]]) -> None:
    found = tally(BALLOT_OF_TWO, VOTERS, cast)
    assert sum(found.counts.values()) == len(found.votes) <= len(VOTERS)
    assert sorted([*found.votes, *found.silent]) == VOTERS
    assert (found.decision is None) == bool(found.reason)
    if found.decision is not None:
        assert len(found.votes) >= found.needed
        assert all(found.counts[found.decision] > n for o, n in found.counts.items() if o != found.decision)


@pytest.mark.parametrize(
    ("cast", "quorum", "decision", "reason"),
    [
        ({"cto": "yes", "qa": "yes", "ops": "no"}, "3/4", "yes", ""),
        ({"cto": "yes", "qa": "yes"}, "3/4", None, "no quorum"),
        ({"cto": "yes", "qa": "yes", "ops": "dunno"}, "3/4", None, "no quorum"),
        ({"cto": "yes", "qa": "no"}, "1/2", None, "tie"),
        ({"cto": " YES ", "qa": "yes", "stranger": "no", "you": "no"}, "50%", "yes", ""),
        ({}, "1/4", None, "no quorum"),
        ({"cto": "no"}, "0.25", "no", ""),
    ],
)
def test_what_votes_decide(cast: dict[str, str], quorum: str, decision: str | None, reason: str) -> None:
    found = tally(Ballot(options=["yes", "no"], quorum=quorum), VOTERS, cast.items())
    assert (found.decision, found.reason) == (decision, reason)


def test_who_votes_for_two_options_has_voted_for_none() -> None:
    found = tally(BALLOT_OF_TWO, ["cto", "qa"], [("cto", "yes"), ("qa", "no"), ("cto", "no")])
    assert (found.votes, found.silent, found.decision) == ({"qa": "no"}, ["cto"], "no")


def test_a_quorum_is_exact() -> None:
    assert Ballot(options=["a", "b"], quorum="2/3").needed(3) == 2
    assert Ballot(options=["a", "b"], quorum="0.1").needed(10) == 1
    assert Ballot(options=["a", "b"], quorum="51%").needed(100) == 51


@pytest.mark.parametrize("text", ["0", "3/2", "1/0", "half", "-1/2", "101%", ""])
def test_what_is_no_share_is_no_quorum(text: str) -> None:
    with pytest.raises(ValueError, match="a quorum is"):
        share(text)


@pytest.mark.parametrize("options", [["yes"], ["yes", " YES"], ["yes", "a|b"], ["yes", " "], ["yes", "x" * 81]])
def test_options_must_be_two_or_more_different_ones(options: list[str]) -> None:
    with pytest.raises(ValidationError):
        Ballot(options=options)


@given(made, trusts, st.randoms(use_true_random=False))
def test_neither_the_order_of_bids_nor_their_repetition_changes_an_award(
    found: list[tuple[str, Bid]], trust: dict[str, float], chance: object
) -> None:
    again = [*found, *found]
    chance.shuffle(again)  # type: ignore[attr-defined]
    assert award(again, trust) == award(found, trust)


@given(st.dictionaries(st.sampled_from(VOTERS), bids, min_size=1), trusts)
def test_somebody_wins_if_anybody_bids_and_nobody_is_worth_more(made: dict[str, Bid], trust: dict[str, float]) -> None:
    found = award(made.items(), trust)
    assert found.winner in made
    assert found.offers[0].worth == max(offer.worth for offer in found.offers)


def bid(cost_usd: float = 1, eta_minutes: float = 10, confidence: float = 0.9) -> Bid:
    return Bid(cost_usd=cost_usd, eta_minutes=eta_minutes, confidence=confidence)


@pytest.mark.parametrize(
    ("made", "trust", "winner"),
    [
        ({"a": bid(), "b": bid(cost_usd=5)}, {}, "a"),
        ({"a": bid(eta_minutes=60), "b": bid()}, {}, "b"),
        ({"a": bid(confidence=0.2), "b": bid()}, {}, "b"),
        ({"a": bid(cost_usd=0.5, confidence=1), "b": bid()}, {"a": 0.2, "b": 0.9}, "b"),
        ({"a": bid(cost_usd=0), "b": bid(cost_usd=0.01)}, {"a": 0.5, "b": 0.6}, "b"),
        ({"b": bid(), "a": bid()}, {}, "a"),
        ({"a": bid(), "b": bid()}, {"b": 0.9, "a": 0.6}, "b"),
        ({}, {}, None),
    ],
)
def test_who_wins_an_auction(made: dict[str, Bid], trust: dict[str, float], winner: str | None) -> None:
    assert award(made.items(), trust).winner == winner


@pytest.mark.parametrize("wrong", [None, "cheap", {}, {"cost_usd": -1, "eta_minutes": 1, "confidence": 1},
                                   {"cost_usd": 1, "eta_minutes": 1, "confidence": 7},
                                   {"cost_usd": "NaN", "eta_minutes": 1, "confidence": 1}])  # fmt: skip
def test_a_bid_that_makes_no_sense_is_none_and_spoils_no_message(wrong: object) -> None:
    assert Payload.model_validate({"message": "x", "bid": wrong}).bid is None


def test_trust_is_that_of_the_skill_else_of_all_work_else_unknown() -> None:
    known = {"a": {"sql": Score(4, 0, 0), ALL: Score(4, 4, 0)}, "b": {ALL: Score(0, 3, 0)}}
    assert trust_in(["a", "b", "c"], "sql", known) == {"a": 0.75, "b": 0.2, "c": 0.5}


def end(number: int, kind: str, subject: str, outcome: Outcome = Outcome.DONE) -> Completion:
    at = now() + timedelta(seconds=number)
    return Completion(
        message_id=str(number), role="backend", outcome=outcome, subject=subject, type=kind, from_role="cto",
        trace_id="t", started_at=at, ended_at=at, evidence=["a.md"],
    )  # fmt: skip


def test_bids_and_votes_say_nothing_about_how_work_ends() -> None:
    ends = [
        end(1, TENDER, "Bid: Migrate the orders"), end(2, BALLOT, "Vote: Migrate?", Outcome.FAILED),
        end(3, "task_assignment", "Migrate the orders"),
    ]  # fmt: skip
    assert scores(ends, {})["backend"][ALL] == Score(1, 0, 0)


def test_nobody_votes_or_bids_in_anothers_stead() -> None:
    asked = {kind: Message(from_role="cto", type=kind, payload=Payload()) for kind in (BALLOT, TENDER, "question")}
    assert {kind: is_reassignable(message, "qa") for kind, message in asked.items()} == {
        BALLOT: False, TENDER: False, "question": True,
    }  # fmt: skip


def test_what_comes_after_the_decision_changes_nothing() -> None:
    task = Message(from_role="you", type="x", payload=Payload(), id="t")
    ask = Ask(
        id="i", role="cto", task=task, parts=[Part(message_id="1", role="qa"), Part(message_id="2", role="ops")],
        opened_at=now(), deadline=now(), ballot=BALLOT_OF_TWO,
    )  # fmt: skip
    ask = ask.with_answer("1", Answer(outcome=Outcome.DONE, vote="yes"))
    decided = ask.model_copy(update={"tally": tally(BALLOT_OF_TWO, ["qa", "ops"], ask.votes)})
    assert decided.with_answer("2", Answer(outcome=Outcome.DONE, vote="no")) == decided
