"""Circuit breakers: who fails again and again is left alone; what a provider asks for, all on its account hear."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from agenthub import subjects
from agenthub.breakers import Breakers, role_key
from agenthub.client import Client
from agenthub.errors import SessionError
from agenthub.guards.circuit_breaker import (
    RAMP_S,
    Action,
    Breaker,
    Rules,
    close,
    no_progress,
    probing,
    ramp_s,
    recorded,
    released,
    trip,
    wait_s,
)
from agenthub.messages import Event, Outcome, now
from agenthub.organization import load_organization
from agenthub.rehearsal import start_rehearsal
from agenthub.rehearsal.server import Endpoint
from agenthub.runtime import RolePlace, run_role
from agenthub.sessions.session import Prompt, SessionEvent, ToolEnded, TurnEnd, TurnResult
from tests.commands import in_hub
from tests.organization import Hub, ScriptedSession, directive, says, until, write_organization

NOON = datetime(2026, 5, 17, 12, tzinfo=UTC)
RULES = Rules()


def after(*results: bool, breaker: Breaker | None = None, by: str = "qa") -> Breaker:
    breaker = breaker or Breaker()
    for ok in results:
        breaker = recorded(breaker, ok=ok, reason="it broke", by=by, at=NOON, rules=RULES)
    return breaker


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ([False] * 4, "closed"), ([False] * 5, "open"), ([True] * 50 + [False] * 4, "closed"),
        ([False, True, False, True, False], "open"), ([False, True, True, False, True, True, False], "closed"),
    ],
)  # fmt: skip
def test_it_trips_when_half_of_the_last_results_failed(results: list[bool], state: str) -> None:
    assert after(*results).state == state


def test_one_probe_passes_when_its_time_is_over_and_decides() -> None:
    opened = after(*[False] * 5)
    assert wait_s(opened, "qa", NOON) == 60
    assert probing(opened, "qa", NOON) is None
    later = NOON + timedelta(seconds=60)
    half = probing(opened, "qa", later)
    assert half is not None
    assert (half.state, wait_s(half, "qa", later)) == ("half_open", None)
    assert probing(half, "qa.1", later) is None
    assert recorded(half, ok=True, reason="", by="qa", at=later, rules=RULES) == close(half)
    again = recorded(half, ok=False, reason="still", by="qa", at=later, rules=RULES)
    assert wait_s(again, "qa", later) == 120
    assert probing(half, "qa.1", later + timedelta(hours=1)) is not None  # the first probe died
    assert released(half, "qa.1", later) is None
    left = released(half, "qa", later)  # and said nothing, as of a message that a person has cancelled
    assert left is not None
    assert probing(left, "qa.1", later) is not None


def test_a_longer_wait_stays_and_a_shorter_one_grows() -> None:
    held = trip(Breaker(), "429", open_s=3600, at=NOON)
    assert wait_s(trip(held, "529", open_s=5, at=NOON), "qa", NOON) == 3600
    assert wait_s(trip(trip(Breaker(), "529", open_s=5, at=NOON), "429", open_s=3600, at=NOON), "qa", NOON) == 3600


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ok", "bad", "enter", "leave"]), st.integers(0, 90)))
)
def test_never_do_two_probe_at_once_and_nobody_passes_while_it_is_open(steps: list[tuple[str, str, int]]) -> None:
    breaker, at = Breaker(), NOON
    for who, what, seconds in steps:
        at += timedelta(seconds=seconds)
        if what == "enter":
            breaker = probing(breaker, who, at) or breaker
        elif what == "leave":
            breaker = released(breaker, who, at) or breaker
        else:
            breaker = recorded(breaker, ok=what == "ok", reason="x", by=who, at=at, rules=RULES)
        passing = [name for name in "abc" if wait_s(breaker, name, at) is None]
        assert len(passing) == {"closed": 3, "half_open": 1, "open": 0}[breaker.state]


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ("AAAAA", "`a` failed 5 times in a row"), ("AAAA", ""), ("AAAAbA", ""), ("", ""), ("ABABABABA", ""),
        ("ABABABABAB", "`a` and `b` failed in turns"), ("cABABABABAB", "`a` and `b` failed in turns"),
        ("ABABAaBABAB", ""), ("ABCABCABCABC", ""),
    ],
)  # fmt: skip
def test_no_progress_is_the_same_call_or_two_in_turns_failing_again_and_again(calls: str, said: str) -> None:
    """Upper case: it failed."""
    actions = [Action(what.lower(), what.isupper()) for what in calls]
    assert no_progress(actions, repeats=5)[: len(said) or None] == said


def test_after_a_long_wait_the_urgent_come_first_and_not_all_at_once() -> None:
    starts = [ramp_s(60, rank=rank, who=f"role{n}") for rank in range(4) for n in range(20)]
    assert all(starts[n * 20 + m] <= (n + 1) * 2 and starts[n * 20 + m] >= n * 2 for n in range(4) for m in range(20))
    assert len(set(starts)) == 80
    assert ramp_s(5, rank=3, who="qa") == 0


# ── on a server ────────────────────────────────────────────────────────────────────────────────────
@contextlib.asynccontextmanager
async def at_work(hub: Hub, endpoint: Endpoint, *roles: str) -> AsyncIterator[None]:
    real = {"model_url": endpoint.url, "api_key": SecretStr("rehearsal"), "rehearse": False}
    settings, stop = hub.settings.model_copy(update=real), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for role in roles:
            group.create_task(run_role(RolePlace(settings, hub.organization, role), stop=stop))
        try:
            yield
        finally:
            stop.set()


async def test_when_a_provider_asks_one_role_for_patience_all_on_its_account_wait_and_then_go_on(hub: Hub) -> None:
    async with start_rehearsal(speed=0) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as http:
        assert (await in_hub(hub, "breaker", "ls", "--json")).json == []
        fault = {"status": 429, "retry_after": 12, "role": "backend"}
        await http.post("/rehearsal/faults", json={"faults": [fault]})
        async with at_work(hub, endpoint, "backend", "qa"):
            async with hub.bus.listen("agent-hub.events.breaker.*", "agent-hub.events.delayed.qa") as heard:
                first = await hub.send("backend", "Write the attachment API")
                async with asyncio.timeout(30):
                    assert Event.decode((await anext(heard)).data).kind == "breaker"
                asked = len(endpoint.model.journal)
                second = await hub.send("qa", "rehearse: say tested")
                async with asyncio.timeout(30):
                    event = Event.decode((await anext(heard)).data)
            assert (event.message_id, "circuit breaker of model account" in event.text) == (second, True)
            assert event.data["failures"] == 0
            assert len(endpoint.model.journal) == asked  # the other role paid nothing to learn of it
            listed = (await in_hub(hub, "breaker", "ls", "--json=name,state")).json
            assert [line["state"] for line in listed] == ["open"]
            low = await hub.send("qa", "rehearse: say low", priority="low")
            high = await hub.send("qa", "rehearse: say high", priority="high")
            await hub.completion("backend", first, within_s=60)
            ends = [(await hub.completion("qa", one, within_s=60)).ended_at for one in (high, second, low)]
            assert ends == sorted(ends), "the urgent first, though it came last"
            assert (ends[-1] - ends[0]).total_seconds() > RAMP_S / 4, "and not all in the same second"
        assert [line["state"] for line in (await in_hub(hub, "breaker", "ls", "--json=state")).json] == ["closed"]


async def test_who_comes_when_little_of_a_long_wait_is_left_does_not_overtake_the_urgent(hub: Hub) -> None:
    breakers = Breakers(hub.bus, rules=RULES, clock=lambda: now() - timedelta(seconds=58))
    async with hub.bus.listen("agent-hub.events.delayed.qa") as heard:
        await breakers.trip(role_key("qa"), "it fails", shown="qa", open_s=60)
        async with hub.role("qa", says("done")):
            await hub.send("qa", "Not urgent", priority="low")
            async with asyncio.timeout(30):
                event = Event.decode((await anext(heard)).data)
    again = re.match(r"again in (\d+) s", event.text)
    assert again is not None and int(again[1]) >= 3 * RAMP_S / 4, "its turn in the queue, not what is left of the wait"


async def test_a_role_that_fails_again_and_again_is_left_alone_until_a_person_resets_it(hub: Hub) -> None:
    hub.organization = hub.organization.__class__(
        **{**vars(hub.organization), "defaults": hub.organization.defaults.model_copy(update={"max_tries": 1})}
    )
    session = says(*[SessionError("it broke")] * 5, "it works")
    async with hub.role("backend", session):
        for number in range(5):
            await hub.completion("backend", await hub.send("backend", f"Task {number}"))
        message_id = await hub.send("backend", "One more")
        await until(lambda: _delayed(hub))
        assert len(session.prompts) == 5
        seen, rows = await in_hub(hub, "ps"), await in_hub(hub, "ps", "--json=role,circuit")
        assert "▲ circuit" in seen.out
        assert [row["role"] for row in rows.json if "5 of the last 5" in row["circuit"]] == ["backend"]
        assert "backend open: 5 of the last 5 failed" in seen.err
        assert (await in_hub(hub, "breaker", "reset", "backnd")).code == 3
        assert (await in_hub(hub, "breaker", "reset", "backend")).code == 0
        assert (await hub.completion("backend", message_id)).text == "it works"
    assert any("left alone" in message.payload.subject for message in await hub.waiting("you"))


async def _delayed(hub: Hub, number: int = 1) -> bool:
    return sum((await hub.bus.counts("AGENTHUB_SCHED", "agent-hub.sched.backend.*")).values()) >= number


class Stubborn(ScriptedSession):
    """Makes the same tool call over and over, and it fails."""

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent, None]:
        for _ in range(RULES.repeats):
            yield ToolEnded("read_file", "nowhere.md", is_error=True)
        yield TurnResult(TurnEnd.FINISHED, Outcome.BLOCKED, "no such file")


async def test_the_same_call_failing_again_and_again_ends_in_an_open_breaker(hub: Hub) -> None:
    async with hub.role("backend", Stubborn(says("x")._script)):
        await hub.send("backend", "Read it.")
        state = await until(lambda: _open(hub))
    assert state["reason"] == "no progress: `read_file nowhere.md` failed 5 times in a row"


async def _open(hub: Hub) -> dict[str, str] | None:
    listed = (await in_hub(hub, "breaker", "ls", "--json=name,state,reason")).json
    return next((line for line in listed if (line["name"], line["state"]) == ("backend", "open")), None)


async def test_what_is_asked_of_a_role_that_is_left_alone_goes_to_its_fallback_once(hub: Hub) -> None:
    write_organization(hub.folder, '[roles.backend]\nfallback = "qa"\n')
    hub.organization = load_organization(hub.settings)
    assert (await in_hub(hub, "breaker", "trip", "backend", "--for", "1h", "--reason", "it breaks the build")).code == 0
    backend, qa = says("by backend"), says("by qa")
    async with hub.role("qa", qa), hub.role("backend", backend):
        await hub.beats("qa")
        message_id = await hub.send("backend", "Write it")
        end = await Client(hub.bus, hub.organization).completion("backend", message_id, timeout_s=20)
    assert (end.role, end.text, backend.prompts, len(qa.prompts)) == ("qa", "by qa", [], 1)
    assert await hub.waiting("backend") == []


async def test_without_a_fallback_that_is_there_what_is_asked_waits(hub: Hub) -> None:
    write_organization(hub.folder, '[roles.backend]\nfallback = "qa"\n')
    hub.organization = load_organization(hub.settings)
    await in_hub(hub, "breaker", "trip", "backend", "--for", "1h", "--reason", "it breaks the build")
    async with hub.role("backend", says("by backend")):
        await hub.send("backend", "Write it")
        await until(lambda: _delayed(hub))
    await in_hub(hub, "breaker", "trip", "qa", "--for", "1h", "--reason", "this one, too")
    async with hub.role("qa", says("by qa")), hub.role("backend", says("by backend")):
        await hub.send("backend", "Write that")
        await until(lambda: _delayed(hub, 2))
    assert not await hub.bus.counts("AGENTHUB_DONE", "agent-hub.done.>")


async def test_a_role_that_spends_too_fast_is_left_alone_in_the_middle_of_its_turn(hub: Hub) -> None:
    write_organization(hub.folder, "[defaults]\nbreaker_usd = 0.03\n")
    hub.organization = load_organization(hub.settings)
    async with start_rehearsal(speed=0) as endpoint, at_work(hub, endpoint, "backend"):
        await hub.send("backend", "rehearse: steps 200")
        state = await until(lambda: _open(hub))
        asked = len(endpoint.model.journal)
        await until(lambda: _delayed(hub))
    assert state["reason"].startswith("it spent 0.03 USD in 10 minutes of 0.03")
    assert len(endpoint.model.journal) == asked < 200


async def test_what_is_done_and_comes_again_does_not_wait_for_a_breaker(hub: Hub) -> None:
    session, message = says("done"), directive("Write it")
    async with hub.role("backend", session):
        await hub.put("backend", message)
        await hub.completion("backend", str(message["id"]))
        await in_hub(hub, "breaker", "trip", "backend", "--for", "1h", "--reason", "it breaks the build")
        await hub.send("backend", "Write that")
        await until(lambda: _delayed(hub))  # so it has heard of it
        await hub.put("backend", message)
        await until(lambda: _is_worked_off(hub))
    assert (len(session.prompts), await _delayed(hub, 2)) == (1, False)


async def test_a_message_that_tells_nothing_does_not_stay_the_probe_of_a_breaker(hub: Hub) -> None:
    breakers = Breakers(hub.bus, rules=RULES, clock=now)
    session, message = says("done"), directive("Write it")
    async with hub.role("backend", session):
        await hub.put("backend", message)
        await hub.completion("backend", str(message["id"]))
        await breakers.trip(role_key("backend"), "it breaks the build", shown="backend", open_s=2)
        await hub.send("backend", "Write that")
        await until(lambda: _delayed(hub))  # so it has heard of it
        await hub.bus.purge(subjects.SCHEDULES, "agent-hub.sched.backend.*")
        opened = (await breakers.all())[role_key("backend")]
        await until(lambda: wait_s(opened, "backend", now()) == 0)
        await hub.put("backend", message)
        await until(lambda: _is_worked_off(hub))
    assert (await breakers.all())[role_key("backend")].state == "open"


async def _is_worked_off(hub: Hub) -> bool:
    lanes = await hub.bus.counts(subjects.AGENTS, "agent-hub.operators.operator-backend.inbox.>")
    return not lanes and not await hub.bus.counts(subjects.AGENTS, subjects.inbox("backend"))


async def test_a_role_whose_breaker_a_person_trips_opens_no_turn(hub: Hub) -> None:
    session = says("done")
    assert (await in_hub(hub, "breaker", "trip", "backend", "--for", "1h", "--reason", "it breaks the build")).code == 0
    async with hub.role("backend", session):
        await hub.send("backend", "Write it")
        await until(lambda: _delayed(hub))
    assert session.prompts == []
