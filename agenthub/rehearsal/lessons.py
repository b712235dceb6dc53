"""What a role was taught, as its conversation shows it: hints with the last message, and entries of its policy."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import NamedTuple

_HINT = re.compile(r'<hub:hint id="([0-9a-f]+)"[^>]*>\nWhen: (.*)\nDo: (.*)\n')
_POLICY = re.compile(r"<hub:policy>\n(.*?)\n</hub:policy>", re.DOTALL)
_ENTRY = re.compile(r"^## (.*)\n+(.*)\n(?:(?!## ).*\n)*?- learning: ([0-9a-f]+)", re.MULTILINE)
_WORD = re.compile(r"\w{4,}")
_LEAST_SHARED = 2
"""Words that a task must share with an entry of the policy for the entry to be about it."""


class Lesson(NamedTuple):
    """Something that others found, and that fits the task at hand."""

    id: str
    approach: str
    is_proven: bool


def lessons(arrived: Iterable[str], said: Iterable[str], task: str) -> list[Lesson]:
    """What fits a task.

    Args:
        arrived: Texts of the message that arrived, which may bring hints.
        said: All texts of the user's side so far, oldest first; the last policy among them holds.
    """
    policies = [found for text in said for found in _POLICY.findall(text)]
    words = set(_WORD.findall(task.casefold()))
    proven = [
        Lesson(identity, html.unescape(approach), is_proven=True)
        for trigger, approach, identity in (_ENTRY.findall(policies[-1]) if policies else ())
        if len(words & set(_WORD.findall(trigger.casefold()))) >= _LEAST_SHARED
    ]
    hints = [
        Lesson(identity, html.unescape(approach), is_proven=False)
        for text in arrived
        for identity, _, approach in _HINT.findall(text)
    ]
    return [*proven, *hints]
