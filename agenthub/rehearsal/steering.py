"""Words in a message that steer the rehearsal model, for tests and trials.

rehearse: fail | blocked | needs_human      finish with this outcome
rehearse: silent                            stop talking, without finish
rehearse: say <text>                        finish done with exactly this text
rehearse: slow 5                            stream the first answer over 5 seconds
rehearse: tool <name> <json>                call this tool with this input first
rehearse: alone                             a manager does the work itself
rehearse: stubborn                          go on although something critical waits, or a call failed
rehearse: steps 5                           write so many files, one by one, then finish
rehearse: vote no                           vote for this on a ballot
rehearse: bid 2 30 0.8                      bid so many USD and minutes, and be so sure
rehearse@backend: fail                      for the report `backend`; its manager passes it on
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

WORDS = ("fail", "blocked", "needs_human", "silent", "say", "slow", "tool", "alone", "stubborn", "steps", "vote", "bid")
_START = re.compile(r"\brehearse(?:@([A-Za-z0-9_-]+))?:[ \t]*([A-Za-z_]*)[ \t]*", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TOOL = re.compile(r"[A-Za-z0-9_-]+[ \t]*")
_MAX_STEPS = 200


class Steering(NamedTuple):
    """What a message asks the rehearsal for, and the message without these words."""

    text: str = ""
    outcome: str = ""
    """failed, blocked or needs_human; empty: as the work goes."""
    say: str | None = None
    silent: bool = False
    alone: bool = False
    stubborn: bool = False
    slow_s: float | None = None
    steps: int | None = None
    vote: str = ""
    bid: tuple[float, ...] = ()
    """Cost in USD, minutes, confidence."""
    tools: tuple[tuple[str, dict[str, Any]], ...] = ()
    passed_on: tuple[tuple[str, str], ...] = ()
    """(role, words) meant for other roles, in order."""
    mistake: str = ""
    """A word that is not understood; said instead of being ignored."""


def read(body: str) -> Steering:
    """Steering words of a message; they may stand anywhere in it."""
    found: dict[str, Any] = {}
    tools: list[tuple[str, dict[str, Any]]] = []
    passed_on: list[tuple[str, str]] = []
    kept: list[str] = []
    at = 0
    while match := _START.search(body, at):
        kept.append(body[at : match.start()])
        word = match[2].lower()
        at, value = _argument(body, match.end(), word)
        if match[1]:
            passed_on.append((match[1], body[match.start(2) : at].strip()))
        elif isinstance(value, str):
            found["mistake"] = value
        elif word == "tool":
            tools.append(value["tool"])
        else:
            found |= value
    kept.append(body[at:])
    text = re.sub(r"\n{3,}", "\n\n", "".join(kept)).strip()
    return Steering(text=text, tools=tuple(tools), passed_on=tuple(passed_on), **found)


def meant_for(role: str, steered: Steering, body: str) -> Steering:
    """What a message that goes to several roles asks of one of them: the words for all, then those for it alone."""
    own = [f"rehearse: {words}" for name, words in steered.passed_on if name == role]
    return read("\n".join([body, *own])) if own else steered


def _argument(body: str, start: int, word: str) -> tuple[int, dict[str, Any] | str]:
    """Where the words end, and the fields that they set or what is wrong with them."""
    line_end = body.find("\n", start)
    line_end = len(body) if line_end < 0 else line_end
    match word:
        case "fail":
            return start, {"outcome": "failed"}
        case "blocked" | "needs_human":
            return start, {"outcome": word}
        case "silent" | "alone" | "stubborn":
            return start, {word: True}
        case "say" | "vote":
            return line_end, {word: body[start:line_end].strip()}
        case "bid":
            numbers = tuple(float(number) for number in _NUMBER.findall(body[start:line_end]))
            usage = "`rehearse: bid` needs three numbers, such as `rehearse: bid 2 30 0.8`."
            return line_end, {"bid": numbers} if len(numbers) == 3 else usage
        case "slow" | "steps":
            number = _NUMBER.match(body, start)
            if number is None:
                return start, f"`rehearse: {word}` needs a number, such as `rehearse: {word} 5`."
            value = float(number[0])
            return number.end(), {"slow_s": value} if word == "slow" else {"steps": min(int(value), _MAX_STEPS)}
        case "tool":
            return _tool(body, start, line_end)
    return line_end, f"`rehearse: {word}` is not known. There are: {', '.join(WORDS)}."


def _tool(body: str, start: int, line_end: int) -> tuple[int, dict[str, Any] | str]:
    usage = '`rehearse: tool` needs a name and an input, such as `rehearse: tool read_file {"path": "a.md"}`.'
    name = _TOOL.match(body, start)
    if name is None:
        return line_end, usage
    if not body.startswith("{", name.end()):
        return name.end(), {"tool": (name[0].strip(), {})}
    try:
        value, end = json.JSONDecoder().raw_decode(body, name.end())
    except (ValueError, RecursionError):
        return line_end, usage
    return end, {"tool": (name[0].strip(), value)}
