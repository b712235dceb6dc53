"""Who really sent a message: what the broker and signatures vouch for goes before what the message says."""

from __future__ import annotations

from collections.abc import Mapping

from agenthub import subjects
from agenthub.bus.identity import BRIDGE, LEADER, OPERATOR, SYSTEM, Keyring
from agenthub.bus.signing import is_answer, is_signed_by
from agenthub.errors import ForgedError
from agenthub.messages import Message


def sender_of(subject: str, headers: Mapping[str, str]) -> str:
    """Who published a message, as the broker's rights on its subject say; empty: somebody at the public door."""
    return "" if subjects.DOOR in headers else subject.rpartition(".")[2]


class Senders:
    """Checks messages by the public keys of an organization; without keys only what the broker says counts."""

    def __init__(self, keyring: Keyring, *, operator: str) -> None:
        self._keyring, self._operator = keyring, operator

    def check(self, message: Message, subject: str, headers: Mapping[str, str], data: bytes) -> None:
        """Return if a message may be taken as one of whom it names.

        Rights on publishing do not hold for reply subjects: who has the broker answer into another's lane puts words
        there in any name. The broker marks what it reads from a stream; nobody sends that.

        Raises:
            ForgedError: Else.
        """
        if is_answer(headers):
            raise ForgedError("it is an answer of the broker that somebody had sent here, not a message")
        sender = sender_of(subject, headers)
        if sender and sender != message.from_role:
            raise ForgedError(f"`from_role` says `{message.from_role}`, but `{sender}` published it")
        by = subject.rpartition(".")[2]
        if not self.has_signed(by, subject, headers, data):
            what = "a wrong signature" if subjects.SIGNATURE in headers else "no signature"
            raise ForgedError(f"it has {what}: `{by}`, whom its subject names, did not publish it")

    def has_signed(self, name: str, subject: str, headers: Mapping[str, str], data: bytes) -> bool:
        """True if who has this name in the organization signed what was received under a subject."""
        return not self._keyring.is_there or is_signed_by(self._keys(name), subject, data, headers)

    def ended(self, subject: str, headers: Mapping[str, str], data: bytes) -> bool:
        """True if the end of a message was published by the role that had it, or by who may end what it holds."""
        role = subject.removeprefix(subjects.EVERY_END).partition(".")[0]
        return any(self.has_signed(name, subject, headers, data) for name in (role, self._operator, LEADER))

    def entered(self, subject: str, headers: Mapping[str, str], data: bytes) -> bool:
        """True if an entry of the ledger, or a lease, is from whose it is, or from who looks after all."""
        owner = subject.split(".")[2]
        return any(self.has_signed(name, subject, headers, data) for name in (owner, self._operator, LEADER))

    def came_due(self, subject: str, headers: Mapping[str, str], data: bytes) -> bool:
        """True if what came due was put off by the role itself, or hastened by who may."""
        role = subject.rpartition(".")[2]
        return any(self.has_signed(name, subject, headers, data) for name in (role, self._operator, LEADER))

    def _keys(self, name: str) -> list[str]:
        """Public keys of who may publish under a name; the system may under every one."""
        special = {LEADER: LEADER, BRIDGE: BRIDGE, self._operator: OPERATOR}
        own = self._keyring.public(special[name]) if name in special else self._keyring.public(name, is_role=True)
        if own is None:  # a program's name, which is not kept: the operator lends it a voice
            own = self._keyring.public(OPERATOR)
        return [key for key in (own, self._keyring.public(SYSTEM)) if key is not None]
