"""What happened at a role, told to whoever listens: people, learners, the audit. The loop never reads it."""

from __future__ import annotations

import logging
from collections.abc import Callable
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

    async def tell(self, kind: str, text: str = "", about: Message | str | None = None, **data: Any) -> None:
        """Publish one event.

        Args:
            kind: One word, for example `taken`, `step`, `parked`; the token after `agent-hub.events.`.
            about: The message that it is about; its id where no more is known of it.
        """
        event = self._event(kind, text, about, data)
        self._heard(event)
        await self._bus.tell(subjects.event(kind, self._role), event.encode(), soon=True)

    async def record(self, kind: str, text: str, about: Message | None = None, **data: Any) -> None:
        """Publish one event, and keep it on the audit stream: what a guard or a person decided, and why."""
        event = self._event(kind, text, about, data)
        logger.warning("%s %s: %s", kind, event.message_id, text)
        self._heard(event)
        await self._bus.tell(subjects.event(kind, self._role), event.encode())
        await self._bus.tell(subjects.audit(kind, self._role), event.encode())

    async def store(self, kind: str, text: str) -> None:
        """Publish one event and return when the broker has it.

        Raises:
            HubError: If it could not be stored.
        """
        await self._bus.publish(subjects.event(kind, self._role), self._event(kind, text, None, {}).encode())

    def _event(self, kind: str, text: str, about: Message | str | None, data: dict[str, Any]) -> Event:
        message_id = about.id if isinstance(about, Message) else about or ""
        logger.debug("%s %s", kind, message_id)
        text = self._mask(text)
        return Event(
            kind=kind,
            role=self._role,
            at=now(),
            text=text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "...",
            message_id=message_id,
            trace_id=about.trace_id if isinstance(about, Message) else "",
            data=data,
        )
