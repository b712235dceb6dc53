"""A model that says what a script says, simple tools, and a check of what a request must be."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from agenthub.messages import Message, Outcome, Payload, Usage
from agenthub.sessions.conversation import Conversation
from agenthub.sessions.journal import Block, Journal
from agenthub.sessions.model_calls import Answer
from agenthub.sessions.session import (
    ModelCalled,
    Prompt,
    Repeat,
    SessionEvent,
    TextDelta,
    Tool,
    ToolCall,
    ToolEnded,
    ToolOutcome,
    TurnEnd,
    TurnResult,
)

USAGE = Usage(calls=1, input_tokens=100, output_tokens=10, cost_usd=0.25)

Request = list[dict[str, Any]]
Reply = Answer | Usage | BaseException | Callable[[], Awaitable[Answer]]


class Crash(BaseException):
    """The process is killed here: nothing that follows is done."""


def says(text: str, stop_reason: str = "end_turn") -> Answer:
    return Answer([{"type": "text", "text": text}], stop_reason, USAGE)


def calls(*wanted: tuple[str, dict[str, Any]], stop_reason: str = "tool_use") -> Answer:
    """An answer that calls tools. Their ids are set when it is given, since they are never the same."""
    blocks = [{"type": "tool_use", "id": "", "name": name, "input": value} for name, value in wanted]
    return Answer(blocks, stop_reason, USAGE)


class ScriptedModel:
    """Gives its replies in order. Whatever it is asked, it checks and keeps."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[Request] = []
        self.tools: list[list[str]] = []
        self.name = "scripted"
        self.window = 1000

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def interrupt(self) -> None: ...

    async def answer(
        self, *, system: str, tools: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]]
    ) -> AsyncGenerator[TextDelta | Usage | Answer]:
        check_request(messages)
        self.requests.append([dict(message) for message in messages])
        self.tools.append([tool["name"] for tool in tools])
        reply = self.replies.pop(0)
        if callable(reply):
            reply = await reply()
        while isinstance(reply, Usage):
            yield reply
            taken = self.replies.pop(0)
            assert not callable(taken)
            reply = taken
        if isinstance(reply, BaseException):
            raise reply
        for block in reply.blocks:
            if block["type"] == "text":
                yield TextDelta(block["text"])
        yield with_ids(reply, len(messages))


def with_ids(answer: Answer, at: int) -> Answer:
    blocks = [
        {**block, "id": f"call_{at}_{n}"} if block["type"] == "tool_use" else block
        for n, block in enumerate(answer.blocks)
    ]
    return answer._replace(blocks=blocks)


def check_request(messages: Sequence[dict[str, Any]]) -> None:
    """What the Messages API demands: roles alternate, every call is answered once, right after it, and first."""
    assert [message["role"] for message in messages] == [("user", "assistant")[n % 2] for n in range(len(messages))]
    assert len(messages) % 2 == 1
    asked: list[str] = []
    seen: set[str] = set()
    for message in messages:
        blocks: list[Block] = message["content"]
        assert blocks
        assert all(block["text"].strip() for block in blocks if block["type"] == "text")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert results == asked, "each call has one result, in the next message, and nothing else has"
        assert all(block["type"] == "tool_result" for block in blocks[: len(results)]), "results come first"
        asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
        assert not seen & set(asked)
        seen |= set(asked)


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = ""


class Toolbox:
    """Tools that note what they do: one that may be repeated, one that must not be, one that ends the turn."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str, str]] = []
        """Name, text and key of each call that took effect."""
        self.before: dict[str, list[BaseException]] = {}
        """What a tool raises before it acts, by name; each once."""
        self.after: dict[str, list[BaseException]] = {}
        """What a tool raises after it acted."""
        self.during: Callable[[str], Awaitable[None]] | None = None

    def tools(self) -> list[Tool]:
        return [
            Tool("write", "Sets something.", Note, self._acts("write"), describe=lambda a: a.text),
            Tool("pay", "Acts twice if called twice.", Note, self._acts("pay"), repeat=Repeat.UNSAFE),
            Tool("end", "Ends the turn.", Note, self._acts("end")),
            Tool("park", "Parks the turn.", Note, self._acts("park")),
        ]

    def _acts(self, name: str) -> Callable[[Note, ToolCall], Awaitable[ToolOutcome]]:
        async def run(arguments: Note, call: ToolCall) -> ToolOutcome:
            if self.before.get(name):
                raise self.before[name].pop(0)
            if self.during is not None:
                await self.during(name)
            self.done.append((name, arguments.text, call.key))
            if self.after.get(name):
                raise self.after[name].pop(0)
            ends = {
                "end": TurnResult(TurnEnd.FINISHED, Outcome.DONE, arguments.text, ("proof",)),
                "park": TurnResult(TurnEnd.PARKED, text=arguments.text),
            }.get(name)
            said = "" if arguments.text == "silently" else f"did {arguments.text}"
            return ToolOutcome(said, ends_turn=ends)

        return run

    def texts(self, name: str) -> list[str]:
        return [text for tool, text, _ in self.done if tool == name]


class Desk:
    """One role's journal on disk, and conversations with it: one after the other, as processes come and go."""

    def __init__(self, path: Path, model: ScriptedModel, toolbox: Toolbox | None = None, **terms: Any) -> None:
        self.path, self.model, self.terms = path, model, {"max_steps": 10} | terms
        self.toolbox = Toolbox() if toolbox is None else toolbox
        self.before_effect: Callable[[], Awaitable[None]] = _allowed
        self.journal: Journal
        self.conversation: Conversation

    async def restart(self) -> Desk:
        """A new process: it knows what is on disk and nothing else."""
        if hasattr(self, "journal"):
            self.journal.close()
        self.journal = self.open_journal()
        self.conversation = Conversation(
            self.model, self.journal, system="You are a test.", tools=self.toolbox.tools(),
            before_effect=lambda: self.before_effect(), **self.terms,
        )  # fmt: skip
        await self.conversation.start()
        return self

    def open_journal(self) -> Journal:
        return Journal(self.path)

    async def events(self, turn_id: str = "a", text: str = "") -> list[SessionEvent]:
        """What a turn tells, without how long it took; of a model call only what it cost."""
        prompt = Prompt(text or f"work on {turn_id}", task(turn_id))
        told = [event async for event in self.conversation.turn(prompt, turn_id=turn_id)]
        return [_without_times(event) for event in told]

    async def turn(self, turn_id: str = "a", text: str = "") -> TurnResult:
        last = (await self.events(turn_id, text))[-1]
        assert isinstance(last, TurnResult)
        return last


def _without_times(event: SessionEvent) -> SessionEvent:
    if isinstance(event, ModelCalled):
        return ModelCalled(event.usage)
    return event._replace(duration_s=0.0) if isinstance(event, ToolEnded) else event


def task(identity: str = "a", text: str = "do it") -> Message:
    return Message(from_role="you", type="task_assignment", id=identity, payload=Payload(message=text))


def last_user_blocks(request: Request) -> list[Block]:
    content: list[Block] = request[-1]["content"]
    return content


async def _allowed() -> None:
    """This process may act."""
