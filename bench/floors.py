"""The floors: the same work with raw nats-py and nothing else, in a process of its own.

C of the notes: take one, publish its completion with an id and wait until it is stored, acknowledge and wait.
D: the same with a local journal, one fsync for each step. B is C on a server that does not sync each write.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
from nats.errors import TimeoutError as NothingCame
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

INBOX, DONE, PARTS = "FLOOR_INBOX", "FLOOR_DONE", "FLOOR_PARTS"
_FETCH_S = 1.0


def inbox(name: str) -> str:
    return f"bench.in.{name}"


def done(name: str, identity: str) -> str:
    return f"bench.floor_done.{name}.{identity}"


async def work(stop: asyncio.Event, url: str, name: str, journal: Path | None = None, steps: int = 0) -> None:
    """Floor C, and with `steps` floor D: a journal entry on disk for each of them."""
    async with _connection(url) as js:
        db = None if journal is None else _journal(journal)
        pull = await _pull(js, INBOX, inbox(name), name)
        while not stop.is_set():
            for msg in await _fetch(pull, 1):
                directive = json.loads(msg.data)
                for number in range(steps):
                    assert db is not None
                    db.execute("INSERT INTO step VALUES (?, ?, ?)", (directive["id"], number, "ok"))
                await _complete(js, done(name, directive["id"]), directive)
                await msg.ack_sync()


async def coordinate(stop: asyncio.Event, url: str, name: str, specialists: list[str]) -> None:
    """Fan each directive out to the specialists, wait for all parts, complete it."""
    async with _connection(url) as js:
        pull = await _pull(js, INBOX, inbox(name), name)
        answers = await _pull(js, PARTS, "bench.floor_parts.>", f"{name}-parts")
        while not stop.is_set():
            for msg in await _fetch(pull, 1):
                directive = json.loads(msg.data)
                await asyncio.gather(*(_ask(js, directive, specialist) for specialist in specialists))
                parts: list[Any] = []
                while len(parts) < len(specialists) and not stop.is_set():
                    parts += await _fetch(answers, len(specialists) - len(parts))
                merged = [json.loads(part.data)["text"] for part in parts]
                await _complete(js, done(name, directive["id"]), directive, text=" ".join(merged))
                await asyncio.gather(msg.ack_sync(), *(part.ack_sync() for part in parts))


async def specialise(stop: asyncio.Event, url: str, name: str) -> None:
    """Work off parts one at a time."""
    async with _connection(url) as js:
        pull = await _pull(js, INBOX, inbox(name), name)
        while not stop.is_set():
            for msg in await _fetch(pull, 1):
                directive = json.loads(msg.data)
                await _complete(js, f"bench.floor_parts.{name}.{directive['id']}", directive)
                await msg.ack_sync()


async def _ask(js: JetStreamContext, directive: dict[str, Any], specialist: str) -> None:
    identity = f"{directive['id']}-{specialist}"
    part = json.dumps({**directive, "id": identity}).encode()
    await js.publish(inbox(specialist), part, headers={"Nats-Msg-Id": identity})


async def _complete(js: JetStreamContext, subject: str, directive: dict[str, Any], text: str = "done") -> None:
    completion = {
        "message_id": directive["id"], "outcome": "done", "subject": directive["payload"]["subject"], "text": text,
        "from_role": directive["from_role"], "started_at": directive["timestamp"], "usage": {"calls": 0},
    }  # fmt: skip
    await js.publish(subject, json.dumps(completion).encode(), headers={"Nats-Msg-Id": f"{subject}.done"})


@contextlib.asynccontextmanager
async def _connection(url: str) -> AsyncIterator[JetStreamContext]:
    nc = await nats.connect(url)
    try:
        yield nc.jetstream()
    finally:
        await nc.close()


async def _pull(js: JetStreamContext, stream: str, subject: str, name: str) -> Any:
    config = ConsumerConfig(durable_name=name, filter_subject=subject, ack_policy=AckPolicy.EXPLICIT, ack_wait=20)
    await js.add_consumer(stream, config)
    return await js.pull_subscribe_bind(durable=name, stream=stream)


async def _fetch(pull: Any, batch: int) -> list[Any]:
    try:
        found: list[Any] = await pull.fetch(batch, timeout=_FETCH_S)
    except NothingCame:
        return []
    return found


def _journal(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE IF NOT EXISTS step (turn TEXT, number INTEGER, result TEXT, PRIMARY KEY (turn, number))")
    return db
