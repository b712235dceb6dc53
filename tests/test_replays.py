"""What was signed once and is sent again: refused, buried, or without effect, whoever sends it and by whatever way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from agenthub import subjects
from agenthub.bus.connecting import connect
from agenthub.bus.identity import OPERATOR
from agenthub.bus.received import Received
from agenthub.control import new_control
from agenthub.messages import Outcome, new_id
from agenthub.org.steering import KEPT
from tests.organization import Hub, directive, says, until
from tests.test_identity import Intruder, intruding, key_of
from tests.test_signatures import letters
from tests.test_steering import are_up

LANE = subjects.lane("backend", "high", "cto")


async def captured(hub: Hub) -> Received:
    """A task of the cto's to backend, as it lies in the broker when it is done: body, headers, signature."""
    async with connect(hub.server.url, name="cto", identity=key_of(hub, "cto"), patience_s=5) as bus:
        message = directive("pay the bill", sender="cto")
        await bus.publish(LANE, json.dumps(message).encode(), message_id=str(message["id"]))
    await hub.completion("backend", str(message["id"]))
    (copy,) = await hub.bus.history(subjects.AUDIT, f"agent-hub.audit.{LANE}")
    return copy


def as_signed(copy: Received, **more: str) -> dict[str, str]:
    return {subjects.SIGNATURE: copy.headers[subjects.SIGNATURE], **more}


async def have_it_said(intruder: Intruder, data: bytes, headers: Mapping[str, str], subject: str) -> None:
    """Have the broker say what was captured, with its headers, on any subject: as an answer about one's own key."""
    key = subjects.key_value(subjects.LEDGER, "qa.words")
    await intruder.nc.request(key, data, timeout=5, headers=dict(headers))
    assert await intruder.publish(f"$JS.API.DIRECT.GET.KV_{subjects.LEDGER}.{key}", b"", reply=subject)


async def test_a_task_that_was_done_is_not_done_again_by_whomever_and_however_it_is_sent(hub: Hub) -> None:
    session = says("done")
    async with hub.role("backend", session), hub.role("qa", other := says("done")):
        copy = await captured(hub)
        before = await hub.bus.newest(subjects.AGENTS)
        async with intruding(hub, key_of(hub, "qa")) as qa:
            assert not await qa.publish(LANE, copy.data)
            assert qa.refusals[-1].endswith(f'publish to "{LANE.lower()}"')
        async with intruding(hub, key_of(hub, "cto")) as cto:
            same = as_signed(copy, **{subjects.MESSAGE_ID: json.loads(copy.data)["id"]})
            answer = await cto.nc.request(LANE, copy.data, headers=same, timeout=5)
            assert json.loads(answer.data)["duplicate"] is True
            assert await hub.bus.newest(subjects.AGENTS) == before, "neither is stored"
            # Nobody but the cto can have these stored, and none of them is what was signed.
            await cto.nc.publish(LANE, copy.data, headers=as_signed(copy, **{subjects.ATTEMPTS: "0"}))
            await cto.nc.publish(LANE, copy.data.replace(b"pay the", b"get the"), headers=as_signed(copy))
            await cto.nc.publish(subjects.lane("backend", "critical", "cto"), copy.data, headers=as_signed(copy))
            await cto.nc.publish(subjects.lane("qa", "high", "cto"), copy.data, headers=as_signed(copy))
            # These are, and their one end is there already.
            await cto.nc.publish(LANE, copy.data, headers=as_signed(copy))
            await cto.nc.publish(LANE, copy.data, headers=as_signed(copy, traceparent="00-1-1-01"))
            await cto.nc.flush()
        async with intruding(hub, key_of(hub, "qa")) as qa:
            await have_it_said(qa, copy.data, as_signed(copy), LANE)
        async with intruding(hub, None) as stranger:
            await stranger.nc.publish(subjects.inbox("backend"), copy.data, headers=as_signed(copy))
            await stranger.nc.flush()
        reasons = await until(lambda: _so_many(hub, 4))
        (elsewhere,) = await until(lambda: letters(hub, "qa"))
        await until(lambda: _is_empty(hub))
    assert sum("whom its subject names, did not publish it" in one for one in [*reasons, elsewhere]) == 4
    assert sum("an answer of the broker" in one for one in reasons) == 1
    assert ([prompt.task.payload.message for prompt in session.prompts], other.prompts) == (["pay the bill"], [])


