"""What an answer of the model took, read along while it passes through: whoever asked, the role's key pays."""

from __future__ import annotations

import contextlib
import json
from typing import Any, NamedTuple

_MAX_BYTES = 8 * 1024**2
"""Of an answer that does not stream, or of one event; what is longer is not looked into."""


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
        self._id = ""
        self._usage: dict[str, Any] = {}

    def read(self, piece: bytes) -> None:
        """Take the next piece; not compressed."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if b'"usage"' in line:
                self._take(line.removeprefix(b"data:"))
        if len(self._rest) > _MAX_BYTES:
            self._rest = b""

    def answered(self) -> Answered | None:
        """What came; None if it was no answer of a model."""
        if b'"usage"' in self._rest:  # one that did not stream has no line end
            self._take(self._rest)
        self._rest = b""
        return Answered(self._id, self._model, self._usage) if self._usage else None

    def _take(self, data: bytes) -> None:
        with contextlib.suppress(ValueError, AttributeError, TypeError):  # not an event of the Messages API
            event = json.loads(data)
            message = event.get("message") or event
            self._id = self._id or str(message.get("id") or "")
            self._usage |= {name: value for name, value in message["usage"].items() if value is not None}
