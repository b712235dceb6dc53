"""Who a process is to the broker and to others: an ed25519 key, as NATS knows them (nkeys).

The seed is kept in a file of mode 0600 below `.agenthub/keys/`, never in an environment; public keys stand beside,
in one file that everybody may read: by it the signatures of others are checked.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from agenthub import subjects
from agenthub.errors import ConfigError
from agenthub.whole_files import alone_in, write_whole

if TYPE_CHECKING:
    from nacl.signing import VerifyKey
    from nkeys import KeyPair

SYSTEM = "system"
"""Who makes streams, starts roles, and may do everything: the supervisor and `agenthub provision`."""
LEADER = subjects.LEADER
OPERATOR = "operator"
"""The person; in messages and lanes it has the operator's name in the organization."""
BRIDGE = "bridge"
"""MCP and other programs that send in their own name and watch."""
VIEWER = "viewer"
"""Who only watches."""
SERVERS = "servers"
"""Who has servers that run elsewhere read their permissions again, and can do nothing else."""
SHARED = (SYSTEM, LEADER, OPERATOR, BRIDGE, VIEWER, SERVERS)
"""Identities that every organization has, besides those of its roles."""

PUBLIC = "public.json"
"""File of the public keys, beside the seeds."""


class Identity:
    """A key with a name. It proves who connects, and signs what is sent."""

    def __init__(self, name: str, seed: str) -> None:
        """
        Raises:
            ConfigError: If the seed is none.
        """
        self.name = name
        self.seed = seed.strip()
        self._pair = _pair(self.seed, name)

    @property
    def public_key(self) -> str:
        """What the broker and others know it by: `U…`."""
        return bytes(self._pair.public_key).decode()

    @property
    def inbox_prefix(self) -> str:
        """Where answers to its requests come; nobody else may listen there."""
        return inbox_prefix(self.name)

    def sign(self, data: bytes) -> bytes:
        """Signature of some bytes, 64 bytes long; takes about 20 µs."""
        return bytes(self._pair.sign(data))  # type: ignore[no-untyped-call]


def inbox_prefix(name: str) -> str:
    return f"_INBOX_{name}"


class Keyring:
    """The keys of an organization, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._public = str(folder / PUBLIC)
        self._known: dict[str, str] = {}
        self._known_of = 0

    def path(self, name: str, *, is_role: bool = False) -> Path:
        """The file of one seed. Roles have names of their own: none can be taken for the operator."""
        return self.folder / (f"role.{name}.nk" if is_role else f"{name}.nk")

    @property
    def is_there(self) -> bool:
        """True if this hub has identities: then what is not signed is not believed."""
        return os.path.exists(self._public)  # noqa: PTH110 - asked for each message

    def find(self, name: str, *, is_role: bool = False) -> Identity | None:
        """The identity of that name; None if its key is not here.

        Raises:
            ConfigError: If the file holds no key, or cannot be read, or others can read it too.
        """
        path = self.path(name, is_role=is_role)
        try:
            mode = path.stat().st_mode
            text = path.read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}. Run as the user who owns it.") from error
        if mode & 0o077:
            raise ConfigError(f"{path} may be read by others (mode {mode & 0o777:03o}). Run `chmod 600 {path}`.")
        return Identity(name, text)

    def ensure(self, roles: Iterable[str]) -> list[str]:
        """Make the keys that are missing, of these roles and of all that every organization has; names of new ones.

        Keys of roles that are gone are deleted: whoever has a copy cannot come in by it any more. Of two processes that
        do this at the same moment one waits for the other.
        """
        with alone_in(self.folder):
            self.folder.chmod(0o700)
            return self._ensure(roles)

    def _ensure(self, roles: Iterable[str]) -> list[str]:
        wanted = {self.path(name): name for name in SHARED} | {self.path(name, is_role=True): name for name in roles}
        made = []
        public: dict[str, str] = {}
        for path, name in wanted.items():
            if not path.exists():
                write_secret(path, _new_seed())
                made.append(name)
            public[path.stem] = Identity(name, path.read_text()).public_key
        for path in self.folder.glob("role.*.nk"):
            if path not in wanted:
                path.unlink()
        text = json.dumps(public, indent=1, sort_keys=True)
        write_whole(self.folder / PUBLIC, text)
        return made

    def public(self, name: str, *, is_role: bool = False) -> str | None:
        """Public key of an identity; None if there is none of that name. Notices when keys are added or changed."""
        with contextlib.suppress(OSError):
            changed = os.stat(self._public).st_mtime_ns  # noqa: PTH116 - asked for each message
            if changed != self._known_of:
                self._known = json.loads((self.folder / PUBLIC).read_text())
                self._known_of = changed
        return self._known.get(f"role.{name}" if is_role else name)


def verify(public_key: str, data: bytes, signature: bytes) -> bool:
    """True if the owner of this key signed these bytes; takes about 50 µs."""
    import nacl.exceptions
    import nacl.signing

    raw = _raw(public_key)
    verifier = _VERIFIERS.get(raw)
    if verifier is None:
        verifier = _VERIFIERS[raw] = nacl.signing.VerifyKey(raw)
    try:
        verifier.verify(data, signature)
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False
    return True


_VERIFIERS: dict[bytes, VerifyKey] = {}


def _raw(public_key: str) -> bytes:
    """The 32 bytes of a public nkey: a prefix before them, a checksum behind."""
    decoded = base64.b32decode(public_key + "=" * (-len(public_key) % 8))
    return decoded[1:-2]


def _new_seed() -> str:
    import nkeys

    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)  # type: ignore[no-untyped-call]
    return bytes(seed).decode()


def _pair(seed: str, name: str) -> KeyPair:
    import nkeys

    try:
        pair: KeyPair = nkeys.from_seed(bytearray(seed.encode()))  # type: ignore[no-untyped-call]
    except (nkeys.NkeysError, ValueError) as error:
        raise ConfigError(
            f"The key of `{name}` is no nkey seed. Delete its file and run `agenthub provision`."
        ) from error
    return pair


def write_secret(path: Path, text: str) -> None:
    """A file that nobody else may read at any moment, complete or not there."""
    write_whole(path, text + "\n", mode=0o600)
