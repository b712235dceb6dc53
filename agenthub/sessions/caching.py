"""The provider's prompt cache: where it is told to keep the prefix, and whether it could use what it kept.

A prefix is read at a tenth of the price or less and lives for an hour: a role gets a message every few minutes,
so that after the five minutes that are usual the whole conversation would be written anew each time. Three of
the four marks that the API takes are used: behind the instructions (tools stand before them), where the request
before ended, and at the end.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from anthropic.types import Message as ApiMessage

logger = logging.getLogger(__name__)

MARK = {"type": "ephemeral", "ttl": "1h"}
_REMEMBERED = 64


def marked(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with a cache mark where the request before ended.

    The mark that the API sets at the end looks back over 20 blocks only; an answer with many tool calls has
    more, and the whole conversation would be read at full price.
    """
    if len(messages) < 3:
        return list(messages)
    before = messages[-3]
    *blocks, last = before["content"]
    with_mark = {**before, "content": [*blocks, {**last, "cache_control": MARK}]}
    return [*messages[:-3], with_mark, *messages[-2:]]


class Diagnosis:
    """Asks the API, with each request, why it could not use the prefix of the one before in the same conversation."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, str] = OrderedDict()
        self.asked = 0
        """How many requests named one before."""
        self.misses: list[str] = []
        """Why prefixes could not be used, as the API says it: `system_changed`, `messages_changed` …"""

    def request(self, messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The field of the request."""
        before = self._last.get(_beginning(messages)) if len(messages) > 1 else None
        self.asked += before is not None
        return {"previous_message_id": before}

    def take(self, messages: Sequence[dict[str, Any]], message: ApiMessage) -> None:
        """Note what the API says of it, and the answer's id for the next request."""
        reason = message.diagnostics.cache_miss_reason if message.diagnostics else None
        if reason is not None and reason.type.endswith("_changed"):
            logger.warning("the provider's cache could not be used: %s", reason.to_json(indent=None))
            self.misses.append(reason.type)
            del self.misses[:-_REMEMBERED]
        self._last[_beginning(messages)] = message.id
        self._last.move_to_end(_beginning(messages))
        while len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)


def _beginning(messages: Sequence[dict[str, Any]]) -> bytes:
    """Stands for a conversation: its first block, which stays the same as long as it lasts."""
    return hashlib.blake2b(json.dumps(messages[0]["content"][0]).encode(), digest_size=16).digest()
