"""The sessions that keep the contract, each on a rehearsal endpoint, and a program that takes one turn with one.

Run as a program it is a role process that can be killed: `python -m tests.sessions.sessions <json>`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from agenthub.errors import BudgetExhaustedError
from agenthub.messages import Usage
from agenthub.rehearsal import Endpoint
from agenthub.sessions.anthropic import AnthropicModel
from agenthub.sessions.claude_code.place import Place
from agenthub.sessions.claude_code.session import ClaudeCodeSession
from agenthub.sessions.conversation import Conversation
from agenthub.sessions.journal import Journal
from agenthub.sessions.session import (
    MayCall,
    Meter,
    ModelCalled,
    Prompt,
    Repeat,
    Session,
    SessionEvent,
    Tool,
    ToolCall,
    ToolOutcome,
    TurnResult,
)
from tests.sessions.scripted import Note, Toolbox, task

Kind = Literal["anthropic", "claude-code"]
MODEL = "claude-sonnet-5-5"
NEEDS_CLAUDE_CODE = pytest.mark.skipif(
    importlib.util.find_spec("claude_agent_sdk") is None,
    reason="claude-agent-sdk is not installed here; `make test-claude-code` installs it and runs this",
)


async def _allowed() -> None: ...


class Asking:
    """A meter that asks before each call and counts nothing."""

    def __init__(self, before_call: Callable[[], Awaitable[None]]) -> None:
        self._before_call = before_call

    async def reserve(self, turn_id: str, *, input_tokens: int) -> None:
        await self._before_call()

    def settle(self, usage: Usage | None) -> None: ...


class Purse:
    """A meter with so much money: a question may be asked while something is left. `settled` has what each took."""

    def __init__(self, usd: float = math.inf) -> None:
        self.usd = usd
        self.settled: list[Usage | None] = []
        self.error: Exception | None = None
        """Raised when it is asked, whatever is left."""
        self.reserving: Callable[[], Awaitable[None]] = _allowed
        self._is_reserved = False

    @property
    def spent_usd(self) -> float:
        return sum(usage.cost_usd for usage in self.settled if usage is not None)

    async def reserve(self, turn_id: str, *, input_tokens: int) -> None:
        assert not self._is_reserved, "one question at a time"
        assert input_tokens >= 0
        await self.reserving()
        if self.error is not None:
            raise self.error
        if self.spent_usd >= self.usd:
            raise BudgetExhaustedError("test", "usd_day", spent="1 of 1 USD", opens="tomorrow", retry_after_s=60)
        self._is_reserved = True

    def settle(self, usage: Usage | None) -> None:
        assert self._is_reserved, "settled twice"
        self._is_reserved = False
        self.settled.append(usage)


def open_session(
    kind: Kind, folder: Path, url: str, journal: Journal, tools: list[Tool], *, model: str = MODEL,
    rules: tuple[str, ...] = (), before_effect: Callable[[], Awaitable[None]] = _allowed,
    before_call: Callable[[], Awaitable[None]] | None = None, max_steps: int = 12, may_call: MayCall | None = None,
    begins_with: Callable[[], str] = str, api_key: str = "secret-key", has_network: bool = False,
    meter: Meter | None = None, **more: Any,
) -> Session:  # fmt: skip
    """A session of a kind whose things lie in `folder`."""
    if kind == "claude-code":
        place = Place(
            model, "You are a test.", folder / "workspace", folder / "home", api_key, url, rules=rules,
            max_steps=max_steps, owner=f"role {folder}", has_network=has_network, **more,
        )  # fmt: skip
        return ClaudeCodeSession(
            place, journal, tools=tools, before_effect=before_effect, before_call=before_call, may_call=may_call,
            begins_with=begins_with, meter=meter,
        )  # fmt: skip
    return Conversation(
        AnthropicModel(model, api_key=api_key, base_url=url, first_retry_s=0.05), journal,
        system="You are a test.", tools=tools, max_steps=max_steps, before_effect=before_effect, may_call=may_call,
        meter=Asking(before_call) if before_call is not None else meter, begins_with=begins_with,
    )  # fmt: skip


def noted_requests(endpoint: Endpoint, into: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Bodies of all requests for answers from now on, oldest first."""
    requests: list[dict[str, Any]] = [] if into is None else into
    answer = endpoint.model.answer

    def noted(body: bytes, *, version: str) -> Any:
        requests.append(json.loads(body))
        return answer(body, version=version)

    endpoint.model.answer = noted  # type: ignore[method-assign]
    return requests


