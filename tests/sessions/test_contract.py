"""What every session promises, whoever holds the conversation: the same cases for each of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agenthub.errors import BudgetExhaustedError, ModelUnavailableError, RefusedError, SessionError
from agenthub.messages import Outcome
from agenthub.rehearsal import Endpoint
from agenthub.sessions.session import (
    Granted,
    ModelCalled,
    Prompt,
    ToolCall,
    ToolEnded,
    ToolOutcome,
    TurnEnd,
    TurnResult,
)
from tests.sessions.scripted import task
from tests.sessions.sessions import NEEDS_CLAUDE_CODE, Kind, OpensOffice, Process, calls, noted_requests

KINDS = ["anthropic", pytest.param("claude-code", marks=NEEDS_CLAUDE_CODE)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


# ── turns ──────────────────────────────────────────────────────────────────────────────────────────
async def test_a_plain_turn_ends_with_the_models_words_and_its_cost_is_in_the_journal(office: OpensOffice) -> None:
    role = await office()
    *_, called, result = await role.events("rehearse: say All is well.")
    assert result == TurnResult(TurnEnd.STOPPED, text="All is well.")
    assert isinstance(called, ModelCalled)
    assert called.usage.output_tokens > 0
    assert called.usage.cost_usd > 0
    assert role.journal.usage_of("a") == called.usage
    assert (await role.session.context()).tokens == called.usage.tokens


async def test_a_later_turn_knows_the_earlier_one_also_in_a_new_process(office: OpensOffice) -> None:
    role = await office()
    await role.turn("rehearse: say The word is umbrella.", "a")
    await role.turn("rehearse: say Yes.", "b")
    assert "The word is umbrella." in role.asked()
    await role.closes()
    await role.opens()
    await role.turn("rehearse: say Yes, yes.", "c")
    assert "The word is umbrella." in role.asked()
    assert role.asked().count("The word is umbrella.") == role.asked(1).count("The word is umbrella.")


async def test_calls_are_made_in_order_and_the_one_that_ends_the_turn_ends_it(office: OpensOffice) -> None:
    role = await office()
    events = await role.events(calls(("write", "1"), ("pay", "2"), ("end", "all good")))
    assert events[-1] == TurnResult(TurnEnd.FINISHED, Outcome.DONE, "all good", ("proof",))
    assert role.toolbox.done == [("write", "1", "a~1"), ("pay", "2", "a~2"), ("end", "all good", "a~3")]
    ended = [event.name for event in events if isinstance(event, ToolEnded)]
    assert ended == ["write", "pay", "end"]
    assert len(role.requests) == 3, "no answer is paid behind the end"
    assert role.journal.usage_of("a").calls == 3


async def test_an_ended_turn_gives_the_same_end_without_asking(office: OpensOffice) -> None:
    role = await office()
    ended = await role.turn(calls(("end", "all good")))
    await role.closes()
    await role.opens()
    assert await role.turn(calls(("end", "all good"))) == ended
    assert len(role.requests) == len(role.toolbox.done) == 1


async def asks_about_pay(
    tool: str, arguments: dict[str, Any], call: ToolCall, granted: Granted | None
) -> ToolOutcome | None:
    if tool != "pay" or granted is not None:
        return None
    return ToolOutcome("It waits for a person.", ends_turn=TurnResult(TurnEnd.PARKED, text="waits for you"))


async def test_a_call_that_a_person_must_approve_parks_the_turn_and_is_made_once_they_have(office: OpensOffice) -> None:
    role = await office(may_call=asks_about_pay)
    assert await role.turn(calls(("write", "one"), ("pay", "bill"))) == TurnResult(TurnEnd.PARKED, text="waits for you")
    assert role.toolbox.texts("pay") == []
    prompt = Prompt("approved\nrehearse: say thanks", task("a"), goes_on=True, granted=Granted("pay", {"text": "bill"}))
    events = [event async for event in role.session.turn(prompt, turn_id="ask~r")]
    assert isinstance(events[-1], TurnResult)
    assert role.toolbox.texts("pay") == ["bill"]
    assert '<hub:result tool=\\"pay\\">\\ndid bill' in role.asked()
    assert next(event.name for event in events if isinstance(event, ToolEnded)) == "pay"


async def test_a_refused_call_is_told_to_the_model_and_the_turn_goes_on(office: OpensOffice) -> None:
    role = await office()
    role.toolbox.before["write"] = [RefusedError("Not on Sundays.")]
    events = await role.events(calls(("write", "1"), ("write", "2")))
    assert isinstance(events[-1], TurnResult)
    assert events[-1].end is TurnEnd.STOPPED
    assert "Not on Sundays." in role.asked()
    assert [event.is_error for event in events if isinstance(event, ToolEnded)] == [True]


async def test_a_turn_has_a_limited_number_of_steps(office: OpensOffice) -> None:
    role = await office(max_steps=3)
    result = await role.turn(calls(*(("write", str(n)) for n in range(9))))
    assert (result.end, result.outcome) == (TurnEnd.FINISHED, Outcome.FAILED)
    assert "stopped after 3 steps" in result.text
    assert len(role.requests) == 3
    assert "last step" in role.asked()


# ── words of the host, and stopping ────────────────────────────────────────────────────────────────
async def test_words_of_the_host_reach_the_model_at_the_next_step_and_only_once(office: OpensOffice) -> None:
    role = await office()
    assert not await role.session.inject("nobody hears this")

    async def inject(name: str) -> None:
        if name == "write":
            assert await role.session.inject("Something critical waits.")

    role.toolbox.during = inject
    await role.turn(calls(("write", "1"), ("pay", "2")) + "\nrehearse: say Done.")
    told = ["Something critical waits." in role.asked(at) for at in range(3)]
    assert told == [False, True, True]
    assert role.asked().count("Something critical waits.") == 1
    assert "nobody hears this" not in role.asked()


async def test_an_interrupted_turn_stops_behind_the_call_in_hand_and_can_be_taken_up_again(office: OpensOffice) -> None:
    role = await office()
    text = calls(("write", "1"), ("write", "2"), ("end", "all good"))

    async def interrupt(name: str) -> None:
        role.toolbox.during = None
        await role.session.interrupt()

    role.toolbox.during = interrupt
    assert (await role.turn(text)).end is TurnEnd.INTERRUPTED
    assert role.toolbox.texts("write") == ["1"]
    assert (await role.turn(text)).text == "all good"
    assert role.toolbox.texts("write") == ["1", "2"]
    assert (await role.turn("rehearse: say And so on.", "b")).text == "And so on."


async def test_a_turn_that_is_left_in_the_middle_can_be_taken_up_again(office: OpensOffice) -> None:
    role = await office()
    text = calls(("write", "1"), ("write", "2"), ("end", "all good"))
    begun = asyncio.Event()

    async def stay(name: str) -> None:
        role.toolbox.during = None
        begun.set()
        await asyncio.Event().wait()

    role.toolbox.during = stay
    taking = asyncio.create_task(role.turn(text))
    await begun.wait()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert (await role.turn(text)).text == "all good"
    assert role.toolbox.texts("write") == ["1", "2"]


# ── when the provider stumbles ─────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "fault",
    [{"status": 529}, {"status": 500}, {"cut_after_events": 3}, {"error_in_stream": "overloaded_error"}],
    ids=lambda fault: next(iter(fault.items()))[0] + str(next(iter(fault.values()))),
)
async def test_a_stumble_of_the_provider_is_passed_over(office: OpensOffice, fault: dict[str, Any]) -> None:
    role = await office()
    role.fails(**fault)
    assert (await role.turn("rehearse: say All is well.")).text == "All is well."
    assert len(role.requests) == 2
    assert (await role.turn("rehearse: say And so on.", "b")).text == "And so on."


async def test_a_provider_that_asks_for_an_hour_is_not_waited_for(office: OpensOffice) -> None:
    role = await office()
    role.fails(status=429, retry_after=3600)
    with pytest.raises(ModelUnavailableError):
        await role.turn("rehearse: say All is well.")
    assert len(role.requests) == 1
    assert (await role.turn("rehearse: say All is well.")).text == "All is well."


async def test_a_conversation_that_does_not_fit_fails_the_turn_and_not_the_next_one(office: OpensOffice) -> None:
    role = await office(model="rehearsal-8k")
    with pytest.raises(SessionError, match="too long"):
        await role.turn("long " * 20_000)
    assert (await role.turn("rehearse: say All is well.", "b")).text == "All is well."


# ── money ──────────────────────────────────────────────────────────────────────────────────────────
class Purse:
    """Money for so many questions."""

    def __init__(self, full: int) -> None:
        self.full = full

    async def check(self) -> None:
        self.full -= 1
        if self.full < 0:
            raise BudgetExhaustedError("test", "usd_day", spent="1 of 1", opens="tomorrow", retry_after_s=60)


async def test_without_money_nothing_is_sent(office: OpensOffice) -> None:
    purse = Purse(0)
    role = await office(before_call=purse.check)
    with pytest.raises(BudgetExhaustedError):
        await role.turn("rehearse: say All is well.")
    assert not role.requests


async def test_a_turn_whose_money_ends_stops_before_the_next_answer_and_goes_on_later(office: OpensOffice) -> None:
    purse = Purse(1)
    role = await office(before_call=purse.check)
    text = calls(("pay", "1"), ("end", "all good"))
    with pytest.raises(BudgetExhaustedError):
        await role.turn(text)
    assert len(role.requests) == 1
    purse.full = 10
    assert (await role.turn(text)).text == "all good"
    assert role.toolbox.texts("pay") == ["1"]


# ── kill -9 ────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def process(kind: Kind, tmp_path: Path, endpoint: Endpoint) -> Process:
    return Process(kind, tmp_path, endpoint.url)


async def test_a_killed_process_goes_on_and_repeats_a_call_under_the_same_key(process: Process) -> None:
    text = calls(("write", "1"), ("write", "2"))
    await process.killed_in("write", text)
    assert (await process.ends(text))[0] == "stopped"
    first, again, [name, text, key] = process.effects()
    assert first == again == ["write", "1", "a~1"]
    assert (name, text) == ("write", "2")
    assert key != "a~1"


async def test_a_killed_process_leaves_it_to_the_model_what_to_do_about_a_call_that_must_not_be_repeated(
    process: Process, endpoint: Endpoint
) -> None:
    text = calls(("write", "1"), ("pay", "2"))
    await process.killed_in("pay", text)
    requests = noted_requests(endpoint)
    await process.ends(text)
    first, second, *again = process.effects()
    assert [first, second] == [["write", "1", "a~1"], ["pay", "2", "a~2"]]
    assert "it is unknown whether it took effect" in json.dumps(requests[0])
    assert all(key != "a~2" for _, _, key in again), "whoever pays again knows that it may be the second time"


async def test_a_conversation_begins_with_what_it_is_given_once_and_keeps_it(office: OpensOffice) -> None:
    said = ["the first policy", "a later policy"]
    role = await office(begins_with=lambda: said[0])
    await role.turn("rehearse: say The word is umbrella.", "a")
    said.pop(0)
    await role.turn("rehearse: say Two.", "b")
    await role.closes()
    await role.opens()
    await role.turn("rehearse: say Three.", "c")
    for at in (0, 1, 2):
        asked = role.asked(at)
        assert asked.count("the first policy") == 1
        assert asked.index("the first policy") < asked.index("<hub:message")
        assert "a later policy" not in asked
