"""Wait until one is let in: in containers keys are dealt, and servers told of them, while everybody starts."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from agenthub.bus.connecting import connect
from agenthub.bus.identity import Keyring
from agenthub.errors import HubUnreachableError
from agenthub.transport import Transport

_PAUSE_S = 0.3


async def let_in(transport: Transport, keys: Path, name: str, *, is_role: bool = False, within_s: float) -> None:
    """Return when the servers admit who has this key, or after `within_s`: then what follows says what is missing.

    Raises:
        ConfigError: If the key is there, but is none, or others can read it.
    """
    over_at = time.monotonic() + within_s
    while time.monotonic() < over_at:
        identity = Keyring(keys).find(name, is_role=is_role)
        if identity is not None:
            try:
                async with connect(transport, name=f"agenthub {name}, is it let in?", identity=identity):
                    return
            except HubUnreachableError:
                pass
        await asyncio.sleep(_PAUSE_S)
