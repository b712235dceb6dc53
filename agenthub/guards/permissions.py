"""May a role make this tool call? A rule over patterns: deny beats ask beats allow.

Patterns are those of Claude Code: a tool (`write_file`, `mcp__github__*`, `Read`), and for the shell a command:
`Bash(npm test)` is that very command, `Bash(git push:*)` and `Bash(git push *)` whatever begins with these words.
For files it is a path: `Read(secrets/**)`.

A line for the shell may hold many commands. It is allowed by a command's rule only if each of them is and nothing
in it hides another; it is denied, or asked about, if any of them is. What a shell can be made to do has no end:
a deny by words is a rail for a model that means well, the sandbox is the wall.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from agenthub.guards.shell_lines import ShellLine, read_line
from agenthub.permission_rules import PermissionRules, split_rule


class Verdict(Enum):
    """What becomes of a call."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Decision(NamedTuple):
    """A verdict, and the rule it follows from."""

    verdict: Verdict
    rule: str
    """As it is written; empty: no rule names the call."""
    source: str = ""
    """Where the rule stands, for people."""


DEFAULT_ASK = (
    "Bash(git push:*)", "Bash(gh pr merge:*)", "Bash(gh release:*)", "Bash(npm publish:*)", "Bash(twine upload:*)",
    "Bash(uv publish:*)", "Bash(docker push:*)", "Bash(kubectl delete:*)", "Bash(kubectl apply:*)",
    "Bash(terraform apply:*)", "Bash(terraform destroy:*)",
)  # fmt: skip
"""What leaves the workspace and cannot be taken back; a role's own word about the same goes before it."""
DEFAULT_DENY = ("Bash(sudo:*)", "Bash(su:*)")

SHELL_TOOLS = ("bash", "shell", "run_command")
_CLAUDE_CODE: Mapping[str, tuple[str, ...]] = {
    "bash": SHELL_TOOLS,
    "shell": SHELL_TOOLS,
    "read": ("read_file",),
    "write": ("write_file",),
    "edit": ("edit_file", "write_file"),
    "multiedit": ("edit_file",),
    "ls": ("list_files",),
    "glob": ("list_files", "find_files", "search_files"),
    "grep": ("search_files",),
}
"""Claude Code's names and ours; its agent files work here as they are."""
_PATHS = ("path", "file_path")


_NONE = PermissionRules()


@dataclass(frozen=True)
class Permissions:
    """All that decides for one role."""

    rules: PermissionRules = _NONE
    """Of its own file."""
    organization: PermissionRules = _NONE
    policy: PermissionRules = _NONE
    """What its policy file asks for or forbids; it allows nothing."""
    only: tuple[str, ...] | None = None
    """The `tools:` line of its file. None: all tools."""
    never: tuple[str, ...] = ()
    """The `disallowedTools:` line."""
    always_offered: frozenset[str] = frozenset()
    """Tools that a `tools:` line need not name: those by which a role works with others."""


def decide(permissions: Permissions, tool: str, arguments: Mapping[str, Any], *, is_approved: bool = False) -> Decision:
    """Whether the call may be made.

    Args:
        is_approved: A person said yes to it, now or for always; only a deny is above that.
    """
    call = _Call.of(tool, arguments)
    own, common, policy = permissions.rules, permissions.organization, permissions.policy
    for rules, source in (
        (own.deny, "`permissions.deny` of the role"), (common.deny, "`permissions.deny` of the organization"),
        (policy.deny, "`deny` in the policy of the role"),
        (permissions.never, "`disallowedTools:` of the role"),
    ):  # fmt: skip
        if rule := _first(call.is_touched_by, rules):
            return Decision(Verdict.DENY, rule, source)
    if not _is_offered(permissions, call):
        return Decision(Verdict.DENY, ", ".join(permissions.only or ()), "the `tools:` line of the role")
    if is_approved:
        return Decision(Verdict.ALLOW, "", "a person's approval")
    for rules, source in (
        (own.ask, "`permissions.ask` of the role"), (common.ask, "`permissions.ask` of the organization"),
        (policy.ask, "`ask` in the policy of the role"),
    ):  # fmt: skip
        if rule := _first(call.is_touched_by, rules):
            return Decision(Verdict.ASK, rule, source)
    if (allowed := call.allowed_by((*own.allow, *common.allow))) is not None:
        return Decision(Verdict.ALLOW, allowed, "`permissions.allow`")
    if rule := _first(call.is_touched_by, DEFAULT_DENY):
        return Decision(Verdict.DENY, rule, "the default")
    if rule := _first(call.is_touched_by, DEFAULT_ASK):
        return Decision(Verdict.ASK, rule, "the default")
    otherwise = own.otherwise or common.otherwise or "allow"
    return Decision(Verdict(otherwise), "", f"`permissions.otherwise: {otherwise}`")


