"""A role's policy: what proved itself there, as a Markdown file that a person can read, compare and edit.

The file is `.agenthub/learning/<role>/policy.md`. An entry that a person changed is theirs from then on and stays as it
is; one that they took out stays out; entries that they add are kept and never leave. It is read when a conversation
begins, so that the provider's cache keeps the conversation; its rules hold at once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from agenthub.org.learned import Held
from agenthub.permission_rules import PermissionRules, split_rule
from agenthub.whole_files import write_whole

logger = logging.getLogger(__name__)

MAX_ENTRIES = 30
MAX_SHOWN_CHARACTERS = 24_000
"""Of the file, in a conversation; what is behind is not shown."""
_HEAD = """\
# Policy of {role}

What proved itself in this role's own work. It is read when a conversation of the role begins. You may change it:
an entry that you change stays as you leave it, one that you take out stays out, and `##` begins one of your own.
`ask` and `deny` are rules as in the role's file; they hold at once.
"""
_FIELD = re.compile(r"- (learning|from|evidence|held in|ask|deny): *(.*)")


class Section(NamedTuple):
    """An entry of the file."""

    text: str
    """As it stands, from its heading on, without empty lines behind."""

    def field(self, name: str) -> str:
        """What a line of it says, `- ask: …`; empty if there is none."""
        found = (_FIELD.fullmatch(line.rstrip()) for line in self.text.splitlines())
        return next((match[2].strip() for match in found if match and match[1] == name), "")

    @property
    def learning(self) -> str:
        """Id of the learning that it came from; empty: a person wrote it."""
        return self.field("learning")


class Synced(NamedTuple):
    """What bringing the file up to date came to."""

    written: dict[str, str]
    """The entries that are ours, as they stand now, by learning."""
    taken_out: list[str]
    """Learnings that a person took out of the file since it was written."""
    added: list[str]
    removed: list[str]


class Policy:
    """The policy file of one role."""

    def __init__(self, path: Path, *, role: str) -> None:
        self.path, self._role = path, role
        self._rules: tuple[tuple[int, int] | None, PermissionRules] = (None, PermissionRules())

    def shown(self) -> str:
        """What a conversation begins with; empty if there is no entry."""
        text = self._read() or ""
        sections = [section.text for section in _sections(text)[1]]
        return "\n\n".join(sections)[:MAX_SHOWN_CHARACTERS]

    def rules(self) -> PermissionRules:
        """The rules of its entries; read anew when the file has changed."""
        try:
            status = self.path.stat()
        except OSError:
            return PermissionRules()
        stamp = (status.st_mtime_ns, status.st_size)
        if self._rules[0] != stamp:
            sections = _sections(self._read() or "")[1]
            self._rules = (stamp, PermissionRules(ask=_rules(sections, "ask"), deny=_rules(sections, "deny")))
        return self._rules[1]

    def sync(self, promoted: Sequence[Held], written: Mapping[str, str]) -> Synced:
        """Bring the file to what is promoted, and say what a person did to it.

        Args:
            promoted: The most useful first.
            written: The entries as they were written last, by learning.
        """
        text = self._read()
        if text is None and not promoted:
            return Synced({}, [], [], [])
        head, sections = _sections(text if text is not None else _HEAD.format(role=self._role))
        there = {section.learning: section for section in sections if section.learning}
        # A file that is gone as a whole was not edited; it is written anew.
        taken_out = [] if text is None else [identity for identity in written if identity not in there]
        theirs = [one for one in sections if written.get(one.learning) != one.text]
        room = max(0, MAX_ENTRIES - len(theirs))
        kept_by_hand = {one.learning for one in theirs}
        wanted = [one for one in promoted if one.id not in taken_out and one.id not in kept_by_hand][:room]
        entries = {one.id: written.get(one.id) or entry(one) for one in wanted}
        stay = [one for one in sections if one in theirs or one.learning in entries]
        added = [identity for identity in entries if identity not in there]
        removed = [one.learning for one in sections if one not in stay]
        if added or removed:
            texts = [head.rstrip(), *(one.text for one in stay), *(entries[identity] for identity in added)]
            self._write("\n\n".join(texts) + "\n")
        return Synced(entries, taken_out, added, removed)

    def _read(self) -> str | None:
        try:
            return self.path.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def _write(self, text: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, text)


def entry(held: Held) -> str:
    """A promoted learning as an entry of the file."""
    learning = held.learning
    lines = [
        f"## {_plain(learning.trigger)}", "", _plain(learning.approach), "", f"Outcome: {_plain(learning.outcome)}", "",
        f"- learning: {held.id}",
        f"- from: {', '.join(held.authors)}",
        f"- evidence: {', '.join(learning.evidence)}",
    ]  # fmt: skip
    lines += [f"- held in: {', '.join(held.tasks[:20])}"] if held.tasks else []
    lines += [f"- ask: {learning.ask}"] if learning.ask else []
    lines += [f"- deny: {held.deny}"] if held.deny else []
    return "\n".join(lines)


def most_useful(promoted: Sequence[Held]) -> list[Held]:
    """Promoted learnings, the most useful first: what a person wants, then trust, then how often it held."""
    return sorted(
        promoted,
        key=lambda one: (one.standing.state is one.state, -one.standing.trust, -one.standing.confirmations, one.id),
    )


def _plain(text: str) -> str:
    """Words of others on one line that begins no heading, list or field."""
    return text.lstrip("#-*> ")


def _sections(text: str) -> tuple[str, list[Section]]:
    head, *rest = re.split(r"(?m)^(?=## )", text)
    return head, [Section(one.rstrip()) for one in rest]


def _rules(sections: Sequence[Section], name: str) -> tuple[str, ...]:
    found = []
    for section in sections:
        rule = section.field(name)
        if rule and split_rule(rule) is None:
            logger.error("the policy says `%s: %s`, which is no rule; it holds for nothing", name, rule)
        elif rule:
            found.append(rule)
    return tuple(dict.fromkeys(found))
