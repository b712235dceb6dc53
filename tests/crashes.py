"""A crash at one publication: the process stops there, before or after the broker has stored it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agenthub.bus.connection import Bus, Stored
from agenthub.errors import HubUnreachableError


def crash_once(
    monkeypatch: pytest.MonkeyPatch, when: str, is_there: Callable[[str, bytes], bool]
) -> Callable[[], bool]:
    """Have the first publication, of subject and data, that `is_there` names fail; whether that has happened."""
    publish, has_crashed = Bus.publish, False

    async def crashing(bus: Bus, subject: str, data: bytes, **named: Any) -> Stored:
        nonlocal has_crashed
        is_now = not has_crashed and is_there(subject, data)
        has_crashed = has_crashed or is_now
        if is_now and when == "before":
            raise HubUnreachableError("a crash")
        stored = await publish(bus, subject, data, **named)
        if is_now:
            raise HubUnreachableError("a crash")
        return stored

    monkeypatch.setattr(Bus, "publish", crashing)
    return lambda: has_crashed
