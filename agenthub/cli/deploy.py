"""Commands that write what a platform needs to run the organization."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_FAILED, EXIT_OK
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import print_json, say
from agenthub.errors import ConfigError


async def compose(
    *, small: Annotated[bool, Parameter(negative="")] = False, check: Path | None = None, options: Options = DEFAULT
) -> int:
    """Print a compose file for the organization.

    Args:
        small: With one NATS server instead of three.
        check: Compare this file instead, and print nothing; which of the two it is, it says at its beginning.
    """
    from agenthub.compose_file import compose_file, says_small
    from agenthub.organization import load_organization

    settings = options.settings()
    organization = load_organization(settings)
    if check is None:
        text = compose_file(settings, organization, servers=1 if small else 3)
        if options.json:
            print_json({"compose": text}, options)
        else:
            print(text, end="")
        return EXIT_OK
    try:
        found = check.read_text()
    except OSError as error:
        raise ConfigError(f"{check} cannot be read: {error.strerror}.") from error
    small = small or says_small(found)
    is_same = found == compose_file(settings, organization, servers=1 if small else 3)
    if options.json:
        print_json({"file": str(check), "is_current": is_same}, options)
    elif not is_same:
        say(f"{check} is not what the organization asks for now: agenthub compose{' --small' * small} > {check}")
    return EXIT_OK if is_same else EXIT_FAILED
