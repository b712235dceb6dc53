"""A program of its own that searches files: a regular expression can take for ever, and then it is killed.

Reads one JSON object from its input, writes one to its output. Needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from typing import Any

MAX_FILE_BYTES = 16 * 1024**2
MAX_LINE_CHARACTERS = 300
SKIPPED_FOLDERS = frozenset({".git", "node_modules", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache"})
"""Not searched unless the search begins inside."""


def glob_expression(glob: str) -> re.Pattern[str]:
    """The paths that a glob means: `**` is any number of folders; without `/` it is about the name alone."""
    expression, at = "", 0
    glob = glob if "/" in glob else f"**/{glob}"
    for found in re.finditer(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]", glob):
        sign = found[0]
        expression += re.escape(glob[at : found.start()])
        plain = {"**/": r"(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        expression += plain.get(sign) or f"[{'^' if sign[1] in '!^' else ''}{re.escape(sign[1:-1].lstrip('!^'))}]"
        at = found.end()
    expression = expression.replace(r"\-", "-") + re.escape(glob[at:])
    return re.compile(expression, re.DOTALL)


def files(root: str, folder: str) -> Iterator[tuple[str, int]]:
    """Path relative to `root` of each regular file below a folder, in order, and a descriptor of its folder."""
    for where, folders, names, at in os.fwalk(os.path.join(root, folder), follow_symlinks=False):  # noqa: PTH118
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        inner = os.path.relpath(where, root)
        for name in sorted(names):
            yield name if inner == "." else f"{inner}/{name}", at


def lines_of(path: str, folder: int) -> list[str] | None:
    """The lines of a text file; None if it is none, or too long. Links are not followed."""
    try:
        descriptor = os.open(
            os.path.basename(path),  # noqa: PTH119
            os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder,
        )  # fmt: skip
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            return None
        data = file.read(MAX_FILE_BYTES)
    return None if b"\0" in data[:8192] else data.decode(errors="replace").splitlines()


def search(wanted: dict[str, Any]) -> dict[str, Any]:
    """Lines that match, as `path:number: text`; without a pattern the paths that match the glob."""
    found: list[str] = []
    in_files = 0
    glob = glob_expression(wanted["glob"]) if wanted["glob"] else None
    pattern = re.compile(wanted["pattern"], re.IGNORECASE if wanted["ignore_case"] else 0)
    for path, folder in files(wanted["root"], wanted["path"]):
        if glob is not None and not glob.fullmatch(path):
            continue
        if not wanted["pattern"]:
            found.append(path)
            in_files += 1
        else:
            lines = lines_of(path, folder) or []
            mine = [
                f"{path}:{n}: {line[:MAX_LINE_CHARACTERS]}" for n, line in enumerate(lines, 1) if pattern.search(line)
            ]
            in_files += bool(mine)
            found += mine
        if len(found) > wanted["most"]:
            return {"found": found[: wanted["most"]], "files": in_files, "more": True}
    return {"found": found, "files": in_files, "more": False}


if __name__ == "__main__":
    json.dump(search(json.load(sys.stdin)), sys.stdout)
