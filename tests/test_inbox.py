"""What is next: rules as tables, then the lanes over a real broker."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthub import subjects
from agenthub.bus.signing import signature
from agenthub.inbox import Choice, Waiting, choose
from agenthub.messages import Priority
from agenthub.sessions.session import Prompt, TurnResult
from tests.organization import Hub, ScriptedSession, directive, until

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
C, H, M, L = Priority


def waiting(*items: tuple[Priority, float]) -> list[Waiting]:
    return [Waiting(priority, NOW - timedelta(seconds=waited_s)) for priority, waited_s in items]


@pytest.mark.parametrize(
    ("items", "lifted_last", "expected"),
    [
        ([(L, 1)], False, Choice(L, False)),
        ([(C, 1), (H, 9), (M, 9), (L, 9)], False, Choice(C, False)),
        ([(H, 1), (M, 9), (L, 9)], False, Choice(H, False)),
        ([(M, 1), (L, 9)], False, Choice(M, False)),
        ([(C, 0), (L, 1e9)], False, Choice(C, False)),  # critical always goes first, however long low waited
        ([(M, 1), (L, 301)], False, Choice(L, True)),  # lifted by one, it is older than the medium one
        ([(H, 1), (L, 301)], False, Choice(H, False)),  # lifted by one is not enough
        ([(H, 1), (L, 601)], False, Choice(L, True)),  # lifted by two it is as high as high
        ([(H, 1), (L, 601)], True, Choice(H, False)),  # but not twice in a row: an old backlog cannot starve high
        ([(L, 601)], True, Choice(L, True)),
        ([(H, 700), (M, 800)], True, Choice(H, False)),
        ([(M, 5), (L, -5)], False, Choice(M, False)),  # a broker's clock that is ahead lifts nothing
    ],
)
def test_the_next_message_is_the_most_urgent_and_what_waits_long_is_lifted(
    items: list[tuple[Priority, float]], lifted_last: bool, expected: Choice
) -> None:
    assert choose(waiting(*items), at=NOW, ageing_s=300, lifted_last=lifted_last) == expected


@given(
    st.dictionaries(st.sampled_from(list(Priority)), st.floats(0, 1e7), min_size=1),
    st.booleans(),
)
def test_critical_goes_first_whatever_else_waits(found: dict[Priority, float], lifted_last: bool) -> None:
    choice = choose(waiting(*found.items()), at=NOW, ageing_s=300, lifted_last=lifted_last)
    assert choice.priority in found
    if C in found:
        assert choice == Choice(C, False)


def test_nobody_starves_under_a_steady_stream_of_more_urgent_messages() -> None:
    taken: list[Priority] = []
    lifted_last = False
    for second in range(0, 3000, 10):  # one message is worked off each 10 s, and a fresh high one always waits
        choice = choose(
            [Waiting(H, NOW + timedelta(seconds=second)), Waiting(L, NOW)],
            at=NOW + timedelta(seconds=second), ageing_s=300, lifted_last=lifted_last,
        )  # fmt: skip
        lifted_last = choice.was_lifted
        taken.append(choice.priority)
    assert taken.index(L) * 10 <= 610
    assert taken.count(H) >= len(taken) / 2


async def test_with_100000_low_messages_waiting_a_critical_one_is_the_next_and_memory_stays_bounded(
    quick_hub: Hub,
) -> None:
    hub, many = quick_hub, 100_000
    assert hub.bus.identity is not None
    for sender in ("you", "leader"):  # of one alone so many may not wait
        low = json.dumps({**directive("low", sender=sender), "id": ""}).encode()
        lane = subjects.lane("backend", "low", sender)
        signed = {subjects.SIGNATURE: signature(hub.bus.identity, lane, low, {})}
        for _ in range(many // 2 // 2_000):
            await asyncio.gather(*[await hub.bus.js.publish_async(lane, low, headers=signed) for _ in range(2_000)])
    order: list[str] = []
    go_on, critical_is_at_hand = asyncio.Event(), asyncio.Event()

    async def script(prompt: Prompt) -> TurnResult | str:
        order.append(prompt.task.payload.message)
        if len(order) == 20:
            go_on.set()
            await critical_is_at_hand.wait()
        return "done"

    before = psutil.Process(os.getpid()).memory_info().rss
    async with hub.role("backend", ScriptedSession(script)):
        await asyncio.wait_for(go_on.wait(), 60)
        message = directive("critical", priority="critical")
        await hub.bus.publish(subjects.lane("backend", "critical", "you"), json.dumps(message).encode())
        await until(lambda: _is_delivered(hub, "backend-critical"))
        critical_is_at_hand.set()
        await hub.completion("backend", str(message["id"]))
    assert order.index("critical") == 20
    assert psutil.Process(os.getpid()).memory_info().rss - before < 20 * 1024**2
    assert (await hub.bus.js.stream_info(subjects.AGENTS)).state.messages > many - 1_000


async def _is_delivered(hub: Hub, consumer: str) -> bool:
    return bool((await hub.bus.js.consumer_info(subjects.AGENTS, consumer)).num_ack_pending)


async def test_messages_are_taken_by_priority_and_within_one_in_order(hub: Hub) -> None:
    order: list[str] = []
    first_taken, all_sent = asyncio.Event(), asyncio.Event()

    async def script(prompt: Prompt) -> TurnResult | str:
        order.append(prompt.task.payload.message)
        if len(order) == 1:
            first_taken.set()
            await all_sent.wait()
        return "done"

    async with hub.role("backend", ScriptedSession(script)):
        await hub.send("backend", "first")
        await asyncio.wait_for(first_taken.wait(), 30)
        for priority in ("low", "medium", "urgent", "high", "normal", "critical", "nonsense"):
            for number in (1, 2):
                await hub.send("backend", f"{priority} {number}", priority=priority)
        await until(lambda: _all_sorted(hub, 15))
        all_sent.set()
        await until(lambda: len(order) == 15)
    assert order[1:] == [
        "urgent 1", "urgent 2", "critical 1", "critical 2", "high 1", "high 2", "medium 1", "medium 2",
        "normal 1", "normal 2", "nonsense 1", "nonsense 2", "low 1", "low 2",
    ]  # fmt: skip


async def _all_sorted(hub: Hub, count: int) -> bool:
    return len(await hub.waiting("backend")) == count
