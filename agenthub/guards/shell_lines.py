"""The commands in a line for the shell, as far as they can be read without running it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

_HARMLESS = re.compile(r"[0-9]?>&[0-9]|&?[0-9]?>{1,2} ?/dev/null(?=$|[\s;|&)])")
"""Redirections that write nothing."""
_KEYWORDS = {"{", "}", "!", "if", "then", "else", "elif", "fi", "while", "until", "do", "done", "for", "time"}
_WRAPPERS = {
    "sudo", "doas", "env", "command", "builtin", "exec", "nohup", "nice", "setsid", "stdbuf", "timeout", "xargs",
    "time", "watch", "ionice", "chroot", "busybox",
}  # fmt: skip
"""Programs that run the command that stands behind them."""
_SHELLS = {"bash", "sh", "zsh", "dash", "ash", "ksh", "eval", "ssh", "su"}
"""Programs that run a command that is one of their words."""
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_DEPTH = 3


class ShellLine(NamedTuple):
    """A line for the shell."""

    text: str
    commands: tuple[str, ...]
    """Its simple commands, also those in substitutions."""
    is_plain: bool
    """False if it does more than the commands say: substitutions, redirections into files, here-documents."""

    def all_readings(self) -> Iterator[str]:
        """Each command as it is written, and as what it comes to: quotes, paths and wrappers taken off."""
        yield " ".join(self.text.split())
        yield from _readings(self, _DEPTH)


def read_line(text: str) -> ShellLine:
    """The commands of a line. What cannot be read is one command, and not plain."""
    line = _HARMLESS.sub(" ", text.replace("\\\n", " "))
    commands: list[str] = []
    here: list[str] = []
    is_plain, quote, at = True, "", 0

    def end_command() -> None:
        if command := "".join(here).strip():
            commands.append(command)
        here.clear()

    while at < len(line):
        char, pair = line[at], line[at : at + 2]
        at += 1
        if quote == "'":
            here.append(char)
            quote = "" if char == "'" else quote
        elif char == "\\":
            here.append(pair)
            at += 1
        elif char == "`" or pair in ("$(", "<(", ">("):
            is_plain = False
            at += len(pair) - 1 if char != "`" else 0
            end_command()
            quote = ""  # what stands in it is read as commands, also between double quotes
        elif char == '"':
            here.append(char)
            quote = "" if quote else '"'
        elif quote:
            here.append(char)
        elif char == "'":
            here.append(char)
            quote = "'"
        elif char in ";|&\n()":
            end_command()
        elif char == "#" and (not here or here[-1].isspace()):
            end = line.find("\n", at)
            at = len(line) if end < 0 else end
        else:
            is_plain = is_plain and char not in "<>"
            here.append(char)
    end_command()
    return ShellLine(text.strip(), tuple(commands), is_plain and not quote)


def _readings(line: ShellLine, depth: int) -> Iterator[str]:
    for command in line.commands:
        yield " ".join(command.split())
        words = _words(command)
        while words and (words[0] in _KEYWORDS or _ASSIGNMENT.match(words[0])):
            words = words[1:]
        if not words:
            continue
        yield from _plain(words)
        program = words[0].rpartition("/")[2]
        if program in _WRAPPERS:
            for start in range(1, len(words)):
                yield from _plain(words[start:])
        if depth and program in _WRAPPERS | _SHELLS:
            for word in words[1:]:
                if " " in word:
                    yield from _readings(read_line(word), depth - 1)


def _plain(words: list[str]) -> Iterator[str]:
    program, rest = words[0].rpartition("/")[2], words[1:]
    yield " ".join([program, *rest])
    if program == "git":  # `git -C there push` is a push
        while rest and rest[0].startswith("-"):
            rest = rest[2:] if rest[0] in ("-C", "-c", "--git-dir", "--work-tree", "--namespace") else rest[1:]
        yield " ".join([program, *rest])


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote without its end
        return command.replace('"', " ").replace("'", " ").split()
