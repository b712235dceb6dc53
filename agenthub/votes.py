"""A vote: what is on the ballot, and what the votes decide. Values and rules; no I/O."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from fractions import Fraction

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agenthub.wire import Wire

BALLOT = "ballot"
"""Type of the message that asks for a vote."""
MOST_OPTIONS = 20
_QUORUM = re.compile(r"(\d{1,6})\s*(?:/\s*(\d{1,6})|(?:\.(\d{1,6}))?\s*(%)?)")


class Ballot(Wire):
    """What may be voted for, and how many must."""

    options: list[str] = Field(min_length=2, max_length=MOST_OPTIONS)
    """Different ones, whatever their case."""
    quorum: str = "1/2"
    """Share of the voters that must have cast a valid vote: `2/3`, `60%`, `0.5`."""

    @field_validator("options")
    @classmethod
    def _are_different(cls, options: list[str]) -> list[str]:
        options = [" ".join(option.split()) for option in options]
        if not all(0 < len(option) <= 80 and "|" not in option for option in options):
            raise ValueError("an option is one to 80 characters without `|`")
        if len({option.casefold() for option in options}) < len(options):
            raise ValueError("the options must be different")
        return options

    @field_validator("quorum")
    @classmethod
    def _is_share(cls, quorum: str) -> str:
        share(quorum)
        return quorum

    def option(self, said: str) -> str | None:
        """The option that somebody named, in any case; None if it is none."""
        plain = " ".join(said.split()).casefold()
        return next((option for option in self.options if option.casefold() == plain), None)

    def needed(self, voters: int) -> int:
        """How many of so many voters must have voted."""
        return math.ceil(share(self.quorum) * voters)


class Tally(BaseModel):
    """What a vote came to."""

    model_config = ConfigDict(frozen=True, extra="allow")

    decision: str | None
    """The option that won; None: nothing is decided."""
    reason: str = ""
    """Why nothing is: `no quorum` or `tie`."""
    counts: dict[str, int]
    """Votes by option, in the order of the ballot."""
    votes: dict[str, str]
    """The option by who voted for it."""
    silent: list[str]
    """Voters without a valid vote."""
    needed: int
    """Valid votes that the quorum takes."""

    @property
    def words(self) -> str:
        """It in a line, for people."""
        counted = ", ".join(f"{option}: {number}" for option, number in self.counts.items())
        voted = f"{len(self.votes)} of {len(self.votes) + len(self.silent)} voted, {self.needed} needed"
        return f"{self.decision or f'no decision ({self.reason})'}; {counted}; {voted}"


def share(text: str) -> Fraction:
    """A share as people write it: `2/3`, `60%`, `0.5`, `1`.

    Raises:
        ValueError: If it is none, or not above 0 and up to 1.
    """
    match = _QUORUM.fullmatch(text.strip())
    if match is None or (match[2] is not None and int(match[2]) == 0):
        raise ValueError(f"a quorum is a share such as 2/3, 60% or 0.5; found {text!r}")
    value = Fraction(int(match[1]), int(match[2])) if match[2] else Fraction(f"{match[1]}.{match[3] or 0}")
    value /= 100 if match[4] else 1
    if not 0 < value <= 1:
        raise ValueError(f"a quorum is above 0 and up to 1, the share of the voters that must vote; found {text!r}")
    return value


def tally(ballot: Ballot, voters: Collection[str], votes: Iterable[tuple[str, str]]) -> Tally:
    """What these votes, each a voter and what they said, decide; in whatever order and however often they came.

    The option with the most votes wins if enough voters cast a valid one; a tie decides nothing. What is none of the
    options does not count, nor does who is no voter. Who voted for two options has voted for none.
    """
    said: dict[str, set[str]] = defaultdict(set)
    for voter, words in votes:
        if voter in voters and (option := ballot.option(words)) is not None:
            said[voter].add(option)
    everybody = sorted(set(voters))
    valid = {voter: next(iter(said[voter])) for voter in everybody if len(said[voter]) == 1}
    counts = {option: sum(vote == option for vote in valid.values()) for option in ballot.options}
    needed = ballot.needed(len(everybody))
    most = max(counts.values())
    first = [option for option, number in counts.items() if number == most]
    reason = "no quorum" if not valid or len(valid) < needed else "tie" if len(first) > 1 else ""
    return Tally(
        decision=None if reason else first[0], reason=reason, counts=counts, votes=valid,
        silent=[voter for voter in everybody if voter not in valid], needed=needed,
    )  # fmt: skip