def is_covered(rules: Iterable[str], tool: str, arguments: Mapping[str, Any]) -> bool:
    """True if these rules together allow all of a call."""
    return _Call.of(tool, arguments).allowed_by(rules) is not None


def offers(permissions: Permissions, tool: str) -> bool:
    """True if a session of the role is shown the tool at all: its `tools:` line names it, or there is none."""
    only = permissions.only
    return only is None or tool in permissions.always_offered or any(_names(rule, tool) for rule in only)


def _is_offered(permissions: Permissions, call: _Call) -> bool:
    if permissions.only is None or call.tool in permissions.always_offered:
        return True
    return call.allowed_by(permissions.only) is not None


class _Call(NamedTuple):
    """A call as rules see it."""

    tool: str
    line: ShellLine | None
    """Of a shell: what it is to run."""
    path: str | None
    """Of a tool for files: the path, without detours."""

    @classmethod
    def of(cls, tool: str, arguments: Mapping[str, Any]) -> _Call:
        command = arguments.get("command")
        line = read_line(command) if tool.lower() in SHELL_TOOLS and isinstance(command, str) else None
        path = next((arguments[name] for name in _PATHS if isinstance(arguments.get(name), str)), None)
        return cls(tool, line, None if path is None else _straight(path))

    def is_touched_by(self, rule: str) -> bool:
        """For ask and deny: true also where a rule cannot be read, or where the call hides what it does."""
        parts = split_rule(rule)
        if parts is None or not _names(rule, self.tool):
            return False
        specifier = parts[1]
        if not specifier or specifier == "*":
            return True
        if self.line is not None:
            return any(_is_command(specifier, command) for command in self.line.all_readings())
        return self.path is None or _is_path(specifier, self.path)

    def allowed_by(self, rules: Iterable[str]) -> str | None:
        """The rule or rules that together allow all of the call; None if something in it is not allowed."""
        mine = [(rule, parts[1]) for rule in rules if (parts := split_rule(rule)) and _names(rule, self.tool)]
        for rule, specifier in mine:
            if not specifier or specifier == "*":
                return rule
            if self.line is not None and specifier == self.line.text and ":*" not in specifier:
                return rule
            if self.line is None and self.path is not None and _is_path(specifier, self.path):
                return rule
        if self.line is None or not self.line.is_plain or not self.line.commands:
            return None
        used = [
            _first(lambda s, c=command: _is_command(s, c), (s for _, s in mine if s)) for command in self.line.commands
        ]
        if not all(used):
            return None
        return ", ".join(dict.fromkeys(rule for rule, specifier in mine if specifier in used))


def _first(holds: Any, rules: Iterable[str]) -> str | None:
    return next((rule for rule in rules if holds(rule)), None)


def _names(rule: str, tool: str) -> bool:
    """True if the rule is about this tool. `mcp__github` is about all tools of that server."""
    parts = split_rule(rule)
    if parts is None:
        return False
    name, found = parts[0].lower(), tool.lower()
    if name.startswith("mcp__") and name.count("__") == 1 and "*" not in name:
        return found.startswith(f"{name}__")
    return any(fnmatchcase(found, pattern) for pattern in _meant(name))


def _meant(name: str) -> Iterator[str]:
    yield name
    yield from _CLAUDE_CODE.get(name, ())


def _is_command(specifier: str, command: str) -> bool:
    """True if a command is the one that a specifier means, or begins as it says."""
    words = " ".join(command.split())
    prefix = specifier.removesuffix(":*") if specifier.endswith(":*") else None
    if prefix is None and specifier.endswith(" *") and "*" not in specifier[:-2]:
        prefix = specifier[:-2]
    if prefix is not None and "*" not in prefix:
        prefix = " ".join(prefix.split())
        return words == prefix or words.startswith(f"{prefix} ")
    pattern = ".*".join(re.escape(part) for part in " ".join(specifier.split()).split("*"))
    return re.fullmatch(pattern, words, re.DOTALL) is not None


def _is_path(specifier: str, path: str) -> bool:
    wanted = _straight(specifier)
    return fnmatchcase(path, wanted) or (wanted.endswith("/**") and path == wanted[:-3])


def _straight(path: str) -> str:
    return posixpath.normpath(path.strip() or ".")
