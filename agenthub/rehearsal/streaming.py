"""A finished message as the events of a stream, and as the bytes of server-sent events."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from agenthub.rehearsal.cache import tokens

TOKENS_PER_S = 400.0
"""How fast the model writes at speed 1."""

_PIECE = re.compile(r".{1,32}", re.DOTALL)


class StreamEvent(NamedTuple):
    """One event of a stream and how many tokens it took to write."""

    data: dict[str, Any]
    tokens: int = 0

    def encode(self) -> bytes:
        body = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        return f"event: {self.data['type']}\ndata: {body}\n\n".encode()


def events_of(message: dict[str, Any]) -> Iterator[StreamEvent]:
    """The events by which a message arrives, in the order of the API."""
    usage: dict[str, Any] = message["usage"]
    opening: dict[str, Any] = {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield StreamEvent({"type": "message_start", "message": {**message, **opening}})
    yield StreamEvent({"type": "ping"})
    for index, block in enumerate(message["content"]):
        empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
        yield StreamEvent({"type": "content_block_start", "index": index, "content_block": empty})
        for piece in _PIECE.findall(written(block)):
            delta = (
                {"type": "text_delta", "text": piece}
                if block["type"] == "text"
                else {"type": "input_json_delta", "partial_json": piece}
            )
            yield StreamEvent({"type": "content_block_delta", "index": index, "delta": delta}, tokens(len(piece)))
        yield StreamEvent({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    counted = {name: value for name, value in usage.items() if name.endswith("_tokens")}
    yield StreamEvent({"type": "message_delta", "delta": ending, "usage": counted})
    yield StreamEvent({"type": "message_stop"})


def written(block: dict[str, Any]) -> str:
    """What the model wrote for a block: its text, or a tool's input as JSON."""
    if block["type"] == "text":
        return str(block["text"])
    return json.dumps(block["input"], ensure_ascii=False)


def output_tokens(content: list[dict[str, Any]]) -> int:
    """Tokens of an answer; never 0, as on the API."""
    return max(1, sum(tokens(len(written(block)) + len(block.get("name", ""))) for block in content))


def seconds_per_token(speed: float) -> float:
    """Pause for each token. Speed 0 and infinity: none."""
    return 0.0 if speed == 0 or math.isinf(speed) else 1.0 / (TOKENS_PER_S * speed)
