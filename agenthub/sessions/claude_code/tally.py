"""What an answer of the model took, read along while it passes through: whoever asked, the role's key pays."""

from __future__ import annotations

import contextlib
import json
from typing import Any, NamedTuple

_MAX_BYTES = 8 * 1024**2
"""Of an answer that does not stream, or of one event; what is longer is not looked into."""
_BYTES_AROUND = 80
"""Around the words in an event of a stream."""
_BYTES_PER_TOKEN = 3


class Answered(NamedTuple):
    """An answer, or the part of one that came."""

    id: str
    model: str
    usage: dict[str, Any]
    """As in the Messages API."""


class Tally:
    """Takes one answer, piece by piece."""

    def __init__(self, model: str) -> None:
        """`model` is the one that was asked."""
        self._model, self._rest = model, b""
        self.was_refused = False
        """True if the endpoint gave nothing; whoever asks it writes that here."""
        self._id = ""
        self._usage: dict[str, Any] = {}
        self._said_bytes = 0
        self._is_begun = False
        """True of a stream that has not said yet how much it has written."""

    def read(self, piece: bytes) -> None:
        """Take the next piece; not compressed."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if b'"usage"' in line:
                self._take(line.removeprefix(b"data:"))
            elif b'"content_block_delta"' in line:
                self._said_bytes += max(0, len(line) - _BYTES_AROUND)
        if len(self._rest) > _MAX_BYTES:
            self._rest = b""

    def answered(self) -> Answered | None:
        """What came; None if it was no answer of a model."""
        if b'"usage"' in self._rest:  # one that did not stream has no line end
            self._take(self._rest)
        self._rest = b""
        if self._is_begun:  # it broke off, and what was written is paid all the same
            said = -(-self._said_bytes // _BYTES_PER_TOKEN)
            self._usage["output_tokens"] = max(said, self._usage.get("output_tokens") or 0)
        return Answered(self._id, self._model, self._usage) if self._usage else None

    def _take(self, data: bytes) -> None:
        with contextlib.suppress(
            ValueError, LookupError, AttributeError, TypeError
        ):  # not an event of the Messages API
            event = json.loads(data)
            message = event.get("message") or event
            self._id = self._id or str(message.get("id") or "")
            self._usage |= {name: value for name, value in message["usage"].items() if value is not None}
            self._is_begun = event.get("type") == "message_start"
