"""The learnings in the knowledge base: what roles trust is filed, what they trust no more is taken out.

Unlike what was decided, such an entry is ours and is written anew when it changes. One that a person changed is theirs
from then on and stays as it is; one that they took out stays out as long as it holds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from agenthub.learnings import Learning
from agenthub.whole_files import write_whole

logger = logging.getLogger(__name__)

LEARNINGS = "learnings"
"""Folder of them in the knowledge base."""
_OURS = ".ours.json"


class Trusted(NamedTuple):
    """A learning, who published it, and whose policy has it."""

    learning: Learning
    authors: tuple[str, ...]
    by: tuple[str, ...]


class Filed:
    """The learnings in the knowledge base."""

    def __init__(self, folder: Path) -> None:
        """The learnings below the folder of the knowledge base."""
        self._folder = folder / LEARNINGS
        self._ours = self._folder / _OURS

    def sync(self, wanted: Mapping[str, Trusted], *, stay: Collection[str] = ()) -> bool:
        """Bring the files to what is trusted now, by learning; True if that changed anything.

        Args:
            stay: Learnings that hold as well, whose words are not known any more.

        Raises:
            OSError: If they cannot be written; the next time goes on from there.
        """
        ours = self._read()
        kept: dict[str, list[str]] = {}
        has_changed = False
        for identity, (name, stamp) in ours.items():
            path = self._folder / name
            if identity in wanted or identity in stay:
                kept[identity] = [name, stamp]
            elif _stamp(path) == stamp:
                path.unlink(missing_ok=True)
                has_changed = True
        for identity, one in sorted(wanted.items()):
            text = entry(identity, one)
            name, stamp = kept.setdefault(identity, [_name(identity, one.learning), ""])
            found, new = _stamp(self._folder / name), _stamp_of(text)
            if found not in (stamp, new):
                continue  # a person changed it, took it out, or has one of that name
            if found != new:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_whole(self._folder / name, text)
                has_changed = True
            kept[identity] = [name, new]  # after a crash before this it is found as it is, and noted
        if kept != ours:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._ours, json.dumps(kept, indent=1, sort_keys=True) + "\n")
        return has_changed

    def _read(self) -> dict[str, list[str]]:
        try:
            found = json.loads(self._ours.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            logger.warning("%s cannot be read: what it listed is taken for yours", self._ours)
            return {}
        return {
            str(identity): [Path(str(one[0])).name, str(one[1])]
            for identity, one in (found.items() if isinstance(found, dict) else ())
            if isinstance(one, list) and len(one) == 2
        }


def entry(identity: str, one: Trusted) -> str:
    """The file of a learning; the same for the same, so that who keeps it in a repository sees only what changed."""
    learning = one.learning
    lines = [
        f"# {_plain(learning.trigger)}", "", _plain(learning.approach), "", f"Outcome: {_plain(learning.outcome)}", "",
        f"- learning: {identity}", f"- about: {', '.join(learning.domain)}", f"- from: {', '.join(one.authors)}",
        f"- evidence: {', '.join(learning.evidence)}", f"- trusted by: {', '.join(one.by)}",
    ]  # fmt: skip
    lines += [f"- ask before: {learning.ask}"] if learning.ask else []
    return "\n".join(lines) + "\n"


def _name(identity: str, learning: Learning) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", learning.trigger.lower()).strip("-")[:48] or "entry"
    return f"{slug}-{identity[:6]}.md"


def _plain(text: str) -> str:
    """Words of others on one line that begins no heading, list or field."""
    return text.lstrip("#-*> ")


def _stamp(path: Path) -> str:
    """Of what stands in a file; empty if there is none."""
    try:
        return _stamp_of(path.read_text("utf-8", errors="replace"))
    except FileNotFoundError:
        return ""


def _stamp_of(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
