"""What is said of words on the command line that no command takes; the parser's own texts speak of its insides."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cyclopts import CycloptsError, UnknownCommandError, UnusedCliTokensError

OTHER_WORDS = {
    "agents": "who", "chat": "attach", "events": "tail", "history": "tail",
    "kill": "cancel", "list": "ps", "log": "logs",
    "ls": "ps", "message": "send", "msg": "send", "queue": "inbox", "run": "up", "start": "up", "status": "ps",
    "stop": "down", "tell": "send", "top": "watch", "ui": "tui",
}  # fmt: skip
"""What other programs call a command of ours: by how it is spelt, another one may be nearer."""


def said_of(error: CycloptsError, words: Sequence[str]) -> str:
    """What is wrong with these words, and where the right ones are listed."""
    command = " ".join(("agenthub", *(error.command_chain or ())))
    text = str(error).strip()
    if isinstance(error, UnusedCliTokensError):
        return f"`{command}` does not take `{' '.join(error.unused_tokens or ())}`. See `{command} --help`."
    if isinstance(error, UnknownCommandError) and words and words[0].startswith("-"):
        return (
            f"Options stand behind the command, as in `agenthub ps {words[0]} …`; `agenthub --help` lists the commands."
        )
    if isinstance(error, UnknownCommandError):
        word = (error.unused_tokens or [""])[0]
        near = re.search(r'Did you mean "(.+?)"', text)
        meant = (OTHER_WORDS.get(word) if not error.command_chain else None) or (near[1] if near else "")
        hint = f'Did you mean "{meant}"? ' if meant else ""
        return f'There is no command "{word}". {hint}`{command} --help` lists what there is.'
    if missing := re.fullmatch(r'Command ".*" parameter (\S+) requires an argument\.', text):
        return f"{missing[1].rstrip('_')} is missing. See `{command} --help`."
    if wrong := re.fullmatch(r'Invalid value for (\S+): unable to convert "(.*)" into (\w+)\.', text):
        kind = {"int": "a whole number", "float": "a number"}.get(wrong[3], f"a {wrong[3]}")
        return f'{wrong[1]} takes {kind}; found "{wrong[2]}".'
    return text
