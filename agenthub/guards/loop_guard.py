"""Messages that go round in circles end by themselves."""

from __future__ import annotations

from agenthub.errors import RefusedError
from agenthub.messages import Message


def check_hops(message: Message, *, max_hops: int) -> None:
    """Raise if a trace has passed through more roles than an organization needs.

    Raises:
        RefusedError: Says how many hops there were.
    """
    if message.hop > max_hops:
        raise RefusedError(
            f"This trace has passed through {message.hop} roles, more than `limits.max_hops` = {max_hops} allows. "
            "It probably goes in a circle; ask a person."
        )
