"""Who owes an answer is reminded at the right moments, then the managers hear of it; the answer ends it all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from agenthub import subjects
from agenthub.asks import Ask, Request
from agenthub.client import Client, Replies
from agenthub.client.replies import Question
from agenthub.coordination import Coordination
from agenthub.errors import NotFoundError, RefusedError
from agenthub.leader import lead
from agenthub.messages import Completion, Event, Message, Outcome, Priority, now
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.org.registry import Registry
from agenthub.reminders import Reminders
from agenthub.runtime import RolePlace
from agenthub.sessions.session import Prompt, TurnEnd, TurnResult
from tests.organization import Hub, ScriptedSession, says, until
from tests.test_reminder_rules import ask, beat, message


# ── the duty ───────────────────────────────────────────────────────────────────────────────────────
class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.moment = now()

    def __call__(self) -> datetime:
        return self.moment

    def go(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reminders(hub: Hub, clock: Clock) -> Reminders:
    return Reminders(hub.bus, hub.organization, clock=clock, every_s=0.02)


@contextlib.asynccontextmanager
async def leading(hub: Hub, clock: Clock) -> AsyncIterator[None]:
    """A process that leads, and reminds, for the length of the block."""
    duties = [reminders(hub, clock).run]
    running = asyncio.create_task(
        lead(hub.bus, lambda: contextlib.nullcontext(hub.bus), lambda _: duties, ttl_s=1.0, clock=time.monotonic)
    )
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def expect(hub: Hub, to: str, *, within_s: float = 600, sender: str | None = None) -> Ask:
    question = Question(to, "Which port?", priority=Priority.MEDIUM, sender=sender)
    return await Replies(Client(hub.bus, hub.organization)).expect(question, within_s=within_s)


async def inbox(hub: Hub, role: str, kind: str) -> list[Message]:
    return [message for message in await hub.waiting(role, sender=subjects.LEADER) if message.type == kind]


async def events(hub: Hub, kind: str, role: str) -> list[Event]:
    found = await hub.bus.history(subjects.EVENTS, subjects.event(kind, role))
    return [Event.decode(received.data) for received in found]


async def pings(hub: Hub, role: str, count: int) -> list[Message]:
    """What came, as soon as it was noted too: who leads next begins there."""

    async def noted() -> bool:
        parts = [part for ask in await Ledger(hub.bus).all() for part in ask.parts if part.role == role]
        return any(len(part.reminded_at) >= count for part in parts)

    await until(noted)
    return await inbox(hub, role, "reminder")


async def test_an_absent_role_gets_its_pings_and_its_managers_hear_of_it_once_though_the_leader_changes(
    hub: Hub, clock: Clock
) -> None:
    asked = await expect(hub, "qa", within_s=600)
    clock.go(600)
    async with leading(hub, clock):
        clock.go(1)
        await until(lambda: events(hub, "overdue", "qa"))
        for number, seconds in enumerate((30, 30), start=1):
            clock.go(seconds)
            assert len(await pings(hub, "qa", number)) == number
    async with leading(hub, clock):
        clock.go(60)
        await pings(hub, "qa", 3)
        clock.go(120)
        assert [p.payload.priority for p in await pings(hub, "qa", 4)] == [Priority.MEDIUM] * 4
        clock.go(240)
        await pings(hub, "qa", 5)
        (to_cto,) = await inbox(hub, "cto", "escalation")
    async with leading(hub, clock), leading(hub, clock):
        clock.go(480)
        await pings(hub, "qa", 6)
        clock.go(960)
        await pings(hub, "qa", 7)
        clock.go(100_000)
        (to_you,) = await until(lambda: inbox(hub, "you", "escalation"))
        await asyncio.sleep(0.2)  # there is no level above: some more looks change nothing
    assert len(await inbox(hub, "qa", "reminder")) == 4
    assert len(await inbox(hub, "cto", "escalation")) == len(await inbox(hub, "ceo", "escalation")) == 1
    assert (to_cto.is_actionable, to_cto.payload.priority) == (True, Priority.HIGH)
    for words in ("qa owes the operator", "Which port?", "qa is down", "reminded 4 times"):
        assert words in to_cto.payload.message
    assert "qa owes you" in to_you.payload.message
    assert f"agenthub pending drop {asked.id[:8]}" in to_you.payload.message
    assert len(await events(hub, "overdue", "qa")) == 1
    assert len(await events(hub, "reminded", "qa")) == 4
    assert [event.data["to"] for event in await events(hub, "escalated", "qa")] == ["cto", "ceo", "you"]


async def test_several_that_believe_they_lead_remind_once(hub: Hub, clock: Clock) -> None:
    await expect(hub, "qa", within_s=1)
    clock.go(60)
    await asyncio.gather(*(reminders(hub, clock).look() for _ in range(4)))
    assert len(await inbox(hub, "qa", "reminder")) == len(await events(hub, "reminded", "qa")) == 1
    (entry,) = await Ledger(hub.bus).all()
    assert len(entry.parts[0].reminded_at) == 1


async def test_an_ask_among_roles_is_due_after_the_time_of_the_organization_and_ends_with_its_deadline(
    hub: Hub, clock: Clock
) -> None:
    own = Coordination(
        hub.bus, hub.organization, "cto", ledger=Ledger(hub.bus), events=Events(hub.bus, "cto"), clock=clock
    )
    task = message("t", "ceo")
    await own.ask([Request("qa", "test it", "all of it", Priority.LOW)], about=task, key="k", within_s=1800)
    duty = reminders(hub, clock)
    clock.go(600 + 29)
    await duty.look()
    assert await inbox(hub, "qa", "reminder") == []
    clock.go(1)
    await duty.look()
    (ping,) = await inbox(hub, "qa", "reminder")
    assert (ping.payload.priority, ping.is_actionable) == (Priority.LOW, False)
    assert '"test it"' in ping.payload.message
    clock.go(1200)
    await duty.look()
    assert len(await inbox(hub, "qa", "reminder")) == 1  # the task has gone on without


async def test_the_answer_ends_it_all_also_one_that_is_not_collected_yet(hub: Hub, clock: Clock) -> None:
    asked = await expect(hub, "backend")
    own = Coordination(
        hub.bus, hub.organization, "cto", ledger=Ledger(hub.bus), events=Events(hub.bus, "cto"), clock=clock
    )
    parked = await own.ask([Request("backend", "x", "x", Priority.LOW)], about=message("t"), key="k", within_s=1800)
    async with hub.role("backend", says("8080")):
        await hub.completion("backend", asked.parts[0].message_id)
        await hub.completion("backend", parked.parts[0].message_id)
    clock.go(3600)
    duty = reminders(hub, clock)
    await duty.look()
    clock.go(3600)
    await duty.look()
    assert await hub.waiting("backend") == []
    assert [ask.id for ask in await Ledger(hub.bus).all()] == [parked.id]  # cto itself closes what it waits for


async def test_the_clock_does_not_run_while_the_debtor_works_on_it_or_waits_for_others(hub: Hub, clock: Clock) -> None:
    asked = await expect(hub, "cto", within_s=60)
    registry, duty = Registry(hub.bus), reminders(hub, clock)
    clock.go(61)
    await registry.put("cto", beat("cto", asked.id), every_s=60)
    await duty.look()
    clock.go(5000)
    await duty.look()
    own = Coordination(
        hub.bus, hub.organization, "cto", ledger=Ledger(hub.bus), events=Events(hub.bus, "cto"), clock=clock
    )
    parked = await own.ask([Request("qa", "x", "x", Priority.LOW)], about=asked.task, key="k", within_s=9000)
    await registry.put("cto", beat("cto"), every_s=60)
    clock.go(599)
    await duty.look()
    assert await hub.waiting("cto", sender=subjects.LEADER) == []
    assert await events(hub, "overdue", "cto") == []
    await own.close(parked)
    await duty.look()
    await until(lambda: events(hub, "overdue", "cto"))
    clock.go(29)
    await duty.look()
    assert await inbox(hub, "cto", "reminder") == []
    clock.go(1)
    await duty.look()
    assert len(await inbox(hub, "cto", "reminder")) == 1


async def test_a_ping_to_a_busy_role_wakes_no_model_and_is_forgotten_once_the_answer_is_given(
    hub: Hub, clock: Clock
) -> None:
    release = asyncio.Event()

    async def slowly(prompt: Prompt) -> TurnResult | str:
        if prompt.task.payload.message == "slow":
            await release.wait()
        return "done"

    session = ScriptedSession(slowly)
    async with hub.role("backend", session):
        await hub.send("backend", "slow", priority="high")
        await until(lambda: session.prompts)
        asked = await expect(hub, "backend", within_s=1)
        duty = reminders(hub, clock)
        clock.go(60)
        await duty.look()
        (ping,) = await inbox(hub, "backend", "reminder")
        release.set()
        assert (await hub.completion("backend", ping.id)).outcome is Outcome.NOTED
        await hub.completion("backend", asked.id)
    assert [prompt.task.id for prompt in session.prompts][1:] == [asked.id]
    assert unread_notes(hub, "backend") == []


def unread_notes(hub: Hub, role: str) -> list[str]:
    """What the role will show to its model with the next turn."""
    with contextlib.closing(RolePlace(hub.settings, hub.organization, role).journal()) as journal:
        return [text for _, text in journal.unread_notes()]


async def test_a_ping_about_what_is_not_answered_yet_is_shown_with_the_next_turn(hub: Hub, clock: Clock) -> None:
    session = says("done")
    await expect(hub, "qa", within_s=1)
    clock.go(60)
    await reminders(hub, clock).look()
    (ping,) = await inbox(hub, "qa", "reminder")
    await hub.put("backend", ping.model_copy(update={"causation_id": "unanswered"}).encode())
    async with hub.role("backend", session):
        assert (await hub.completion("backend", ping.id)).outcome is Outcome.NOTED
    assert session.prompts == []
    (note,) = unread_notes(hub, "backend")
    assert "- reminder from leader: Reminder: Which port? The operator still waits for your answer" in note


async def test_an_escalation_is_work_for_the_manager_also_if_it_is_the_one_that_waits(hub: Hub, clock: Clock) -> None:
    own = Coordination(
        hub.bus, hub.organization, "cto", ledger=Ledger(hub.bus), events=Events(hub.bus, "cto"), clock=clock
    )
    await own.ask([Request("qa", "test", "test", Priority.LOW)], about=message("t", "ceo"), key="k", within_s=9000)
    duty = reminders(hub, clock)
    clock.go(700)
    for seconds in (0, 60, 120, 240, 480):
        clock.go(seconds)
        await duty.look()
    (escalation,) = await inbox(hub, "cto", "escalation")
    assert "qa owes you an answer" in escalation.payload.message
    session = says("I do it myself")
    async with hub.role("cto", session):
        assert (await hub.completion("cto", escalation.id)).text == "I do it myself"
    assert [prompt.task.id for prompt in session.prompts] == [escalation.id]


async def test_what_went_to_the_fallback_is_owed_by_that_one(hub: Hub, clock: Clock) -> None:
    asked = await expect(hub, "qa", within_s=60)
    own = Coordination(
        hub.bus, hub.organization, "cto", ledger=Ledger(hub.bus), events=Events(hub.bus, "cto"), clock=clock
    )
    await own.ask([Request("qa", "x", "x", Priority.LOW)], about=message("t"), key="k", within_s=9000)
    client = Client(hub.bus, hub.organization)
    for debt in await Replies(client).pending():
        moved = Completion(
            message_id=debt.message_id, role="qa", outcome=Outcome.REASSIGNED, started_at=now(), ended_at=now(),
            reassigned_to="backend", reassigned_id=f"{debt.message_id}2",
        )  # fmt: skip
        await hub.bus.publish(subjects.done("qa", debt.message_id), moved.encode())
    owed = await Replies(client).pending()
    assert [(debt.debtor, debt.part.role, debt.creditor) for debt in owed] == [
        ("backend", "qa", "you"), ("backend", "qa", "cto")
    ]  # fmt: skip
    clock.go(700)
    await reminders(hub, clock).look()
    pinged = {message.causation_id for message in await inbox(hub, "backend", "reminder")}
    assert pinged == {debt.message_id for debt in owed}
    assert await inbox(hub, "qa", "reminder") == []
    end = Completion(
        message_id=f"{asked.id}2", role="backend", outcome=Outcome.DONE, text="8080", started_at=now(), ended_at=now()
    )
    await hub.bus.publish(subjects.done("backend", end.message_id), end.encode())
    assert (await Replies(client).answer_to(asked, timeout_s=20)).text == "8080"
    assert [debt.creditor for debt in await Replies(client).pending()] == ["cto"]


async def test_a_full_inbox_does_not_keep_the_others_from_being_reminded(hub: Hub, clock: Clock) -> None:
    await expect(hub, "qa", within_s=1)
    entry = ask("you", "gone", ("nobody", "m"), within_s=1, outside=True)
    await Ledger(hub.bus).open(entry)
    clock.go(60)
    await reminders(hub, clock).look()
    assert len(await inbox(hub, "qa", "reminder")) == 1


# ── people and programs ────────────────────────────────────────────────────────────────────────────
async def test_an_expectation_may_be_dropped_but_not_what_a_role_waits_for(hub: Hub, clock: Clock) -> None:
    replies = Replies(Client(hub.bus, hub.organization))
    asked = await expect(hub, "qa", sender="ci")
    assert [(debt.creditor, debt.debtor, debt.state) for debt in await replies.pending()] == [("ci", "qa", "down")]
    assert await replies.pending(role="backend") == []
    own = Coordination(
        hub.bus, hub.organization, "cto", ledger=Ledger(hub.bus), events=Events(hub.bus, "cto"), clock=now
    )
    parked = await own.ask([Request("qa", "x", "x", Priority.LOW)], about=message("t"), key="k", within_s=1800)
    with pytest.raises(RefusedError, match="`cto` itself waits"):
        await replies.drop(parked.id)
    with pytest.raises(NotFoundError, match="no pending answer"):
        await replies.drop("nothing")
    await replies.drop(asked.id[:8])
    assert [debt.creditor for debt in await replies.pending()] == ["cto"]


async def test_a_role_cannot_be_made_to_wait_from_outside(hub: Hub) -> None:
    with pytest.raises(RefusedError, match="`cto` is a role"):
        await expect(hub, "qa", sender="cto")
    with pytest.raises(RefusedError, match="is a person"):
        await expect(hub, "you")
    assert await Ledger(hub.bus).all() == []


async def test_the_answer_closes_the_entry_and_the_broker_forgets_it_after_a_while(hub: Hub) -> None:
    replies = Replies(Client(hub.bus, hub.organization))
    asked = await replies.expect(Question("backend", "Which port?"), kind="question")
    async with hub.role("backend", says(TurnResult(TurnEnd.FINISHED, Outcome.FAILED, "I do not know"))):
        done = await replies.answer_to(asked, timeout_s=20)
    assert (done.outcome, done.text) == (Outcome.FAILED, "I do not know")
    assert await replies.pending() == []
    assert await Ledger(hub.bus).find(asked.role, asked.id) is None
