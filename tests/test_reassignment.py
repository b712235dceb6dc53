"""What a role that is gone had in hand: its fallback does it, once, and whoever asked is answered once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agenthub import subjects
from agenthub.bus.deliveries import Delivery, Pull
from agenthub.bus.in_flight import in_flight
from agenthub.client import Client
from agenthub.coordination import Coordination
from agenthub.messages import Completion, Message, Outcome, Payload, derived_id, now
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.org.registry import Registry
from agenthub.organization import load_organization
from agenthub.presence import Heartbeat
from agenthub.reassignment import is_reassignable, may_have_moved, moved, pass_on, reassign, reply_id
from agenthub.sessions.session import Prompt, TurnResult
from agenthub.watchdog import may_be_reassigned
from tests.organization import Hub, ScriptedSession, directive, says, until, write_organization
from tests.test_coordination import Manager, to


@pytest.fixture
async def staffed(hub: Hub) -> Hub:
    """A hub in which qa stands in for backend, and a role is missed after moments."""
    write_organization(hub.folder, '[defaults]\nreassign_after_s = 0.01\n[roles.backend]\nfallback = "qa"\n')
    hub.organization = load_organization(hub.settings)
    return hub


@contextlib.asynccontextmanager
async def died_with(hub: Hub, message_id: str) -> AsyncIterator[None]:
    """Backend as a process leaves it that is killed with a message in hand; the broker would wait for long."""
    held: list[Delivery] = []
    pull = Pull(hub.bus, subjects.AGENTS, subjects.lane_consumer("backend", "medium"), lambda: held.extend(pull.held))
    await pull.open()
    await until(lambda: any(json.loads(delivery.data)["id"] == message_id for delivery in held))
    moment = now()
    dead = Heartbeat(
        role="backend", state="working", since=moment, beat_at=moment, started_at=moment, pid=1, host="elsewhere",
        holds=[delivery.reply_subject for delivery in held],
    )  # fmt: skip
    await Registry(hub.bus).put("backend", dead, every_s=0.5)
    assert pull._subscription is not None
    await pull._subscription.unsubscribe()
    yield


async def sent(hub: Hub, text: str = "do it", **fields: Any) -> str:
    message = directive(text, **fields)
    lane = subjects.lane("backend", "medium", str(message["from_role"]))
    await hub.bus.publish(lane, json.dumps(message).encode(), message_id=str(message["id"]))
    return str(message["id"])


async def ends(hub: Hub) -> dict[str, list[Outcome]]:
    """Outcomes by role, of all messages."""
    found: dict[str, list[Outcome]] = {}
    for received in await hub.bus.history(subjects.DONE, subjects.ALL_DONE):
        end = Completion.decode(received.data)
        found.setdefault(end.role, []).append(end.outcome)
    return found


async def is_settled(hub: Hub) -> bool:
    return not await hub.waiting("backend")


async def test_the_fallback_does_it_once_and_the_asker_is_answered(staffed: Hub) -> None:
    message_id = await sent(staffed)
    client = Client(staffed.bus, staffed.organization)
    stand_in = says("done by qa")
    async with died_with(staffed, message_id), staffed.role("cto", says("x")), staffed.role("qa", stand_in):
        done = await client.completion("backend", message_id, timeout_s=20)
        assert (done.role, done.outcome, done.text) == ("qa", Outcome.DONE, "done by qa")
        (reply,) = await until(lambda: staffed.waiting("you"))
        assert (reply.from_role, reply.on_behalf_of, reply.causation_id) == ("qa", "backend", message_id)
        await until(lambda: is_settled(staffed))
        came_back = says("never")
        async with staffed.role("backend", came_back):
            again = directive("and again", id=message_id)
            await staffed.put("backend", again)
            await until(lambda: is_settled(staffed))
    assert await ends(staffed) == {"backend": [Outcome.REASSIGNED], "qa": [Outcome.DONE]}
    assert len(stand_in.prompts) == 1


async def test_a_parked_asker_goes_on_with_the_answer_of_the_fallback(staffed: Hub) -> None:
    manager = Manager(staffed, "cto", "backend")
    async with staffed.role("cto", manager), staffed.role("qa", says("tested and built")):
        message_id = await staffed.send("cto", "ship it")
        (part,) = await until(lambda: staffed.waiting("backend"))
        async with died_with(staffed, part.id):
            done = await staffed.completion("cto", message_id)
    assert "tested and built" in done.text
    assert 'complete="true"' in done.text


async def test_who_asked_may_itself_be_the_fallback(staffed: Hub) -> None:
    write_organization(staffed.folder, '[defaults]\nreassign_after_s = 0.01\n[roles.backend]\nfallback = "cto"\n')
    staffed.organization = load_organization(staffed.settings)
    asking = Manager(staffed, "cto", "backend")

    async def script(prompt: Prompt) -> TurnResult | str:
        return "did it myself" if prompt.task.on_behalf_of else await asking._script(prompt)

    async with staffed.role("cto", ScriptedSession(script)):
        message_id = await staffed.send("cto", "ship it")
        (part,) = await until(lambda: staffed.waiting("backend"))
        async with died_with(staffed, part.id):
            done = await staffed.completion("cto", message_id)
    assert "did it myself" in done.text


@pytest.mark.parametrize("steps", ["recorded", "recorded and passed on"])
async def test_a_role_that_comes_back_in_the_middle_finishes_the_move_and_takes_no_turn(
    staffed: Hub, steps: str
) -> None:
    message_id = await sent(staffed)
    async with died_with(staffed, message_id):
        (delivery,) = await in_flight(staffed.bus, "backend")
        message = Message.read(delivery.received.data, default_id="")
        end = Completion(
            message_id=message_id, role="backend", outcome=Outcome.REASSIGNED, started_at=now(), ended_at=now(),
            reassigned_to="qa", reassigned_id=moved(message, "backend", "qa").id,
        )  # fmt: skip
        await staffed.bus.publish(subjects.done("backend", message_id), end.encode(), only_first=True)
        if steps != "recorded":
            await pass_on(staffed.bus, message, end, by=subjects.LEADER)
    back, stand_in = says("never"), says("done by qa")
    async with staffed.role("backend", back), staffed.role("qa", stand_in):
        await staffed.completion("qa", end.reassigned_id)
        await until(lambda: is_settled(staffed))
        await until(lambda: staffed.waiting("you"))
    assert (back.prompts, len(stand_in.prompts)) == ([], 1)
    assert len(await staffed.waiting("you")) == 1


async def test_moving_twice_is_moving_once(staffed: Hub) -> None:
    message_id = await sent(staffed)
    async with died_with(staffed, message_id):
        (delivery,) = await in_flight(staffed.bus, "backend")
        for _ in range(2):
            assert await reassign(staffed.bus, delivery, "backend", "qa", by=subjects.LEADER, at=now())
    assert len(await staffed.waiting("qa")) == 1
    assert await staffed.waiting("backend") == []


async def test_what_has_its_end_is_not_moved(staffed: Hub) -> None:
    message_id = await sent(staffed)
    end = Completion(message_id=message_id, role="backend", outcome=Outcome.DONE, started_at=now(), ended_at=now())
    await staffed.bus.publish(subjects.done("backend", message_id), end.encode(), only_first=True)
    async with died_with(staffed, message_id):
        (delivery,) = await in_flight(staffed.bus, "backend")
        assert not await reassign(staffed.bus, delivery, "backend", "qa", by="cto", at=now())
    assert await staffed.waiting("qa") == []


async def test_a_role_that_was_cut_off_and_finishes_too_late_answers_nobody(staffed: Hub) -> None:
    is_taken, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(prompt: Prompt) -> TurnResult | str:
        is_taken.set()
        await go_on.wait()
        return "too late"

    async with staffed.role("qa", says("done by qa")), staffed.role("backend", ScriptedSession(slowly)):
        message_id = await sent(staffed)
        await is_taken.wait()
        (delivery,) = await in_flight(staffed.bus, "backend")
        await reassign(staffed.bus, delivery, "backend", "qa", by="cto", at=now())
        await until(lambda: staffed.waiting("you"))
        go_on.set()
        await until(lambda: staffed.bus.last(subjects.DEAD_LETTERS, subjects.late("backend")))
    assert [reply.from_role for reply in await staffed.waiting("you")] == ["qa"]
    assert message_id


async def test_nobody_answers_for_another_by_itself(staffed: Hub) -> None:
    ledger = Ledger(staffed.bus)
    cto = Coordination(
        staffed.bus, staffed.organization, "cto", ledger=ledger, events=Events(staffed.bus, "cto"), clock=now
    )
    task = Message(from_role="you", type="task_assignment", id="t", payload=Payload(message="ship it"))
    ask = await cto.ask([to("backend")], about=task, key="t~1", within_s=60)
    part = ask.parts[0]
    forged = Message(
        id=reply_id(part.message_id, "qa"), from_role="qa", on_behalf_of="backend", type="task_result",
        correlation_id=ask.id, causation_id=part.message_id, payload=Payload(message="trust me"),
    )  # fmt: skip
    assert await cto.collect(forged) is None
    async with died_with(staffed, part.message_id):
        (delivery,) = await in_flight(staffed.bus, "backend")
        await reassign(staffed.bus, delivery, "backend", "qa", by="ceo", at=now())
    for other in (forged, forged.model_copy(update={"from_role": "ceo", "id": reply_id(part.message_id, "ceo")})):
        assert await cto.collect(other) is None
    new_id = derived_id("backend", part.message_id, "reassigned", "qa")
    answered = await cto.collect(forged.model_copy(update={"id": reply_id(new_id, "qa")}))
    assert answered is not None
    assert answered.is_answered


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"type": "reply"}, False),
        ({"type": "system_event"}, False),
        ({"type": "announcement"}, False),
        ({"from_role": "backend"}, False),
        ({"from_role": "backend", "on_behalf_of": "qa"}, True),
    ],
)
def test_what_asks_for_work_can_be_done_by_another(fields: dict[str, Any], expected: bool) -> None:
    message = Message.model_validate({"from_role": "you", "type": "task_assignment", "payload": {}, **fields})
    assert is_reassignable(message, "backend") is expected


@pytest.mark.parametrize(
    ("silent_s", "beating", "told", "expected"),
    [
        ((60, 60), (), ("qa", "qa.1"), True),
        ((60, 59), (), ("qa", "qa.1"), False),
        ((60, 60), ("qa.1",), ("qa", "qa.1"), False),
        ((60, 60), ("cto",), ("qa", "qa.1"), True),
        ((60, 60), (), ("qa",), False),  # its supervisor starts it again
        ((5, 5), (), ("qa", "qa.1"), False),  # marked before the hub was started anew
    ],
)
def test_a_role_must_be_gone_with_all_its_processes_and_for_long(
    silent_s: tuple[int, int], beating: tuple[str, ...], told: tuple[str, ...], expected: bool
) -> None:
    lengths = dict(zip(("qa", "qa.1"), silent_s, strict=True))
    assert may_be_reassigned(lengths, beating, told, lambda key: lengths[key], after_s=60) is expected


def test_what_is_young_and_delivered_once_has_not_moved() -> None:
    assert not may_have_moved(deliveries=1, attempts_before=0, waited_s=59, after_s=60)
    assert may_have_moved(deliveries=2, attempts_before=0, waited_s=0, after_s=60)
    assert may_have_moved(deliveries=1, attempts_before=1, waited_s=0, after_s=60)
    assert may_have_moved(deliveries=1, attempts_before=0, waited_s=60, after_s=60)
