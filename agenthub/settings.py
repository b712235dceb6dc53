"""What a process needs before it starts: flags over environment over agenthub.toml over default.

What the organization is (roles, models, budgets) stands in `organization.py`; here is where it lives, whom to
connect to, and how patient to be.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agenthub.errors import ConfigError, unknown
from agenthub.logs import LogFormat

ENV_PREFIX = "AGENTHUB_"

CONFIG_NAMES = ("agenthub.toml", "config/agenthub.toml")
"""Where the file of an organization is looked for, in each folder from the current one upwards."""

FILE_KEYS: Mapping[str, str] = {
    "nats_url": "nats.url",
    "nats_servers": "nats.servers",
    "nats_replicas": "nats.replicas",
    "model_url": "model.url",
    "rehearsal_seed": "rehearsal.seed",
    "rehearsal_speed": "rehearsal.speed",
    "log_level": "process.log_level",
    "log_format": "process.log_format",
    "health_host": "process.health_host",
    "health_port": "process.health_port",
    "ack_wait_s": "process.ack_wait_s",
    "keep_alive_s": "process.keep_alive_s",
    "heartbeat_s": "process.heartbeat_s",
    "lease_ttl_s": "process.lease_ttl_s",
    "grace_s": "process.grace_s",
}
"""Field of `Settings` → its key in agenthub.toml. The other fields are flags and environment only."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


_AS_NUMBER = BeforeValidator(lambda value: int(value) if isinstance(value, str) and value.isdecimal() else value)
"""Variables are text; a choice of numbers takes numbers only."""


class Settings(BaseSettings):
    """Where the organization lives, whom its processes connect to, and how patient they are."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,  # a compose file passes "" for what nobody has set
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        validate_default=True,
    )

    config: Path | None = None
    """The agenthub.toml. None: there is none, everything has its default."""
    folder: Path = Field(default_factory=Path.cwd)
    """Folder of the organization: the one of agenthub.toml, or its parent if that is in `config/`."""
    state: Path = Field(default_factory=lambda fields: fields.get("folder", Path()) / ".agenthub")
    """All that the hub writes: server data, journals, workspaces, logs, keys. Nothing outside it."""

    nats_url: str = ""
    """NATS server to connect to; of a cluster several, separated by commas. Empty: the hub runs its own."""
    nats_servers: Annotated[Literal[1, 3, 5], _AS_NUMBER] = 1
    """How many servers the hub runs, if it runs its own; more than one are a cluster."""
    nats_replicas: Annotated[Literal[1, 3, 5] | None, _AS_NUMBER] = None
    """Servers that hold each stream. None: 3 on a cluster of at least three, else 1."""
    key_within_s: float = Field(default=0.0, ge=0)
    """How long a process that starts waits for its key, and for the servers to hear of it. In containers."""
    model_url: str = ""
    """Base URL of a Messages API. Empty: Anthropic's."""
    api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices(f"{ENV_PREFIX}API_KEY", "ANTHROPIC_API_KEY")
    )
    """Key for the model; from AGENTHUB_API_KEY or ANTHROPIC_API_KEY, never from a file or a flag."""

    rehearse: bool = False
    """Play the organization without a model and without money."""
    rehearsal_seed: int = 1
    """The same seed and the same messages give the same rehearsal."""
    rehearsal_speed: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """1: answers take as long as a model's; 10: a tenth of it."""

    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    """What the log keeps."""
    log_format: LogFormat = "auto"
    """`json`: an object per line; `text`: for people; `auto`: text on a terminal, else JSON."""
    health_host: str = "127.0.0.1"
    """Address at which a role answers /livez, /readyz and /metrics. Another than loopback only if you say so."""
    health_port: int = Field(default=0, ge=-1, le=65535)
    """Its port. 0: a free one, which `agenthub ps --json` shows; -1: none. Under `up` the first role has this one,
    the second the next, and so on."""
    health_token: SecretStr | None = None
    """What /metrics asks for as `Authorization: Bearer …`. Without one it answers on loopback only."""
    ack_wait_s: Seconds = 20.0
    """Seconds without a sign of life before the server delivers a message again."""
    keep_alive_s: Seconds = 4.0
    """Seconds between two such signs; below `ack_wait_s`."""
    heartbeat_s: Seconds = 5.0
    """Seconds between two heartbeats of a role in the registry; below `lease_ttl_s`."""
    lease_ttl_s: Seconds = 15.0
    """Seconds after which a role that stopped renewing its lease has lost it."""
    grace_s: Seconds = 20.0
    """Seconds that a stopping role may take to finish its message."""

    @property
    def keys(self) -> Path:
        """Folder of the keys by which processes prove who they are."""
        return self.state / "keys"

    @model_validator(mode="after")
    def _signs_of_life_come_in_time(self) -> Self:
        for sign, limit in (("keep_alive_s", "ack_wait_s"), ("heartbeat_s", "lease_ttl_s")):
            if getattr(self, sign) >= getattr(self, limit):
                raise ValueError(
                    f"`{sign}` ({getattr(self, sign):g}) must be below `{limit}` ({getattr(self, limit):g}), "
                    "or what is alive is taken for dead"
                )
        return self

    @classmethod
    def load(cls, **flags: Any) -> Settings:
        """Settings of this process. A flag that is None was not given.

        Raises:
            ConfigError: If a value is wrong, a variable or flag is misspelt, or the file cannot be read.
        """
        flags = {name: value for name, value in flags.items() if value is not None}
        _refuse_unknown(flags)
        values: dict[str, Any] = flags | _places(flags)
        file = read_toml(values["config"], values["folder"]) if values["config"] else TomlFile("", {}, {})
        for field, key in FILE_KEYS.items():
            if field not in flags and not variable_of(field) and (value := file.get(key)) is not None:
                values[field] = value
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError("\n".join(_reasons(error, flags, file))) from error


