"""What a person approved for always, in a file that they can read and change: `.agenthub/permissions/<role>.toml`."""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from agenthub.whole_files import write_whole

logger = logging.getLogger(__name__)

_HEAD = """\
# Tool calls of `{role}` that were approved with `agenthub approve --always`: they are made without a question.
# Take an entry out, and it is asked about again. What `permissions.deny` says stays denied.
"""


class Overrides:
    """The standing approvals of one role. The file is read anew at each look, so that a change counts at once."""

    def __init__(self, path: Path, *, role: str) -> None:
        self._path, self._role = path, role

    def covers(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """True if calls like this one were approved for always."""
        return self._entry(tool, arguments) in self._entries()

    def add(self, tool: str, arguments: Mapping[str, Any], *, at: datetime) -> None:
        """Approve calls like this one: of a shell this very command, of other tools every call."""
        entry = self._entry(tool, arguments)
        if entry in self._entries():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = self._path.read_text() if self._path.exists() else _HEAD.format(role=self._role)
        lines = "".join(f"{name} = {_toml(value)}\n" for name, value in entry.items())
        write_whole(self._path, f"{text.rstrip()}\n\n[[always]]\n{lines}approved_at = {at:%Y-%m-%dT%H:%M:%SZ}\n")

    def _entry(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, str]:
        command = arguments.get("command")
        return {"tool": tool, "command": command} if isinstance(command, str) else {"tool": tool}

    def _entries(self) -> list[dict[str, Any]]:
        try:
            found = tomllib.loads(self._path.read_text())["always"]
            return [{name: entry[name] for name in ("tool", "command") if name in entry} for entry in found]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.error("%s cannot be read, so everything in it is asked about again: %s", self._path, error)
            return []


def _toml(text: str) -> str:
    """A basic string of TOML: as in JSON, but for a control character that JSON lets through."""
    plain = text.encode(errors="replace").decode()
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
