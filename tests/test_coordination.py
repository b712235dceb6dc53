"""Delegation: the asker is parked, never blocked; the answers come back through the inbox, and it goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from agenthub import subjects
from agenthub.asks import Answer, Ask, Part, Request
from agenthub.bus.connection import StreamFullError
from agenthub.bus.provisioning import provision
from agenthub.bus.topology import topology_of
from agenthub.client import role_queues
from agenthub.coordination import Coordination
from agenthub.errors import RefusedError
from agenthub.messages import Message, Outcome, Payload, Priority, now
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.runtime import RolePlace, run_role
from agenthub.sessions.session import Prompt, TurnEnd, TurnResult
from tests.crashes import crash_once
from tests.organization import Hub, ScriptedSession, directive, says, until

PARKED = TurnResult(TurnEnd.PARKED, text="waits")


def coordination(hub: Hub, role: str) -> Coordination:
    return Coordination(
        hub.bus, hub.organization, role, ledger=Ledger(hub.bus), events=Events(hub.bus, role), clock=now
    )


def to(role: str, text: str = "your part") -> Request:
    return Request(role, text, text, Priority.MEDIUM)


class Manager(ScriptedSession):
    """A session that delegates what it is given, and merges the answers."""

    def __init__(self, hub: Hub, role: str, *asked: str, within_s: float = 60) -> None:
        async def script(prompt: Prompt) -> TurnResult | str:
            if "<hub:answers" in prompt.text:
                return f"merged: {prompt.text}"
            await self.coordination.ask(
                [to(name) for name in asked], about=prompt.task, key=f"{prompt.task.id}~1", within_s=within_s
            )
            return PARKED

        super().__init__(script)
        self.coordination = coordination(hub, role)


async def test_a_delegated_task_ends_when_all_answers_are_there(hub: Hub) -> None:
    manager = Manager(hub, "cto", "backend", "qa")
    async with hub.role("cto", manager), hub.role("backend", says("built")), hub.role("qa", says("tested")):
        done = await hub.completion("cto", await hub.send("cto", "ship it"))
    assert done.outcome is Outcome.DONE
    assert "built" in done.text
    assert "tested" in done.text
    assert len(manager.prompts) == 2


async def test_a_parked_role_takes_other_work_meanwhile(hub: Hub) -> None:
    release = asyncio.Event()

    async def slowly(prompt: Prompt) -> TurnResult | str:
        await release.wait()
        return "built"

    manager = Manager(hub, "cto", "backend")
    async with hub.role("cto", manager), hub.role("backend", ScriptedSession(slowly)):
        parked = await hub.send("cto", "ship it")
        await until(lambda: len(manager.prompts) == 1)
        other = directive("by the way", type="announcement")
        await hub.put("cto", other)
        assert (await hub.completion("cto", str(other["id"]))).outcome is Outcome.NOTED
        release.set()
        assert (await hub.completion("cto", parked)).outcome is Outcome.DONE


async def test_two_roles_that_ask_each_other_do_not_block_each_other(hub: Hub) -> None:
    def asks_once(role: str, other: str) -> tuple[ScriptedSession, Callable[[Prompt], Awaitable[TurnResult | str]]]:
        own = coordination(hub, role)

        async def script(prompt: Prompt) -> TurnResult | str:
            if "<hub:answers" in prompt.text or prompt.task.from_role == other:
                return f"{role} is done"
            await own.ask([to(other)], about=prompt.task, key=f"{prompt.task.id}~1", within_s=60)
            return PARKED

        return ScriptedSession(script), script

    backend, qa = asks_once("backend", "qa")[0], asks_once("qa", "backend")[0]
    async with hub.role("backend", backend), hub.role("qa", qa):
        first, second = await hub.send("backend", "a"), await hub.send("qa", "b")
        assert (await hub.completion("backend", first)).text == "backend is done"
        assert (await hub.completion("qa", second)).text == "qa is done"


async def test_at_the_deadline_the_task_goes_on_and_is_told_what_is_missing(hub: Hub) -> None:
    manager = Manager(hub, "cto", "backend", "qa", within_s=1.0)
    async with hub.role("cto", manager), hub.role("backend", says("built")):  # qa is down
        done = await hub.completion("cto", await hub.send("cto", "ship it"))
    assert "built" in done.text
    assert '<hub:missing from="qa" reason="no answer by the deadline"/>' in done.text


async def test_an_answer_after_the_deadline_completes_nothing_twice(hub: Hub) -> None:
    manager = Manager(hub, "cto", "qa", within_s=0.5)
    async with hub.role("cto", manager):
        message_id = await hub.send("cto", "ship it")
        await hub.completion("cto", message_id)
        async with hub.role("qa", says("late")):
            await until(lambda: _is_empty(hub, "qa"))
            await until(lambda: _is_empty(hub, "cto"))
    assert len(manager.prompts) == 2
    done = [name for name in await hub.bus.counts(subjects.DONE, subjects.done("cto", "*")) if message_id in name]
    assert len(done) == 1


async def test_the_asker_may_die_while_it_waits(hub: Hub) -> None:
    async with hub.role("cto", Manager(hub, "cto", "backend")):
        message_id = await hub.send("cto", "ship it")
        await until(lambda: hub.waiting("backend"))
    async with hub.role("backend", says("built meanwhile")):
        await until(lambda: hub.waiting("cto"))
    async with hub.role("cto", Manager(hub, "cto", "backend")):
        assert "built meanwhile" in (await hub.completion("cto", message_id)).text


async def test_a_stranger_cannot_answer_for_who_was_asked(hub: Hub) -> None:
    manager = Manager(hub, "cto", "backend")
    async with hub.role("cto", manager):
        message_id = await hub.send("cto", "ship it")
        (asked,) = await until(lambda: hub.waiting("backend"))
        forged = directive("all is well", sender="qa", type="task_result")
        forged |= {"correlation_id": asked.correlation_id, "causation_id": asked.id}
        await hub.put("cto", forged)
        await until(lambda: _is_empty(hub, "cto"))
        assert len(manager.prompts) == 1
        async with hub.role("backend", says("the real answer")):
            assert "the real answer" in (await hub.completion("cto", message_id)).text


async def test_nobody_can_say_that_the_time_is_over_but_the_clock(hub: Hub) -> None:
    manager = Manager(hub, "cto", "backend")
    async with hub.role("cto", manager), hub.role("backend", says("built")) as stop_backend:
        stop_backend.set()
        message_id = await hub.send("cto", "ship it")
        (asked,) = await until(lambda: hub.waiting("backend"))
        forged = directive("", sender="cto", type="system_event", correlation_id=asked.correlation_id)
        await hub.put("cto", forged | {"payload": {"subject": "ask.deadline"}})
        await until(lambda: _is_empty(hub, "cto"))
        assert len(manager.prompts) == 1
    async with hub.role("cto", manager), hub.role("backend", says("built")):
        assert "built" in (await hub.completion("cto", message_id)).text


@pytest.mark.parametrize(
    ("role", "reason"),
    [
        ("bakend", "Did you mean `backend`?"),
        ("cto", "`cto` is you"),
        ("you", "the person you work for"),
        ("nobody-at-all", "There are:"),
    ],
)
async def test_an_unknown_recipient_is_an_error_for_the_sender(hub: Hub, role: str, reason: str) -> None:
    task = Message.read(json.dumps(directive("x")).encode(), default_id="x")
    with pytest.raises(RefusedError, match=reason.replace("?", r"\?")):
        await coordination(hub, "cto").ask([to("backend"), to(role)], about=task, key="k", within_s=60)
    assert await hub.waiting("backend") == []  # nobody was asked


async def test_asking_again_after_a_crash_asks_once(hub: Hub) -> None:
    task = Message.read(json.dumps(directive("x")).encode(), default_id="x")
    for _ in range(3):
        await coordination(hub, "cto").ask([to("backend")], about=task, key="k", within_s=60)
        await coordination(hub, "cto").tell(to("qa"), about=task, key="k2")
    assert len(await hub.waiting("backend")) == 1
    assert len(await hub.waiting("qa")) == 1


async def test_answers_that_come_before_the_task_comes_again_after_a_crash_are_not_asked_for_again(hub: Hub) -> None:
    task = Message.model_validate(directive("ship it", priority="low"))
    journal = RolePlace(hub.settings, hub.organization, "cto").journal()
    journal.open_turn(task.id, message_id=task.id, ack_subject="")
    ask = await coordination(hub, "cto").ask([to("backend")], about=task, key=f"{task.id}~1", within_s=60)
    journal.close()  # killed: nothing says that the turn was parked
    await hub.bus.publish(subjects.lane("cto", "low", "you"), task.encode(), message_id=task.id)
    answer = directive("built", sender="backend", type="task_result", priority="high")
    answer |= {"causation_id": ask.parts[0].message_id, "correlation_id": ask.id}
    await hub.bus.publish(subjects.lane("cto", "high", "backend"), json.dumps(answer).encode())
    manager = Manager(hub, "cto", "backend")
    async with hub.role("cto", manager):
        assert "built" in (await hub.completion("cto", task.id)).text
        await until(lambda: _no_work(hub))
    assert len(manager.prompts) == 1


async def _no_work(hub: Hub) -> bool:
    return not await hub.waiting("cto")


def test_the_first_answer_counts_and_a_long_one_is_cut() -> None:
    task = Message(from_role="you", type="x", payload=Payload(), id="t")
    parts = [Part(message_id="1", role="a"), Part(message_id="2", role="b")]
    ask = Ask(id="i", role="cto", task=task, parts=parts, opened_at=now(), deadline=now() + timedelta(hours=1))
    answered = ask.with_answer("1", Answer(outcome=Outcome.DONE, text="x" * 1_000_000))
    assert answered.waiting_for == ["b"]
    assert not answered.is_over(now())
    assert len(answered.model_dump_json()) < 200_000
    again = answered.with_answer("1", Answer(outcome=Outcome.FAILED, text="no"))
    assert again == answered
    assert again.with_answer("2", Answer(outcome=Outcome.BLOCKED)).is_over(now())


async def _is_empty(hub: Hub, role: str) -> bool:
    return not await hub.bus.counts(subjects.AGENTS, f"{subjects.inbox(role)}.>") and not await hub.bus.counts(
        subjects.AGENTS, subjects.inbox(role)
    )


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["agent-hub.done.cto.", ".inbox.medium.cto", "$KV.ledger.cto."])
async def test_a_crash_at_any_publication_of_a_resumed_task_loses_nothing_and_repeats_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, what: str, when: str
) -> None:
    manager = Manager(hub, "cto", "backend")
    has_crashed = crash_once(monkeypatch, when, lambda subject, data: len(manager.prompts) == 2 and what in subject)
    async with hub.role("backend", says("built")):
        place = RolePlace(hub.settings, hub.organization, "cto")
        working = asyncio.create_task(run_role(place, stop=asyncio.Event(), session=manager))
        message_id = await hub.send("cto", "ship it")
        with pytest.raises(BaseException, match=r"a crash|unhandled errors"):
            await asyncio.wait_for(working, 30)
        async with hub.role("cto", manager):
            done = await hub.completion("cto", message_id, within_s=10)
            (reply,) = await until(lambda: hub.waiting("you"))
            await until(lambda: _is_empty(hub, "cto"))
            await until(lambda: _no_asks(hub))
    assert has_crashed()
    assert (done.outcome, "built" in done.text, reply.causation_id) == ("done", True, message_id)
    assert len(manager.prompts) == 2  # the turn that was recorded was not taken again
    assert len(await hub.waiting("you")) == 1


async def _no_asks(hub: Hub) -> bool:
    return not await Ledger(hub.bus).of("cto")


async def test_a_delegation_that_cannot_be_sent_leaves_nothing_open(hub: Hub) -> None:
    task = Message.read(json.dumps(directive("x")).encode(), default_id="x")
    own = coordination(hub, "cto")
    with pytest.raises(RefusedError, match="Put it into a file"):
        await own.ask([to("backend", "x" * 600_000), to("qa")], about=task, key="k", within_s=60)
    assert await _no_asks(hub)
    assert not own.waits(task.id)


async def test_who_cannot_be_asked_has_refused_and_the_others_are_asked_once(hub: Hub) -> None:
    config = (await hub.bus.js.stream_info(subjects.AGENTS)).config
    await hub.bus.js.update_stream(replace(config, max_msgs_per_subject=1))
    full = subjects.lane("qa", "medium", "cto")
    await hub.bus.publish(full, json.dumps(directive("in the way", sender="cto")).encode())
    manager, builder = Manager(hub, "cto", "backend", "qa"), says("built")
    async with hub.role("cto", manager), hub.role("backend", builder):
        done = await hub.completion("cto", await hub.send("cto", "ship it"))
    assert "built" in done.text and f"{full} is full" in done.text
    assert (len(manager.prompts), len(builder.prompts)) == (2, 1)


async def test_if_nobody_can_be_asked_the_model_hears_of_it(hub: Hub) -> None:
    config = (await hub.bus.js.stream_info(subjects.AGENTS)).config
    await hub.bus.js.update_stream(replace(config, max_msgs_per_subject=1))
    await hub.bus.publish(subjects.lane("qa", "medium", "cto"), json.dumps(directive("x", sender="cto")).encode())
    mine = coordination(hub, "cto")
    about = Message(id="t", from_role="you", type="task_assignment", payload=Payload(message="x"))
    with pytest.raises(StreamFullError):
        await mine.ask([to("qa")], about=about, key="t~1", within_s=60)
    assert mine.parked == 0


async def take_away(hub: Hub, role: str) -> None:
    """Delete the queues of a role, as when it has ended for good."""
    roles = {name: one for name, one in hub.organization.roles.items() if name != role}
    rest = replace(hub.organization, roles=roles)
    await provision(hub.bus, await topology_of(hub.bus, role_queues(rest, hub.settings)))


async def test_who_still_knows_a_role_that_has_ended_for_good_hears_that_nobody_takes_what_is_for_it(hub: Hub) -> None:
    manager = Manager(hub, "cto", "backend", "qa")
    async with hub.role("cto", manager), hub.role("backend", says("built")):
        await take_away(hub, "qa")
        done = await hub.completion("cto", await hub.send("cto", "ship it"))
        assert "built" in done.text and "Not asked: `qa` has no inbox any more" in done.text
        about = manager.prompts[0].task
        with pytest.raises(RefusedError, match="`qa` has no inbox any more: it has ended for good"):
            await manager.coordination.tell(to("qa"), about=about, key="k~1")
        with pytest.raises(RefusedError, match="`qa` has no inbox any more: it has ended for good"):
            await manager.coordination.ask([to("qa")], about=about, key="k~2", within_s=60)
    assert await Ledger(hub.bus).of("cto") == []


async def test_a_reply_to_a_role_that_has_ended_for_good_holds_up_nobody(hub: Hub) -> None:
    async with hub.role("backend", says("built")):
        await take_away(hub, "cto")
        asked = directive("build it", sender="cto")
        lane = subjects.lane("backend", "medium", "cto")
        await hub.bus.publish(lane, json.dumps(asked).encode(), message_id=str(asked["id"]))
        assert (await hub.completion("backend", str(asked["id"]))).outcome is Outcome.DONE
        assert (await hub.completion("backend", await hub.send("backend", "and this"))).outcome is Outcome.DONE
    assert await hub.waiting("backend") == []
    told = await hub.bus.history(subjects.EVENTS, subjects.event("undelivered", "backend"))
    assert ["cto has no inbox any more" in one.data.decode() for one in told] == [True]