class TomlFile(NamedTuple):
    """A TOML file as read, with the line of each key where it was found."""

    shown: str
    """Path as people write it: relative to the organization's folder."""
    values: dict[str, Any]
    lines: dict[tuple[str, ...], int]

    def get(self, dotted: str) -> object:
        """Value of a dotted key; None if it is not there."""
        value: object = self.values
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value


def read_toml(path: Path, folder: Path) -> TomlFile:
    """Read a TOML file of the organization in `folder`.

    Raises:
        ConfigError: If it cannot be opened, or is not TOML; says in which line.
    """
    shown = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
    try:
        text = path.read_text("utf-8-sig")
        return TomlFile(shown, tomllib.loads(text), _lines(text))
    except OSError as error:
        raise ConfigError(f"{shown} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{shown} is not UTF-8 text; byte {error.start} is {error.object[error.start]:#04x}."
        ) from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column (\d+)\)", str(error))
        where = f", line {found[1]}, column {found[2]}" if found else ""
        reason = str(error).replace(found[0], "") if found else str(error)
        raise ConfigError(f"{shown}{where}: not TOML: {reason}.") from error


_TABLE = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:[\w.\-]|"[^"]*"|'[^']*'|[ \t](?=\.)|(?<=\.)[ \t])+)\s*=""")


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """Line of each table and key, as far as a line alone tells (tomllib keeps no positions)."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = _parts(found[1])
            lines.setdefault(table, number)
        elif found := _KEY.match(line):
            lines.setdefault((*table, *_parts(found[1])), number)
    return lines


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def variable_of(field: str) -> str:
    """Value of the field's variable; names are not case-sensitive, as in pydantic-settings."""
    name = f"{ENV_PREFIX}{field}".upper()
    return next((value for key, value in os.environ.items() if key.upper() == name and value), "")


def _refuse_unknown(flags: Mapping[str, object]) -> None:
    fields = Settings.model_fields
    problems = [unknown("setting", name, fields) for name in flags if name not in fields]
    variables = [f"{ENV_PREFIX}{field}".upper() for field in fields]
    problems += [
        unknown("variable", name, variables)
        for name in os.environ
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in variables
    ]
    if problems:
        raise ConfigError("\n".join(problems))


def _places(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Config file, folder and state, absolute: as told, or found from the current folder upwards."""
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


def _reasons(error: ValidationError, flags: Mapping[str, object], file: TomlFile) -> list[str]:
    """One line for each wrong value: where it came from, what it must be, what was found."""
    reasons = []
    for entry in error.errors(include_url=False):
        field = str(entry["loc"][0]) if entry["loc"] else ""
        key = FILE_KEYS.get(field, "")
        if not field:
            reasons.append(entry["msg"].removeprefix("Value error, ") + ".")
            continue
        if field in flags:
            where = f"`--{field.replace('_', '-')}`"
        elif field in FILE_KEYS and not variable_of(field):
            line = file.lines.get(_parts(key))
            where = f"{file.shown}{f', line {line}' if line else ''}: `{key}`"
        else:
            where = f"{ENV_PREFIX}{field}".upper()
        reasons.append(f"{where}: {entry['msg']}; found {entry['input']!r}.")
    return reasons
