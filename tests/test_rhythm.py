"""What recurs in a process recurs in the same moments."""

from __future__ import annotations

import asyncio
import os

import pytest

from agenthub.rhythm import until_next_s


async def test_moments_of_a_distance_are_among_those_of_each_that_divides_it() -> None:
    at_s = asyncio.get_running_loop().time
    often_s, seldom_s = at_s() + until_next_s(2.5), at_s() + until_next_s(40)
    assert (seldom_s - often_s) % 2.5 == pytest.approx(0, abs=1e-3) or (seldom_s - often_s) % 2.5 > 2.49
    assert seldom_s - at_s() < 40.5


async def test_who_is_woken_a_little_early_waits_for_the_moment_after(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    moment_s = loop.time() + until_next_s(5)
    monkeypatch.setattr(loop, "time", lambda: moment_s - 1e-6)
    assert until_next_s(5) == pytest.approx(5, abs=1e-3)


async def test_processes_have_moments_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: 1000.0)
    for pid in range(4000, 4011):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        found.append(until_next_s(5))
    gaps = [b - a for a, b in zip(sorted(found), sorted(found)[1:], strict=False)]
    assert min(gaps) > 5 / 11 / 3, "eleven neighbours are spread over the five seconds"
