"""Sign what is published, and check who signed what was received.

The broker lets nobody publish in another's name, but whoever asks it something may have the answer sent anywhere, and
so have words of their own stored under any subject. Such a message has no signature of whom the subject names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping

from agenthub import subjects
from agenthub.bus.identity import Identity, verify

_OURS = "Agenthub-"


def is_answer(headers: Mapping[str, str]) -> bool:
    """True of what the broker read from a stream and stored elsewhere, since somebody had its answer sent there.

    A signature may hold all the same: that of a message which was published once before.
    """
    return subjects.COPY_SEQUENCE in headers or subjects.COPY_STREAM in headers


def received_as(subject: str, headers: Mapping[str, str]) -> str:
    """The subject under which a signed message will be read; empty: on this subject nothing is signed.

    Signed is what makes somebody act: messages in lanes and those that come due, what people decide about roles, how
    messages ended, what tasks wait for, and who holds a role.
    """
    if target := headers.get(subjects.SCHEDULE_TARGET):
        return target
    is_signed = (
        subjects.lane_of(subject) is not None
        or subjects.control_of(subject) is not None
        or subject.startswith((subjects.ALL_DUE, subjects.EVERY_END, *subjects.EVERY_ENTRY))
    )
    return subject if is_signed else ""


def signature(identity: Identity, subject: str, data: bytes, headers: Mapping[str, str]) -> str:
    """Signature of a message, for the header `Agenthub-Signature`: base64 of ed25519 over what `_signed` gives."""
    return base64.b64encode(identity.sign(_signed(subject, data, headers))).decode()


def is_signed_by(keys: Iterable[str], subject: str, data: bytes, headers: Mapping[str, str]) -> bool:
    """True if one of these keys signed a message for the subject under which it was received."""
    try:
        found = base64.b64decode(headers[subjects.SIGNATURE], validate=True)
    except (KeyError, binascii.Error, ValueError):
        return False
    text = _signed(subject, data, headers)
    return any(verify(key, text, found) for key in keys)


def _signed(subject: str, data: bytes, headers: Mapping[str, str]) -> bytes:
    """Subject, our own headers and the body: nobody can move a signed message elsewhere, or say more of it."""
    ours = sorted(
        f"{name}:{value}" for name, value in headers.items() if name.startswith(_OURS) and name != subjects.SIGNATURE
    )
    return "\n".join([subject, *ours, hashlib.sha256(data).hexdigest()]).encode(errors="surrogateescape")
