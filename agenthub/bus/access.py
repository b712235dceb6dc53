"""Who may come in at a nats-server: its authorization block, written from keys and rights, and how a change is read.

The embedded server includes the block as a file of its own. The operator of an external server includes the same text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from agenthub.bus.identity import Keyring
from agenthub.bus.permissions import EVERYTHING, STRANGER, Member, Rights, rights_of
from agenthub.errors import ConfigError
from agenthub.whole_files import write_whole

FILE = "authorization.conf"


class Access:
    """Who may come in, and what they may do then."""

    def __init__(self, keyring: Keyring, rights: Mapping[str, Rights], *, admits_strangers: bool) -> None:
        """
        Args:
            rights: By the name of the key's file.
            admits_strangers: Whether who has no key may knock at the public doors. Right on loopback.
        """
        self._keyring, self._rights, self._admits_strangers = keyring, rights, admits_strangers

    def text(self) -> str:
        """The block for a server's configuration.

        Raises:
            ConfigError: If a key is missing.
        """
        keys = {name: f"nkey: {self._public(name)}" for name in self._rights if name != STRANGER}
        users = [_user(key, self._rights[name]) for name, key in keys.items() if not self._rights[name].account]
        if self._admits_strangers:
            users.append(_user(f'user: "{STRANGER}", password: "{STRANGER}"', self._rights[STRANGER]))
        listed = "\n".join(users)
        block = f"authorization {{\n  timeout: 5\n  users: [\n{listed}\n  ]\n}}\n"
        for name, key in keys.items():
            if account := self._rights[name].account:
                block += f"accounts {{ {account} {{ users: [\n{_user(key, self._rights[name])}\n] }} }}\n"
        return block + (f"no_auth_user: {STRANGER}\n" if self._admits_strangers else "")

    def _public(self, name: str) -> str:
        word, _, role = name.partition(".")
        key = self._keyring.public(role or word, is_role=bool(role))
        if key is None:
            raise ConfigError(f"{self._keyring.folder} has no key for `{role or word}`. Run `agenthub provision`.")
        return key


def access_for(
    keyring: Keyring, members: Sequence[Member], *, is_cluster: bool = False, admits_strangers: bool = True
) -> Access:
    """Access for an organization; makes the keys that are missing."""
    keyring.ensure(member.name for member in members)
    return Access(keyring, rights_of(members, is_cluster=is_cluster), admits_strangers=admits_strangers)


def _user(who: str, rights: Rights) -> str:
    if rights.publish == EVERYTHING and rights.subscribe == EVERYTHING and not rights.never:
        return f"    {{ {who} }}"
    never = f", deny: {_listed(rights.never)}" if rights.never else ""
    return (
        f"    {{ {who}, permissions: {{\n"
        f"      publish: {{ allow: {_listed(rights.publish)}{never} }}\n"
        f"      subscribe: {{ allow: {_listed(rights.subscribe)} }}\n    }} }}"
    )


def _listed(subjects: Iterable[str]) -> str:
    return "[\n" + "".join(f"        {json.dumps(subject)}\n" for subject in subjects) + "      ]"


def write(folder: Path, text: str) -> bool:
    """Write the block into a server's folder; False if it is there already."""
    path = folder / FILE
    if path.exists() and path.read_text() == text:
        return False
    write_whole(path, text)
    return True
