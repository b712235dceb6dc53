"""Handing a long conversation over to a fresh one: when, what the model is asked for, how the next one begins.

The model sums up what it did, in its own words, behind the very prefix that the provider's cache holds. What
must not depend on how well it does so, the host adds: what is still open, what was changed. Nothing of the old
conversation is kept word for word: models that check their own thinking refuse a history that was edited.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from agenthub.sessions.prompts import quoted

Block = dict[str, Any]
Message = dict[str, Any]
"""One message of the conversation, as the Messages API takes it."""

MAX_HAND_OVER_CHARACTERS = 24_000
_CHARACTERS_PER_TOKEN = 3
"""Fewer than there usually are: what is about to be sent must surely fit."""
_WINDOW_USED = 0.9
"""Of the window; the rest is for the answer."""
UNKNOWN_WINDOW = 200_000
_TRANSCRIPTS = (0.5, 0.1)
"""How much of the window the quotation takes that a hand-over is written from, if the conversation does not fit."""
_WORDS_KEPT = 8_000
"""Characters of the old conversation that stand in for a hand-over which the model did not write."""
_SHOWN_CHARACTERS = 2_000
"""Of one tool call or result in a transcript."""
_HEAD = re.compile(r"<hub:message [^>]*>")

REQUEST = """\
<hub:hand-over-request>
This conversation has become long and is handed over to a fresh one now. Write the hand-over for yourself: you will \
know nothing but what stands in it. Answer in words only and call no tool.

- What you are working on, how far it is, and what the next step is.
- What you have parked: for whom, whose answers you wait for, what you will do with them.
- What you promised to whom, and by when.
- Decisions that were taken, by whom, and why.
- Files that matter, with their paths, and what is in them.
- What you learned about this organization that you would not want to learn again.

Keep what an earlier hand-over says if it still holds. Leave out what is finished and has no consequences. Name \
people, message ids and paths exactly. At most about 800 words.
</hub:hand-over-request>"""


class CompactAt(NamedTuple):
    """From which size on a conversation is handed over: whichever of the two comes first."""

    tokens: float
    share: float
    """Of the model's window."""

    def threshold(self, window: int) -> float:
        """Tokens at which it is time; a window that is unknown counts as 200,000."""
        return min(self.tokens, self.share * (window or UNKNOWN_WINDOW))


def extended(history: Sequence[Message], role: str, content: Sequence[Block]) -> list[Message]:
    """The history with more at its end: in its last message, if that is of the same role."""
    if not content:
        return list(history)
    if history and history[-1]["role"] == role:
        return [*history[:-1], {"role": role, "content": [*history[-1]["content"], *content]}]
    return [*history, {"role": role, "content": list(content)}]


def tokens_of(blocks: object) -> int:
    """About how many tokens some content takes, rather too many than too few."""
    return -(-len(json.dumps(blocks, ensure_ascii=False)) // _CHARACTERS_PER_TOKEN)


def fits(context_tokens: int, asked: Sequence[Block], *, window: int) -> bool:
    """True if there is room for what is about to be asked and for an answer."""
    return context_tokens + tokens_of(asked) <= (window or UNKNOWN_WINDOW) * _WINDOW_USED


def transcript(history: Sequence[Message], *, tokens: float) -> str:
    """The end of a conversation as plain text of about that many tokens."""
    lines: list[str] = []
    room = int(tokens * _CHARACTERS_PER_TOKEN)
    for message in reversed(history):
        for block in reversed(message["content"]):
            line = _line(str(message["role"]), block)
            if len(line) >= room:
                lines.append(f"[...] {line[-room:]}" if room > 0 else "[...]")
                return "\n\n".join(reversed(lines))
            if line:
                lines.append(line)
                room -= len(line) + 2
    return "\n\n".join(reversed(lines))


def _line(role: str, block: Block) -> str:
    match block.get("type"):
        case "text":
            return f"{role}: {block['text']}"
        case "tool_use":
            return f"{role} calls {block['name']}: {_clipped(json.dumps(block['input'], ensure_ascii=False))}"
        case "tool_result":
            return f"result: {_clipped(str(block.get('content', '')))}"
        case _:
            return ""


def _clipped(text: str) -> str:
    half = _SHOWN_CHARACTERS // 2
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:half]} [...] {text[-half:]}"


def requests(
    history: Sequence[Message], pending: Sequence[Block], *, window: int, is_too_long: bool
) -> Iterator[list[Message]]:
    """What the model is asked for a hand-over with, the best first: the conversation itself costs the least.

    Args:
        pending: Results that the end of the conversation still owes.
        is_too_long: True if the conversation cannot be continued; its end is quoted then.
    """
    if not is_too_long:
        yield extended(history, "user", [*pending, {"type": "text", "text": REQUEST}])
    whole = extended(history, "user", pending)
    for share in _TRANSCRIPTS:
        text = quoted(transcript(whole, tokens=(window or UNKNOWN_WINDOW) * share))
        quotation = f"<hub:transcript>\n{text}\n</hub:transcript>"
        yield extended([], "user", [{"type": "text", "text": quotation}, {"type": "text", "text": REQUEST}])


def heads(unfinished: Iterable[tuple[str, Sequence[Block]]], *, besides: str) -> list[str]:
    """The frames of messages that were begun and have no end yet, without their text."""
    found = []
    for message_id, asked in unfinished:
        texts = "\n".join(str(block.get("text", "")) for block in asked if block.get("type") == "text")
        frames = _HEAD.findall(texts)
        if message_id != besides:
            found.append(next((one for one in reversed(frames) if f'"{message_id}"' in one), f"message {message_id}"))
    return found


def hand_over(summary: str, *, last_words: str, still_open: Sequence[str], changed: Sequence[str]) -> list[Block]:
    """What the next conversation begins with. Without a summary the last words of the old one stand for it."""
    if summary:
        body = f"What follows you wrote yourself, at the end of the conversation before this one.\n\n{quoted(summary)}"
    else:
        body = f"Nobody summed up the conversation before this one. It ended like this:\n\n{quoted(last_words)}"
    lines = ["<hub:hand-over>", body[:MAX_HAND_OVER_CHARACTERS]]
    if still_open:
        lines += ["", "Begun and not finished, says the host; each is put before you again when it goes on:"]
        lines += [f"- {quoted(head)}" for head in still_open]
    if changed:
        lines += ["", "Changed in that conversation, says the host:", *(f"- {quoted(one)}" for one in changed)]
    return [{"type": "text", "text": "\n".join([*lines, "</hub:hand-over>"])}]


def last_words(history: Sequence[Message]) -> str:
    """The end of a conversation, for when nothing better is to be had."""
    return transcript(history, tokens=_WORDS_KEPT / _CHARACTERS_PER_TOKEN)
