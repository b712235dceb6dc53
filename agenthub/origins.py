"""Every setting with its value and where that comes from: a flag, a variable, a line of a file, or the default."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr

from agenthub.organization import Organization
from agenthub.places import ENV_PREFIX, variable_of
from agenthub.role_files import DEFAULT_GLOBS
from agenthub.settings import FILE_KEYS, Settings
from agenthub.toml_files import TomlFile, read_toml

FLAGS: Mapping[str, str] = {
    "nats_url": "--nats", "nats_context": "--context", "config": "--config", "state": "--state",
}  # fmt: skip
"""Flags that have another name than their setting, or the same."""


class Setting(NamedTuple):
    """One setting as it holds now."""

    key: str
    """As it is written in agenthub.toml; of what cannot stand there, the name of the setting."""
    value: Any
    origin: str
    """`--nats`, `AGENTHUB_NATS_URL`, `agenthub.toml:12`, the path of a context or a secret, or `default`."""


def settings_of(settings: Settings, organization: Organization, flags: Mapping[str, object]) -> list[Setting]:
    """All of them: of this process, then of the organization, then what agenthub.toml says of single roles.

    Args:
        flags: What was given on the command line, by the name of the setting.
    """
    file = read_toml(settings.config, settings.folder) if settings.config else TomlFile("", {}, {})
    found = [
        Setting(FILE_KEYS.get(field, field), _plain(getattr(settings, field)), _origin(field, flags, file, settings))
        for field in Settings.model_fields
    ]
    # Limits as they hold, whichever of its two names one was given.
    limits = {limit: organization.default_budget().get(limit) for limit in type(organization.budget).model_fields}
    of_all = {limit: organization.budget_of_all().get(limit) for limit in limits}
    defaults = {name: getattr(organization.defaults, name) for name in type(organization.defaults).model_fields}
    if "budget_usd_day" not in organization.defaults.model_fields_set:
        del defaults["budget_usd_day"]
    tables: dict[str, Any] = {
        "org": organization.org, "operator": organization.operator,
        "role_files": file.get("role_files") or list(DEFAULT_GLOBS), "defaults": {**defaults, "budget": limits},
        "calendar": organization.calendar, "budget": of_all, "prices": dict(organization.prices),
        "roles": file.get("roles") or {},
    }  # fmt: skip
    found += [Setting(".".join(path), value, _line(path, file) or "default") for path, value in _leaves((), tables)]
    return found


def _origin(field: str, flags: Mapping[str, object], file: TomlFile, settings: Settings) -> str:
    if flags.get(field) is not None:
        return FLAGS.get(field, f"--{field.replace('_', '-')}")
    if said := settings.origins.get(field):
        return said
    if variable_of(field):
        return f"{ENV_PREFIX}{field}".upper()
    if field == "config" and file.shown:
        return "found from here up"
    key = FILE_KEYS.get(field)
    return (_line(tuple(key.split(".")), file) if key else "") or "default"


def _line(path: tuple[str, ...], file: TomlFile) -> str:
    """Where a key was said; empty: nowhere. What stands in an inline table has the line of that."""
    value: Any = file.values
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return ""
        value = value[part]
    line = next((file.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in file.lines), None)
    return f"{file.shown}:{line}" if line else file.shown


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves((*path, str(name)), below)
        return
    yield path, _plain(value)


def _plain(value: Any) -> Any:
    """The value as it is written in the file; a secret is never shown."""
    if isinstance(value, SecretStr):
        return "(set)"
    if isinstance(value, float) and math.isinf(value):
        return "unlimited"
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
