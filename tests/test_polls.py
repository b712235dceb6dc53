"""Votes and auctions over the real broker: the asker is parked, plain code decides once, the winner gets the task."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from agenthub import subjects
from agenthub.asks import Answer, Tender
from agenthub.auctions import TENDER, Bid
from agenthub.client import Client
from agenthub.coordination import Coordination
from agenthub.equipment import track_record_of
from agenthub.errors import RefusedError
from agenthub.messages import Attachment, Completion, Message, Outcome, Payload, Priority, now
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.polls import Polls
from agenthub.runtime import RolePlace, run_role
from agenthub.sessions.session import Prompt, Tool, ToolCall, TurnEnd, TurnResult
from agenthub.tools.mesh import mesh_tools
from agenthub.tools.polls import poll_tools
from agenthub.votes import BALLOT, Ballot, tally
from tests.crashes import crash_once
from tests.organization import Hub, ScriptedSession, directive, says, until


def tools(hub: Hub, role: str) -> dict[str, Tool]:
    ledger, events = Ledger(hub.bus), Events(hub.bus, role)
    own = Coordination(hub.bus, hub.organization, role, ledger=ledger, events=events, clock=now)
    record = track_record_of(hub.organization, hub.bus)
    polls = Polls(role, coordination=own, ledger=ledger, record=record, events=events, clock=now)

    async def attach(paths: Sequence[str], call: ToolCall) -> tuple[Attachment, ...]:
        return ()

    async def judge(result: TurnResult, call: ToolCall) -> TurnResult:
        return result

    found = [
        *poll_tools(polls, hub.organization, role, ask_within_s=60),
        *mesh_tools(own, attach=attach, ask_within_s=60, judge=judge),
    ]
    return {tool.name: tool for tool in found}


class Caller(ScriptedSession):
    """A session that calls one tool with what it is given, and reports what it hears."""

    def __init__(self, hub: Hub, role: str, tool: str, **arguments: Any) -> None:
        own = tools(hub, role)[tool]

        async def script(prompt: Prompt) -> TurnResult | str:
            if "<hub:answers" in prompt.text:
                return f"heard: {prompt.text}"
            outcome = await own.run(
                own.arguments.model_validate(arguments), ToolCall(f"{prompt.task.id}~1", prompt.task)
            )
            assert outcome.ends_turn is not None
            return outcome.ends_turn

        super().__init__(script)


def votes(option: str) -> ScriptedSession:
    return says(TurnResult(TurnEnd.FINISHED, Outcome.DONE, f"I am for {option}", vote=option))


class Bidder(ScriptedSession):
    """A session that makes a bid, and does what it wins."""

    def __init__(self, bid: Bid | None, *, outcome: Outcome = Outcome.DONE) -> None:
        async def script(prompt: Prompt) -> TurnResult | str:
            if prompt.task.type == TENDER:
                return TurnResult(TurnEnd.FINISHED, outcome, "my bid", bid=bid)
            return f"did: {prompt.task.payload.message}"

        super().__init__(script)

    @property
    def kinds(self) -> list[str]:
        return [prompt.task.type for prompt in self.prompts]


def bid(cost_usd: float, **more: float) -> Bid:
    return Bid(cost_usd=cost_usd, **({"eta_minutes": 10, "confidence": 0.9} | more))


def vote_of(hub: Hub, *voters: str, **more: Any) -> Caller:
    return Caller(hub, "cto", "call_vote", question="Ship?", options=["yes", "no"], voters=list(voters), **more)


def auction_of(hub: Hub, *bidders: str, **more: Any) -> Caller:
    task = {"subject": "Migrate the orders", "message": "Move the orders to the new schema"}
    return Caller(hub, "ceo", "auction", **task, bidders=list(bidders), **more)


async def ends_of(hub: Hub, role: str) -> list[Completion]:
    names = await hub.bus.counts(subjects.DONE, subjects.done(role, "*"))
    found = [await hub.bus.last(subjects.DONE, name) for name in names]
    return [Completion.decode(data) for data in found if data is not None]


async def no_asks(hub: Hub) -> bool:
    return not await Ledger(hub.bus).all()


# ── votes ──────────────────────────────────────────────────────────────────────────────────────────
async def test_a_vote_ends_when_all_have_voted_and_its_task_goes_on_with_the_tally(hub: Hub) -> None:
    caller = vote_of(hub, "backend", "qa", "ceo", quorum="2/3")
    async with (
        hub.role("cto", caller), hub.role("backend", votes("yes")), hub.role("qa", votes("yes")),
        hub.role("ceo", votes("no")),
    ):  # fmt: skip
        done = await hub.completion("cto", await hub.send("cto", "decide"))
        await until(lambda: no_asks(hub))
    assert '<hub:tally decision="yes">yes; yes: 2, no: 1; 3 of 3 voted, 2 needed</hub:tally>' in done.text
    assert '<hub:answer from="ceo" outcome="done" vote="no"' in done.text
    assert len(caller.prompts) == 2


async def test_without_a_quorum_at_the_deadline_nothing_is_decided(hub: Hub) -> None:
    caller = vote_of(hub, "backend", "qa", quorum="1", within_minutes=0.02)
    async with hub.role("cto", caller), hub.role("backend", votes("yes")):  # qa is down
        done = await hub.completion("cto", await hub.send("cto", "decide"))
        voter = votes("no")
        async with hub.role("qa", voter):  # and back too late: no model is asked for a vote that does not count
            (late,) = await until(lambda: ends_of(hub, "qa"))
    assert '<hub:tally decision="none">no decision (no quorum)' in done.text
    assert (late.outcome, late.text.split(":")[0], voter.prompts) == (Outcome.NOTED, "expired", [])
    assert await Client(hub.bus, hub.organization).letters.all() == [], "nothing is wrong with it"


async def test_words_that_are_no_option_and_a_voter_who_abstains_do_not_count(hub: Hub) -> None:
    caller = vote_of(hub, "backend", "qa", "ceo", quorum="1/3")
    async with (
        hub.role("cto", caller), hub.role("backend", votes("perhaps")), hub.role("qa", votes("no")),
        hub.role("ceo", says(TurnResult(TurnEnd.FINISHED, Outcome.BLOCKED, "I cannot tell"))),
    ):  # fmt: skip
        done = await hub.completion("cto", await hub.send("cto", "decide"))
    assert "no; yes: 0, no: 1; 1 of 3 voted, 1 needed" in done.text


@pytest.mark.parametrize("door", ["the lane of another", "the public door"])
async def test_a_forged_vote_in_anothers_name_does_not_count_and_does_not_keep_theirs_out(hub: Hub, door: str) -> None:
    release = asyncio.Event()

    async def slowly(prompt: Prompt) -> TurnResult:
        await release.wait()
        return TurnResult(TurnEnd.FINISHED, Outcome.DONE, "", vote="no")

    async with hub.role("cto", vote_of(hub, "backend", "qa")), hub.role("qa", votes("no")):
        message_id = await hub.send("cto", "decide")
        (ask,) = await until(lambda: Ledger(hub.bus).of("cto"))
        asked = next(part for part in ask.parts if part.role == "backend")
        forged = directive("yes!", sender="backend", type="reply") | {
            "correlation_id": ask.id, "causation_id": asked.message_id,
            "payload": {"message": "yes!", "outcome": "done", "vote": "yes"},
        }  # fmt: skip
        if door == "the public door":
            await hub.put("cto", forged)
        else:
            await hub.bus.publish(subjects.lane("cto", "medium", "qa"), json.dumps(forged).encode())
        await until(lambda: _is_seen(hub, str(forged["id"])))
        async with hub.role("backend", ScriptedSession(slowly)):
            release.set()
            done = await hub.completion("cto", message_id)
    assert '<hub:tally decision="no">no; yes: 0, no: 2' in done.text


async def _is_seen(hub: Hub, message_id: str) -> bool:
    """True if nothing of the forgery waits any more."""
    waiting = await hub.bus.counts(subjects.AGENTS, f"{subjects.inbox('cto')}.>")
    return not waiting and not await hub.bus.counts(subjects.AGENTS, subjects.inbox("cto"))


async def test_a_stranger_cannot_fill_a_voters_place_with_an_answer_that_is_no_vote(hub: Hub) -> None:
    async with hub.role("cto", vote_of(hub, "backend")):
        message_id = await hub.send("cto", "decide")
        (ask,) = await until(lambda: Ledger(hub.bus).of("cto"))
        forged = directive("no comment", sender="backend", type="reply") | {
            "correlation_id": ask.id, "causation_id": ask.parts[0].message_id,
        }  # fmt: skip
        await hub.put("cto", forged)
        await until(lambda: _is_seen(hub, str(forged["id"])))
        async with hub.role("backend", votes("yes")):
            done = await hub.completion("cto", message_id)
    assert '<hub:tally decision="yes">' in done.text


@pytest.mark.parametrize("what", ["agent-hub.done.cto.", "$KV.ledger.cto."])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_the_end_of_a_vote_leaves_one_decision(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, what: str, when: str
) -> None:
    caller = vote_of(hub, "backend")
    has_crashed = crash_once(
        monkeypatch, when, lambda subject, data: what in subject and (b'"tally":{' in data or "done" in what)
    )
    async with hub.role("backend", votes("yes")):
        working = asyncio.create_task(
            run_role(RolePlace(hub.settings, hub.organization, "cto"), stop=asyncio.Event(), session=caller)
        )
        message_id = await hub.send("cto", "decide")
        with pytest.raises(BaseException, match=r"a crash|unhandled errors"):
            await asyncio.wait_for(working, 30)
        async with hub.role("cto", caller):
            done = await hub.completion("cto", message_id)
            await until(lambda: no_asks(hub))
    assert has_crashed()
    assert '<hub:tally decision="yes">' in done.text
    assert len(caller.prompts) == 2
    assert len(await hub.waiting("you")) == 1


async def test_a_vote_that_comes_between_the_decision_and_the_restart_of_who_died_changes_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = vote_of(hub, "backend", "qa", quorum="1", within_minutes=0.02)
    crash_once(monkeypatch, "after", lambda subject, data: b'"tally":{' in data)
    async with hub.role("backend", votes("yes")):  # qa is down
        working = asyncio.create_task(
            run_role(RolePlace(hub.settings, hub.organization, "cto"), stop=asyncio.Event(), session=caller)
        )
        message_id = await hub.send("cto", "decide")
        with pytest.raises(BaseException, match=r"a crash|unhandled errors"):
            await asyncio.wait_for(working, 30)
        (ask,) = await Ledger(hub.bus).of("cto")
        late = directive("yes", sender="qa", type="reply") | {
            "correlation_id": ask.id, "causation_id": next(p.message_id for p in ask.parts if p.role == "qa"),
            "payload": {"message": "yes", "outcome": "done", "vote": "yes", "priority": "critical"},
        }  # fmt: skip
        await hub.bus.publish(subjects.lane("cto", "critical", "qa"), json.dumps(late).encode())
        async with hub.role("cto", caller):
            done = await hub.completion("cto", message_id)
            await until(lambda: no_asks(hub))
    assert '<hub:tally decision="none">no decision (no quorum)' in done.text
    assert '<hub:missing from="qa"' in done.text


async def test_of_two_processes_that_decide_the_first_one_has_decided(hub: Hub) -> None:
    call_vote = tools(hub, "cto")["call_vote"]
    arguments = {"question": "?", "options": ["yes", "no"], "voters": ["qa"]}
    await call_vote.run(call_vote.arguments.model_validate(arguments), _asked("task_assignment"))
    one, other = Ledger(hub.bus), Ledger(hub.bus)
    (ask,) = await one.of("cto")
    ballot = ask.ballot
    assert ballot is not None
    yes, no = (ask.model_copy(update={"tally": tally(ballot, ["qa"], [("qa", said)])}) for said in ("yes", "no"))
    assert await one.decide(ask, yes) == (yes, True)
    assert await other.decide(ask, no) == (yes, False)
    answer = Answer(outcome=Outcome.DONE, vote="no")
    assert await other.record("cto", ask.id, message_id=ask.parts[0].message_id, by="qa", answer=answer) == yes


# ── auctions ───────────────────────────────────────────────────────────────────────────────────────
async def test_the_best_bidder_does_the_task_and_the_others_hear_of_it_without_a_turn(hub: Hub) -> None:
    caller = auction_of(hub, "backend", "qa", "cto")
    backend, qa, cto = Bidder(bid(1)), Bidder(bid(5)), Bidder(None, outcome=Outcome.BLOCKED)
    async with hub.role("ceo", caller), hub.role("backend", backend), hub.role("qa", qa), hub.role("cto", cto):
        done = await hub.completion("ceo", await hub.send("ceo", "have it done"))
        told = await until(lambda: _announced(hub, "qa"))
        await until(lambda: no_asks(hub))
    assert '<hub:award to="backend">' in done.text
    assert '<hub:bid from="qa"' in done.text
    assert "did: Move the orders to the new schema" in done.text
    assert (backend.kinds, qa.kinds, cto.kinds) == ([TENDER, "task_assignment"], [TENDER], [TENDER])
    assert [end.outcome for end in told] == [Outcome.NOTED]
    assert await _announced(hub, "cto") == []  # it made no bid
    assert [end.type for end in await ends_of(hub, "backend")].count("task_assignment") == 1
    assert len(caller.prompts) == 2


async def _announced(hub: Hub, role: str) -> list[Completion]:
    return [end for end in await ends_of(hub, role) if end.type == "announcement"]


async def test_how_work_with_the_skill_ended_outweighs_a_cheaper_bid(hub: Hub) -> None:
    for number in range(6):
        for role, outcome in (("backend", Outcome.FAILED), ("qa", Outcome.DONE)):
            end = Completion(
                message_id=f"{role}{number}", role=role, outcome=outcome, subject="some work", evidence=["x"],
                started_at=now(), ended_at=now(), trace_id=f"{role}{number}", from_role="cto",
            )  # fmt: skip
            await hub.bus.publish(subjects.done(role, end.message_id), end.encode())
    backend, qa = Bidder(bid(1)), Bidder(bid(2))
    async with hub.role("ceo", auction_of(hub, "backend", "qa")), hub.role("backend", backend), hub.role("qa", qa):
        done = await hub.completion("ceo", await hub.send("ceo", "have it done"))
    assert '<hub:award to="qa">' in done.text
    assert (backend.kinds, qa.kinds) == ([TENDER], [TENDER, "task_assignment"])


async def test_if_nobody_bids_in_time_the_task_goes_on_and_hears_so(hub: Hub) -> None:
    caller = auction_of(hub, "backend", "qa", close_within_minutes=0.02)
    async with hub.role("ceo", caller), hub.role("qa", Bidder(None, outcome=Outcome.BLOCKED)):
        done = await hub.completion("ceo", await hub.send("ceo", "have it done"))
        await until(lambda: no_asks(hub))
    assert '<hub:award to="nobody">' in done.text


async def test_an_auction_closes_at_its_deadline_with_the_bids_that_came(hub: Hub) -> None:
    caller = auction_of(hub, "backend", "qa", close_within_minutes=0.03)
    async with hub.role("ceo", caller), hub.role("backend", Bidder(bid(3))):  # qa is down
        done = await hub.completion("ceo", await hub.send("ceo", "have it done"))
    assert '<hub:award to="backend">' in done.text


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ['"award":{', '"auction_id":"[^"]', "backend.inbox.medium.ceo ", "qa.inbox.low.ceo "])
async def test_a_crash_anywhere_in_the_award_hands_the_task_out_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, what: str, when: str
) -> None:
    caller, backend = auction_of(hub, "backend", "qa"), Bidder(bid(1))

    def is_there(subject: str, data: bytes) -> bool:
        is_kept = subject.startswith(("$KV.ledger", "agent-hub.operators")) and b'"type":"tender"' not in data
        return is_kept and re.search(what, f"{subject} {data.decode()}") is not None

    has_crashed = crash_once(monkeypatch, when, is_there)
    async with hub.role("backend", backend), hub.role("qa", Bidder(bid(2))):
        working = asyncio.create_task(
            run_role(RolePlace(hub.settings, hub.organization, "ceo"), stop=asyncio.Event(), session=caller)
        )
        message_id = await hub.send("ceo", "have it done")
        with pytest.raises(BaseException, match=r"a crash|unhandled errors"):
            await asyncio.wait_for(working, 30)
        async with hub.role("ceo", caller):
            done = await hub.completion("ceo", message_id)
            await until(lambda: no_asks(hub))
            await until(lambda: _announced(hub, "qa"))
    assert has_crashed()
    assert '<hub:award to="backend">' in done.text
    assert (backend.kinds, len(caller.prompts)) == ([TENDER, "task_assignment"], 2)
    assert len(await _announced(hub, "qa")) == 1
    assert len(await hub.waiting("you")) == 1


# ── the tools ──────────────────────────────────────────────────────────────────────────────────────
def _asked(kind: str, ballot: Ballot | None = None) -> ToolCall:
    task = Message(id="t", from_role="cto", type=kind, payload=Payload(message="?", ballot=ballot))
    return ToolCall("t~1", task)


async def test_finish_takes_the_vote_and_says_which_ones_there_are(hub: Hub) -> None:
    finish = tools(hub, "qa")["finish"]

    async def run(call: ToolCall, **arguments: Any) -> TurnResult:
        given = finish.arguments.model_validate({"summary": "", "outcome": "done"} | arguments)
        outcome = await finish.run(given, call)
        assert outcome.ends_turn is not None
        return outcome.ends_turn

    on_ballot = _asked(BALLOT, Ballot(options=["Yes", "No"]))
    assert (await run(on_ballot, vote="yes")).vote == "Yes"
    assert (await run(on_ballot, vote="yes", outcome="blocked")).vote == ""
    for wrong in ({}, {"vote": "maybe"}):
        with pytest.raises(RefusedError, match=r"one of: Yes \| No"):
            await run(on_ballot, **wrong)
    made = {"cost_usd": 1, "eta_minutes": 2, "confidence": 0.5}
    assert (await run(_asked(TENDER), bid=made)).bid == Bid(**made)
    with pytest.raises(RefusedError, match="needs a `bid`"):
        await run(_asked(TENDER))
    assert (await run(_asked("task_assignment"), vote="yes", bid=made)).vote == ""


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("call_vote", {"question": "?", "options": ["a", "A"], "voters": ["qa"]}, "must be different"),
        ("call_vote", {"question": "?", "options": ["a", "b"], "voters": ["qa"], "quorum": "7"}, "above 0 and up to 1"),
        ("call_vote", {"question": "?", "options": ["a", "b"], "voters": ["cto"]}, "is you"),
        ("call_vote", {"question": "?", "options": ["a", "b"], "voters": ["qaa"]}, "qa"),
        ("auction", {"subject": "s", "message": "m"}, "give `skill` or `bidders`"),
        ("auction", {"subject": "s", "message": "m", "skill": "architecture"}, "other role with the skill"),
        ("auction", {"subject": "s", "message": "m", "skill": "sqll"}, "sql"),
    ],
)
async def test_what_cannot_be_asked_is_refused_and_leaves_nothing_open(
    hub: Hub, tool: str, arguments: dict[str, Any], said: str
) -> None:
    called = tools(hub, "cto")[tool]
    with pytest.raises(RefusedError, match=said):
        await called.run(called.arguments.model_validate(arguments), _asked("task_assignment"))
    assert await no_asks(hub)


async def test_a_skill_names_the_bidders(hub: Hub) -> None:
    auction = tools(hub, "cto")["auction"]
    arguments = auction.arguments.model_validate({"subject": "s", "message": "m", "skill": "sql"})
    await auction.run(arguments, _asked("task_assignment"))
    (asked,) = await hub.waiting("backend")
    assert (asked.type, asked.payload.message, asked.deadline is not None) == (TENDER, "m", True)
    (ask,) = await Ledger(hub.bus).of("cto")
    assert ask.tender == Tender(subject="s", text="m", priority=Priority.MEDIUM, skill="sql", within_s=60)
