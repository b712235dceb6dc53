"""When schedules are due, as tables: cron, intervals, and the days on which clocks change in ten zones."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from agenthub.times import When, coming, cron, latest_due, length_s, moment_of, next_due, zone_of


def due(line: str, zone: str, after: str, count: int) -> list[str]:
    """What is due next, as the clock on the wall there shows it, with its offset."""
    when = When(cron(line), zone=zone_of(zone))
    moments = coming(when, moment_of(after, zone_of(zone)), most=count)
    return [moment.astimezone(when.zone).isoformat(timespec="minutes") for moment in moments]


@pytest.mark.parametrize(
    ("zone", "line", "after", "expected"),
    [
        # Forward: the time that is skipped is due once, at the first minute after the gap.
        ("Europe/Berlin", "30 2 * * *", "2026-03-28 12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("Europe/London", "30 1 * * *", "2026-03-28 12:00", ["2026-03-29T02:00+01:00", "2026-03-30T01:30+01:00"]),
        ("America/New_York", "30 2 * * *", "2026-03-07 12:00", ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"]),
        ("America/Los_Angeles", "15 2 * * *", "2026-03-07 12:00", ["2026-03-08T03:00-07:00", "2026-03-09T02:15-07:00"]),
        ("America/St_Johns", "30 2 * * *", "2026-03-07 12:00", ["2026-03-08T03:00-02:30", "2026-03-09T02:30-02:30"]),
        ("America/Santiago", "30 0 * * *", "2026-09-05 12:00", ["2026-09-06T01:00-03:00", "2026-09-07T00:30-03:00"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03 12:00", ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
        ("Australia/Sydney", "0 2 * * *", "2026-10-03 12:00", ["2026-10-04T03:00+11:00", "2026-10-05T02:00+11:00"]),
        ("Pacific/Auckland", "59 2 * * *", "2026-09-26 12:00", ["2026-09-27T03:00+13:00", "2026-09-28T02:59+13:00"]),
        ("Africa/Cairo", "30 0 * * *", "2026-04-23 12:00", ["2026-04-24T01:00+03:00", "2026-04-25T00:30+03:00"]),
        # Back: the time that comes twice is due once, the first time.
        ("Europe/Berlin", "30 2 * * *", "2026-10-24 12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("Europe/London", "30 1 * * *", "2026-10-24 12:00", ["2026-10-25T01:30+01:00", "2026-10-26T01:30+00:00"]),
        ("America/New_York", "30 1 * * *", "2026-10-31 12:00", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
        ("America/Los_Angeles", "0 1 * * *", "2026-10-31 12:00", ["2026-11-01T01:00-07:00", "2026-11-02T01:00-08:00"]),
        ("America/St_Johns", "30 1 * * *", "2026-10-31 12:00", ["2026-11-01T01:30-02:30", "2026-11-02T01:30-03:30"]),
        ("America/Santiago", "30 23 * * *", "2026-04-04 12:00", ["2026-04-04T23:30-03:00", "2026-04-05T23:30-04:00"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04 12:00", ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]),
        ("Australia/Sydney", "30 2 * * *", "2026-04-04 12:00", ["2026-04-05T02:30+11:00", "2026-04-06T02:30+10:00"]),
        ("Pacific/Auckland", "30 2 * * *", "2026-04-04 12:00", ["2026-04-05T02:30+13:00", "2026-04-06T02:30+12:00"]),
        ("Africa/Cairo", "30 23 * * *", "2026-10-29 12:00", ["2026-10-29T23:30+03:00", "2026-10-30T23:30+02:00"]),
        # No clock changes, and offsets that are no full hours.
        ("Asia/Kathmandu", "0 9 * * *", "2026-03-28 12:00", ["2026-03-29T09:00+05:45", "2026-03-30T09:00+05:45"]),
    ],
)  # fmt: skip
def test_when_clocks_change_a_time_of_day_is_due_once(zone: str, line: str, after: str, expected: list[str]) -> None:
    assert due(line, zone, after, 2) == expected


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", "2026-03-29T00:30Z"), ("Europe/Berlin", "2026-10-25T00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:00Z"), ("Australia/Lord_Howe", "2026-04-04T14:30Z"),
    ],
)  # fmt: skip
def test_what_names_no_hour_goes_on_evenly_when_clocks_change(zone: str, change: str) -> None:
    start = datetime.fromisoformat(change)
    moments = list(coming(When(cron("*/15 * * * *"), zone=zone_of(zone)), start, most=12))
    assert [later - earlier for earlier, later in itertools.pairwise(moments)] == [timedelta(minutes=15)] * 11


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 9 * * 1-5", ["2026-11-27T09:00+00:00", "2026-11-30T09:00+00:00"]),  # Friday, Monday
        ("0 9 * * 0", ["2026-11-29T09:00+00:00", "2026-12-06T09:00+00:00"]),  # 0 is Sunday, as in cron
        ("0 9 * * 7", ["2026-11-29T09:00+00:00", "2026-12-06T09:00+00:00"]),
        ("0 9 1 * mon", ["2026-11-30T09:00+00:00", "2026-12-01T09:00+00:00"]),  # either day is enough
        ("@monthly", ["2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"]),
        ("0 0 29 feb *", ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00"]),
        ("5/20 22 * * *", ["2026-11-27T22:05+00:00", "2026-11-27T22:25+00:00"]),
    ],
)
def test_a_cron_line_means_what_it_means_to_cron(line: str, expected: list[str]) -> None:
    assert due(line, "UTC", "2026-11-27 00:00", 2) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 9 * *", "five fields"), ("61 * * * *", "minute is a number from 0 to 59; found '61'"),
        ("0 9 31 2 *", "no such day"), ("*/0 * * * *", "step of the minute"), ("0 9 * * fri-mon", "low to high"),
        ("0 9 * * ", "five fields"), ("0 -1 * * *", "hour is a number"), ("0 ² * * *", "hour is a number"),
    ],
)  # fmt: skip
def test_a_wrong_cron_line_says_which_field(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cron(line)


def test_an_interval_is_counted_from_the_same_moment_by_all() -> None:
    when = When(every_s=length_s("1h30m"))
    assert length_s("1h30m") == 5400
    first = next_due(when, datetime(2026, 11, 27, 9, 10, tzinfo=UTC))
    assert (
        first == next_due(when, datetime(2026, 11, 27, 9, 59, tzinfo=UTC)) == datetime(2026, 11, 27, 10, 30, tzinfo=UTC)
    )
    for wrong in ("", "30", "-5m", "1y"):
        with pytest.raises(ValueError, match="length of time"):
            length_s(wrong)


def test_what_is_due_once_is_due_no_more() -> None:
    at = moment_of("2026-12-24 18:00", zone_of("Europe/Berlin"))
    assert list(coming(When(at=at), datetime(2026, 11, 27, tzinfo=UTC), most=5)) == [
        datetime(2026, 12, 24, 17, tzinfo=UTC)
    ]


@pytest.mark.parametrize("line", ["* * * * *", "0 9 * * *", "0 0 29 2 *"])
def test_the_last_time_that_was_missed_is_found_from_the_end(line: str) -> None:
    after, until = datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 11, 27, 12, tzinfo=UTC)
    found = latest_due(When(cron(line)), after, until)
    assert found is not None and found <= until
    following = next_due(When(cron(line)), found)
    assert following is not None and following > until
    assert latest_due(When(cron(line)), until, until) is None


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "", "/etc/localtime"])
def test_what_is_no_zone_is_said(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        zone_of(name)
