"""Old and new versions side by side: what one adds the other keeps, and what it cannot understand it does not eat."""

from __future__ import annotations

import json

import pytest

from agenthub import subjects
from agenthub.bus.buckets import Bucket
from agenthub.bus.connection import Bus
from agenthub.bus.watched import WatchedBucket
from agenthub.errors import MessageError
from agenthub.guards.circuit_breaker import Breaker
from agenthub.messages import SCHEMA_VERSION, Completion, Message, Outcome, now
from agenthub.org.registry import Registry
from agenthub.presence import Absence, Heartbeat
from tests.organization import Hub, directive, says, until


@pytest.mark.parametrize("version", [None, SCHEMA_VERSION])
async def test_what_another_version_added_to_a_message_is_kept_and_does_not_hinder(
    hub: Hub, version: int | None
) -> None:
    message = directive("Do it", mood="calm") | ({} if version is None else {"version": version})
    message["payload"]["colour"] = "blue"
    async with hub.role("backend", says("done")):
        await hub.put("backend", message)
        assert (await hub.completion("backend", message["id"])).outcome is Outcome.DONE
    again = json.loads(Message.read(json.dumps(message).encode(), default_id="x").encode())
    assert (again["mood"], again["payload"]["colour"]) == ("calm", "blue")


async def test_a_message_that_would_be_misunderstood_is_refused_and_kept_for_a_replay(hub: Hub) -> None:
    newer = directive("Do it in a way that nobody knows yet", sender="cto", version=SCHEMA_VERSION + 1)
    async with hub.role("backend", says("done")):
        await hub.put("backend", newer)
        letter = await until(lambda: hub.bus.last(subjects.DEAD_LETTERS, subjects.dead_letter("backend")))
        assert b"Upgrade the role" in letter
        assert (await hub.completion("backend", await hub.send("backend", "Do it"))).outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Heartbeat, {"role": "qa", "state": "idle", "since": "2026-05-17T08:00:00Z", "beat_at": "2026-05-17T08:00:00Z",
                     "started_at": "2026-05-17T08:00:00Z", "pid": 1, "host": "x"}),
        (Absence, {"role": "qa", "since": "2026-05-17T08:00:00Z", "reason": "gone"}),
        (Completion, {"message_id": "m", "role": "qa", "outcome": "done", "started_at": "2026-05-17T08:00:00Z",
                      "ended_at": "2026-05-17T08:00:00Z"}),
    ],
)  # fmt: skip
def test_values_of_older_and_newer_versions_are_read_and_written_back_whole(
    model: type[Heartbeat | Absence | Completion], text: dict[str, object]
) -> None:
    value = model.decode(json.dumps(text | {"added_later": [1]}).encode())
    assert json.loads(value.model_copy(update={"role": "cto"}).encode())["added_later"] == [1]


async def test_a_bucket_keeps_what_a_newer_process_added(hub: Hub, bus: Bus) -> None:
    written = Breaker().model_dump(mode="json") | {"added_later": "x"}
    await bus.publish("$KV.breakers.role.qa", json.dumps(written).encode())
    breakers = WatchedBucket(bus, subjects.BREAKERS, Breaker)
    await breakers.change("role.qa", lambda breaker: breaker.model_copy(update={"shown": "qa"}))
    stored = await bus.last("KV_breakers", "$KV.breakers.role.qa")
    assert stored is not None
    assert (json.loads(stored)["added_later"], json.loads(stored)["shown"]) == ("x", "qa")


async def test_a_value_that_would_be_misunderstood_is_not_read_and_not_overwritten(hub: Hub, bus: Bus) -> None:
    newer = {subjects.SCHEMA: str(SCHEMA_VERSION + 1)}
    await bus.publish("$KV.breakers.role.qa", b'{"state": {"of": "another shape"}}', headers=newer)
    with pytest.raises(MessageError, match="newer agenthub"):
        await Bucket(bus, subjects.BREAKERS, Breaker).get("role.qa")
    breakers = WatchedBucket(bus, subjects.BREAKERS, Breaker)
    with pytest.raises(MessageError, match="newer agenthub"):
        await breakers.change("role.qa", lambda breaker: breaker.model_copy(update={"shown": "qa"}))
    assert await bus.last("KV_breakers", "$KV.breakers.role.qa") == b'{"state": {"of": "another shape"}}'


async def test_what_is_written_says_its_version(hub: Hub, bus: Bus) -> None:
    beat = Heartbeat(role="qa", state="idle", since=now(), beat_at=now(), started_at=now(), pid=1, host="x")
    await Registry(bus).put("qa", beat, every_s=5)
    found = await bus.last_with_revision("KV_registry", "$KV.registry.qa")
    assert found is not None
    assert found[2][subjects.SCHEMA] == str(SCHEMA_VERSION)
