"""Give each process a folder with its own key and no other: for containers, where each has a volume of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from agenthub.bus.identity import LEADER, OPERATOR, PUBLIC, SERVERS, SYSTEM, Keyring, write_secret

KEYS = "keys"
"""Name of the folder of keys within the state of a process."""
PROCESSES: dict[str, tuple[str, ...]] = {"leader": (LEADER,), "cli": (OPERATOR,), "provision": (SYSTEM, SERVERS)}
"""What processes there are besides the roles, and which keys each has."""


class Owner(NamedTuple):
    """Whom the files belong to, by number."""

    uid: int
    gid: int


def deal(keyring: Keyring, roles: Iterable[str], folder: Path, *, owner: Owner | None = None) -> dict[str, list[str]]:
    """Write `folder/<process>/keys/` for each role and for `leader`, `cli`, `provision`; names of keys by process.

    What lies there already is replaced if it changed; keys that the process should not have are deleted.

    Args:
        keyring: Holds all keys; they must be there.
        owner: Gets what is written, and each folder that lies in `folder`; None: who runs this. Needs the right to.
    """
    dealt = {role: [keyring.path(role, is_role=True)] for role in roles}
    dealt |= {process: [keyring.path(name) for name in names] for process, names in PROCESSES.items()}
    for process, paths in dealt.items():
        keys = folder / process / KEYS
        keys.mkdir(parents=True, exist_ok=True)
        keys.chmod(0o700)
        for strange in set(keys.glob("*.nk")) - {keys / path.name for path in paths}:
            strange.unlink()
        for path in paths:
            write_secret(keys / path.name, path.read_text().strip())
        shutil.copy(keyring.folder / PUBLIC, keys / PUBLIC)
        if owner is not None:
            for path in (keys, *keys.iterdir()):
                os.chown(path, *owner)
    if owner is not None:
        for path in folder.iterdir():
            os.chown(path, *owner)
    return {process: [path.stem for path in paths] for process, paths in dealt.items()}
