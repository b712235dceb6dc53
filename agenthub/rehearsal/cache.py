"""Tokens and the prefix cache: what a request would cost on the real API.

Order of the prefix is tools, system, messages. A breakpoint writes the prefix that ends there and reads the
longest known one up to 20 blocks before it. Rules after the public documentation of prompt caching, without
its smallest prefix: short prompts are cached too, so that tests can stay short.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from agenthub.rehearsal import requests
from agenthub.rehearsal.requests import MessagesRequest

LOOK_BACK_BLOCKS = 20
TTL_S = {"5m": 300.0, "1h": 3600.0}
CHARACTERS_PER_TOKEN = 4
IMAGE_CHARACTERS = 6400  # about 1600 tokens, whatever the size of the file
_REMEMBERED_PROMPTS = 500
_REMEMBERED_PREFIXES = 50_000

Part = Literal["tools", "system", "messages"]


class PromptBlock(NamedTuple):
    """A piece of the prompt: where it stands, what is compared, how long it is, whether it is a breakpoint."""

    part: Part
    text: str
    size: int
    """Characters that count as tokens."""
    ttl: str | None = None


class Prompt(NamedTuple):
    """A prompt cut into blocks; `digests[i]` names the prefix that ends with block i."""

    model: str
    blocks: list[PromptBlock]
    digests: list[bytes]
    tokens: list[int]
    """Tokens of the prefix that ends with each block."""

    @property
    def total_tokens(self) -> int:
        return self.tokens[-1] if self.tokens else 0

    def end_of(self, part: Part) -> bytes:
        """Digest of everything up to the end of a part, without what comes before it."""
        own = [block.text for block in self.blocks if block.part == part]
        return hashlib.blake2b("\0".join(own).encode(), digest_size=16).digest()


def tokens(characters: int) -> int:
    """Tokens of a text of this length, rounded up."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def prompt_of(request: MessagesRequest) -> Prompt:
    """The request's prompt as the cache sees it."""
    blocks: list[PromptBlock] = []
    for tool in request.tools:
        text = _json(tool.model_dump(exclude={"cache_control"}, exclude_none=True))
        blocks.append(PromptBlock("tools", text, len(text), tool.cache_control.ttl if tool.cache_control else None))
    blocks += [_block("system", "system", block) for block in request.system_blocks()]
    for turn in request.messages:
        blocks += [_block("messages", turn.role, block) for block in turn.blocks()]
    if request.cache_control:
        blocks[-1] = blocks[-1]._replace(ttl=request.cache_control.ttl)

    digests: list[bytes] = []
    digest = hashlib.blake2b(request.model.encode(), digest_size=16).digest()
    for block in blocks:
        digest = hashlib.blake2b(digest + block.part.encode() + block.text.encode(), digest_size=16).digest()
        digests.append(digest)
    lengths = itertools.accumulate(block.size for block in blocks)
    return Prompt(request.model, blocks, digests, [tokens(length) for length in lengths])


class InputUsage(NamedTuple):
    """Where the tokens of a prompt came from and what is kept of them."""

    input_tokens: int
    read_tokens: int
    written_5m_tokens: int
    written_1h_tokens: int

    def fields(self) -> dict[str, Any]:
        """As `usage` names them."""
        return {
            "input_tokens": self.input_tokens,
            "cache_read_input_tokens": self.read_tokens,
            "cache_creation_input_tokens": self.written_5m_tokens + self.written_1h_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.written_5m_tokens,
                "ephemeral_1h_input_tokens": self.written_1h_tokens,
            },
        }


class PrefixCache:
    """Prefixes that are known until their time is over; reading one renews it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[bytes, tuple[float, str]] = {}  # digest: (expires at, ttl)
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()

    def account(self, prompt: Prompt) -> InputUsage:
        """Read and write the cache for a prompt; what it costs."""
        now = self._clock()
        marks = [index for index, block in enumerate(prompt.blocks) if block.ttl]
        read = -1
        for mark in marks:
            for index in range(mark, max(-1, mark - LOOK_BACK_BLOCKS - 1), -1):
                entry = self._entries.get(prompt.digests[index])
                if entry and entry[0] > now:
                    self._entries[prompt.digests[index]] = (now + TTL_S[entry[1]], entry[1])
                    read = max(read, index)
                    break
        read_tokens = covered = prompt.tokens[read] if read >= 0 else 0
        written = {"5m": 0, "1h": 0}
        for mark in marks:
            ttl = prompt.blocks[mark].ttl
            if mark > read and ttl:
                written[ttl] += prompt.tokens[mark] - covered
                covered = prompt.tokens[mark]
                self._entries[prompt.digests[mark]] = (now + TTL_S[ttl], ttl)
        if len(self._entries) > _REMEMBERED_PREFIXES:
            self._entries = {digest: entry for digest, entry in self._entries.items() if entry[0] > now}
        return InputUsage(prompt.total_tokens - covered, read_tokens, written["5m"], written["1h"])

    def remember(self, message_id: str, prompt: Prompt) -> None:
        """Keep a prompt for later diagnoses, under the id of the message that answered it."""
        self._prompts[message_id] = prompt
        self._prompts.move_to_end(message_id)
        while len(self._prompts) > _REMEMBERED_PROMPTS:
            self._prompts.popitem(last=False)

    def diagnose(self, previous_message_id: str | None, prompt: Prompt) -> dict[str, Any] | None:
        """Why the prompt that `previous_message_id` answered is not a prefix of this one. None: it is."""
        if previous_message_id is None:
            return None
        before = self._prompts.get(previous_message_id)
        if before is None:
            return {"cache_miss_reason": {"type": "previous_message_not_found"}}
        if before.model != prompt.model:
            kind = "model_changed"
        elif before.end_of("system") != prompt.end_of("system"):
            kind = "system_changed"
        elif before.end_of("tools") != prompt.end_of("tools"):
            kind = "tools_changed"
        elif before.digests != prompt.digests[: len(before.digests)]:
            kind = "messages_changed"
        else:
            return None
        same = sum(1 for ours, theirs in zip(prompt.digests, before.digests, strict=False) if ours == theirs)
        missed = before.total_tokens - (before.tokens[same - 1] if same else 0)
        return {"cache_miss_reason": {"type": kind, "cache_missed_input_tokens": missed}}


def _block(part: Part, role: str, block: requests.Block) -> PromptBlock:
    mark = block.get("cache_control") or {}
    content = block.get("content")
    for inner in content if isinstance(content, list) else []:
        mark = mark or inner.get("cache_control") or {}
    ttl = mark.get("ttl", "5m") if mark else None
    name, text = "", ""
    match block["type"]:
        case "text":
            text = block["text"]
        case "tool_use":
            name, text = block["id"], block["name"] + _json(block["input"])
        case "tool_result":
            name, text = block["tool_use_id"] + str(block.get("is_error") or ""), content_text(content)
        case _:
            text = _json({key: value for key, value in block.items() if key != "cache_control"})
    size = IMAGE_CHARACTERS if block["type"] in ("image", "document") else len(text)
    return PromptBlock(part, f"{role}\0{block['type']}\0{name}\0{text}", size, ttl)


def content_text(content: object) -> str:
    """Text of a tool result, which is a string, a list of blocks or nothing."""
    if isinstance(content, list):
        return "\n".join(block["text"] if block["type"] == "text" else _json(block) for block in content)
    return content if isinstance(content, str) else ""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
