"""What a role may do, as files say it: rules over tools, in the words of Claude Code's settings."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

_RULE = re.compile(r"([A-Za-z0-9_*-]+)(?:\((.*)\))?", re.DOTALL)

_NAMED = frozenset(
    [
        "read",
        "write",
        "edit",
        "multiedit",
        "bash",
        "grep",
        "glob",
        "ls",
        "read_file",
        "write_file",
        "edit_file",
        "list_files",
        "search_files",
        "run_command",
        "delegate",
        "send",
        "report_status",
        "finish",
        "yield_turn",
        "ask_human",
        "request_grant",
        "publish",
        "remember",
        "recall_notes",
        "find_colleague",
        "share_learning",
        "report_learning",
    ]
)


def is_known_tool(rule: str) -> bool:
    """True if a `tools:` line that says this names something that is offered here; what MCP servers have may be."""
    parts = split_rule(rule)
    return parts is not None and (parts[0].lower() in _NAMED or parts[0].lower().startswith("mcp__") or "*" in parts[0])


def split_rule(rule: str) -> tuple[str, str | None] | None:
    """Tool and specifier of a rule: `Bash(git push:*)` → `Bash`, `git push:*`. None if it is no rule."""
    match = _RULE.fullmatch(rule.strip())
    return None if match is None else (match[1], match[2])


def split_rules(text: str) -> tuple[str, ...]:
    """The rules of a line with commas between them; commas in parentheses belong to a rule."""
    return tuple(rule.strip() for rule in re.findall(r"(?:[^,(]|\([^)]*\)?)+", text) if rule.strip())


def _rules(value: object) -> object:
    if isinstance(value, str):
        return split_rules(value)
    return tuple(value) if isinstance(value, list) else value


def _checked(rules: tuple[str, ...]) -> tuple[str, ...]:
    for rule in rules:
        if split_rule(rule) is None:
            raise ValueError(f"a rule is a tool, or a tool and a command: `Bash(git push:*)`; found {rule!r}")
    return rules


Rules = Annotated[tuple[str, ...], BeforeValidator(_rules), AfterValidator(_checked)]
"""`mcp__github__*`, `write_file`, `Bash(git push:*)`."""


class PermissionRules(BaseModel):
    """What may be done, what a person is asked about, and what must not be done. Deny beats ask beats allow."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    allow: Rules = ()
    """Done without a question."""
    ask: Rules = ()
    """Done when a person has said yes; the task is parked until then."""
    deny: Rules = ()
    """Never done."""
    otherwise: Literal["allow", "ask", "deny"] | None = None
    """For what no rule names. None: the organization's word, and in the end `allow`."""
