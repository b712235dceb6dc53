"""The long run: what it makes of its samples, and a short one from end to end."""

from __future__ import annotations

import pytest

from bench.soak import Sample, Spent, bounds, slope, soak

FLAT = [Sample(n, 70.0, 19, 5.0) for n in range(20, 1001, 20)]
CHEAP = [Spent(0.01, 1000, 950)] * 100


def broken(samples: list[Sample], spent: list[Spent]) -> list[str]:
    return [bound.what for bound in bounds(samples, spent) if not bound.is_kept]


def test_a_slope_is_growth_for_each_thousand_messages() -> None:
    assert slope([(100, 1.0), (200, 2.0), (300, 3.0)]) == pytest.approx(10.0)
    assert slope([(100, 1.0)]) == 0


@pytest.mark.parametrize(
    ("samples", "spent", "what"),
    [
        (FLAT, CHEAP, []),
        ([one._replace(memory_mib=one.messages / 100) for one in FLAT], CHEAP, ["growth of memory"]),
        ([one._replace(files=one.messages // 100) for one in FLAT], CHEAP, ["growth of open files"]),
        ([*FLAT, Sample(1020, 70.0, 19, 50.0)], CHEAP, ["largest journal with its log"]),
        (FLAT, [*CHEAP[:80], *[Spent(0.02, 1000, 950)] * 20], ["cost of the last tenth by the second"]),
        (FLAT, [Spent(0.01, 1000, 800)] * 100, ["input that came from the cache"]),
    ],
)
def test_each_bound_is_seen_to_break(samples: list[Sample], spent: list[Spent], what: list[str]) -> None:
    assert broken(samples, spent) == what


async def test_a_short_run_works_off_all_its_messages() -> None:
    kept = {bound.what for bound in await soak(40) if bound.is_kept}
    # So short, it still warms up, and one hand-over among the last four messages is a large part of their cost.
    assert kept >= {"growth of open files", "largest journal with its log", "input that came from the cache"}
