"""Blocks of an answer or a request, as the Messages API has them."""

from __future__ import annotations

from collections.abc import Sequence

from agenthub.sessions.journal import Block


def said(blocks: Sequence[Block]) -> str:
    return "\n".join(str(block["text"]) for block in blocks if block.get("type") == "text").strip()


def whole(text: str) -> str:
    """The text with halves of characters joined, or replaced: nobody can be sent them.

    Models write such in their JSON, and a stream may break between two that belong together.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def text(text: str) -> Block:
    return {"type": "text", "text": text}


def first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:200]
