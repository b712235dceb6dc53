"""Lines that a person writes: to agents, `@backend !high please look at this`, and into the calendar."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from typing import NamedTuple

from pydantic import ValidationError

from agenthub.errors import ConfigError, problems, unknown
from agenthub.messages import Priority
from agenthub.role_settings import Schedule

_WORD = re.compile(r"\s*([@!])(\S+)\s*")


class Dispatch(NamedTuple):
    """Something to send."""

    to: str
    text: str
    priority: Priority


def parse(line: str, *, roles: Collection[str], to: str) -> Dispatch:
    """What a line says: whom (`@role`) and how urgent (`!priority`) stand before the text, in any order.

    Args:
        to: Who is meant if the line does not say; empty: nobody.

    Raises:
        ConfigError: If it cannot be sent; says what to write.
    """
    priority, rest = Priority.MEDIUM, line
    while match := _WORD.match(rest):
        sign, word = match[1], match[2]
        if sign == "@":
            if word not in roles:
                raise ConfigError(unknown("role", word, roles))
            to = word
        else:
            if word.lower() not in {*map(str, Priority), "urgent", "normal"}:
                raise ConfigError(unknown("priority", word, [str(known) for known in Priority]))
            priority = Priority.read(word)
        rest = rest[match.end() :]
    if not rest.strip():
        raise ConfigError("There is nothing to send: write `@role !priority text`.")
    if not to:
        raise ConfigError("To whom? Begin with `@role`.")
    return Dispatch(to, rest.strip(), priority)


class Plan(NamedTuple):
    """A schedule that a person wrote down."""

    name: str
    to: str
    rule: Schedule


def read_plan(line: str) -> Plan:
    """`name @role when text`; `when` is a cron line in quotes, `@daily` and the like, a length such as `30m`, a moment.

    Raises:
        ConfigError: If it is none; says what to write.
    """
    try:
        name, to, when, *words = shlex.split(line)
    except ValueError:
        example = 'sweep @qa "0 9 * * 1-5" Run the slow tests'
        raise ConfigError(f"Write `name @role when text`, such as `{example}`.") from None
    is_length = re.fullmatch(r"(?:\d+[smhd])+", when) is not None
    is_cron = when.startswith("@") or len(when.split()) == 5
    kind = "every" if is_length else "cron" if is_cron else "at"
    try:
        return Plan(name, to.removeprefix("@"), Schedule.model_validate({kind: when, "text": " ".join(words)}))
    except ValidationError as error:
        raise ConfigError(problems(error)) from error
