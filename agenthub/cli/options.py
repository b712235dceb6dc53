"""What every command takes, and how it finds its organization and its hub."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from agenthub.cli.names import context_names
from agenthub.errors import ConfigError

if TYPE_CHECKING:  # imported when it is used: `--help` needs none of it
    from agenthub.client import Client
    from agenthub.organization import Organization
    from agenthub.settings import Settings

OF_EVERY_COMMAND = "Every command"
_COMMON = Group(OF_EVERY_COMMAND, sort_key=99)


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """What every command takes."""

    json: Annotated[
        bool,
        Parameter(
            name="--json", negative="", group=_COMMON,
            help="Print JSON for programs; `--json=id,role` prints these fields only.",
        ),
    ] = False  # fmt: skip
    fields: Annotated[str, Parameter(name="--fields", show=False)] = ""
    color: Annotated[
        Literal["auto", "always", "never"],
        Parameter(
            name="--color", group=_COMMON, help="Colours: on a terminal only, always, or never. NO_COLOR is heeded."
        ),
    ] = "auto"
    config: Annotated[
        Path | None,
        Parameter(name="--config", group=_COMMON, help="The agenthub.toml. Default: found from here up."),
    ] = None
    state: Annotated[
        Path | None, Parameter(name="--state", group=_COMMON, help="Folder of a hub's state. Default: .agenthub.")
    ] = None
    nats: Annotated[
        str | None, Parameter(name="--nats", group=_COMMON, help="URL of a NATS server. Default: the hub's own.")
    ] = None
    context: Annotated[
        str | None,
        Parameter(
            name="--context", group=_COMMON, completer=context_names,
            help="Context of the `nats` command that says how to reach the server.",
        ),
    ] = None  # fmt: skip

    def settings(self, **flags: Any) -> Settings:
        """Settings with these flags on top.

        Raises:
            ConfigError: If a file or a variable is wrong.
        """
        from agenthub.settings import Settings

        return Settings.load(**self.flags(), **flags)

    def flags(self) -> dict[str, Any]:
        """What was given on the command line, by the name of the setting; None: it was not."""
        return {"config": self.config, "state": self.state, "nats_url": self.nats, "nats_context": self.context}

    def organization(self, settings: Settings | None = None) -> Organization:
        """The organization of these settings.

        Raises:
            ConfigError: If a file is wrong; lists everything that is.
        """
        from agenthub.organization import load_organization

        return load_organization(settings or self.settings())

    def organization_of_hub(self, settings: Settings) -> Organization:
        """The organization of a hub that runs; what is wrong in its files is said, and only that is left out.

        Whoever mends a file must be able to stop what runs meanwhile.

        Raises:
            ConfigError: If no hub runs here and a file is wrong, or nothing is left.
        """
        from agenthub.cli.output import say
        from agenthub.organization import load_organization
        from agenthub.run_file import RunFile

        organization = load_organization(settings, strict=False)
        wrong = [problem for problem in organization.problems if problem.level == "error"]
        if not wrong:
            return organization
        is_running = bool(settings.nats_url) or RunFile.read(settings.state) is not None
        if not is_running or not organization.roles:
            raise ConfigError("\n".join(map(str, wrong)))
        for problem in wrong:
            say(f"agenthub: {problem}")
        names = {Path(problem.path).stem for problem in wrong if problem.path.endswith(".md")} - {*organization.roles}
        without = f", without {', '.join(sorted(names))}" if names else ""
        say(f"The hub goes on as it was started; this goes by the other files{without}: `agenthub roles check`.")
        return organization

    @contextlib.asynccontextmanager
    async def client(self, *, strict: bool = False) -> AsyncIterator[Client]:
        """A client of the running hub.

        Args:
            strict: Whether a wrong file is an error, although the hub runs.

        Raises:
            HubUnreachableError: If none runs.
        """
        from agenthub.client import open_client

        settings = self.settings()
        organization = self.organization(settings) if strict else self.organization_of_hub(settings)
        async with open_client(settings, organization) as client:
            yield client


DEFAULT = Options()


def _at_least_one(_: object, value: int) -> None:
    if value < 1:
        raise ConfigError(f"--last is at least 1; found {value}")


Last = Annotated[int, Parameter(name=["--last", "-n"], validator=_at_least_one)]
"""How many things to list."""

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str, flag: str = "--since") -> timedelta:
    """A length of time as people write it: `90s`, `10m`, `2h`, `1d`; a bare number is seconds.

    Raises:
        ConfigError: If it is none; names the flag.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if match is None:
        raise ConfigError(f"{flag} takes a length of time such as 90s, 10m, 2h or 7d, or seconds; found {text!r}")
    return timedelta(seconds=float(match[1]) * _UNITS_S[match[2]])
