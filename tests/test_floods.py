"""A role that publishes as fast as it can, by its own key and a plain client: what the broker and the receiver stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import UTC, datetime

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthub import subjects
from agenthub.bus import topology as topologies
from agenthub.bus.connecting import connect
from agenthub.bus.connection import StreamFullError
from agenthub.bus.server import NatsServer
from agenthub.bus.signing import signature
from agenthub.bus.topology import INBOX_BYTES, WAITING_IN_ALL, WAITING_PER_LANE, topology, waiting_per_lane
from agenthub.guards.rate_gate import TOLERANCE, Arrivals
from agenthub.messages import Message, Outcome, Priority
from agenthub.organization import load_organization
from tests.organization import Hub, directive, says, until, write_organization
from tests.test_identity import intruding, key_of


def from_qa(text: str = "again") -> bytes:
    return json.dumps(directive(text, sender="qa")).encode()


def lanes_of_qa(roles: Iterable[str]) -> list[str]:
    return [subjects.lane(role, priority, "qa") for role in roles for priority in Priority]


# ── the broker ─────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(1, 500))
def test_one_sender_can_take_no_more_than_half_of_what_may_wait(roles: int) -> None:
    lane = waiting_per_lane(roles)
    assert 1000 <= lane <= WAITING_PER_LANE
    assert lane * len(Priority) * roles <= WAITING_IN_ALL / 2 or roles > 250


def test_all_that_may_wait_leaves_room_for_what_else_the_server_stores() -> None:
    held = {stream.name: stream.max_bytes or 0 for stream in topology([]).streams}
    assert held[subjects.AGENTS] == INBOX_BYTES
    assert sum(held.values()) < 0.75 * 20e9, "`max_file` of the server is 20 GB"


async def test_one_that_floods_fills_its_own_lanes_and_others_still_come_in(
    quick_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = quick_hub
    monkeypatch.setattr(topologies, "WAITING_IN_ALL", 20_000)
    monkeypatch.setattr(topologies, "_LEAST_PER_LANE", 1)
    await hub.provision()
    lanes = lanes_of_qa([*hub.organization.roles, hub.organization.operator])
    most = topologies.waiting_per_lane(len(hub.organization.roles) + 1)
    assert isinstance(hub.server, NatsServer) and hub.server.pid is not None
    server = psutil.Process(hub.server.pid)
    before_mib = server.memory_info().rss / 2**20
    async with intruding(hub, key_of(hub, "qa")) as qa:
        for _ in range(2 * most):  # without waiting for an answer
            for lane in lanes:
                await qa.nc.publish(lane, b"x" * 1000)
        await qa.nc.flush(timeout=60)
        answer = json.loads((await qa.nc.request(lanes[0], b"x", timeout=10)).data)
        assert answer["error"]["description"] == "maximum messages per subject exceeded"
        assert qa.refusals == []
    state = (await hub.bus.js.stream_info(subjects.AGENTS)).state
    assert state.messages == most * len(lanes) <= 10_000
    assert server.memory_info().rss / 2**20 - before_mib < 150
    async with connect(hub.server.url, name="cto", identity=key_of(hub, "cto"), patience_s=5) as bus:
        assert (await bus.publish(subjects.lane("backend", "high", "cto"), b"{}")).is_new
    await hub.put("backend", directive("a stranger's"))


async def test_large_messages_fill_the_inboxes_and_not_the_disk(quick_hub: Hub) -> None:
    hub = quick_hub
    config = (await hub.bus.js.stream_info(subjects.AGENTS)).config
    config.max_bytes = 4 * 1024**2
    await hub.bus.js.update_stream(config)
    async with connect(hub.server.url, name="qa", identity=key_of(hub, "qa"), patience_s=5) as bus:
        with pytest.raises(StreamFullError, match="maximum bytes exceeded"):
            for _ in range(20):
                await bus.publish(subjects.lane("backend", "low", "qa"), b"x" * 500_000)
        assert (await bus.publish(subjects.done("qa", "x"), b"{}")).is_new, "what is done can still be said"
    state = (await hub.bus.js.stream_info(subjects.AGENTS)).state
    assert state.bytes <= config.max_bytes


# ── the receiver ───────────────────────────────────────────────────────────────────────────────────
async def test_the_receiver_takes_in_so_many_and_refuses_the_rest_before_its_model_is_asked(quick_hub: Hub) -> None:
    hub = quick_hub
    write_organization(hub.folder, "[defaults]\npair_rate = 3\npair_window_s = 600\n")
    hub.organization = load_organization(hub.settings)
    qa, number, lane = key_of(hub, "qa"), 300, subjects.lane("backend", "critical", "qa")
    assert qa is not None
    sent = [from_qa(f"task {n}") for n in range(number)]
    async with intruding(hub, qa) as flood:
        for data in sent:
            await flood.nc.publish(lane, data, headers={subjects.SIGNATURE: signature(qa, lane, data, {})})
        await flood.nc.flush(timeout=60)
    await until(lambda: _lies(hub, lane, number))
    stored = await hub.stored(subjects.AGENTS, lane)
    session = says("done")
    async with hub.role("backend", session):
        async with connect(hub.server.url, name="cto", identity=key_of(hub, "cto"), patience_s=5) as bus:
            urgent = directive("the real work", sender="cto")
            await bus.publish(subjects.lane("backend", "high", "cto"), json.dumps(urgent).encode())
        assert (await hub.completion("backend", str(urgent["id"]), within_s=60)).outcome is Outcome.DONE
        await until(lambda: _lies(hub, lane, 0), within_s=60)
        ends = [await hub.completion("backend", message.id) for message in stored]
    taken = [prompt.task for prompt in session.prompts if prompt.task.from_role == "qa"]
    assert 3 <= len(taken) <= 2 * TOLERANCE * 3, "two windows, at the most"
    refused = [end for end in ends if end.outcome is Outcome.REFUSED]
    assert len(refused) == number - len(taken)
    assert "more than 3 messages within 600 s (`defaults.pair_rate`)" in refused[0].text
    told = await hub.bus.history(subjects.AUDIT, subjects.audit("flooded", "backend"))
    assert 1 <= len(told) <= 2, "said once in a window"
    answers: list[Message] = await hub.waiting("qa", sender="backend")
    assert len(answers) == number


@pytest.mark.parametrize(("gate", "taken"), [("observe", 60), ("off", 60)])
async def test_what_is_observed_only_is_taken_in(quick_hub: Hub, gate: str, taken: int) -> None:
    hub = quick_hub
    write_organization(hub.folder, f'[defaults]\npair_rate = 3\npair_window_s = 600\nrate_gate = "{gate}"\n')
    hub.organization = load_organization(hub.settings)
    async with connect(hub.server.url, name="qa", identity=key_of(hub, "qa"), patience_s=5) as bus:
        await asyncio.gather(
            *(bus.publish(subjects.lane("backend", "high", "qa"), from_qa(f"task {n}")) for n in range(taken))
        )
    session = says("done")
    async with hub.role("backend", session):
        await until(lambda: len(session.prompts) == taken, within_s=60)
        told = await hub.bus.history(subjects.AUDIT, subjects.audit("flooded", "backend"))
    assert bool(told) == (gate == "observe")


@given(
    stored=st.lists(st.tuples(st.sampled_from(["qa", "cto"]), st.integers(0, 60)), max_size=120),
    rate=st.integers(1, 4), window_s=st.integers(1, 20),
)  # fmt: skip
def test_in_whatever_order_they_are_looked_at_no_window_takes_more_than_it_may(
    stored: list[tuple[str, int]], rate: int, window_s: int
) -> None:
    arrivals = Arrivals(rate=rate, window_s=window_s)
    begin = datetime(2026, 5, 17, 12, tzinfo=UTC).timestamp()

    def look() -> list[bool]:
        return [arrivals.takes(sender, place, stored_at_s=begin + at_s) for place, (sender, at_s) in enumerate(stored)]

    taken = look()
    assert look() == taken, "delivered again, each is answered as before"
    for who in ("qa", "cto"):
        mine = [at_s for (sender, at_s), is_taken in zip(stored, taken, strict=True) if is_taken and sender == who]
        all_of = [at_s for sender, at_s in stored if sender == who]
        for window in {int((begin + at_s) // window_s) for at_s in all_of}:
            many = sum(int((begin + at_s) // window_s) == window for at_s in mine)
            wanted = sum(int((begin + at_s) // window_s) == window for at_s in all_of)
            assert many == min(wanted, rate * TOLERANCE)


async def _lies(hub: Hub, lane: str, number: int) -> bool:
    return sum((await hub.bus.counts(subjects.AGENTS, lane)).values()) == number
