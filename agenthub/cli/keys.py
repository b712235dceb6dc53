"""Commands about the keys by which processes prove who they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agenthub.cli import EXIT_OK
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import print_json, say, table
from agenthub.errors import ConfigError, problems
from agenthub.whole_files import write_whole

if TYPE_CHECKING:
    from agenthub.bus.dealing import Owner
    from agenthub.grants import Grant


async def ls(*, options: Options = DEFAULT) -> int:
    """List whose keys there are, with their public halves."""
    from agenthub.bus.identity import SHARED, Keyring
    from agenthub.organization import load_organization

    settings = options.settings()
    keyring = Keyring(settings.keys)
    roles = load_organization(settings).roles
    found = [
        {"name": name, "public": public, "has_seed": keyring.path(name, is_role=is_role).exists()}
        for name, is_role in [*((name, False) for name in SHARED), *((name, True) for name in roles)]
        if (public := keyring.public(name, is_role=is_role))
    ]
    if options.json:
        print_json(found, options)
        return EXIT_OK
    rows = [[str(key["name"]), str(key["public"]), "here" if key["has_seed"] else "not here"] for key in found]
    table(["NAME", "PUBLIC KEY", "SEED"], rows)
    if not found:
        say(f"There are no keys in {settings.keys}. `agenthub up` and `agenthub provision` make them.")
    return EXIT_OK


async def deal(
    folder: Path,
    /,
    *,
    auth: Path | None = None,
    owner: str | None = None,
    granted: Path | None = None,
    options: Options = DEFAULT,
) -> int:
    """Make what keys are missing, and give each process a folder with its own only; needs no broker.

    Args:
        folder: Gets `<role>/keys`, `leader/keys`, `cli/keys` and `provision/keys`.
        auth: Also write the authorization block for the servers' configuration here.
        owner: Numbers of user and group to whom each folder is given: `10001:10001`.
        granted: What `agenthub grants ls --json` printed (`--granted=-`: on stdin); roles may publish on these topics.
    """
    from agenthub.bus.dealing import deal as deal_keys
    from agenthub.bus.identity import Keyring
    from agenthub.client import access_of
    from agenthub.grants import topics_of
    from agenthub.messages import now
    from agenthub.organization import load_organization

    settings = options.settings()
    organization = load_organization(settings)
    topics = topics_of(_grants(granted), now()) if granted else {}
    access = access_of(organization, settings, admits_strangers=False, topics=topics)
    dealt = deal_keys(Keyring(settings.keys), organization.roles, folder, owner=_owner(owner))
    if auth is not None:
        write_whole(auth, access.text())
    if options.json:
        print_json(dealt, options)
    else:
        say(f"{len(dealt)} processes have their keys in {folder}" + (f"; {auth} is written" if auth else ""))
    return EXIT_OK


def _grants(file: Path) -> list[Grant]:
    from pydantic import TypeAdapter, ValidationError

    from agenthub.grants import Grant

    data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        return TypeAdapter(list[Grant]).validate_json(data)
    except ValidationError as error:
        raise ConfigError(f"{file} is not what `agenthub grants ls --json` prints: {problems(error)[:200]}") from error


def _owner(text: str | None) -> Owner | None:
    from agenthub.bus.dealing import Owner

    if text is None:
        return None
    user, _, group = text.partition(":")
    if not (user.isdecimal() and group.isdecimal()):
        raise ConfigError(f"`--owner {text}` is no pair of numbers. Write it as 10001:10001.")
    return Owner(int(user), int(group))
