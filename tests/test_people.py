"""People and programs take part: broadcast, publish, listen, who, ping, watch, cost; as a user types it."""

from __future__ import annotations

import asyncio
import json

import pytest

from agenthub import subjects
from agenthub.client import Client
from agenthub.client.broadcast import broadcast, publish
from agenthub.client.costs import costs, summed, total
from agenthub.client.listening import listen
from agenthub.client.pings import ping
from agenthub.errors import NotFoundError, RefusedError
from agenthub.messages import Event, now
from tests.commands import in_hub
from tests.organization import Hub, ScriptedSession, says, texts, until

LONG_AGO = now().replace(year=2000)


@pytest.fixture
def client(hub: Hub) -> Client:
    return Client(hub.bus, hub.organization)


async def test_a_broadcast_is_stored_for_each_recipient_as_one_trace(hub: Hub, client: Client) -> None:
    sent = await broadcast(client, "@cto", "no deploys today")
    stored = [await hub.waiting(role) for role in ("backend", "qa")]
    assert [texts(found) for found in stored] == [["no deploys today"]] * 2
    assert {one.message.id for one in sent} == {found[0].id for found in stored}
    assert len({found[0].trace_id for found in stored}) == 1
    assert stored[0][0].type == "announcement"
    assert await hub.waiting("ceo") == []


async def test_who_is_not_reached_is_said_and_the_others_have_it(hub: Hub) -> None:
    info = await hub.bus.js.stream_info(subjects.AGENTS)
    config = info.config
    config.subjects = [name for name in config.subjects or [] if "operator-qa" not in name]
    await hub.bus.js.update_stream(config)
    ran = await in_hub(hub, "broadcast", "hello", "--to", "@cto", "--json")
    assert ran.code == 7, ran
    assert {one["role"]: bool(one["error"]) for one in ran.json} == {"backend": False, "qa": True}


async def test_an_announcement_wakes_no_model_and_is_read_with_the_next_turn(hub: Hub, client: Client) -> None:
    session = says("ok")
    async with hub.role("qa", session):
        (sent,) = await broadcast(client, "qa", "the office is closed")
        assert (await hub.completion("qa", sent.message.id)).outcome == "noted"
        assert session.prompts == []


async def test_a_topic_reaches_who_subscribes_and_says_who_that_is(hub: Hub, client: Client) -> None:
    published = await publish(client, "status.deploy", "1.9 is out")
    assert sorted(published.subscribers) == ["backend", "qa"]
    session = says("ok")
    async with hub.role("qa", session):
        await until(lambda: len(session.prompts) == 1)
    assert "1.9 is out" in session.prompts[0].text


async def test_a_topic_that_nobody_follows_is_said_to_be_heard_by_nobody(hub: Hub) -> None:
    ran = await in_hub(hub, "publish", "status.nobody", "x")
    assert (ran.code, "no role subscribes" in ran.err) == (0, True), ran
    assert (await in_hub(hub, "publish", "stauts.deploy", "x")).code == 3


async def test_several_get_a_directive_each(hub: Hub) -> None:
    ran = await in_hub(hub, "send", "@cto", "report", "--json")
    assert ran.code == 0, ran
    assert [one["role"] for one in ran.json] == ["backend", "qa"]
    (message,) = await hub.waiting("qa")
    assert message.type == "task_assignment"
    refused = await in_hub(hub, "send", "@cto", "report", "--wait")
    assert (refused.code, "is not one role" in refused.err) == (2, True), refused


async def test_the_text_may_come_from_a_file_that_is_named(hub: Hub) -> None:
    (hub.folder / "brief.md").write_text("the whole brief")
    assert (await in_hub(hub, "send", "qa", "@brief.md")).code == 0
    assert (await in_hub(hub, "send", "qa", "@someone look at this")).code == 0
    missing = await in_hub(hub, "send", "qa", "@breif.md")
    assert (missing.code, "There is no file breif.md" in missing.err) == (2, True), missing
    assert texts(await hub.waiting("qa")) == ["the whole brief", "@someone look at this"]


