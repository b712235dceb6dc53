"""One role sends another so many messages within a window and no more; its model hears when it may go on."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthub import subjects
from agenthub.asks import Request
from agenthub.coordination import Coordination
from agenthub.errors import RateExceededError
from agenthub.guards.rate_gate import RateGate, in_window, wait_s
from agenthub.messages import Completion, Event, Message, Outcome, Priority, now
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.organization import load_organization
from agenthub.settings import Settings
from tests.organization import Hub, directive, until, write_organization

NOON = datetime(2026, 5, 17, 12, tzinfo=UTC)
MOMENTS = st.lists(st.integers(0, 100).map(float), max_size=60).map(sorted)


@given(sent=MOMENTS, at_s=st.integers(0, 120).map(float), rate=st.integers(1, 8), window_s=st.integers(1, 20))
def test_the_wait_is_as_long_as_it_must_be_and_no_longer(
    sent: list[float], at_s: float, rate: int, window_s: int
) -> None:
    wait = wait_s(sent, at_s=at_s, rate=rate, window_s=window_s)
    past = [moment for moment in sent if moment <= at_s]

    def fits(moment_s: float) -> bool:
        return len(in_window(past, at_s=moment_s, window_s=window_s)) < rate

    assert 0 <= wait <= window_s
    assert fits(at_s + wait)
    assert wait == 0 or not fits(at_s + wait - 1)


@given(tries=MOMENTS, rate=st.integers(1, 8), window_s=st.integers(1, 20))
def test_no_window_ever_holds_more_than_may_pass(tries: list[float], rate: int, window_s: int) -> None:
    gate, passed = RateGate(rate=rate, window_s=window_s), []
    for at_s in tries:
        if not gate.wait_s("qa", at_s=at_s):
            gate.pass_through("qa", at_s=at_s)
            passed.append(at_s)
        assert gate.wait_s("backend", at_s=at_s) == 0  # each recipient has a window of its own
    for begin in passed:
        assert sum(begin <= moment < begin + window_s for moment in passed) <= rate


@pytest.mark.parametrize(
    ("sent", "at_s", "rate", "more", "wait"),
    [
        ([], 0, 1, 1, 0), ([5], 5, 1, 1, 10), ([5], 14, 1, 1, 1), ([5], 15, 1, 1, 0), ([9], 5, 1, 1, 0),
        ([1, 2, 3], 4, 3, 2, 8), ([], 0, 3, 3, 0), ([], 0, 3, 4, math.inf), ([1] * 99, 1, math.inf, 99, 0),
    ],
)  # fmt: skip
def test_examples(sent: list[float], at_s: float, rate: float, more: int, wait: float) -> None:
    assert wait_s(sent, at_s=at_s, rate=rate, window_s=10, more=more) == wait


class Clock:
    def __init__(self) -> None:
        self.moment = NOON

    def __call__(self) -> datetime:
        return self.moment


def sender(hub: Hub, clock: Clock, toml: str = "") -> Coordination:
    write_organization(hub.folder, toml)
    organization = load_organization(hub.settings)
    return Coordination(
        hub.bus, organization, "cto", ledger=Ledger(hub.bus), events=Events(hub.bus, "cto"), clock=clock
    )


def to(role: str) -> Request:
    return Request(role, "hello", "hello again", Priority.LOW)


TASK = Message.read(json.dumps(directive("talk")).encode(), default_id="x")


async def test_the_next_message_is_refused_and_says_when_to_go_on(quick_hub: Hub) -> None:
    clock = Clock()
    own = sender(quick_hub, clock)
    for number in range(40):
        await own.tell(to("qa"), about=TASK, key=f"k{number}")
    clock.moment += timedelta(seconds=3)
    with pytest.raises(RateExceededError, match=r"more than 40 within 10 s .* You may go on at 12:00:10 UTC"):
        await own.tell(to("qa"), about=TASK, key="one too many")
    await own.tell(to("backend"), about=TASK, key="to another")
    done = Completion(
        message_id=TASK.id, role="cto", outcome=Outcome.DONE, text="yes", started_at=now(), ended_at=now()
    )
    await own.reply(TASK.model_copy(update={"from_role": "qa"}), done)  # an answer is no chatter
    clock.moment += timedelta(seconds=7)
    await own.tell(to("qa"), about=TASK, key="after the wait")
    assert len(await quick_hub.waiting("qa", "low")) == 41
    record = await until(lambda: quick_hub.bus.last(subjects.AUDIT, subjects.audit("rate", "cto")))
    assert (Event.decode(record).kind, Event.decode(record).data) == ("rate", {"to": "qa", "is_refused": True})


async def test_of_a_delegation_that_is_too_large_nobody_is_asked(quick_hub: Hub) -> None:
    own = sender(quick_hub, Clock(), "[defaults]\npair_rate = 3\n")
    with pytest.raises(RateExceededError, match="Put what you have to say into fewer messages"):
        await own.ask([to("backend"), *[to("qa")] * 4], about=TASK, key="k", within_s=60)
    assert await quick_hub.waiting("backend") == await quick_hub.waiting("qa") == []
    assert await Ledger(quick_hub.bus).of("cto") == []


@pytest.mark.parametrize(("gate", "records"), [("observe", 1), ("off", 0)])
async def test_a_gate_that_only_observes_lets_all_pass_and_says_so(quick_hub: Hub, gate: str, records: int) -> None:
    own = sender(quick_hub, Clock(), f'[defaults]\npair_rate = 2\nrate_gate = "{gate}"\n')
    for number in range(3):
        await own.tell(to("qa"), about=TASK, key=f"k{number}")
    await quick_hub.bus.flush()
    assert len(await quick_hub.waiting("qa")) == 3
    counts = await quick_hub.bus.counts(subjects.AUDIT, subjects.audit("rate", "cto"))
    assert sum(counts.values()) == records
    if records:
        record = await quick_hub.bus.last(subjects.AUDIT, subjects.audit("rate", "cto"))
        assert record is not None
        assert Event.decode(record).data["is_refused"] is False


async def test_unlimited_is_said_by_the_word_only(quick_hub: Hub) -> None:
    own = sender(quick_hub, Clock(), '[defaults]\npair_rate = "unlimited"\n')
    for number in range(60):
        await own.tell(to("qa"), about=TASK, key=f"k{number}")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("pair_rate = 0", "must be a whole number above 0, or the word `unlimited`; found 0"),
        ("max_trace_messages = inf", "must be a whole number above 0, or the word `unlimited`; found inf"),
        ("max_trace_usd = 0", "must be US dollars above 0, or the word `unlimited`; found 0"),
        ("max_repeats = 1", "greater than or equal to 2"),
        ("rate_gate = 'on'", "'enforce', 'observe' or 'off'"),
    ],
)
def test_nothing_else_means_unlimited(tmp_path: Path, line: str, reason: str) -> None:
    write_organization(tmp_path, f"[defaults]\n{line}\n")
    settings = Settings.load(config=tmp_path / "agenthub.toml")
    (problem,) = load_organization(settings, strict=False).problems
    assert str(problem).startswith("agenthub.toml, line 3: `defaults.")
    assert reason in str(problem)