class Office:
    """One role's journal and its session, one process after the other; and what the model was asked."""

    def __init__(self, kind: Kind, folder: Path, endpoint: Endpoint, **settings: Any) -> None:
        self.kind, self.folder, self.endpoint, self.settings = kind, folder, endpoint, settings
        self.toolbox = Toolbox()
        self.requests = noted_requests(endpoint)
        self.journal: Journal
        self.session: Session

    async def opens(self) -> Office:
        self.journal = Journal(self.folder / "journal.db")
        self.session = open_session(
            self.kind, self.folder, self.endpoint.url, self.journal, self.toolbox.tools(), **self.settings
        )
        await self.session.start()
        return self

    async def closes(self) -> None:
        await self.session.close()
        self.journal.close()

    async def events(self, text: str, turn_id: str = "a") -> list[SessionEvent]:
        prompt = Prompt(framed(text, turn_id), task(turn_id))
        return [event async for event in self.session.turn(prompt, turn_id=turn_id)]

    async def turn(self, text: str, turn_id: str = "a") -> TurnResult:
        last = (await self.events(text, turn_id))[-1]
        assert isinstance(last, TurnResult)
        return last

    def fails(self, **fault: Any) -> None:
        """Have the next request go wrong."""
        self.endpoint.model.faults.add(json.dumps({"faults": [fault]}).encode())

    def asked(self, at: int = -1) -> str:
        """All that the user's side and the host said in a request."""
        return json.dumps(self.requests[at]["messages"], ensure_ascii=False)


OpensOffice = Callable[..., Awaitable[Office]]


def framed(text: str, identity: str) -> str:
    return f'<hub:message id="{identity}" from="you" type="task_assignment" subject="S">\n{text}\n</hub:message>'


def calls(*wanted: tuple[str, str]) -> str:
    """Words that have the rehearsal model call tools, one after the other."""
    return "\n".join(f"rehearse: tool {name} {json.dumps({'text': text})}" for name, text in wanted)


def by_curl() -> str:
    """A command with which the shell of Claude Code asks a model by itself, at the end of its way to its own."""
    messages = [{"role": "user", "content": "rehearse: say Hi."}]
    asked = {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": messages}
    return (
        "curl -s --unix-socket /run/agenthub/model -H 'anthropic-version: 2023-06-01' "
        f"-d '{json.dumps(asked)}' http://model/v1/messages"
    )


# ── a process that can be killed ───────────────────────────────────────────────────────────────────
class Process:
    """A role process that takes one turn."""

    def __init__(self, kind: Kind, folder: Path, url: str, **more: Any) -> None:
        self.folder, self._told = folder, {"kind": kind, "folder": str(folder), "url": url, **more}

    async def starts(self, text: str, **more: Any) -> asyncio.subprocess.Process:
        told = json.dumps({**self._told, "text": text, **more})
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.sessions.sessions", told, stdout=asyncio.subprocess.PIPE
        )

    async def killed_in(self, tool: str, text: str) -> None:
        """Take the turn, and be killed while a tool runs, behind its effect."""
        process = await self.starts(text, stays_in=tool)
        async with asyncio.timeout(60):
            while not (self.folder / "stays").exists():
                assert process.returncode is None
                await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
        (self.folder / "stays").unlink()

    async def ends(self, text: str) -> list[str]:
        process = await self.starts(text)
        async with asyncio.timeout(60):
            told, _ = await process.communicate()
        ended: list[str] = json.loads(told)
        return ended

    def effects(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "effects").read_text().splitlines()]


def _noting_tools(folder: Path, *, stays_in: str) -> list[Tool]:
    """Tools that write what they do to a file, beyond the life of the process; in one of them it stays."""

    def acts(name: str) -> Callable[[Note, ToolCall], Awaitable[ToolOutcome]]:
        async def run(arguments: Note, call: ToolCall) -> ToolOutcome:
            with (folder / "effects").open("a") as file:
                file.write(json.dumps([name, arguments.text, call.key]) + "\n")
            if name == stays_in:
                (folder / "stays").touch()
                await asyncio.Event().wait()
            return ToolOutcome(f"did {arguments.text}")

        return run

    return [
        Tool("write", "Sets something.", Note, acts("write")),
        Tool("pay", "Acts twice if called twice.", Note, acts("pay"), repeat=Repeat.UNSAFE),
    ]


async def _main(told: dict[str, Any]) -> None:
    folder = Path(told["folder"])
    journal = Journal(folder / "journal.db")
    tools = _noting_tools(folder, stays_in=told.get("stays_in", ""))
    session = open_session(told["kind"], folder, told["url"], journal, tools, rules=tuple(told.get("rules", ())))
    await session.start()
    async for event in session.turn(Prompt(framed(told["text"], "a"), task("a")), turn_id="a"):
        if isinstance(event, ModelCalled):
            (folder / f"answered-{os.getpid()}").touch()
        if isinstance(event, TurnResult):
            sys.stdout.write(json.dumps([event.end.value, event.text]))
    await session.close()


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
