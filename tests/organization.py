"""A small organization for tests, and sessions that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agenthub import subjects
from agenthub.bus.cluster import NatsCluster
from agenthub.bus.connection import Bus
from agenthub.bus.identity import Keyring
from agenthub.bus.provisioning import provision
from agenthub.bus.server import NatsServer
from agenthub.bus.topology import topology_of
from agenthub.client import access_of, role_queues
from agenthub.messages import Completion, Message, Outcome
from agenthub.org.registry import Registry
from agenthub.organization import Organization, load_organization
from agenthub.runtime import RolePlace, run_role
from agenthub.sessions.session import ContextInfo, Prompt, SessionEvent, TurnEnd, TurnResult
from agenthub.settings import Settings

ROLES = {
    "ceo": {"skills": "strategy"},
    "cto": {"reports_to": "ceo", "skills": "architecture"},
    "backend": {"reports_to": "cto", "skills": "api, sql", "subscribe": "tasks.sql, status.deploy, announcements"},
    "qa": {"reports_to": "cto", "skills": "testing", "subscribe": "status.deploy"},
}


QUICK_PROCESS = "[process]\nheartbeat_s = 0.5\nlease_ttl_s = 3\n"
"""Processes are missed after two seconds, and one that stood still has lost its role after three."""


def write_organization(folder: Path, toml: str = "", roles: dict[str, dict[str, str]] = ROLES) -> None:
    """Write agenthub.toml and role files into a folder."""
    (folder / "roles").mkdir(parents=True, exist_ok=True)
    (folder / "agenthub.toml").write_text(f'org = "acme"\n{toml}')
    for name, keys in roles.items():
        ours = "".join(f"  {key}: {value}\n" for key, value in keys.items())
        head = f"---\nname: {name}\ndescription: The {name} of Acme.\nagenthub:\n{ours}---\n"
        (folder / "roles" / f"{name}.md").write_text(f"{head}You are the {name} of Acme.\n")


def keys_of(folder: Path) -> Keyring:
    """The keys of the organization in a folder; those that every organization has are made."""
    keyring = Keyring(folder / ".agenthub" / "keys")
    keyring.ensure([])
    return keyring


Script = Callable[[Prompt], Awaitable[TurnResult | str]]


class ScriptedSession:
    """A session whose turns are what `script` returns: a result, or words that it is done with."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.prompts: list[Prompt] = []

    async def start(self) -> None: ...

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent, None]:
        self.prompts.append(prompt)
        said = await self._script(prompt)
        yield TurnResult(TurnEnd.FINISHED, Outcome.DONE, said) if isinstance(said, str) else said

    async def inject(self, notice: str) -> bool:
        return False

    async def interrupt(self) -> None: ...

    async def context(self) -> ContextInfo:
        return ContextInfo(0, 0)

    async def close(self) -> None: ...


def says(*answers: TurnResult | str | Exception) -> ScriptedSession:
    """A session that gives these answers one after the other, and the last one for ever."""
    waiting = list(answers)

    async def script(prompt: Prompt) -> TurnResult | str:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ScriptedSession(script)


async def until(condition: Callable[[], Awaitable[Any] | Any], *, within_s: float = 30.0) -> Any:
    """What `condition` returns, as soon as it is true."""
    async with asyncio.timeout(within_s):
        while True:
            value = condition()
            if isinstance(value, Awaitable):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.01)


class Hub:
    """The organization of `ROLES` on a server: publish to it, run its roles in this process, see what comes."""

    def __init__(self, server: NatsServer | NatsCluster, bus: Bus, folder: Path, **settings: Any) -> None:
        self.server, self.bus, self.folder = server, bus, folder
        write_organization(folder)
        quick = {"ack_wait_s": 3.0, "keep_alive_s": 0.5, "heartbeat_s": 0.5, "lease_ttl_s": 3.0, "grace_s": 3.0}
        self.settings = Settings.load(config=folder / "agenthub.toml", nats_url=server.url, **(quick | settings))
        self.organization: Organization = load_organization(self.settings)

    async def provision(self) -> None:
        if isinstance(self.server, NatsServer) and self.bus.identity is not None:
            await self.server.admit(access_of(self.organization, self.settings))
        await provision(self.bus, await topology_of(self.bus, role_queues(self.organization, self.settings)))

    @contextlib.asynccontextmanager
    async def role(self, name: str, session: ScriptedSession) -> AsyncIterator[asyncio.Event]:
        """A role that works in this process for the length of the block."""
        stop = asyncio.Event()
        place = RolePlace(self.settings, self.organization, name)
        running = asyncio.create_task(run_role(place, stop=stop, session=session))
        try:
            yield stop
        finally:
            stop.set()
            async with asyncio.timeout(30):
                await running

    async def beats(self, *roles: str) -> None:
        """Return as soon as everybody can see that these roles work."""
        for role in roles:
            await until(partial(Registry(self.bus).find, role))

    async def put(self, role: str, body: bytes | dict[str, Any], **headers: str) -> None:
        """Publish raw to the plain inbox, as a stranger with a plain NATS client does."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.bus.js.publish(subjects.inbox(role), data, headers=headers or None)

    async def send(self, role: str, text: str, **fields: Any) -> str:
        """Publish a directive of a person; its id."""
        message = directive(text, **fields)
        await self.put(role, message)
        return str(message["id"])

    async def completion(self, role: str, message_id: str, *, within_s: float = 30.0) -> Completion:
        """How a message ended, as soon as it has."""
        found = await until(lambda: self.bus.last(subjects.DONE, subjects.done(role, message_id)), within_s=within_s)
        return Completion.decode(found)

    async def waiting(self, role: str, priority: str = "*", sender: str = "*") -> list[Message]:
        """What lies in a role's lanes."""
        return await self.stored(subjects.AGENTS, f"{subjects.inbox(role)}.{priority}.{sender}")

    async def stored(self, stream: str, subject: str) -> list[Message]:
        """All messages of a stream under a subject, without taking one."""
        info = await self.bus.js.stream_info(stream)
        found: list[Message] = []
        for sequence in range(info.state.first_seq, info.state.last_seq + 1):
            with contextlib.suppress(Exception):
                raw = await self.bus.js.get_msg(stream, sequence)
                if _matches(subject, raw.subject or ""):
                    found.append(Message.read(raw.data or b"", default_id=f"{stream}-{sequence}"))
        return found


def directive(text: str, *, sender: str = "you", priority: str = "medium", **fields: Any) -> dict[str, Any]:
    """The message of DESIGN.md, with an id."""
    from agenthub.messages import new_id

    return {
        "from_operator": f"operator-{sender}",
        "from_role": sender,
        "timestamp": "2026-05-17T08:00:00.000Z",
        "type": "task_assignment",
        "payload": {"subject": text[:60], "message": text, "priority": priority},
        "id": new_id(),
        **fields,
    }


def _matches(pattern: str, subject: str) -> bool:
    wanted, found = pattern.split("."), subject.split(".")
    return len(wanted) == len(found) and all(w in ("*", f) for w, f in zip(wanted, found, strict=True))


def texts(messages: Sequence[Message]) -> list[str]:
    return [message.payload.message for message in messages]
