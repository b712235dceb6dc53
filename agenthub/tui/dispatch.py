"""The line in which a person writes to agents: `@backend !high please look at this`."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from agenthub.errors import ConfigError, unknown
from agenthub.messages import Priority

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