async def test_what_was_let_go_once_is_not_let_go_again_by_who_repeats_it(hub: Hub) -> None:
    """All roles can read what people decided, signatures included, and so have the broker store it again."""
    session, waiting = says("done"), directive("work")
    async with hub.role("backend", session):
        await are_up(hub, "backend")
        (thaw,) = [await decide(hub, verb) for verb in ("estop", "thaw", "estop")][1:2]
        async with intruding(hub, key_of(hub, "qa")) as qa:
            await have_it_said(qa, thaw.data, as_signed(thaw), thaw.subject)
            told = f"agent-hub.states.{thaw.subject.removeprefix('agent-hub.')}"
            await have_it_said(qa, thaw.data, as_signed(thaw), told)  # to who listens, without having it stored
        await until(lambda: _stored(hub, thaw.subject, 2))
        await hub.put("backend", waiting)
        await decide(hub, "resume")  # is heard behind the others
        assert session.prompts == []
    again = says("done")
    async with hub.role("backend", again):  # nor by one that starts, and reads what was decided
        await are_up(hub, "backend")
        await decide(hub, "resume")
        assert again.prompts == []
        await decide(hub, "thaw")
        assert (await hub.completion("backend", str(waiting["id"]))).outcome is Outcome.DONE


@pytest.mark.parametrize("times", [1, KEPT])
async def test_a_stop_that_was_written_over_still_holds_for_who_starts(hub: Hub, times: int) -> None:
    await decide(hub, "estop", is_heard=False)
    place = subjects.control("backend", "estop", "you")
    forged = new_control("estop", "backend", "you", identity="forged").encode()
    async with intruding(hub, key_of(hub, "qa")) as qa:
        for _ in range(times):
            await have_it_said(qa, forged, {}, place)
        await until(lambda: _stored(hub, place, min(times + 1, KEPT)))
    session, waiting = says("done"), directive("work")
    await hub.put("backend", waiting)
    async with hub.role("backend", session):
        await are_up(hub, "backend")
        await decide(hub, "resume")
        assert session.prompts == []
        await decide(hub, "thaw")
        assert (await hub.completion("backend", str(waiting["id"]))).outcome is Outcome.DONE


async def decide(hub: Hub, verb: str, *, is_heard: bool = True) -> Received:
    """Have the operator decide about backend, and its process say what came of it; what is stored then."""
    control = new_control(verb, "backend", "you", identity=new_id())  # type: ignore[arg-type]
    subject = subjects.control("backend", verb, "you")
    async with (
        asyncio.timeout(30),
        connect(hub.server.url, name="you", identity=key_of(hub, OPERATOR), patience_s=5) as bus,
        bus.listen(subjects.event("steered", "backend")) as heard,
    ):
        await bus.publish(subject, control.encode(), message_id=control.id)
        while is_heard:
            if json.loads((await anext(heard)).data)["data"]["control"] == control.id:
                break
        return (await bus.history(subjects.CONTROL, subject))[-1]


async def _stored(hub: Hub, subject: str, count: int) -> bool:
    return sum((await hub.bus.counts(subjects.CONTROL, subject)).values()) >= count


async def _so_many(hub: Hub, count: int) -> list[str] | None:
    found = await letters(hub)
    return found if len(found) == count else None


async def _is_empty(hub: Hub) -> bool:
    """True if nothing waits for backend or is in its hands."""
    info = await hub.bus.js.stream_info(subjects.AGENTS, subjects_filter=f"{subjects.inbox('backend')}.>")
    return not info.state.subjects
