"""Directives and garbage, sent as anybody may send them: a plain NATS client that knows docs/protocol.md."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.errors import APIError

from agenthub import subjects
from agenthub.bus.identity import Identity
from agenthub.bus.signing import received_as, signature
from chaos.history import Accepted
from chaos.plan import ROLES, Directive

_TRY_S = 2.0
_PAUSE_S = 0.1
GIVE_UP_S = 60.0
_WHOLE = 100_000


class Door:
    """A connection to wherever the server is at this moment, and what it confirmed."""

    def __init__(self, where: Callable[[], tuple[str, Identity | None]]) -> None:
        self._where = where
        self._client: Client | None = None
        self._url = ""
        self._connecting = asyncio.Lock()
        self.accepted: list[Accepted] = []
        self.offered: set[str] = set()
        """Tags of what was sent by strangers and never confirmed."""
        self.problems: list[str] = []

    async def send(self, directive: Directive) -> None:
        """Send a directive by its way; again under the same id until it is confirmed, if it has one."""
        body = {
            "from_operator": f"operator-{directive.sender}", "from_role": directive.sender, "timestamp": _now(),
            "type": "task_assignment",
            "payload": {"subject": directive.tag, "message": directive.text, "priority": directive.priority},
        }  # fmt: skip
        role, identity = directive.role, f"chaos-{directive.tag}"
        if directive.way == "stranger":
            self.offered.add(directive.tag)
            sequence = await self._once(subjects.inbox(role), json.dumps(body).encode())
            if sequence is None:
                return
            self.offered.discard(directive.tag)
            identity = f"{subjects.AGENTS}-{sequence}"
        else:
            lane = subjects.lane(role, directive.priority, directive.sender)
            subject = lane if directive.way == "lane" else subjects.inbox(role)
            self.offered.add(directive.tag)
            sequence = await self._until_stored(subject, json.dumps(body | {"id": identity}).encode(), identity)
            if sequence is None:
                self.problems.append(f"{identity} could not be sent within {GIVE_UP_S:.0f} s")
                return
            self.offered.discard(directive.tag)
        self.accepted.append(Accepted(identity, role, sequence, directive.priority, directive.sender, directive.way))

    async def send_garbage(self, seed: int) -> None:
        """Send what no reader should meet; what the broker takes must end like everything else."""
        chance = random.Random(seed)
        for name, data, headers in chance.sample(garbage(chance), k=3):
            role = chance.choice(ROLES)
            is_lane = chance.random() < 0.3
            subject = subjects.lane(role, "high", "you") if is_lane else subjects.inbox(role)
            sequence = await self._until_answered(subject, data, headers | {subjects.MESSAGE_ID: f"{seed}-{name}"})
            if sequence is not None:
                identity = f"{subjects.AGENTS}-{sequence}"
                self.accepted.append(Accepted(identity, role, sequence, "high", name, "garbage", is_work=False))

    async def request(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the JetStream API."""
        client = await self._connected()
        answer = await client.request(subject, json.dumps(body).encode(), timeout=_TRY_S)
        found: dict[str, Any] = json.loads(answer.data)
        return found

    async def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            with contextlib.suppress(NatsError, OSError, TimeoutError):
                await self._client.close()
            self._client = None

    async def _until_stored(self, subject: str, data: bytes, identity: str) -> int | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_UP_S):
                while True:
                    sequence = await self._once(subject, data, {subjects.MESSAGE_ID: identity})
                    if sequence is not None:
                        return sequence
                    await asyncio.sleep(_PAUSE_S)
        return None

    async def _until_answered(self, subject: str, data: bytes, headers: dict[str, str]) -> int | None:
        """Place where it was stored; None if the broker refused it. Asked again until it says one or the other."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_UP_S):
                while True:
                    try:
                        return await self._stored(subject, data, headers)
                    except MaxPayloadError:
                        return None
                    except (NatsError, OSError, TimeoutError) as error:
                        if isinstance(error, APIError) and error.code != 503:
                            return None
                    await asyncio.sleep(_PAUSE_S)
        self.problems.append(f"nobody said whether {headers[subjects.MESSAGE_ID]} was stored")
        return None

    async def _once(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> int | None:
        """Place where it was stored; None if the broker did not say that it was."""
        try:
            return await self._stored(subject, data, headers)
        except (NatsError, OSError, TimeoutError):
            return None

    async def _stored(self, subject: str, data: bytes, headers: dict[str, str] | None) -> int:
        client = await self._connected()
        sent, (_, identity) = dict(headers or {}), self._where()
        if identity is not None and received_as(subject, sent):
            sent[subjects.SIGNATURE] = signature(identity, subject, data, sent)
        ack = await client.jetstream().publish(subject, data, headers=sent or None, timeout=_TRY_S)
        return ack.seq

    async def _connected(self) -> Client:
        async with self._connecting:
            url, identity = self._where()
            if self._client is None or self._url != url:
                await self.close()
                client = Client()
                await client.connect(
                    url.split(","), name="chaos", connect_timeout=1, max_reconnect_attempts=-1, reconnect_time_wait=0.1,  # type: ignore[arg-type]
                    nkeys_seed_str=identity.seed if identity else None,
                    inbox_prefix=identity.inbox_prefix if identity else "_INBOX",
                    allow_reconnect=True, error_cb=_quiet, ping_interval=5, max_outstanding_pings=2,
                )  # fmt: skip
                self._client, self._url = client, url
            return self._client


async def _quiet(_: Exception) -> None:
    return None


def garbage(chance: random.Random) -> list[tuple[str, bytes, dict[str, str]]]:
    """Bodies and headers that nobody should send: what it is, the bytes, the headers."""
    fine = {"from_role": "passer-by", "type": "task_assignment", "payload": {"message": "rehearse: say noise"}}

    def body(**changes: Any) -> bytes:
        return json.dumps(fine | changes).encode()

    return [
        ("invalid-utf8", b'{"from_role": "\xff\xfe", "type": "x", "payload": {}}', {}),
        ("no-json", b"hello?", {}),
        ("empty", b"", {}),
        ("nul", b"\x00" * 64, {}),
        ("nul-in-text", body(payload={"message": "a\x00b rehearse: say noise"}), {}),
        ("half-json", body()[: chance.randrange(1, 40)], {}),
        ("deep", b'{"payload":' + b"[" * _WHOLE + b"]" * _WHOLE + b"}", {}),
        ("array", b"[1, 2, 3]", {}),
        ("wrong-types", body(from_role=5, payload=[]), {}),
        ("huge-number", body(hop=10**300), {}),
        ("negative-hop", body(hop=-1), {}),
        ("bad-id", body(id="no spaces. or dots"), {}),
        ("bad-sender", body(from_role="a.b *>"), {}),
        ("bad-deadline", body(deadline="yesterday"), {}),
        ("past-deadline", body(deadline="2020-01-01T00:00:00Z"), {}),
        ("surrogate", b'{"from_role": "you", "type": "x", "payload": {"message": "\\ud800 rehearse: say noise"}}', {}),
        ("large", body(payload={"message": "x" * 400_000 + " rehearse: say noise"}), {}),
        ("too-large", body(payload={"message": "x" * 700_000}), {}),
        ("many-fields", body(**{f"f{n}": n for n in range(5000)}), {}),
        ("forged-attempts", body(), {subjects.ATTEMPTS: "9" * 30}),
        ("forged-door", body(from_role="ceo"), {subjects.DOOR: "agent-hub.due.ceo"}),
        ("forged-trace", body(), {subjects.TRACE_PARENT: "\u00e9" * 40}),
        ("from-itself", body(from_role=chance.choice(ROLES)), {}),
        ("loops", body(hop=10_000), {}),
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
