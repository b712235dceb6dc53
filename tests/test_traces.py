"""Loops end by themselves: a trace that goes in a circle, or too far, is parked, and a person decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agenthub import subjects
from agenthub.asks import Request
from agenthub.coordination import Coordination
from agenthub.errors import HubUnreachableError, NotFoundError, RefusedError, TraceParkedError
from agenthub.guards.repeats import Memory, fingerprint, occasion
from agenthub.messages import Event, Message, Outcome, Payload, Priority, now
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.org.traces import TraceCounts, Traces, TraceState
from agenthub.organization import load_organization
from agenthub.rehearsal import start_rehearsal
from agenthub.runtime import RolePlace, run_role
from agenthub.sessions.session import Prompt, SessionEvent, ToolEnded, TurnEnd, TurnResult
from agenthub.trace_guard import TraceGuard, TraceLimits
from tests.commands import in_hub
from tests.crashes import crash_once
from tests.organization import Hub, ScriptedSession, directive, says, until, write_organization


class Talker(ScriptedSession):
    """Answers whatever comes with a message to `other`, in words made of how often it has spoken."""

    def __init__(
        self, hub: Hub, role: str, other: str, words: str = "It is your turn.", *, changes: bool = False
    ) -> None:
        async def script(prompt: Prompt) -> TurnResult | str:
            if "quietly" not in prompt.task.payload.message:
                text = words.format(len(self.prompts))
                await own.tell(Request(other, "", text, Priority.MEDIUM), about=prompt.task, key=f"{prompt.task.id}~1")
            return "said it"

        super().__init__(script)
        self._changes = changes
        own = Coordination(
            hub.bus, hub.organization, role, ledger=Ledger(hub.bus), events=Events(hub.bus, role), clock=now
        )

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent, None]:
        if self._changes:
            yield ToolEnded("write_file", "notes.md", is_error=False, changes=True)
        async for event in super().turn(prompt, turn_id=turn_id):
            yield event


def limited(hub: Hub, toml: str) -> None:
    write_organization(hub.folder, f"[defaults]\n{toml}\n")
    hub.organization = load_organization(hub.settings)


async def parked(hub: Hub, trace_id: str, *, times: int = 1) -> TraceState:
    async def found() -> TraceState | None:
        return next((s for s in await Traces(hub.bus).all() if s.trace_id == trace_id and s.parks == times), None)

    state: TraceState = await until(found)
    return state


async def delayed(hub: Hub) -> int:
    counts = await hub.bus.counts(subjects.SCHEDULES, "agent-hub.sched.>")
    return sum(counts.values())


async def questions(hub: Hub) -> list[Message]:
    return [message for message in await hub.waiting("you", "high") if message.type == "question"]


async def test_two_who_tell_each_other_the_same_are_stopped_and_a_person_is_told_once(hub: Hub) -> None:
    backend, qa = Talker(hub, "backend", "qa", "Ping {}."), Talker(hub, "qa", "backend", "Pong, as of  12:0{}")
    async with hub.role("backend", backend), hub.role("qa", qa):
        trace = await hub.send("backend", "Begin.")
        state = await parked(hub, trace)
        await until(lambda: delayed(hub))
        turns = len(backend.prompts) + len(qa.prompts)
        other = await hub.send("backend", "And something quietly, please.")
        assert (await hub.completion("backend", other)).outcome is Outcome.DONE  # other traces go on
        assert len(backend.prompts) + len(qa.prompts) == turns + 1
    assert turns == 5
    assert (state.state, state.role, state.messages, state.parks) == ("parked", "qa", 5, 1)
    assert "`backend` said the same to `qa` 3 times" in state.reason
    (question,) = await questions(hub)
    assert (question.from_role, question.trace_id) == ("qa", trace)
    for words in ("5 messages, 0.00 USD", f"agenthub traces release {trace}", f"agenthub traces end {trace}"):
        assert words in question.payload.message
    record = await hub.bus.last(subjects.AUDIT, subjects.audit("parked_trace", "qa"))
    assert record is not None
    assert Event.decode(record).trace_id == trace


async def test_a_released_trace_goes_on_at_once_until_it_is_parked_again(hub: Hub) -> None:
    backend, qa = Talker(hub, "backend", "qa"), Talker(hub, "qa", "backend")
    async with hub.role("backend", backend), hub.role("qa", qa):
        trace = await hub.send("backend", "Begin.")
        await parked(hub, trace)
        await until(lambda: delayed(hub))
        ran = await in_hub(hub, "traces", "release", trace[:8], "--json")  # far below the minute that it waits
        assert (ran.code, ran.json["state"], ran.json["max_messages"], ran.json["woken"]) == (0, "released", 400, 1)
        state = await parked(hub, trace, times=2)
        again = await in_hub(hub, "traces", "ls", "--json=trace_id,state,parks")
    assert state.messages == 9  # the one that waited counts as the first time that it is said
    assert again.json == [{"trace_id": trace, "state": "parked", "parks": 2}]
    assert len(await questions(hub)) == 2  # once for each time
    assert len(backend.prompts) + len(qa.prompts) == 9


async def test_what_waits_and_what_comes_later_of_an_ended_trace_is_refused(hub: Hub) -> None:
    backend, qa = Talker(hub, "backend", "qa"), Talker(hub, "qa", "backend")
    async with hub.role("backend", backend), hub.role("qa", qa):
        trace = await hub.send("backend", "Begin.")
        await parked(hub, trace)
        await until(lambda: delayed(hub))
        (waits,) = [m for m in await hub.stored(subjects.SCHEDULES, "agent-hub.sched.*.*") if m.trace_id == trace]
        ran = await in_hub(hub, "traces", "end", trace, "--reason", "Enough.")
        assert (ran.code, "is ended: Enough. one message waited" in ran.err) == (0, True), ran
        done = await hub.completion("qa", waits.id)
        turns = len(backend.prompts)
        late = await hub.send("backend", "Once more.", trace_id=trace, hop=3)
        last = await hub.completion("backend", late)
        await until(lambda: _nothing_delayed(hub))
        refused = await in_hub(hub, "traces", "release", trace)
    assert (done.outcome, last.outcome) == (Outcome.REFUSED, Outcome.REFUSED)
    assert "Enough." in done.text
    assert len(backend.prompts) == turns
    assert (refused.code, "it is ended since" in refused.err) == (6, True)


async def _nothing_delayed(hub: Hub) -> bool:
    return not await delayed(hub)


async def test_a_task_that_waits_for_others_ends_with_its_trace(hub: Hub) -> None:
    async def script(prompt: Prompt) -> TurnResult | str:
        await own.ask(
            [Request("qa", "", "Test it", Priority.MEDIUM)], about=prompt.task, key=f"{prompt.task.id}~1", within_s=60
        )
        return TurnResult(TurnEnd.PARKED, text="waits")

    own = Coordination(
        hub.bus, hub.organization, "cto", ledger=Ledger(hub.bus), events=Events(hub.bus, "cto"), clock=now
    )
    async with hub.role("cto", ScriptedSession(script)):
        trace = await hub.send("cto", "Ship it.")
        await until(lambda: hub.waiting("qa"))
        assert (await in_hub(hub, "traces", "end", trace)).code == 3  # nothing was counted yet: nobody knows of it
        await Traces(hub.bus).end(trace, "Not now.")
        qa = says("never")
        async with hub.role("qa", qa):
            done = await hub.completion("cto", trace)
    assert (done.outcome, "Not now." in done.text, qa.prompts) == (Outcome.REFUSED, True, [])
    assert await Ledger(hub.bus).of("cto") == []


async def test_whoever_changes_something_in_between_may_say_the_same_again(hub: Hub) -> None:
    limited(hub, "max_hops = 9")
    backend, qa = Talker(hub, "backend", "qa", changes=True), Talker(hub, "qa", "backend", changes=True)
    async with hub.role("backend", backend), hub.role("qa", qa):
        await hub.send("backend", "Begin.")
        await until(lambda: len(backend.prompts) + len(qa.prompts) == 10)
    assert await Traces(hub.bus).all() == []
    assert await questions(hub) == []


async def test_more_messages_than_a_trace_may_have_park_it_for_everybody(hub: Hub) -> None:
    limited(hub, "max_trace_messages = 4")
    sessions = {name: says("ok") for name in ("backend", "qa")}
    trace = directive("root")["id"]
    async with hub.role("backend", sessions["backend"]), hub.role("qa", sessions["qa"]):
        for number, word in enumerate(("red", "green", "blue", "black", "white", "grey")):
            await hub.send(("backend", "qa")[number % 2], f"Paint it {word}", sender="cto", trace_id=trace, hop=1)
        state = await parked(hub, trace)
        await until(lambda: _is(hub, 2))
        assert sum(len(session.prompts) for session in sessions.values()) == 4
        (question,) = await questions(hub)
        assert "(`defaults.max_trace_messages`)" in question.payload.message
        assert (await in_hub(hub, "traces", "release", trace)).code == 0
        await until(lambda: sum(len(session.prompts) for session in sessions.values()) == 6)
    assert state.messages in (5, 6)


async def _is(hub: Hub, number: int) -> bool:
    return await delayed(hub) == number


async def test_a_trace_that_costs_too_much_is_parked_and_its_root_with_it(hub: Hub) -> None:
    limited(hub, "max_trace_usd = 0.0001")
    async with start_rehearsal(speed=0) as endpoint:
        real = {"model_url": endpoint.url, "api_key": SecretStr("rehearsal"), "rehearse": True}
        settings = hub.settings.model_copy(update=real)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for name in ("cto", "backend", "qa"):
                group.create_task(run_role(RolePlace(settings, hub.organization, name), stop=stop))
            trace = await hub.send("cto", "Write the attachment API and test it")
            state = await parked(hub, trace)
            await until(lambda: delayed(hub))
            await until(lambda: _nobody_works(hub))  # turns that had begun come to their end
            calls = len(endpoint.model.journal)
            again = await in_hub(hub, "traces", "ls", "--json")
            await hub.send("cto", "Go on with it", trace_id=trace, sender="you", hop=1)
            await until(lambda: _at_least(hub, 2))
            assert len(endpoint.model.journal) == calls
            stop.set()
    assert state.cost_usd > 0.0001
    assert "max_trace_usd" in state.reason
    assert again.json[0]["trace_id"] == trace
    assert again.json[0]["cost_usd"] >= state.cost_usd
    assert len(await questions(hub)) == 1


async def _nobody_works(hub: Hub) -> bool:
    return not any([await hub.waiting(role) for role in ("cto", "backend", "qa")])


async def _at_least(hub: Hub, number: int) -> bool:
    return await delayed(hub) >= number


async def test_a_redelivered_message_counts_once(hub: Hub) -> None:
    traces = Traces(hub.bus)
    assert [await traces.count_message("t", by="qa.1") for _ in range(3)] == [1, 1, 1]
    assert await traces.count_message("t", by="backend.1") == 2
    assert [await traces.add_cost("t", 1_500_000, by="qa.1~cost") for _ in range(2)] == [1.5, 1.5]
    await asyncio.gather(*(traces.count_message("a.b > c", by=f"qa.{number}") for number in range(50)))
    assert await traces.counts("a.b > c") == TraceCounts(50, 0.0)
    assert await traces.counts("t") == TraceCounts(2, 1.5)


async def test_of_many_who_park_a_trace_at_once_one_does(hub: Hub) -> None:
    found = await asyncio.gather(
        *(Traces(hub.bus).park("t", "why", role="qa", counts=TraceCounts(1, 0)) for _ in range(20))
    )
    assert sum(is_ours for _, is_ours in found) == 1
    assert {state.parks for state, _ in found} == {1}
    with pytest.raises(NotFoundError):
        await Traces(hub.bus).resolve("nothing")
    released = await Traces(hub.bus).release("t", max_messages=200, max_usd=5)
    assert (released.max_messages, released.max_usd) == (400, 10)
    with pytest.raises(RefusedError, match="it is released"):
        await Traces(hub.bus).release("t", max_messages=200, max_usd=5)


async def test_a_role_learns_of_a_decision_though_it_was_cut_off(hub: Hub) -> None:
    async with hub.role("qa", says("ok")) as _:
        await Traces(hub.bus).park("t", "why", role="cto", counts=TraceCounts(1, 0))
        await hub.send("qa", "spend", trace_id="t", hop=1)
        await until(lambda: delayed(hub))
    session = says("ok")
    async with hub.role("qa", session):  # a new process finds it in the bucket
        await hub.send("qa", "spend more", trace_id="t", hop=1)
        await until(lambda: _at_least(hub, 2))
    assert session.prompts == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["agent-hub.traces.messages.", ".inbox.high.qa", "$KV.traces."])
async def test_a_crash_while_a_trace_is_parked_forgets_nothing_and_asks_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, what: str, when: str
) -> None:
    async def check(task: Message) -> None:
        """As a process does that has just started."""
        traces, memory = Traces(hub.bus), Memory(hub.folder / "m.db")
        async with traces.watched():
            guard = TraceGuard(
                "qa", operator="you", org="acme", bus=hub.bus, traces=traces, memory=memory,
                events=Events(hub.bus, "qa"), limits=TraceLimits(1, 5, 3),
            )  # fmt: skip
            try:
                await guard.check(task, is_new=True)
            finally:
                memory.close()

    await check(message("one", id="m1"))
    crash_once(monkeypatch, when, lambda subject, data: what in subject)
    with pytest.raises(HubUnreachableError):
        await check(message("two", id="m2"))
    for _ in range(2):
        with pytest.raises(TraceParkedError):
            await check(message("two", id="m2"))
    (state,) = await Traces(hub.bus).all()
    assert (state.state, state.messages, state.parks) == ("parked", 2, 1)
    assert len(await questions(hub)) == 1


# ── the rule ───────────────────────────────────────────────────────────────────────────────────────
def message(text: str, subject: str = "", **fields: Any) -> Message:
    return Message(
        **{"from_role": "qa", "type": "direct_message", "id": "1", "trace_id": "t"} | fields,
        payload=Payload(subject=subject, message=text),
    )


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("Fix it", "  fix\n IT ", True),
        ("Build 12 failed at 10:31:02", "build 7 failed at 9:00", True),
        ("see 4f1c09abde12", "see 99aa00bb77cc", True),
        ("id 0b9c3b52-4f1c-4d1e-9d5c-0123456789ab", "id 1b9c3b52-4f1c-4d1e-9d5c-0123456789ab", True),
        ("Re: RE: status?", "status?", True),
        ("Fix it", "Fix it now", False),
        ("defaced facade", "decade facade", False),
        ("", "x", False),
    ],
)
def test_words_that_differ_in_case_space_and_numbers_only_are_the_same(one: str, other: str, is_same: bool) -> None:
    assert (fingerprint(message(one), "cto") == fingerprint(message(other), "cto")) is is_same
    assert fingerprint(message(one), "cto") != fingerprint(message(one), "backend")
    assert fingerprint(message(one), "cto") != fingerprint(message(one, from_role="ceo"), "cto")


def test_all_parts_of_one_delegation_are_said_once(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "m.db")
    parts = [message("Test it", id=f"p{number}", correlation_id="ask") for number in range(5)]
    assert [memory.hear("t", "w", on=occasion(part), sender="qa") for part in parts] == [1] * 5
    memory.close()


def test_a_restart_forgets_nothing_and_an_answer_is_news_to_all_but_its_sender(tmp_path: Path) -> None:
    for number in (1, 2):
        memory = Memory(tmp_path / "m.db")
        assert memory.hear("t", "w", on=f"m{number}", sender="qa") == number
        assert memory.hear("t", "w", on=f"m{number}", sender="qa") == number  # delivered again
        memory.count("qa.1")
        memory.close()
    memory = Memory(tmp_path / "m.db")
    assert memory.has_counted("qa.1")
    memory.forget("t", besides="qa")
    assert memory.hear("t", "w", on="m3", sender="qa") == 3
    memory.forget("t", besides="cto")
    assert memory.hear("t", "w", on="m4", sender="qa") == 1
    memory.forget("t")
    assert memory.hear("t", "w", on="m5", sender="qa") == 1
    memory.close()


# ── own output never wakes its author ──────────────────────────────────────────────────────────────
async def test_a_message_to_oneself_wakes_nobody_by_whatever_way_it_comes(hub: Hub) -> None:
    session = says("never")
    async with hub.role("backend", session):
        ways = [directive("to me", sender="backend", reply_to=to) for to in ("backend", "qa")]
        for own in ways:
            await hub.put("backend", own)
            assert (await hub.completion("backend", str(own["id"]))).outcome is Outcome.NOTED
        lane = directive("by my lane", sender="backend")
        await hub.bus.publish(subjects.lane("backend", "medium", "backend"), json.dumps(lane).encode())
        assert (await hub.completion("backend", str(lane["id"]))).outcome is Outcome.NOTED
        for name in (subjects.status_topic("deploy"), subjects.task_topic("sql"), subjects.ANNOUNCEMENTS):
            await hub.bus.publish(name, json.dumps(directive("all hear", sender="backend", priority="high")).encode())
        await until(lambda: _no_topics(hub))
        assert (await hub.completion("backend", await hub.send("backend", "done?"))).text == "never"
    assert [prompt.task.payload.message for prompt in session.prompts] == ["done?"]


async def _no_topics(hub: Hub) -> bool:
    info = await hub.bus.js.consumer_info(subjects.TOPICS, subjects.topics_consumer("backend"))
    return not info.num_pending and not info.num_ack_pending


async def test_an_answer_that_is_to_go_back_to_its_author_goes_nowhere(hub: Hub) -> None:
    backend, qa = says("built"), says("never")
    async with hub.role("backend", backend), hub.role("qa", qa):
        to_itself = directive("answer yourself", sender="qa", reply_to="backend")
        to_sender = directive("answer me", sender="qa", reply_to="qa")
        for asked in (to_itself, to_sender):
            await hub.put("backend", asked)
            await hub.completion("backend", str(asked["id"]))
        await until(lambda: _has_note(hub))
        await asyncio.gather(until(lambda: _is_empty(hub, "backend")), until(lambda: _is_empty(hub, "qa")))
    assert (len(backend.prompts), qa.prompts) == (2, [])


async def _has_note(hub: Hub) -> bool:
    journal = RolePlace(hub.settings, hub.organization, "qa").journal()
    try:
        return len(journal.unread_notes()) == 1
    finally:
        journal.close()


async def _is_empty(hub: Hub, role: str) -> bool:
    return not await hub.waiting(role)
