"""Topics: durable subscriptions that flow through the same loop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agenthub import subjects
from agenthub.messages import Outcome
from tests.organization import Hub, directive, says, texts, until


async def publish(hub: Hub, topic: str, text: str, **fields: Any) -> str:
    message = directive(text, **fields)
    await hub.bus.js.publish(topic, json.dumps(message).encode())
    return str(message["id"])


async def test_a_role_that_was_down_during_50_topic_messages_gets_all_50(hub: Hub) -> None:
    session = says("seen")
    async with hub.role("backend", session):
        await hub.completion("backend", await publish(hub, subjects.task_topic("sql"), "while up"))
    sent = [await publish(hub, subjects.task_topic("sql"), f"query {number}") for number in range(50)]
    session = says("seen")
    async with hub.role("backend", session):
        for message_id in sent:
            await hub.completion("backend", message_id)
    assert [prompt.task.payload.message for prompt in session.prompts] == [f"query {number}" for number in range(50)]


async def test_each_subscriber_gets_its_copy_and_completes_it_in_its_own_name(hub: Hub) -> None:
    async with hub.role("backend", says("noted by backend")), hub.role("qa", says("checked by qa")):
        message_id = await publish(hub, subjects.status_topic("deploy"), "1.9.2 is live", sender="devops")
        assert (await hub.completion("backend", message_id)).text == "noted by backend"
        assert (await hub.completion("qa", message_id)).text == "checked by qa"


async def test_who_did_not_subscribe_gets_nothing(hub: Hub) -> None:
    cto = says("never")
    async with hub.role("cto", cto), hub.role("backend", says("ok")):
        await hub.completion("backend", await publish(hub, subjects.task_topic("sql"), "query"))
        await hub.completion("cto", await hub.send("cto", "for you"))
    assert texts([prompt.task for prompt in cto.prompts]) == ["for you"]


async def test_own_publications_never_wake_their_author(hub: Hub) -> None:
    qa, backend = says("ok"), says("ok")
    async with hub.role("qa", qa), hub.role("backend", backend):
        message_id = await publish(hub, subjects.status_topic("deploy"), "by qa", sender="qa")
        await hub.completion("backend", message_id)
        await hub.completion("qa", await hub.send("qa", "next"))
    assert texts([prompt.task for prompt in qa.prompts]) == ["next"]


@pytest.mark.parametrize(
    ("priority", "outcome", "turns"),
    [("low", Outcome.NOTED, 0), ("medium", Outcome.NOTED, 0), ("high", Outcome.DONE, 1), ("critical", Outcome.DONE, 1)],
)
async def test_an_announcement_wakes_the_model_only_if_it_is_urgent(
    hub: Hub, priority: str, outcome: Outcome, turns: int
) -> None:
    session = says("read")
    async with hub.role("backend", session):
        message_id = await publish(
            hub, subjects.ANNOUNCEMENTS, "code freeze", sender="ceo", type="announcement", priority=priority
        )
        assert (await hub.completion("backend", message_id)).outcome is outcome
    assert len(session.prompts) == turns


async def test_a_topic_message_that_cannot_be_read_is_buried_and_stops_nothing(hub: Hub) -> None:
    async with hub.role("backend", says("ok")):
        await hub.bus.js.publish(subjects.task_topic("sql"), b"\x00\xff not json")
        await hub.completion("backend", await publish(hub, subjects.task_topic("sql"), "a good one"))
        letter = await until(lambda: hub.bus.last(subjects.DEAD_LETTERS, subjects.dead_letter("backend")))
    assert b"not JSON" in letter
