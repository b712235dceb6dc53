"""The models that the rehearsal endpoint says it has, with their windows."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_MILLION = [
    "claude-fable-5-2",
    "claude-fable-5-1",
    "claude-fable-5",
    "claude-mythos-5-2",
    "claude-mythos-5-1",
    "claude-mythos-5",
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-opus-4-8",
    "claude-sonnet-5-5",
    "claude-sonnet-5",
    "claude-haiku-5-5",
]
_SMALLER = [
    "claude-opus-4-7",
    "claude-opus-4-6",
    "claude-opus-4-5",
    "claude-sonnet-4-6",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
]
_SIZED = re.compile(r"rehearsal-([1-9]\d{0,3})k")


class Model(NamedTuple):
    """A model by name, with what it can read and write at once."""

    id: str
    max_input_tokens: int
    max_tokens: int

    def info(self) -> dict[str, Any]:
        """The model as `GET /v1/models/{id}` answers it."""
        return {
            "type": "model",
            "id": self.id,
            "display_name": f"{self.id} (rehearsal)",
            "created_at": "2026-01-01T00:00:00Z",
            "lifecycle": "active",
            "deprecated_at": None,
            "retires_at": None,
            "line": None,
            "capabilities": None,
            "max_input_tokens": self.max_input_tokens,
            "max_tokens": self.max_tokens,
        }


def find(name: str) -> Model | None:
    """The model called `name`; None if there is none.

    `rehearsal-8k` is a model with a window of 8000 tokens (any number of thousands), to rehearse a full
    window cheaply. Names that begin with `claude-` are all known, so that a new model needs no change here.
    """
    if sized := _SIZED.fullmatch(name):
        return Model(name, int(sized[1]) * 1000, 64_000)
    if name in _MILLION:
        return Model(name, 1_000_000, 128_000)
    if name == "rehearsal" or name.startswith("claude-"):
        return Model(name, 200_000, 64_000)
    return None


def listed() -> list[Model]:
    """The models that the endpoint lists."""
    return [model for name in ("rehearsal", *_MILLION, *_SMALLER) if (model := find(name))]
