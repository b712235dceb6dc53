"""What happened at a role, told to whoever listens: people, learners, the audit. The loop never reads it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.masking import mask_of_keys
from agenthub.messages import Event, Message, now

logger = logging.getLogger(__name__)

_LONGEST_TEXT = 500


class Events:
    """Tells what one role does. An event may be lost when the server crashes; what counts is stored elsewhere."""

    def __init__(
        self, bus: Bus, role: str, *, mask: Callable[[str], str] = mask_of_keys,
        heard: Callable[[Event], None] = lambda event: None,
    ) -> None:  # fmt: skip
        """Events of a role.

        Args:
            mask: Takes secrets out of their texts.
            heard: Called in this process for each event that is told.
        """
        self._bus, self._role, self._mask, self._heard = bus, role, mask, heard
        self._untold: list[tuple[str, str, Message | str | None, dict[str, Any], datetime]] = []
        self._telling: set[asyncio.Task[None]] = set()

    async def tell(self, kind: str, text: str = "", about: Message | str | None = None, **data: Any) -> None:
        """Publish one event.

        Args:
            kind: One word, for example `taken`, `step`, `parked`; the token after `agent-hub.events.`.
            about: The message that it is about; its id where no more is known of it.
        """
        await self._tell_untold()
        await self._publish(self._event(kind, text, about, data), soon=True)

    def tell_soon(self, kind: str, text: str = "", about: Message | str | None = None, **data: Any) -> None:
        """The same as soon as this process waits for anything, and before whatever is told next."""
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._begin_to_tell)
        self._untold.append((kind, text, about, data, now()))

    def _begin_to_tell(self) -> None:
        task = asyncio.create_task(self._tell_untold(), name="tell")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def record(self, kind: str, text: str, about: Message | None = None, **data: Any) -> None:
        """Publish one event, and keep it on the audit stream: what a guard or a person decided, and why."""
        await self._tell_untold()
        event = self._event(kind, text, about, data)
        logger.warning("%s %s: %s", kind, event.message_id, text)
        await self._publish(event)
        await self._bus.tell(subjects.audit(kind, self._role), event.encode())

    async def store(self, kind: str, text: str) -> None:
        """Publish one event and return when the broker has it.

        Raises:
            HubError: If it could not be stored.
        """
        await self._bus.publish(subjects.event(kind, self._role), self._event(kind, text, None, {}).encode())

    async def _tell_untold(self) -> None:
        while self._untold:
            await self._publish(self._event(*self._untold.pop(0)))

    async def _publish(self, event: Event, *, soon: bool = False) -> None:
        self._heard(event)
        await self._bus.tell(subjects.event(event.kind, self._role), event.encode(), soon=soon)

    def _event(
        self, kind: str, text: str, about: Message | str | None, data: dict[str, Any], at: datetime | None = None
    ) -> Event:
        message_id = about.id if isinstance(about, Message) else about or ""
        logger.debug("%s %s", kind, message_id)
        text = self._mask(text)
        return Event(
            kind=kind,
            role=self._role,
            at=at or now(),
            text=text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "...",
            message_id=message_id,
            trace_id=about.trace_id if isinstance(about, Message) else "",
            data=data,
        )