# ── listening ──────────────────────────────────────────────────────────────────────────────────────
async def test_what_is_listened_to_leaves_the_inbox_once_it_is_settled(hub: Hub, client: Client) -> None:
    for text in ("first", "second"):
        await hub.send("you", text, sender="backend")
    async with listen(client, "you") as messages:
        handed = await anext(messages)
        assert handed.message.message is not None
        assert handed.message.message.payload.message == "first"
        await handed.settle()
        second = await anext(messages)
        assert second.message.message is not None
        assert second.message.message.payload.message == "second"  # and is not settled
    assert texts(await hub.stored(subjects.AGENTS, subjects.inbox("you"))) == ["second"]


async def test_two_listeners_share_an_inbox(hub: Hub, client: Client) -> None:
    async with listen(client, "you") as one, listen(client, "you") as other:
        waiting = [asyncio.ensure_future(anext(one)), asyncio.ensure_future(anext(other))]
        for text in ("a", "b"):
            await hub.send("you", text, sender="backend")
        async with asyncio.timeout(30):
            handed = await asyncio.gather(*waiting)
        found = {item.message.message.payload.message for item in handed if item.message.message}
        assert found == {"a", "b"}


async def test_a_line_for_each_message_and_an_exit_code_if_none_comes(hub: Hub) -> None:
    await hub.send("you", "of a role", sender="backend")
    await hub.put("you", b"\xffnot a message")
    ran = await in_hub(hub, "listen", "you", "--for", "1s")
    first, second = (json.loads(line) for line in ran.out.splitlines())
    assert (ran.code, first["payload"]["message"], second["error"]) == (0, "of a role", "cannot be read")
    none = await in_hub(hub, "listen", "you", "--once", "--for", "0.2")
    assert (none.code, none.out, "No message came" in none.err) == (5, "", True), none


async def test_a_topic_is_heard_from_now_on(hub: Hub, client: Client) -> None:
    async with listen(client, "topic:status.>") as messages:
        await publish(client, "status.deploy", "now")
        async with asyncio.timeout(30):
            handed = await anext(messages)
    assert handed.message.message is not None
    assert handed.message.message.payload.message == "now"


async def test_nobody_takes_what_is_a_roles(client: Client) -> None:
    with pytest.raises(RefusedError, match="is a role"):
        async with listen(client, "backend"):
            pass
    with pytest.raises(NotFoundError, match="inbox to listen to"):
        async with listen(client, "somebody"):
            pass


# ── who, ping, watch ───────────────────────────────────────────────────────────────────────────────
async def test_a_role_answers_a_ping_while_its_model_works(hub: Hub, client: Client) -> None:
    release = asyncio.Event()

    async def script(prompt: object) -> str:
        await release.wait()
        return "ok"

    async with hub.role("backend", ScriptedSession(script)):
        await hub.send("backend", "something long")
        await until(lambda: hub.bus.last(subjects.EVENTS, subjects.event("taken", "backend")))
        await hub.bus.tell(subjects.ping("backend", "you"), b"\xff{not a ping")  # does not end the service
        answered = await ping(client, "backend")
        assert (answered.pong.key, answered.pong.beat.state) == ("backend", "working")
        assert answered.pong.beat.holds == []
        assert 0 < answered.round_trip_s < 5
        release.set()


async def test_a_role_that_is_down_does_not_answer(hub: Hub) -> None:
    ran = await in_hub(hub, "ping", "backend", "--timeout", "0.2")
    assert (ran.code, "No process of backend answered" in ran.err) == (5, True), ran
    assert (await in_hub(hub, "ping", "bakend")).code == 3


