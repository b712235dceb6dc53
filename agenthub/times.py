"""When something recurring is due: cron, intervals and single moments, in any time zone, across clock changes.

Two rules for the days on which clocks change, after what people expect of a wall clock and what cron(8) of Debian
does. A time that the clock skips is due at the first minute after the gap; one that it shows twice, the first time.
A schedule that names no hour follows real time: every 15 minutes stays every 15 minutes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

_SHORT = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()), ("hour", 0, 23, ()), ("day", 1, 31, ()), ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _WEEKDAYS),
)  # fmt: skip
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WINDOWS = [timedelta(minutes=1), timedelta(hours=1), *(timedelta(days=n) for n in (1, 8, 32, 367, 4 * 367, 9 * 367))]


class Cron(NamedTuple):
    """The five fields of a cron line, each as the numbers that it means."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    text: str

    @property
    def names_hours(self) -> bool:
        """False if every hour is meant, so that it follows real time."""
        return len(self.hours) < 24


class When(NamedTuple):
    """When something is due: exactly one of the first three is given."""

    cron: Cron | None = None
    every_s: float | None = None
    """Counted from 1970-01-01 UTC, so that everybody finds the same moments: `1h` is at each full hour."""
    at: datetime | None = None
    zone: tzinfo = UTC
    """Of the cron line."""


@functools.lru_cache(maxsize=512)
def cron(text: str) -> Cron:
    """Read a cron line: minute, hour, day of the month, month, day of the week; or `@daily` and the like.

    Raises:
        ValueError: If it is none; says which field is wrong.
    """
    parts = _SHORT.get(text.strip(), text).split()
    if len(parts) != 5:
        raise ValueError(f"a cron line has five fields: minute hour day month weekday; found {text!r}")
    fields = [_field(part, *rule) for part, rule in zip(parts, _FIELDS, strict=True)]
    fields[4] = frozenset(day % 7 for day in fields[4])
    minutes, hours, days, months, weekdays = fields
    result = Cron(minutes, hours, days, months, weekdays, text)
    if not _can_ever_be(result):
        raise ValueError(f"there is no such day: {text!r}")
    return result


def _field(text: str, name: str, least: int, most: int, names: tuple[str, ...]) -> frozenset[int]:
    def number(word: str) -> int:
        value = names.index(word.lower()) if word.lower() in names and word else int(word) if word.isdecimal() else -1
        if not least <= value <= most:
            raise ValueError(f"the {name} is a number from {least} to {most}; found {word!r}")
        return value

    found: set[int] = set()
    for item in text.split(","):
        span, slash, step = item.partition("/")
        if slash and not (step.isdecimal() and int(step)):
            raise ValueError(f"the step of the {name} is a number above 0; found {step!r}")
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = least, 6 if name == "weekday" else most
        elif dash:
            low, high = number(first), number(last)
            if high < low:
                raise ValueError(f"the {name} goes from low to high; found {span!r}")
        else:
            low = number(span)
            high = most if slash else low
        found.update(range(low, high + 1, int(step or 1)))
    return frozenset(found)


def _can_ever_be(line: Cron) -> bool:
    longest = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
    by_day = any(min(line.days) <= longest.get(month, 31) for month in line.months)
    return by_day or len(line.weekdays) < 7


