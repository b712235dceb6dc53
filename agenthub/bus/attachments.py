"""Files that go with messages, in the broker's object store: in pieces, with a digest, for thirty days."""

from __future__ import annotations

import asyncio
import hashlib
import io

from nats.errors import Error as NatsError
from nats.js.api import ObjectMeta
from nats.js.errors import APIError, ObjectNotFoundError
from nats.js.errors import NotFoundError as StreamMissing
from nats.js.object_store import ObjectStore

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.errors import HubError, HubUnreachableError, NotFoundError, RefusedError
from agenthub.messages import Attachment, attachment_name

MAX_BYTES = 64 * 1024 * 1024
"""Of one file."""
_WITHIN_S = 60.0


async def put_attachment(bus: Bus, key: str, name: str, data: bytes) -> Attachment:
    """Store a file; what a message must carry so that it can be fetched. The same key again stores the same once.

    Args:
        key: Unique, one word; begins with who stores it.

    Raises:
        RefusedError: If it is too large.
        HubError: If the store is full or not there.
    """
    name = attachment_name(name)
    if len(data) > MAX_BYTES:
        raise RefusedError(f"`{name}` has {len(data):,} bytes; an attachment may have {MAX_BYTES:,}.")
    attachment = Attachment(key=key, name=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    store = _store(bus)
    try:
        async with asyncio.timeout(_WITHIN_S):
            try:
                found = await store.get_info(key)
                if found.size == len(data) and found.description == attachment.sha256:
                    return attachment
            except ObjectNotFoundError:
                pass
            await store.put(key, data, ObjectMeta(name=key, description=attachment.sha256))
    except APIError as error:
        raise HubError(f"`{name}` cannot be stored: {error.description}. Run `agenthub provision`.") from error
    except (NatsError, TimeoutError, OSError) as error:
        raise HubUnreachableError(f"`{name}` was not stored: {error or type(error).__name__}.") from error
    return attachment


async def get_attachment(bus: Bus, key: str, *, sha256: str = "") -> bytes:
    """The content of a file.

    Args:
        sha256: What the message says that it is, in hex. Empty: not compared.

    Raises:
        NotFoundError: If there is none of this key any more.
        HubError: If it is not what the message says.
    """
    into = io.BytesIO()
    try:
        async with asyncio.timeout(_WITHIN_S):
            info = await _store(bus).get_info(key)
            if (info.size or 0) > MAX_BYTES:
                raise RefusedError(f"The attachment {key} has {info.size:,} bytes; at most {MAX_BYTES:,} are fetched.")
            await _store(bus).get(key, writeinto=into)
    except (ObjectNotFoundError, StreamMissing) as error:
        raise NotFoundError(f"There is no attachment `{key[:160]}` any more; they are kept for 30 days.") from error
    except (NatsError, TimeoutError, OSError, APIError) as error:
        raise HubUnreachableError(f"The attachment {key} did not come: {error or type(error).__name__}.") from error
    data = into.getvalue()
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise HubError(f"The attachment {key} is not what its message says: its SHA-256 is another.")
    return data


def _store(bus: Bus) -> ObjectStore:
    return ObjectStore(subjects.ATTACHMENTS, f"OBJ_{subjects.ATTACHMENTS}", bus.js)
