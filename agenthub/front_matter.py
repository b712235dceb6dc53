"""Front matter of Markdown files, with the line of each key: YAML, or read key by key where it is not quite YAML.

Agent files that people have often are not: `description: Use this agent when: ...` has a colon too many, and the
examples that Claude Code writes below it stand at the left margin.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

import yaml

_KEYS = (
    *("name", "description", "tools", "disallowedTools", "model", "permissionMode", "maxTurns", "skills", "mcpServers"),
    *("hooks", "memory", "background", "isolation", "effort", "color", "initialPrompt", "agenthub"),
)
"""Keys of an agent file: Claude Code's, and ours. They start an entry even below a description that is not YAML."""


class FrontMatterError(ValueError):
    """The front matter cannot be read at all."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line, self.text = line, text


class FrontMatter(NamedTuple):
    """A Markdown file: what stands between the lines `---` at its top, and the text below."""

    values: dict[str, Any]
    lines: dict[tuple[str, ...], int]
    """Line of each key in the file, by its path: `("agenthub", "limits")` → 7."""
    twice: list[tuple[str, ...]]
    """Paths of keys that stand twice; the last value is in `values`."""
    body: str = ""

    @classmethod
    def read(cls, text: str) -> FrontMatter:
        """Front matter and body of `text`; without front matter all of it is body.

        Raises:
            FrontMatterError: If it has no end, is no mapping, or `agenthub:` in it is not YAML.
        """
        lines = text.splitlines()
        if not lines or lines[0].rstrip() != "---":
            return cls({}, {}, [], text.strip())
        end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
        if end is None:
            raise FrontMatterError(1, "the front matter that begins here has no end; close it with a line `---`")
        front = [line.expandtabs(4) for line in lines[1:end]]
        return _entries(front)._replace(body="\n".join(lines[end + 1 :]).strip())


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core types only: a role may be called `no`, and `1:30` is not 90. No aliases: `*all*` is text."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported")
        return super().compose_node(parent, index)


_YAML = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver(_YAML + "bool", re.compile(r"(true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver(_YAML + "null", re.compile(r"(null|Null|~|)$"), ["n", "N", "~", ""])
_Loader.add_implicit_resolver(_YAML + "int", re.compile(r"[-+]?(0|[1-9]\d*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _YAML + "float", re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$"), list("-+.0123456789")
)


def _entries(front: list[str]) -> FrontMatter:
    """All keys: as YAML, or key by key where it is not YAML as a whole."""
    try:
        return _yaml("\n".join(front), first_line=2)
    except FrontMatterError:
        chunks = _chunks(front)
        if not chunks:
            raise
    whole = FrontMatter({}, {}, [])
    for key, start, text in chunks:
        try:
            part = _yaml(text, first_line=start + 2)
        except FrontMatterError:
            if key == "agenthub":
                raise
            part = FrontMatter({key: text.partition(":")[2].strip()}, {(key,): start + 2}, [])
        whole.values.update(part.values)
        whole.lines.update(part.lines)
        whole.twice.extend(part.twice)
    return whole


def _chunks(front: list[str]) -> list[tuple[str, int, str]]:
    """Key, index of its line, and text of each entry. Lines such as `user: "..."` in a description start none."""
    starts: dict[str, int] = {}
    for index, line in enumerate(front):
        found = re.match(r"([A-Za-z][\w-]*):(\s|$)", line)
        in_description = bool(starts) and next(reversed(starts)) == "description"
        if found and found[1] not in starts and (found[1] in _KEYS or not in_description):
            starts[found[1]] = index
    bounds = pairwise([*starts.values(), len(front)])
    return [(key, start, "\n".join(front[start:end])) for key, (start, end) in zip(starts, bounds, strict=True)]


def _yaml(text: str, *, first_line: int) -> FrontMatter:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        values = loader.construct_document(node) if node else {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        raise FrontMatterError(first_line + (mark.line if mark else 0), f"not YAML: {reason}") from error
    if not isinstance(values, dict):
        raise FrontMatterError(first_line, "the front matter must be lines of `key: value`")
    front = FrontMatter({str(key): value for key, value in values.items()}, {}, [])
    _find_lines(node, (), first_line, front)
    return front


def _find_lines(node: yaml.Node | None, path: tuple[str, ...], first_line: int, front: FrontMatter) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            where = (*path, str(key.value))
            if where in front.lines:
                front.twice.append(where)
            front.lines[where] = first_line + key.start_mark.line
            _find_lines(value, where, first_line, front)
