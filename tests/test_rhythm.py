"""What recurs in a process recurs in the same moments."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import pytest

from agenthub.rhythm import until_next_s


@pytest.fixture
async def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Has the clock of the loop stand at a second."""
    loop = asyncio.get_running_loop()
    return lambda second: monkeypatch.setattr(loop, "time", lambda: second)


async def test_moments_of_a_distance_are_among_those_of_each_that_divides_it(at: Callable[[float], None]) -> None:
    at(1000.0)
    gap_s = until_next_s(40) - until_next_s(2.5)
    assert gap_s / 2.5 == pytest.approx(round(gap_s / 2.5))


async def test_who_is_woken_a_little_early_waits_for_the_moment_after(at: Callable[[float], None]) -> None:
    at(1000.0)
    moment_s = 1000.0 + until_next_s(5)
    at(moment_s - 1e-6)
    assert until_next_s(5) == pytest.approx(5)


async def test_processes_of_one_number_in_containers_have_moments_of_their_own(
    at: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(1000.0)
    monkeypatch.setattr(os, "getpid", lambda: 7)
    found = set()
    for host in ("0c1f5a", "9be2d0", "5577aa"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        found.add(round(until_next_s(5), 2))
    assert len(found) == 3


@pytest.mark.parametrize("every_s", [0.001, 0.3, 5, 19.9, 1e6])
async def test_between_two_moments_is_no_more_time_than_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, every_s: float
) -> None:
    loop = asyncio.get_running_loop()
    moment_s = loop.time() + until_next_s(every_s)
    gaps = []
    for early in (0, 1e-9, 0.001, 0.005, 0.0099, 0.02, 0.5):
        monkeypatch.setattr(loop, "time", lambda early=early: moment_s - early * every_s)
        gaps.append(until_next_s(every_s))
    assert 0 < min(gaps) <= max(gaps) <= every_s + 0.02


async def test_processes_have_moments_of_their_own(
    at: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(1000.0)
    found = []
    for pid in range(4000, 4011):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        found.append(until_next_s(5))
    gaps = [b - a for a, b in zip(sorted(found), sorted(found)[1:], strict=False)]
    assert min(gaps) > 5 / 11 / 3, "eleven neighbours are spread over the five seconds"
