"""What a person lets a role do beyond what files say, until a moment: values and rules; no I/O.

A grant is signed by the operator's key: the broker keeps roles from writing grants, but not from having its own answers
stored where grants are, so what is not signed counts for nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agenthub import subjects
from agenthub.messages import Moment
from agenthub.permission_rules import split_rule

Kind = Literal["topic", "tool", "memory", "spend"]
LONGEST_S = 90 * 86_400.0
"""What shall hold for longer belongs into a file."""
KEPT_S = 30 * 86_400.0
"""So long what is over is still listed."""
_WORD = r"\.[A-Za-z0-9_-]+"
_TOPIC = re.compile(
    rf"agent-hub\.(?:topics\.(?:tasks|decisions|status)(?:{_WORD})*(?:{_WORD}|\.>)|global\.announcements)"
)
_SPEND = re.compile(r"[a-z]+_[a-z]+=\S+")


class Wanted(BaseModel):
    """What a role asks for, or a person gives."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Kind
    what: str = Field(min_length=1, max_length=200)
    """`topic`: the whole subject to publish on. `tool`: a rule, `Bash(git push:*)`. `memory`: the role whose notes may
    be read. `spend`: an extra amount of a limit, `usd_day=2`."""
    for_s: float = Field(gt=0, le=LONGEST_S)
    why: str = Field(default="", max_length=1000)
    is_rehearsal: bool = False
    """Of `spend`: of the account of rehearsals."""

    @model_validator(mode="before")
    @classmethod
    def _whole_topic(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("kind") == "topic" and isinstance(value.get("what"), str):
            return {**value, "what": subjects.topic(value["what"].strip())}
        return value

    @model_validator(mode="after")
    def _makes_sense(self) -> Wanted:
        if self.kind == "topic" and not _TOPIC.fullmatch(self.what):
            raise ValueError(
                f"a topic is such as `decisions.api`, `status.deploy` or `decisions.>`; found {self.what!r}"
            )
        if self.kind == "tool":
            parts = split_rule(self.what)
            if parts is None or set(parts[0]) <= {"*"}:
                raise ValueError(f"a rule names a tool: `write_file`, `Bash(git push:*)`; found {self.what!r}")
        if self.kind == "memory" and not subjects.token(self.what):
            raise ValueError(f"of whom the notes may be read is the name of a role; found {self.what!r}")
        if self.kind == "spend" and not _SPEND.fullmatch(self.what):
            raise ValueError(f"an extra amount is such as `usd_day=2`; found {self.what!r}")
        return self

    @property
    def title(self) -> str:
        """It in a few words, for lists."""
        said = {
            "topic": "publish on", "tool": "call", "memory": "read the notes of", "spend": "spend",
        }[self.kind]  # fmt: skip
        return f"{said} {self.what.removeprefix('agent-hub.topics.')}"


class Grant(BaseModel):
    """What a person gave a role."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    role: str
    kind: Kind
    what: str
    until: Moment
    at: Moment
    by: str
    """Which person, as their machine calls them."""
    why: str = ""
    revoked_at: Moment | None = None
    revoked_by: str = ""
    signature: str = ""
    """Of the operator's key over `signed`, in base64."""

    def signed(self, org: str) -> bytes:
        """What is signed: all of it, and of which organization it is."""
        said = self.model_dump(mode="json", exclude={"signature"})
        return f"grant\n{org}\n{json.dumps(said, sort_keys=True, ensure_ascii=False)}".encode()

    def holds(self, at: datetime) -> bool:
        """True if it counts at a moment."""
        return self.revoked_at is None and self.at <= at < self.until

    @property
    def title(self) -> str:
        """It in a few words, for lists."""
        return Wanted.model_construct(kind=self.kind, what=self.what, for_s=1.0).title


class RoleGrants(BaseModel):
    """All grants of one role."""

    model_config = ConfigDict(frozen=True, extra="allow")

    grants: list[Grant] = Field(default_factory=list)

    def with_grant(self, grant: Grant, *, at: datetime) -> RoleGrants:
        """With one more, or the same as it is now; what has been over for long is left out."""
        others = [
            one for one in self.grants
            if one.id != grant.id and (at - (one.revoked_at or one.until)).total_seconds() < KEPT_S
        ]  # fmt: skip
        return RoleGrants(grants=[*others, grant])


def topics_of(grants: Iterable[Grant], at: datetime) -> dict[str, tuple[str, ...]]:
    """On which subjects each role may publish beyond its rights."""
    found: dict[str, list[str]] = {}
    for grant in grants:
        if grant.kind == "topic" and grant.holds(at):
            found.setdefault(grant.role, []).append(grant.what)
    return {role: tuple(dict.fromkeys(topics)) for role, topics in found.items()}


def covers_topic(grants: Iterable[Grant], subject: str) -> bool:
    """True if one of these lets its role publish on a subject."""
    return any(
        grant.what == subject or (grant.what.endswith(".>") and subject.startswith(grant.what[:-1])) for grant in grants
    )
