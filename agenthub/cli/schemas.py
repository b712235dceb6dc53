"""JSON Schemas: of what each command prints with `--json`, of agenthub.toml, a role file, and a message."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from agenthub.cli.commands import COMMANDS
from agenthub.cli.shapes import SHAPES, STREAMS
from agenthub.errors import ConfigError, NotFoundError, unknown
from agenthub.messages import Message
from agenthub.organization_file import OrganizationFile
from agenthub.role_settings import RoleSettings
from agenthub.settings import FILE_KEYS, Settings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FILES = ("config", "role", "message")
_OUTPUT = {"config": "config-output"}
"""The file has the name already."""
_AMOUNTS = ("usd_", "tokens_", "turns_", "budget_usd_day", "max_trace_", "max_repeats", "pair_rate")
"""Beginnings of the keys whose values are numbers, `500k`, or the word `unlimited`."""
_LISTS = ("skills", "subscribe", "mcp_servers", "allow", "ask", "deny", "tools", "role_files")
"""Keys whose values are lists, or words with commas between them."""


def names() -> list[str]:
    """What there is a schema of; a command that prints no JSON is not among them."""
    return [
        *_FILES,
        "error",
        *(_OUTPUT.get(command.name, command.name) for command in COMMANDS if command.name in SHAPES),
    ]


def schema_of(name: str) -> dict[str, Any]:
    """The schema of that name.

    Raises:
        NotFoundError: If there is none.
    """
    if name == "config":
        return _config()
    if name == "role":
        return _role()
    if name == "message":
        return _titled("A message on the wire", Message.model_json_schema())
    if name == "error":
        return _titled("What any command prints with --json when it fails", _ERROR)
    name = next((command for command, output in _OUTPUT.items() if output == name), name)
    if name not in SHAPES:
        raise NotFoundError(unknown("schema", name, names()))
    shape = TypeAdapter(SHAPES[name]).json_schema(mode="serialization")
    what = "Each line" if name in STREAMS else "What is printed"
    return _titled(f"{what} by `agenthub {name} --json`", shape)


def check_fields(words: Sequence[str], fields: str) -> None:
    """Check that what a command prints has the fields that `--json=FIELD,...` asks for.

    Args:
        words: The command as it was typed, with its arguments.
        fields: Their names, with commas between them.

    Raises:
        ConfigError: If there is no such field; says which there are.
    """
    name = next((name for name in (" ".join(words[:2]), *words[:1]) if name in SHAPES), None)
    if name is None:  # no command, or one that prints no JSON: that is said elsewhere
        return
    schema = schema_of(_OUTPUT.get(name, name))
    known = _fields(schema, schema.get("$defs", {}))
    for field in fields.split(","):
        if known and field not in known:
            near = difflib.get_close_matches(field, known, n=1, cutoff=0.6)
            meant = f" Did you mean `{near[0]}`?" if near else ""
            raise ConfigError(
                f"`agenthub {name} --json` has no such field `{field}`.{meant} There are: {', '.join(sorted(known))}."
            )


def _fields(schema: dict[str, Any], definitions: dict[str, Any]) -> set[str]:
    """The fields that a document, or each line or item of it, can have; empty: whatever keys there are."""
    if "$ref" in schema:
        return _fields(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    found = set(schema.get("properties", {}))
    for inner in [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else [])]:
        found |= _fields(inner, definitions)
    return found


_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "integer", "description": "The exit code."},
                "message": {"type": "string"},
                "hint": {"type": "string", "description": "The next step."},
            },
        }
    },
}


def _config() -> dict[str, Any]:
    """agenthub.toml: what the organization reads, and the tables of each process."""
    schema = OrganizationFile.model_json_schema()
    process = Settings.model_json_schema(by_alias=False)
    schema.setdefault("$defs", {}).update(process.get("$defs", {}))
    for field, key in FILE_KEYS.items():
        table, _, name = key.partition(".")
        below = schema["properties"].setdefault(
            table, {"type": "object", "additionalProperties": False, "properties": {}}
        )
        below["properties"][name] = process["properties"][field]
    _loosen(schema)
    return _titled("agenthub.toml", schema)


def _role() -> dict[str, Any]:
    """The front matter of a role file; what other tools read is allowed."""
    ours = RoleSettings.model_json_schema()
    definitions = ours.pop("$defs", {})
    words = {"type": "string"}
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": True,
        "properties": {
            "name": words | {"description": "One word. Default: the name of the file."},
            "description": words | {"description": "When to use this role; its colleagues' models read it."},
            "model": words | {"description": "A model, `haiku`, `sonnet`, `opus`, or `inherit`."},
            "tools": {"type": "array", "items": words, "description": "Names as in Claude Code. Default: all."},
            "color": words,
            "agenthub": ours,
        },
        "$defs": definitions,
    }
    _loosen(schema)
    return _titled("The front matter of a role file", schema)


def _loosen(schema: dict[str, Any]) -> None:
    """Let the schema take what our readers take: words for lists, `unlimited` and `2M` for numbers."""
    for node in [schema, *schema.get("$defs", {}).values(), *_inner(schema)]:
        for key, value in node.get("properties", {}).items():
            if key.startswith(_AMOUNTS):
                _also(value, {"type": "string", "pattern": r"^(unlimited|\d+(\.\d+)?[kKmM]?)$"})
            elif key in _LISTS:
                _also(value, {"type": "string"})
            elif key == "schedule":
                value["additionalProperties"] = {"anyOf": [value.get("additionalProperties", {}), {"type": "string"}]}


def _inner(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = schema.get("properties", {}).get("agenthub")
    return [found] if found else []


def _also(value: dict[str, Any], other: dict[str, Any]) -> None:
    """Let a value be something else as well; what describes it stays beside."""
    kept = {name: value.pop(name) for name in ("title", "description", "default") if name in value}
    before = dict(value)
    value.clear()
    choices = before.pop("anyOf", None) or ([before] if before else [])
    value.update(kept | {"anyOf": [*choices, other]})


def _titled(title: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": _DIALECT, **schema, "title": title}