def length_s(text: str) -> float:
    """Seconds of a length of time as people write it: `30m`, `1h30m`, `1d`.

    Raises:
        ValueError: If it is none.
    """
    if not re.fullmatch(r"(\d+(\.\d+)?[smhdw])+", text.strip()):
        raise ValueError(f"must be a length of time such as `30m`, `1h30m` or `1d`; found {text!r}")
    return sum(float(n) * _UNITS_S[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)([smhdw])", text))


def zone_of(name: str) -> tzinfo:
    """The time zone of that name.

    Raises:
        ValueError: If there is none.
    """
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:  # also of names that are paths
        raise ValueError(f"{name!r} is no time zone; they are called like `Europe/Berlin` or `UTC`") from error


def moment_of(text: str, zone: tzinfo) -> datetime:
    """The moment that people write as `2026-12-24 18:00`; in `zone`, if it says no other.

    Raises:
        ValueError: If it is none.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"must be a moment such as `2026-12-24 18:00`; found {text!r}") from None
    return _real(found, zone) if found.tzinfo is None else found.astimezone(UTC)


def next_due(when: When, after: datetime) -> datetime | None:
    """The first moment later than `after` at which it is due, in UTC; None if there is none any more."""
    after = after.astimezone(UTC)
    if when.at is not None:
        return when.at if when.at > after else None
    if when.every_s is not None:
        number = (after - _EPOCH) // timedelta(seconds=when.every_s) + 1
        return _EPOCH + number * timedelta(seconds=when.every_s)
    assert when.cron is not None
    try:
        return _wall(when.cron, when.zone, after) if when.cron.names_hours else _flowing(when.cron, when.zone, after)
    except OverflowError:
        return None


def coming(when: When, after: datetime, *, most: int) -> Iterator[datetime]:
    """The next moments at which it is due, at most so many."""
    for _ in range(most):
        due = next_due(when, after)
        if due is None:
            return
        yield due
        after = due


def latest_due(when: When, after: datetime, until: datetime) -> datetime | None:
    """The last moment later than `after`, and not later than `until`, at which it was due; None if it never was.

    Cheap also after a long time: it looks from the end.
    """
    for window in _WINDOWS:
        start = max(after, until - window)
        found, due = None, next_due(when, start)
        while due is not None and due <= until:
            found, due = due, next_due(when, due)
        if found is not None or start == after:
            return found
    return None


def _wall(line: Cron, zone: tzinfo, after: datetime) -> datetime | None:
    """By the clock on the wall: it is computed there, and only then becomes a moment."""
    wall = after.astimezone(zone).replace(tzinfo=None)
    while (next_wall := _next(line, wall)) is not None:
        moment = _real(next_wall, zone)
        if moment > after:
            return moment
        wall = next_wall
    return None


def _flowing(line: Cron, zone: tzinfo, after: datetime) -> datetime | None:
    """By real time: as if the clock never changed, up to the moment at which it does, and from there again."""
    while True:
        offset = _offset(after, zone)
        next_wall = _next(line, after.astimezone(timezone(offset)).replace(tzinfo=None))
        if next_wall is None:
            return None
        moment = (next_wall - offset).replace(tzinfo=UTC)
        if _offset(moment, zone) == offset:
            return moment
        before, behind = after, moment  # the change is in between
        while behind - before > _SECOND:
            middle = before + (behind - before) / 2
            before, behind = (middle, behind) if _offset(middle, zone) == offset else (before, middle)
        after = behind.replace(microsecond=0)
        if _offset(after, zone) == offset:
            after += _SECOND
        if (wall := after.astimezone(zone).replace(tzinfo=None)) == _next(line, wall - _SECOND):
            return after


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _real(wall: datetime, zone: tzinfo) -> datetime:
    """The moment at which a clock on the wall shows this; the first of two, and the end of a gap if it never does."""
    first, second = wall.replace(tzinfo=zone, fold=0), wall.replace(tzinfo=zone, fold=1)
    moment = first.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    # In a gap the two readings lie on both sides of the change, which is at a full minute.
    low, high = sorted((moment, second.astimezone(UTC)))
    before = _offset(low, zone)
    while high - low > _SECOND:
        middle = low + (high - low) / 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return (high + _SECOND / 2).replace(microsecond=0) if high.microsecond else high


def _next(line: Cron, after: datetime) -> datetime | None:
    """The next time on the wall, without a zone. As cron has it: with both days given, either is enough."""
    found = [
        trigger.get_next_fire_time(None, after.replace(tzinfo=UTC) + timedelta(microseconds=1))
        for trigger in _triggers(line)
    ]
    return min((due.replace(tzinfo=None) for due in found if due is not None), default=None)


@functools.lru_cache(maxsize=512)
def _triggers(line: Cron) -> tuple[CronTrigger, ...]:
    # Imported late: 0.1 s, and only who fires or lists schedules needs it.
    from apscheduler.triggers.cron import CronTrigger

    def listed(numbers: frozenset[int]) -> str:
        return ",".join(map(str, sorted(numbers)))

    def trigger(days: str, weekdays: str) -> CronTrigger:
        return CronTrigger(
            minute=listed(line.minutes), hour=listed(line.hours), day=days, month=listed(line.months),
            day_of_week=weekdays, timezone=UTC,
        )  # fmt: skip

    days = "*" if len(line.days) == 31 else listed(line.days)
    # By name: APScheduler counts from Monday.
    weekdays = "*" if len(line.weekdays) == 7 else ",".join(_WEEKDAYS[day] for day in sorted(line.weekdays))
    if "*" in (days, weekdays):
        return (trigger(days, weekdays),)
    return (trigger(days, "*"), trigger("*", weekdays))
