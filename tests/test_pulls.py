"""Pulls: the broker is asked as often as it must be, and no message waits that nobody asks for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from agenthub import subjects
from agenthub.bus import deliveries
from agenthub.bus.deliveries import Pull
from agenthub.messages import Priority
from tests.organization import Hub, until

LANE = subjects.lane("backend", Priority.HIGH, "you")
CONSUMER = subjects.lane_consumer("backend", Priority.HIGH)


@pytest.fixture
async def pull(hub: Hub) -> AsyncIterator[Pull]:
    """A pull of a lane that is open and empty."""
    pull = Pull(hub.bus, subjects.AGENTS, CONSUMER, lambda: None)
    await pull.open()
    await until(lambda: waiting(hub))
    yield pull
    await pull.close()


async def waiting(hub: Hub) -> int:
    """How many pulls wait at the broker."""
    return (await hub.bus.js.consumer_info(subjects.AGENTS, CONSUMER)).num_waiting or 0


async def seen(hub: Hub) -> list[int]:
    """The same, for a second."""
    found = []
    for _ in range(50):
        found.append(await waiting(hub))
        await asyncio.sleep(0.02)
    return found


@pytest.mark.parametrize("reply", ["nobody", ""])
async def test_a_message_that_is_no_delivery_does_not_end_the_pulling(hub: Hub, pull: Pull, reply: str) -> None:
    assert pull._subscription is not None
    await hub.bus.nc.publish(pull._subscription.subject.replace("*", "2"), b"who knows", reply=reply)
    await hub.bus.flush()
    assert not pull.held
    await hub.bus.publish(LANE, b"{}")
    await until(lambda: pull.held)
    assert await waiting(hub) == 0


async def test_words_on_a_pull_of_before_do_not_make_two_of_one(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "PULL_EXPIRES_S", 0.5)
    pull = Pull(hub.bus, subjects.AGENTS, CONSUMER, lambda: None)
    await pull.open()
    for _ in range(5):
        await until(lambda: waiting(hub))
        await pull.pull_again()  # as after a reconnect, while the broker still knows the pull of before
    await asyncio.sleep(2 * 0.51)  # by then the broker has said of all of them that their time is over
    assert max(await seen(hub)) == 1
    await pull.close()


async def test_a_server_that_was_away_for_long_is_asked_once_when_it_is_back(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PULL_EXPIRES_S", 1.0)
    monkeypatch.setattr(deliveries, "_OVERDUE_S", 0.1)
    pull = Pull(hub.bus, subjects.AGENTS, CONSUMER, lambda: None)
    hub.bus.on_reconnect(pull.pull_again)
    await pull.open()
    await hub.server.kill()
    await until(lambda: not hub.bus.is_connected)
    await asyncio.sleep(3.5 * deliveries.ANSWER_WITHIN_S)
    assert not hub.bus.nc.pending_data_size
    monkeypatch.setattr(deliveries, "PULL_EXPIRES_S", 40.0)
    await hub.server.start()
    await until(lambda: hub.bus.is_connected)
    assert max(await seen(hub)) == 1
    await pull.close()


async def test_a_replica_that_is_busy_asks_once_for_each_probe(hub: Hub, pull: Pull) -> None:
    await pull.pause()
    await pull.probe()
    await until(lambda: not pull._outstanding)
    asked = hub.bus.nc.stats["out_msgs"]
    await asyncio.sleep(2.5 * deliveries.ANSWER_WITHIN_S)
    assert hub.bus.nc.stats["out_msgs"] == asked


async def test_a_pull_that_is_closed_in_any_moment_can_be_opened_again_and_leaves_nothing(hub: Hub, pull: Pull) -> None:
    takers = len(hub.bus.nc._takers)
    pid = hub.server.pid  # type: ignore[union-attr]
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    closing = asyncio.create_task(pull.close())
    await asyncio.wait([closing], timeout=0.1)
    closing.cancel()
    await asyncio.wait([closing])
    os.kill(pid, signal.SIGCONT)
    await pull.open()
    assert len(hub.bus.nc._takers) == takers
    await hub.bus.publish(LANE, b"{}")
    await until(lambda: pull.held)


async def test_a_pull_that_is_lost_without_a_word_is_sent_again_when_its_time_is_over(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PULL_EXPIRES_S", 1.0)
    monkeypatch.setattr(deliveries, "_OVERDUE_S", 0.3)
    pull = Pull(hub.bus, subjects.AGENTS, CONSUMER, lambda: None)
    await pull.open()
    await until(lambda: waiting(hub))
    subscription = pull._subscription
    assert subscription is not None
    await hub.bus.nc._send_unsubscribe(subscription._id)  # and so the broker drops the pull
    await hub.bus.publish(LANE, b"{}")
    await until(lambda: _is_lost(hub))
    await hub.bus.nc._send_subscribe(subscription)
    await until(lambda: pull.held)
    await pull.close()


async def _is_lost(hub: Hub) -> bool:
    return not await waiting(hub)
