"""What roles learn from each other, as it goes over the wire: learnings, and what people decide about them.

A learning is a message of type `learning` on `genbrain.learning.{author}`, so any NATS client may publish one; who
published it is said by the subject. Decisions are `learning_judgement` messages, on the subject of the operator.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from agenthub import subjects
from agenthub.errors import ForgedError, MessageError, problems
from agenthub.messages import Message, Payload, derived_id, new_id, now

LEARNING = "learning"
JUDGEMENT = "learning_judgement"
"""Types of messages, and the keys of their payloads under which the values stand."""

MAX_TOKENS = 200
_BYTES_PER_TOKEN = 3
"""Few, so that a text is rather taken for longer than it is."""
LEAST_CONFIDENCE = 0.8
MAX_EVIDENCE = 20
MAX_LEARNING_BYTES = 16 * 1024
"""Of a message on a learning subject; what is larger is dropped unread."""
ID_DIGITS = 12
"""Of a learning's id, where it is shown."""

_GUARDED = frozenset(["bash", "run_command", "write", "write_file", "edit", "edit_file"])
_GUARD = re.compile(r"([A-Za-z_]+)\(([^\n()]*\w[^\n()]*)\)")


def guard_rule(value: str) -> str:
    """A rule that a learning may bring to those who trust it: about commands or files of one kind, never about all.

    Raises:
        ValueError: If it is none.
    """
    match = _GUARD.fullmatch(value.strip())
    if match is None or match[1].lower() not in _GUARDED:
        raise ValueError(
            "must be a rule for commands or files of one kind, such as `Bash(git push:*)` or `write_file(deploy/**)`"
        )
    return f"{match[1]}({match[2].strip()})"


def _listed(value: object) -> object:
    if isinstance(value, str):
        value = value.split(",")
    return tuple(str(one).strip() for one in value if str(one).strip()) if isinstance(value, list) else value


def _ids(value: tuple[str, ...]) -> tuple[str, ...]:
    for identity in value:
        if not subjects.message_id(identity):
            raise ValueError(f"evidence is ids of messages; found {identity[:40]!r}")
    return tuple(dict.fromkeys(value))


def _topics(value: tuple[str, ...]) -> tuple[str, ...]:
    for word in value:
        if not subjects.token(word):
            raise ValueError(f"a domain is one word, such as `sql`; found {word[:40]!r}")
    return tuple(sorted({word.lower() for word in value}))


_Line = Annotated[str, BeforeValidator(lambda value: " ".join(value.split()) if isinstance(value, str) else value)]
Evidence = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_ids)]
"""Ids of messages."""


class Learning(BaseModel):
    """A pattern that worked: when it holds, what to do then, what came of it, and what shows that."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trigger: _Line = Field(min_length=3)
    """When it holds."""
    domain: Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_topics), Field(min_length=1)]
    """What it is about, one word each, at most five."""
    approach: _Line = Field(min_length=3)
    """What to do then."""
    outcome: _Line = Field(min_length=3)
    """What came of it."""
    evidence: Annotated[Evidence, Field(min_length=1, max_length=MAX_EVIDENCE)]
    """Ids of the messages whose work showed it."""
    confidence: float = Field(ge=LEAST_CONFIDENCE, le=1, allow_inf_nan=False)
    """The author's own; less than 0.8 is not published."""
    ask: Annotated[str, AfterValidator(lambda value: guard_rule(value) if value else "")] = ""
    """Calls before which whoever trusts it asks a person: `Bash(git push:*)`. Empty: none."""

    @model_validator(mode="after")
    def _is_short(self) -> Learning:
        if len(self.domain) > 5:
            raise ValueError(f"has at most five domains; found {len(self.domain)}")
        if (tokens := self.tokens) >= MAX_TOKENS:
            raise ValueError(f"must have under {MAX_TOKENS} tokens; it has about {tokens}. Say it in fewer words")
        return self

    @property
    def tokens(self) -> int:
        """About how many tokens its words take, rather too many than too few."""
        return -(-len(" ".join(self._words).encode(errors="replace")) // _BYTES_PER_TOKEN)

    @property
    def id(self) -> str:
        """Follows from its words: the same said by two is one learning, and nobody can take the id of another."""
        return derived_id("learning", *(" ".join(words.casefold().split()) for words in self._words))[:ID_DIGITS]

    @property
    def _words(self) -> tuple[str, ...]:
        return (self.trigger, self.approach, self.outcome, " ".join(self.domain), self.ask)

    def message(self, author: str, *, org: str, trace_id: str = "", causation_id: str = "") -> Message:
        """It as a message of its author. Its id derives from both: sent again it is stored once."""
        identity = derived_id(LEARNING, author, self.id, *self.evidence)
        payload = Payload.model_validate(
            {"subject": self.trigger, "message": self.approach, LEARNING: self.model_dump(mode="json")}
        )
        return Message(
            id=identity, type=LEARNING, from_operator=f"operator-{author}", from_role=author, timestamp=now(),
            trace_id=trace_id or identity, causation_id=causation_id, origin=author, org=org, payload=payload,
        )  # fmt: skip


Word: TypeAlias = Literal["confirm", "refute", "promote", "demote", "quarantine", "release"]


class Judgement(BaseModel):
    """What a person decided about a learning, for some roles or for all."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    learning: str = Field(pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$")
    """Its id."""
    verdict: Word
    """`confirm` and `refute` are a witness like any other; the rest overrules what the roles found themselves."""
    roles: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """For whom it holds. Empty: all."""
    reason: str = Field(default="", max_length=1000)
    evidence: Evidence = ()
    deny: Annotated[str, AfterValidator(lambda value: guard_rule(value) if value else "")] = ""
    """With `promote`: calls that are never made from then on. Only a person may say so."""

    def message(self, operator: str, *, org: str) -> Message:
        """It as a message of the operator."""
        identity = new_id()
        payload = Payload.model_validate(
            {
                "subject": f"{self.verdict} {self.learning}",
                "message": self.reason,
                JUDGEMENT: self.model_dump(mode="json"),
            }
        )
        return Message(
            id=identity, type=JUDGEMENT, from_operator=f"operator-{operator}", from_role=operator, timestamp=now(),
            trace_id=identity, origin=operator, org=org, payload=payload,
        )  # fmt: skip


_Value = TypeVar("_Value", bound=BaseModel)


def read(subject: str, data: bytes, *, default_id: str, operator: str) -> tuple[Message, Learning | Judgement]:
    """What was published on a learning subject, and its message.

    Raises:
        ForgedError: If the message names another author than the subject, or decides without being the operator.
        MessageError: If it is neither a learning nor a judgement; says what is wrong.
    """
    if len(data) > MAX_LEARNING_BYTES:
        raise MessageError(f"has {len(data):,} bytes; a learning may have {MAX_LEARNING_BYTES:,}")
    message = Message.read(data, default_id=default_id)
    author = subject.rpartition(".")[2]
    if message.from_role != author:
        raise ForgedError(f"`from_role` says `{message.from_role}`, but `{author}` published it")
    if message.type == JUDGEMENT:
        if author != operator:
            raise ForgedError(f"`{author}` decides about a learning; only `{operator}` may")
        return message, _valid(Judgement, message, JUDGEMENT)
    if message.type != LEARNING:
        raise MessageError(f"`type` is `{LEARNING}` here; found {message.type[:40]!r}")
    return message, _valid(Learning, message, LEARNING)


def _valid(model: type[_Value], message: Message, key: str) -> _Value:
    try:
        return model.model_validate((message.payload.model_extra or {}).get(key))
    except ValidationError as error:
        raise MessageError(problems(error)) from error
