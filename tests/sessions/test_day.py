"""A session that works all day stays cheap: what `bench day` measures, on a shorter day."""

from __future__ import annotations

from bench.day import day


async def test_a_day_is_read_from_the_cache_and_its_end_costs_no_more_than_its_beginning() -> None:
    short = await day(0, number=50, compact_at_tokens=15_000)
    assert short.hand_overs >= 2
    assert short.cached_share >= 0.9
    assert short.growth <= 1.5
    assert (short.asked > 150, short.misses) == (True, ())
