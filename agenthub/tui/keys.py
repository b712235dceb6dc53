"""Every key of the terminal UI: what it does, where, and the name under which a user may put it on another key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from textual.binding import Binding

VIEWS = ("org", "inbox", "events", "approvals", "dead", "learnings", "schedules", "cost")
_AGENT = ("org", "role")
_DECISION = ("org", "approvals", "role")
_MESSAGE = ("inbox", "events", "dead", "message")


class Key(NamedTuple):
    """One action and the key that it is on."""

    id: str
    """`group.action`; also the name of the function that does it, with `_` for the dot."""
    key: str
    word: str
    """For the line at the bottom."""
    text: str
    """For the help."""
    views: tuple[str, ...] = ()
    """Where it does something; empty: everywhere."""
    changes: bool = False
    """True if it changes the hub: turned off by `--read-only`."""
    is_shown: bool = True
    """True if it stands in the line at the bottom."""


KEYS = (
    *(
        Key(f"view.{name}", str(number), name, f"the view {name}", is_shown=False)
        for number, name in enumerate(VIEWS, 1)
    ),
    Key("look.peek", "space", "peek", "see all of it; nothing is taken",
        (*_AGENT, *_MESSAGE, "approvals", "learnings", "schedules")),
    Key("look.attach", "ctrl+o", "attach", "watch an agent on the whole screen (also Enter)", ("org",), is_shown=False),
    Key("look.trace", "T", "trace", "all that became of a message (also Enter)",
        (*_AGENT, *_MESSAGE, "schedules")),
    Key("talk.send", "s", "send", "write to an agent: @backend !high text", changes=True),
    Key("decide.approve", "a", "approve", "let it be done", _DECISION, changes=True),
    Key("decide.always", "A", "always", "let it be done, now and always for this role", _DECISION, changes=True),
    Key("decide.reject", "x", "reject", "do not let it be done, with a reason", _DECISION, changes=True),
    Key("decide.reply", "r", "reply", "answer a question", _DECISION, changes=True),
    Key("role.pause", "p", "pause", "take nothing new, or go on again", _AGENT, changes=True),
    Key("role.cancel", "c", "cancel", "end what it works on, as failed; asks why", _AGENT, changes=True),
    Key("role.nudge", "n", "nudge", "words for its next step; wakes nobody", _AGENT, changes=True),
    Key("role.stop", "S", "stop", "no further step and no model call, or go on again", _AGENT, changes=True),
    Key("role.restart", "R", "restart", "start its processes again after their message", _AGENT, changes=True),
    Key("hub.estop", "E", "stop all", "everything stops at its next step; nothing is lost", changes=True,
        is_shown=False),
    Key("hub.thaw", "U", "thaw all", "everything goes on where it was", changes=True, is_shown=False),
    Key("message.raise", "plus", "raise", "more urgent by one", ("inbox",), changes=True),
    Key("message.lower", "minus", "lower", "less urgent by one", ("inbox",), changes=True),
    Key("message.requeue", "R", "requeue", "behind the others of its priority", ("inbox",), changes=True),
    Key("message.move", "m", "move", "have another role do it", ("inbox",), changes=True),
    Key("message.cancel", "D", "cancel", "end it as failed; asks why", ("inbox",), changes=True),
    Key("schedule.add", "n", "new", "a new schedule", ("schedules",), changes=True),
    Key("schedule.run", "R", "run now", "fire it now, whatever its condition says", ("schedules",), changes=True),
    Key("schedule.pause", "p", "pause", "fire no more, or again", ("schedules",), changes=True),
    Key("schedule.remove", "D", "remove", "one that was added while the hub runs", ("schedules",), changes=True),
    Key("limit.set", "b", "budget", "set a limit of the agent under the cursor", ("cost",), changes=True),
    Key("learning.promote", "P", "promote", "into the policy of all roles", ("learnings",), changes=True),
    Key("learning.demote", "d", "demote", "out of the policy again", ("learnings",), changes=True),
    Key("learning.quarantine", "Q", "quarantine", "keep it from every model", ("learnings",), changes=True),
    Key("learning.release", "L", "release", "leave it to what roles find", ("learnings",), changes=True),
    Key("letter.replay", "R", "replay", "give a dead letter another life", ("dead",), changes=True),
    Key("letter.edit", "e", "edit", "change its message, and give it another life", ("dead",), changes=True),
    Key("letter.replay_all", "ctrl+r", "replay all", "replay all that are shown", ("dead",), changes=True),
    Key("letter.drop", "D", "drop", "throw a dead letter away for good", ("dead",), changes=True),
    Key("look.panel", "v", "panel", "transcript, inbox or facts of the agent", _AGENT),
    Key("look.follow", "f", "follow", "stay at the end", ("org", "role", "events", "message")),
    Key("look.freeze", "e", "freeze", "let the events stand still, or go on", ("org", "events")),
    Key("look.sort", "o", "sort", "sort by another column", ("org",)),
    Key("look.tree", "t", "tree", "the agents as an org chart", ("org",)),
    Key("look.filter", "slash", "filter", "only lines with these words; `!x`: without", VIEWS),
    Key("look.copy", "y", "copy", "copy the id, or an event as JSON",
        (*_AGENT, *_MESSAGE, "approvals", "learnings", "schedules"), is_shown=False),
    Key("look.refresh", "ctrl+l", "look again", "read everything again", is_shown=False),
    Key("app.command", "colon", "command", "every action by its name"),
    Key("app.help", "question_mark", "help", "all keys of this view"),
    Key("app.back", "escape,left", "back", "one step back", is_shown=False),
    Key("app.quit", "q", "quit", "leave; the organization works on"),
)  # fmt: skip
BY_ID = {key.id: key for key in KEYS}
IN_LISTS = (
    "list.up", "list.down", "list.page_up", "list.page_down", "list.first", "list.last", "list.open",
    "pane.up", "pane.down", "pane.page_up", "pane.page_down", "pane.begin", "pane.end",
)  # fmt: skip


def bindings(keymap: Mapping[str, str]) -> list[Binding]:
    """The keys as Textual knows them, with what a user has put elsewhere before the others: it comes first."""
    moved = [key for key in KEYS if key.id in keymap]
    rest = [key for key in KEYS if key.id not in keymap]
    return [
        Binding(
            keymap.get(key.id, key.key), f"act('{key.id}')", key.word, show=key.is_shown, id=key.id, tooltip=key.text
        )
        for key in [*moved, *rest]
    ]


class Preferences(NamedTuple):
    """What a user has said about the terminal UI, and what of it made no sense."""

    theme: str = ""
    keymap: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()


def read_preferences(path: Path, *, themes: Iterable[str]) -> Preferences:
    """Read `[tui]` of a user's file. What is wrong in it is left out and said: the screen comes up all the same."""
    try:
        tui = tomllib.loads(path.read_text()).get("tui", {})
    except FileNotFoundError:
        return Preferences()
    except (OSError, ValueError) as error:
        return Preferences(warnings=(f"{path} cannot be read: {error}",))
    if not isinstance(tui, dict):
        return Preferences(warnings=(f"{path}: `tui` is no table",))
    warnings: list[str] = []
    theme, known = tui.get("theme", ""), list(themes)
    if theme and theme not in known:
        warnings.append(f"{path}: {_unknown('theme', str(theme), known)}")
        theme = ""
    keymap = _keymap(tui.get("keymap", {}), path, warnings)
    warnings += [f"{path}: `tui.{name}` is not a key" for name in tui if name not in ("theme", "keymap")]
    return Preferences(theme, keymap, tuple(warnings))


def _keymap(said: Any, path: Path, warnings: list[str]) -> dict[str, str]:
    if not isinstance(said, dict):
        warnings.append(f'{path}: `tui.keymap` is no table: write `"role.pause" = "P"` below `[tui.keymap]`')
        return {}
    result: dict[str, str] = {}
    for name, keys in _flat(said).items():
        if name not in BY_ID and name not in IN_LISTS:
            warnings.append(f"{path}: {_unknown('action', name, [*BY_ID, *IN_LISTS])}")
        elif not isinstance(keys, str) or not keys.strip():
            warnings.append(f'{path}: `{name}` takes keys such as "P" or "ctrl+p,P"; found {keys!r}')
        else:
            result[name] = keys
    return result


def _flat(said: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """`role.pause = "P"` without quotes is a table in a table: the same is meant."""
    result: dict[str, Any] = {}
    for name, value in said.items():
        if isinstance(value, dict):
            result |= _flat(value, f"{before}{name}.")
        else:
            result[f"{before}{name}"] = value
    return result


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else f" There are {', '.join(sorted(known))}."
    return f"`{name}` is no {what}.{hint}"
