"""What a shell is told when somebody presses Tab: commands, options, and the words that an argument may be.

A shell runs `agenthub __complete SHELL ...` with what was typed so far (the scripts are in `shell_scripts`). It gets a
line for each word that fits, with what is said about it, or one line that asks it for paths.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

PATHS = "\x1fpaths"
"""The line by which a shell is asked to complete a path."""
_WORDS = "CYCLOPTS_COMPLETION_WORDS"
"""By this variable the parser is asked for all that may stand there, not only for what our functions know."""
_SPECIAL = re.compile(r"([^\w@%+=:,./-])")


class Candidate(NamedTuple):
    """A word that may stand there."""

    word: str
    text: str


def print_candidates(shell: str = "", *typed: str) -> int:
    """Print what may stand at the end of what was typed; nothing if anything goes wrong.

    Args:
        shell: `bash` passes the line up to the cursor and its COMP_WORDBREAKS, others the words behind `agenthub`, the
            last of which is that at the cursor, maybe empty.
    """
    shown: list[str] = []
    with contextlib.suppress(Exception):  # whoever types wants to see what they type, and no error of ours in it
        line = BashLine.read(*typed) if shell == "bash" else None
        found, wants_paths = candidates(line.words[1:] if line else typed)
        if line:
            shown = [line.reply(one.word) for one in found]
        else:
            shown = [f"{one.word}\t{one.text}" if one.text else one.word for one in found]
        shown += [PATHS] if wants_paths else []
    for word in shown:
        print(word)
    return 0


def candidates(words: Sequence[str]) -> tuple[list[Candidate], bool]:
    """What the last of these words may be, and whether it may be a path. There is at least one word."""
    from agenthub.cli import COMPLETE, make_app

    said = io.StringIO()
    os.environ[_WORDS] = "".join(f"{word}\x1f" for word in words)
    with contextlib.redirect_stdout(said):
        make_app()([COMPLETE], result_action="return_value")
    found: list[Candidate] = []
    prefix, wants_paths = "", False
    for line in said.getvalue().partition("\x1fbegin\n")[2].splitlines():
        word, _, text = line.partition("\t")
        if word == "\x1fprefix":  # of `--to=ba`, which is one word
            prefix = text
        elif word == "\x1ffiles":
            wants_paths = True
        elif not word.startswith("\x1f"):
            found.append(Candidate(prefix + word, text))
    return found, wants_paths


class BashLine(NamedTuple):
    """A line that is typed into bash, up to the cursor."""

    words: list[str]
    """Without quotes; the last one is that at the cursor."""
    before: str
    """The part of the last word that bash leaves as it is."""
    quote: str
    """The quotation mark in which the cursor stands; empty: in none."""

    @classmethod
    def read(cls, line: str, breaks: str) -> BashLine:
        """The words of a line.

        Args:
            breaks: Characters behind which bash begins to complete anew, although they end no word.
        """
        words, before, quote, is_escaped = [""], "", "", False
        for character, follows in zip(line, [*line[1:], ""], strict=True):
            if is_escaped:
                words[-1] += character
                is_escaped = False
            elif character == "\\" and (not quote or (quote == '"' and follows in '"\\$`')):
                is_escaped = True
            elif quote:
                words[-1] += "" if character == quote else character
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote, before = character, words[-1]
            elif character.isspace():
                words, before = [*words, ""] if words[-1] or before else words, ""
            else:
                # At an `@` bash would complete hosts: it keeps it with what follows.
                before = words[-1] if character in "@$" and character in breaks else before
                words[-1] += character
                before = words[-1] if character in breaks and character not in "@$" else before
        return cls(words, before, quote)

    def reply(self, word: str) -> str:
        """What bash puts there for a word."""
        rest = word[len(self.before) :]
        return rest if self.quote else _SPECIAL.sub(r"\\\1", rest)
