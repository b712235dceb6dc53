"""What a nats-server says of itself on its monitoring port, over plain HTTP and without a NATS connection."""

from __future__ import annotations

import asyncio
import json
from typing import Any

_ANSWER_WITHIN_S = 2.0


async def ask(port: int, path: str) -> dict[str, Any] | None:
    """The JSON that the server on this machine answers, whatever its status code; None if it does not answer."""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())  # 1.0: the answer ends with the connection
                answer = await reader.read()
            finally:
                writer.close()
        found = json.loads(answer.partition(b"\r\n\r\n")[2])
    except (OSError, TimeoutError, ValueError):
        return None
    return found if isinstance(found, dict) else None


async def is_healthy(port: int) -> bool:
    """True if the server works, its streams and consumers too; in a cluster also that they have caught up."""
    answer = await ask(port, "/healthz")
    return answer is not None and answer.get("status") == "ok"


async def store_error(port: int) -> str | None:
    """Why the server has ceased to store, in its words; None if it stores, or does not answer at all.

    After a failed write (no space, a broken disk) nats-server freezes the stream, in a cluster all of JetStream: it
    answers no publication any more, also when the cause is gone, until it is started again.
    """
    answer = await ask(port, "/healthz")
    text = str(answer.get("error", "")) if answer else ""
    return text if is_store_error(text) else None


def is_store_error(text: str) -> bool:
    """True if what is wrong with a server ends only when it is started again; the rest mends itself."""
    # The last one: all our servers have JetStream, until they turn it off themselves.
    return any(words in text for words in ("write error", "no space left", "JetStream not enabled"))


async def has_quorum(ports: list[int]) -> bool:
    """True if the servers on these monitoring ports are one cluster that has a leader whom all follow."""
    for port in ports:
        answer = await ask(port, "/jsz") or {}
        meta = answer.get("meta_cluster") or {}
        followers = meta.get("replicas") or []
        if meta.get("leader") and len(followers) == len(ports) - 1 and all(peer.get("current") for peer in followers):
            return True
    return False
