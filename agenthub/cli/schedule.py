"""Commands about schedules: what is due when, add, fire, pause, remove."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from agenthub import subjects
from agenthub.cli import EXIT_OK
from agenthub.cli.choices import Misfire, PriorityWord, WhileBusy
from agenthub.cli.names import AnyRole, RoleName, RolesBetweenCommas
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import ago, escaped, print_json, say, table
from agenthub.errors import ConfigError, problems
from agenthub.times import next_due

if TYPE_CHECKING:
    from agenthub.client.schedules import Scheduled
    from agenthub.schedules import Planned


async def schedule_ls(*, role: AnyRole = None, options: Options = DEFAULT) -> int:
    """List schedules with their next five times.

    Args:
        role: Only those whose messages this role gets.
    """
    from agenthub.client.schedules import Schedules

    async with options.client() as client:
        found = [one for one in await Schedules(client).all() if role is None or one.planned.to == role]
    if options.json:
        print_json([_as_data(one) for one in found], options)
        return EXIT_OK
    rows = [
        [
            escaped(one.planned.id), one.planned.to, escaped(one.planned.rule.rule), escaped(one.planned.source),
            ago(one.last.fired_at) if one.last else "-",
            "paused" if one.is_paused else _times(one) or "never again",
        ]
        for one in found
    ]  # fmt: skip
    table(["ID", "TO", "WHEN", "FROM", "LAST", "NEXT"], rows, right=["LAST"], free=["NEXT"])
    if not found:
        say("there is no schedule; `agenthub schedule add --help`")
    return EXIT_OK


async def schedule_add(
    name: str,
    /,
    *,
    to: RoleName,
    cron: str | None = None,
    every: str | None = None,
    at: str | None = None,
    zone: str | None = None,
    text: str = "",
    priority: PriorityWord = "medium",
    misfire: Misfire = "once",
    while_busy: WhileBusy = "wait",
    news: str = "",
    news_of: RolesBetweenCommas = "",
    options: Options = DEFAULT,
) -> int:
    """Add a schedule.

    Args:
        name: One word.
        to: Role that gets the message.
        cron: Minute, hour, day of the month, month, day of the week; or @daily, @weekly.
        every: A length of time: 30m, 2h, 1d.
        at: Once, at this moment: "2026-12-24 18:00".
        zone: Time zone, such as Europe/Berlin. Default: that of the organization.
        text: What is to be done. Default: the name says it.
        priority: Of the message.
        misfire: What becomes of times that passed while nothing ran.
        while_busy: What becomes of a firing while the last one has not ended.
        news: Fire only if one of these happened since the last time: completed, dead, ..., with commas between.
        news_of: Only what happened to these roles, with commas between them.
    """
    from pydantic import ValidationError

    from agenthub.client.schedules import Schedules
    from agenthub.messages import now
    from agenthub.role_settings import NAME_RULE, Schedule

    values: dict[str, Any] = {
        "cron": cron, "every": every, "at": at, "zone": zone, "text": text, "priority": priority,
        "misfire": misfire, "while_busy": while_busy, "news": news, "news_of": news_of,
    }  # fmt: skip
    try:
        rule = Schedule.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"Not added: {problems(error)}.") from error
    if not subjects.token(name):
        raise ConfigError(f"{name!r} is no name of a schedule: {NAME_RULE}.")
    async with options.client() as client:
        if next_due(rule.when(client.organization.calendar.zone), now()) is None:
            why = "is in the past" if rule.at else "never comes"
            raise ConfigError(f"Not added: `{rule.rule}` {why}, so it would never be due.")
        schedules = Schedules(client)
        one = await schedules.add(name, to, rule)
        next_at = next((each for each in await schedules.all() if each.planned.id == one.id), None)
    if options.json:
        print_json({"id": one.id, "coming": next_at.coming if next_at else ()}, options)
        return EXIT_OK
    say(f"added {one.id}: {_times(next_at) if next_at else ''}")
    return EXIT_OK


async def schedule_run(name: str, /, *, options: Options = DEFAULT) -> int:
    """Fire a schedule now.

    Args:
        name: As `agenthub schedule ls` lists it; without its owner, if only one has the name.
    """
    from agenthub.client.schedules import Schedules

    async with options.client() as client:
        message = await Schedules(client).run(name)
    if options.json:
        print_json({"message_id": message.id}, options)
        return EXIT_OK
    say(f"sent as {message.id[:8]}; `agenthub trace {message.id[:8]}` follows it")
    return EXIT_OK


async def schedule_pause(name: str, /, *, options: Options = DEFAULT) -> int:
    """Have a schedule fire no more until you resume it.

    Args:
        name: As `agenthub schedule ls` lists it.
    """
    from agenthub.client.schedules import Schedules

    async with options.client() as client:
        return _said(await Schedules(client).pause(name), "paused", options)


async def schedule_resume(name: str, /, *, options: Options = DEFAULT) -> int:
    """Have a paused schedule fire again.

    Args:
        name: As `agenthub schedule ls` lists it.
    """
    from agenthub.client.schedules import Schedules

    async with options.client() as client:
        return _said(await Schedules(client).resume(name), "resumed", options)


async def schedule_rm(name: str, /, *, options: Options = DEFAULT) -> int:
    """Remove a schedule that was added while the hub runs.

    Args:
        name: As `agenthub schedule ls` lists it.
    """
    from agenthub.client.schedules import Schedules

    async with options.client() as client:
        return _said(await Schedules(client).remove(name), "removed", options)


def _said(one: Planned, what: str, options: Options) -> int:
    if options.json:
        print_json({"id": one.id, "state": what}, options)
    else:
        say(f"{what} {one.id}")
    return EXIT_OK


def _times(one: Scheduled) -> str:
    """The next times on the clock of the schedule's zone; the day and the seconds only where they matter."""
    shown: list[str] = []
    day, has_seconds = "", any(moment.second for moment in one.coming)
    for moment in one.coming:
        local: datetime = moment.astimezone(one.planned.when.zone)
        today = f"{local:%a %d %b}"
        clock = f"{local:%H:%M:%S}" if has_seconds else f"{local:%H:%M}"
        shown.append(clock if today == day else f"{today} {clock}")
        day = today
    return ", ".join(shown)


def _as_data(one: Scheduled) -> dict[str, Any]:
    return {
        "id": one.planned.id, "to": one.planned.to, "source": one.planned.source, "is_paused": one.is_paused,
        "coming": list(one.coming), "rule": one.planned.rule.model_dump(mode="json", exclude_defaults=True),
        "last": one.last.model_dump(mode="json", exclude={"seen"}) if one.last else None,
    }  # fmt: skip
