"""Where secrets come from: a variable, a file that a variable names, or a credential that systemd hands over.

Files and credentials keep them out of the environment, which every process of the same user can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from agenthub.errors import ConfigError
from agenthub.masking import secret_variables

FILE_SUFFIX = "_FILE"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""Set by systemd for a unit with LoadCredential= and the like (systemd.exec(5))."""
MAX_BYTES = 64 * 1024
_PLACES = frozenset({CREDENTIALS, "NATS_KEY", "AGENTHUB_NATS_KEY"})
"""Variables that say where a secret is; masked, an error could not name its file."""


class Secret(NamedTuple):
    """A secret as found."""

    value: str
    origin: str
    """Where, for people; never the value."""


def find_secret(name: str, environment: Mapping[str, str]) -> Secret | None:
    """The secret of a name; None if nobody says it. The variable itself wins, then its file, then the credential.

    A credential has the name of the variable, in capitals or small letters.

    Raises:
        ConfigError: If a file that is named cannot be read, or holds nothing.
    """
    if value := environment.get(name):
        return Secret(value, name)
    if file := environment.get(name + FILE_SUFFIX):
        return Secret(_read(Path(file), f"{name}{FILE_SUFFIX}"), f"{name}{FILE_SUFFIX}, {file}")
    if folder := environment.get(CREDENTIALS):
        for path in (Path(folder, name.lower()), Path(folder, name)):
            if path.is_file():
                return Secret(_read(path, f"the credential {path.name}"), f"credential {path.name}, {path}")
    return None


def with_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables, and with them what stands in the files and credentials that hold secrets, by the names of variables.

    What cannot be read is left out: others may have put it there, for others.
    """
    found: dict[str, str] = {}
    if folder := environment.get(CREDENTIALS):
        for path in sorted(Path(folder).glob("*")):
            _take(found, path.name.upper().replace("-", "_").replace(".", "_"), path)
    for name, value in environment.items():
        bare = name.removesuffix(FILE_SUFFIX)
        if value and bare != name and secret_variables({bare: value}):
            _take(found, bare, Path(value))
    return found | {name: value for name, value in environment.items() if value or name not in found}


def known_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """All that must be masked: variables whose names say that they are secret, what their files hold, credentials."""
    found = with_files(environment)
    places = {name for name in environment if name in _PLACES or name.endswith(FILE_SUFFIX)}
    known = {name: value for name, value in secret_variables(found).items() if name not in places}
    return known | {name: value for name, value in found.items() if name not in environment}


def _take(found: dict[str, str], name: str, path: Path) -> None:
    try:
        found[name] = _read(path, name)
    except ConfigError:
        return


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode().strip()
    except OSError as error:
        raise ConfigError(
            f"{what}: {path} cannot be read: {error.strerror}. Correct the path, or its rights."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}: {path} is not UTF-8 text.") from error
    if len(data) > MAX_BYTES or not text or "\0" in text:
        raise ConfigError(f"{what}: {path} holds no secret: it is empty, or more than {MAX_BYTES // 1024} KiB.")
    return text
