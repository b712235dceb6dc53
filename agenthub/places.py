"""Where the files of an organization are: told by flags or variables, or found from the current folder upwards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agenthub.errors import ConfigError

ENV_PREFIX = "AGENTHUB_"

CONFIG_NAMES = ("agenthub.toml", "config/agenthub.toml")
"""Where the file of an organization is looked for, in each folder from the current one upwards."""


def variable_of(field: str) -> str:
    """Value of the field's variable; names are not case-sensitive, as in pydantic-settings."""
    name = f"{ENV_PREFIX}{field}".upper()
    return next((value for key, value in os.environ.items() if key.upper() == name and value), "")


def find_places(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Config file, folder and state, absolute: as told, or found from the current folder upwards.

    Raises:
        ConfigError: If what was told is not there.
    """
    told = {field: flags.get(field) or variable_of(field) for field in ("config", "folder", "state")}
    places = {field: Path(value).expanduser().absolute() for field, value in told.items() if value}
    config = places.get("config")
    if config is None:
        here = (places["folder"],) if "folder" in places else (Path.cwd(), *Path.cwd().parents)
        config = next((path for folder in here for name in CONFIG_NAMES if (path := folder / name).is_file()), None)
    elif not config.is_file():
        raise ConfigError(f"There is no file {config}. Correct `--config` or AGENTHUB_CONFIG.")
    if "folder" not in places:
        beside = config.parent if config else Path.cwd()
        places["folder"] = beside.parent if config and beside.name == "config" else beside
    elif not places["folder"].is_dir():
        raise ConfigError(f"There is no folder {places['folder']}. Correct `--folder` or AGENTHUB_FOLDER.")
    return {**places, "config": config}
