"""What a process needs before it starts: flags over environment over agenthub.toml over default.

What the organization is (roles, models, budgets) stands in `organization.py`; here is where it lives, whom to
connect to, and how patient to be.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agenthub.errors import ConfigError, unknown
from agenthub.logs import LogFormat
from agenthub.nats_contexts import FIELDS, WEAKEST, Said, reach, read_context
from agenthub.places import ENV_PREFIX, find_places, variable_of
from agenthub.secret_sources import FILE_SUFFIX, Secret, find_secret
from agenthub.toml_files import TomlFile, read_toml
from agenthub.transport import Transport

FILE_KEYS: Mapping[str, str] = {
    "nats_url": "nats.url",
    "nats_context": "nats.context",
    "nats_user": "nats.user",
    "nats_creds": "nats.creds",
    "nats_nkey": "nats.nkey",
    "nats_ca": "nats.ca",
    "nats_cert": "nats.cert",
    "nats_key": "nats.key",
    "nats_inbox_prefix": "nats.inbox_prefix",
    "nats_tls_first": "nats.tls_first",
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

SECRETS: Mapping[str, tuple[str, ...]] = {
    "api_key": ("AGENTHUB_API_KEY", "ANTHROPIC_API_KEY"),
    "health_token": ("AGENTHUB_HEALTH_TOKEN",),
    "mcp_token": ("AGENTHUB_MCP_TOKEN",),
    "nats_password": ("AGENTHUB_NATS_PASSWORD",),
    "nats_token": ("AGENTHUB_NATS_TOKEN",),
}
"""Field of `Settings` that is secret → names by which it is looked for, one after the other: as variable, in the file
that `<name>_FILE` names, and as credential of systemd. Never in agenthub.toml, never a flag."""

THEIRS: Mapping[str, str] = {
    "nats_context": "NATS_CONTEXT", "nats_url": "NATS_URL", "nats_creds": "NATS_CREDS", "nats_ca": "NATS_CA",
    "nats_cert": "NATS_CERT", "nats_key": "NATS_KEY",
}  # fmt: skip
"""Variables of the `nats` command. They are weaker than agenthub.toml: they may be set for something else."""

_REACH = {field: f"nats_{field}" for field in ("context", *FIELDS)}
"""What is said about the server → field of `Settings`."""

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
    nats_context: str = ""
    """Context of the `nats` command that says how to reach the server; what is said beside it wins."""
    nats_user: str = ""
    """As whom to come in where the server knows users. Empty: by the keys of the organization."""
    nats_password: SecretStr | None = None
    """Its password; never from agenthub.toml."""
    nats_token: SecretStr | None = None
    """What a server that knows tokens asks for; never from agenthub.toml."""
    nats_creds: Path | None = None
    """File with a user's JWT and seed, for a server that knows accounts."""
    nats_nkey: Path | None = None
    """File with a seed that the server knows, instead of the keys of the organization."""
    nats_ca: Path | None = None
    """File with who must have signed the server's certificate. None: whom this machine trusts."""
    nats_cert: Path | None = None
    """File with our certificate, for a server that asks for one."""
    nats_key: Path | None = None
    """File with the key of that certificate."""
    nats_inbox_prefix: str = ""
    """Where answers come, if a user of the server may listen only there. Our own keys have theirs."""
    nats_tls_first: bool = False
    """Begin with TLS before the server has said anything, for a server with `handshake_first`."""
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
    """Key for the model; AGENTHUB_API_KEY or ANTHROPIC_API_KEY, as variable, file or credential; never a flag."""

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
    mcp_token: SecretStr | None = None
    """What `agenthub mcp --http` asks for. None: what stands in `mcp.token` of the state folder."""
    ack_wait_s: Seconds = 20.0
    """Seconds without a sign of life before the server delivers a message again."""
    keep_alive_s: Seconds = 5.0
    """Seconds between two such signs; below `ack_wait_s`."""
    heartbeat_s: Seconds = 5.0
    """Seconds between two heartbeats of a role in the registry; below `lease_ttl_s`."""
    lease_ttl_s: Seconds = 15.0
    """Seconds after which a role that stopped renewing its lease has lost it."""
    grace_s: Seconds = 20.0
    """Seconds that a stopping role may take to finish its message."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def keys(self) -> Path:
        """Folder of the keys by which processes prove who they are."""
        return self.state / "keys"

    @property
    def origins(self) -> Mapping[str, str]:
        """Where fields that say how to reach the server, and secrets, come from."""
        return self._origins

    @property
    def transport(self) -> Transport:
        """How to reach the server, and as whom."""
        told = {field: getattr(self, f"nats_{field}") for field in Transport._fields if field != "origins"}
        return Transport(**told, origins={field: self._origins.get(f"nats_{field}", "") for field in told})

    @property
    def secrets(self) -> dict[str, str]:
        """The values that must be masked wherever they stand, by what people call them."""
        named = {field: getattr(self, field) for field in SECRETS}
        return {
            "the model's key" if field == "api_key" else field: secret.get_secret_value()
            for field, secret in named.items() if secret is not None
        }  # fmt: skip

    def at(self, url: str, context: str = "") -> Settings:
        """The same for another server: that of a context, or one that asks for nothing but our keys."""
        fields = Settings.model_fields
        update = {field: fields[field].default for field in _REACH.values()}
        origins = {field: said for field, said in self._origins.items() if field not in update}
        if context:
            read = read_context(context, "The hub that runs here")
            for field, value in read.values.items():
                is_secret = f"nats_{field}" in SECRETS
                update[_REACH[field]] = SecretStr(value) if is_secret else value
                origins[_REACH[field]] = str(read.path)
        other = self.model_copy(update=update | {"nats_url": url, "nats_context": context})
        other._origins = origins
        return other

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
        values: dict[str, Any] = flags | find_places(flags)
        file = read_toml(values["config"], values["folder"]) if values["config"] else TomlFile("", {}, {})
        for field, key in FILE_KEYS.items():
            if field not in flags and not variable_of(field) and (value := file.get(key)) is not None:
                values[field] = value
        secrets = _secrets(flags)
        said = {field: one for field, name in _REACH.items() if (one := _said(name, flags, secrets, file))}
        values = {name: value for name, value in values.items() if name not in _REACH.values()}
        told, origins = reach(said, values["folder"])
        values |= {name: told.get(field, cls.model_fields[name].default) for field, name in _REACH.items()}
        values |= {name: one.value for name, one in secrets.items() if name not in _REACH.values()}
        try:
            made = cls(**values)
        except ValidationError as error:
            raise ConfigError("\n".join(_reasons(error, flags, file))) from error
        made._origins = {_REACH[field]: origin for field, origin in origins.items()}
        made._origins |= {name: one.origin for name, one in secrets.items() if name not in _REACH.values()}
        return made


def _secrets(flags: Mapping[str, object]) -> dict[str, Secret]:
    """The secrets that are said outside of flags, by field."""
    found = {}
    for field, names in SECRETS.items():
        if field not in flags:
            secret = next((one for name in names if (one := find_secret(name, os.environ))), None)
            if secret is not None:
                found[field] = secret
    return found


def _said(name: str, flags: Mapping[str, Any], secrets: Mapping[str, Secret], file: TomlFile) -> Said | None:
    """What the strongest place says of a field that is about the server; None: nobody says anything."""
    variable = f"{ENV_PREFIX}{name}".upper()
    if name in flags:
        flag = {"nats_url": "--nats", "nats_context": "--context"}.get(name, f"--{name.replace('_', '-')}")
        return Said(flags[name], 0, flag) if flags[name] != "" else None
    if secret := secrets.get(name):
        return Said(secret.value, 1, secret.origin)
    if value := variable_of(name):
        return Said(value, 1, variable)
    if name in FILE_KEYS and (found := file.get(FILE_KEYS[name])) not in (None, ""):
        return Said(found, 2, file.origin(FILE_KEYS[name]))
    if value := os.environ.get(THEIRS.get(name, ""), ""):
        return Said(value, WEAKEST, THEIRS[name])
    return None


def _refuse_unknown(flags: Mapping[str, object]) -> None:
    fields = Settings.model_fields
    problems = [unknown("setting", name, fields) for name in flags if name not in fields]
    variables = [f"{ENV_PREFIX}{field}".upper() for field in fields]
    variables += [name + FILE_SUFFIX for names in SECRETS.values() for name in names if name.startswith(ENV_PREFIX)]
    problems += [
        unknown("variable", name, variables)
        for name in os.environ
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in variables
    ]
    if problems:
        raise ConfigError("\n".join(problems))


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
            line = file.line(key)
            where = f"{file.shown}{f', line {line}' if line else ''}: `{key}`"
        else:
            where = f"{ENV_PREFIX}{field}".upper()
        reasons.append(f"{where}: {entry['msg']}; found {entry['input']!r}.")
    return reasons


def choose_model(settings: Settings) -> Settings:
    """Settings with the rehearsal model where there is no key for a real one.

    Raises:
        ConfigError: If a real model was asked for by its URL, but there is no key.
    """
    if settings.rehearse or settings.api_key is not None:
        return settings
    if settings.model_url:
        raise ConfigError(f"There is no key for {settings.model_url}. Set ANTHROPIC_API_KEY, or use --rehearse.")
    return settings.model_copy(update={"rehearse": True})