async def test_who_lists_people_and_roles_with_what_they_are_for(hub: Hub) -> None:
    async with hub.role("backend", says("ok")):
        await hub.beats("backend")
        ran = await in_hub(hub, "who", "--json")
    found = {one["name"]: one for one in ran.json}
    assert (found["you"]["kind"], found["backend"]["kind"]) == ("person", "role")
    assert (found["backend"]["state"], found["qa"]["state"]) == ("idle", "down")
    assert found["backend"]["skills"] == ["api", "sql"]
    assert found["backend"]["reports_to"] == "cto"
    table = await in_hub(hub, "who", "?skill=testing")
    assert "qa" in table.out
    assert "backend" not in table.out


async def test_watch_looks_again_and_again(hub: Hub) -> None:
    ran = await in_hub(hub, "watch", "--every", "0.2", "--times", "2", "--json=role,state")
    looks = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 0
    assert [len(look) for look in looks] == [4, 4]
    assert (await in_hub(hub, "watch", "--every", "0")).code == 2


# ── cost ───────────────────────────────────────────────────────────────────────────────────────────
def _call(role: str, model: str = "m", trace: str = "t", **usage: object) -> Event:
    return Event(kind="model", role=role, at=LONG_AGO, trace_id=trace, data={"model": model, **usage})


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("role", {"a": 3.0, "b": 0.5}),
        ("model", {"m": 2.5, "n": 1.0}),
        ("trace", {"t": 3.5}),
        ("day", {"2000-11-27": 3.5}),
    ],
)
def test_costs_are_added_up_and_the_dearest_comes_first(by, expected) -> None:
    day = LONG_AGO.replace(month=11, day=27)
    calls = [
        _call("b", calls=1, cost_usd=0.5),
        _call("a", calls=1, cost_usd=2.0, input_tokens=10, cache_read_tokens=30),
        _call("a", model="n", calls=1, cost_usd=1.0),
    ]
    found = summed([call.model_copy(update={"at": day}) for call in calls], by=by)
    assert {cost.key: cost.usage.cost_usd for cost in found} == expected
    assert list(expected) == [cost.key for cost in found]
    assert total(found).usage.calls == 3


def test_the_cached_share_is_of_what_was_read() -> None:
    (cost,) = summed([_call("a", input_tokens=10, cache_read_tokens=30, output_tokens=500)], by="role")
    assert cost.cached_share == 0.75
    assert total([]).cached_share == 0


@pytest.mark.parametrize(
    "nonsense", [{"calls": "x"}, {"calls": -1}, {"cost_usd": None}, {"calls": 1.5}, {"model": [1]}]
)
def test_events_that_make_no_sense_cost_nothing(nonsense: dict[str, object]) -> None:
    (cost,) = summed([Event(kind="model", role="a", at=LONG_AGO, data=nonsense)], by="role")
    assert cost.usage.cost_usd == cost.usage.calls == 0


async def test_cost_reads_the_events_of_the_hub(hub: Hub, client: Client) -> None:
    for role, usd in (("backend", 0.25), ("qa", 0.5)):
        event = Event(
            kind="model", role=role, at=now(), trace_id="t1", message_id="t1",
            data={"model": "m", "calls": 1, "cost_usd": usd, "input_tokens": 100, "cache_read_tokens": 300},
        )  # fmt: skip
        await hub.bus.publish(subjects.event("model", role), event.encode())
    taken = Event(kind="taken", role="backend", at=now(), trace_id="t1", message_id="t1", text="Ship it")
    await hub.bus.publish(subjects.event("taken", "backend"), taken.encode())
    (trace,) = await costs(client, by="trace", since=LONG_AGO)
    assert (trace.key, trace.title, trace.usage.cost_usd) == ("t1", "Ship it", 0.75)
    ran = await in_hub(hub, "cost", "--json")
    found = [(one["key"], one["cost_usd"], one["cached_share"]) for one in ran.json]
    assert found == [("qa", 0.5, 0.75), ("backend", 0.25, 0.75)]
    assert "no model was called" in (await in_hub(hub, "cost", "--since", "0s")).err
    assert (await in_hub(hub, "cost", "--by", "colour")).code == 2
