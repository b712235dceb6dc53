"""Who really sent a message: what the broker vouches for goes before what the message says."""

from __future__ import annotations

from collections.abc import Mapping

from agenthub import subjects
from agenthub.errors import ForgedError
from agenthub.messages import Message


def sender_of(subject: str, headers: Mapping[str, str]) -> str:
    """Who published a message, as the broker's rights on its subject say; empty: somebody at the public door."""
    return "" if subjects.DOOR in headers else subject.rpartition(".")[2]


def check_sender(message: Message, subject: str, headers: Mapping[str, str]) -> None:
    """Return if a message may be taken as one of whom it names.

    Rights on publishing do not hold for reply subjects: who has the broker answer into another's lane puts words there
    in any name. The broker marks what it reads from a stream; nobody sends that.

    Raises:
        ForgedError: Else.
    """
    if subjects.COPY_SEQUENCE in headers or subjects.COPY_STREAM in headers:
        raise ForgedError("it is an answer of the broker that somebody had sent here, not a message")
    sender = sender_of(subject, headers)
    if sender and sender != message.from_role:
        raise ForgedError(f"`from_role` says `{message.from_role}`, but `{sender}` published it")
