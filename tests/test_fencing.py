"""A process that was stopped for too long and goes on is a zombie: it settles nothing and publishes nothing."""

from __future__ import annotations

import time

import pytest

from agenthub import subjects
from agenthub.bus.buckets import Bucket, Holder
from agenthub.client.letters import Letters
from agenthub.errors import LeaseLostError
from agenthub.messages import Completion, Outcome, now
from agenthub.sessions.session import Prompt, TurnEnd, TurnResult
from tests.organization import Hub, ScriptedSession, until


async def takes_over(hub: Hub) -> None:
    """Another machine takes the role."""
    other = Holder(host="elsewhere/1", pid=1, process_started=0.0, since=now())
    await Bucket(hub.bus, subjects.LEASES, Holder).put("backend", other, ttl_s=60)


async def late(hub: Hub) -> list[Completion]:
    return await Letters(hub.bus, hub.organization).late(role="backend")


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED])
async def test_a_zombie_publishes_no_result_and_what_it_had_is_kept_for_review(hub: Hub, outcome: Outcome) -> None:
    async def script(prompt: Prompt) -> TurnResult:
        await takes_over(hub)
        time.sleep(hub.settings.lease_ttl_s + 0.2)  # noqa: ASYNC251 - the whole process stands still
        return TurnResult(TurnEnd.FINISHED, outcome, "mine")

    message_id = await hub.send("backend", "do it")
    with pytest.RaisesGroup(LeaseLostError, flatten_subgroups=True):
        async with hub.role("backend", ScriptedSession(script)):
            (kept,) = await until(lambda: late(hub))
    assert (kept.message_id, kept.outcome, kept.text) == (message_id, outcome, "mine")
    assert await hub.bus.last(subjects.DONE, subjects.done("backend", message_id)) is None
    assert await hub.waiting("you") == []
    assert len(await hub.waiting("backend")) == 1, "it is there for who has the role now"


async def test_a_zombie_gives_nothing_back_that_another_process_may_work_on(hub: Hub) -> None:
    async def script(prompt: Prompt) -> str:
        await takes_over(hub)
        time.sleep(hub.settings.lease_ttl_s + 0.2)  # noqa: ASYNC251 - the whole process stands still
        return "mine"

    await hub.send("backend", "do it")
    async with hub.bus.listen("$JS.ACK.>") as heard:
        with pytest.RaisesGroup(LeaseLostError, flatten_subgroups=True):
            async with hub.role("backend", ScriptedSession(script)):
                await until(lambda: late(hub))
        await hub.bus.flush()
        settled = [heard._arrived.get_nowait().data for _ in range(heard._arrived.qsize())]
    # The sorter settles what it has moved before the machine stood still; the lane's delivery stays unsettled.
    assert settled.count(b"+ACK") == 1
    assert b"-NAK" not in settled


async def test_a_second_end_of_the_same_message_is_refused_by_the_broker_and_kept(hub: Hub) -> None:
    async def script(prompt: Prompt) -> str:
        moment = now()
        first = Completion(
            message_id=prompt.task.id, role="backend", outcome=Outcome.DONE, text="theirs",
            started_at=moment, ended_at=moment,
        )  # fmt: skip
        await hub.bus.publish(subjects.done("backend", prompt.task.id), first.encode(), only_first=True)
        return "mine"

    async with hub.role("backend", ScriptedSession(script)):
        message_id = await hub.send("backend", "do it")
        (kept,) = await until(lambda: late(hub))
        assert (await hub.completion("backend", message_id)).text == "theirs"
    assert kept.text == "mine"
