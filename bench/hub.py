"""A hub for measuring: a server of our own in an empty folder, a small organization, and the floor's streams.

Both sides use the same server, started by the code and with the options that `agenthub up` uses. A `Side`
says where one of them takes its directives from and where its completions are stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from nats.js.api import DeliverPolicy, RetentionPolicy, StreamConfig

from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus
from agenthub.bus.identity import SYSTEM, Keyring
from agenthub.bus.provisioning import provision
from agenthub.bus.server import NatsServer
from agenthub.bus.topology import topology
from agenthub.client import access_of, role_queues
from agenthub.organization import Organization, load_organization
from agenthub.settings import Settings
from bench import floors
from bench.children import Job

SENDER = "bench"
"""Who asks: a stranger without an inbox in the organization, so nobody gets a reply."""
WITHIN_S = 60.0
_WINDOW = 500
_TEXT = "Implement the attachment API: upload, download, limits by plan, virus scan. " * 2


class Side(NamedTuple):
    """Us, or the floor."""

    name: str
    inbox: str
    """Subject to publish directives on."""
    done_stream: str
    done: str
    """Subjects of its completions; the last token is the id of the directive."""
    jobs: tuple[Job, ...]


class Hub:
    """A running server with the organization and the floor's streams on it."""

    def __init__(self, server: NatsServer, bus: Bus, settings: Settings, organization: Organization) -> None:
        self.server, self.bus, self.settings, self.organization = server, bus, settings, organization

    async def fill(
        self, subject: str, prefix: str, number: int, *, priority: str = "medium", sender: str = SENDER
    ) -> None:
        """Publish directives with the ids `<prefix>-<n>`, several in flight.

        A lane takes so many messages of one sender as are half of what may wait, divided by all lanes; then it refuses,
        and this ends with TimeoutError.
        """
        for first in range(0, number, _WINDOW):
            waiting = [
                await self.bus.js.publish_async(subject, directive(f"{prefix}-{n}", priority, sender))
                for n in range(first, min(first + _WINDOW, number))
            ]
            async with asyncio.timeout(WITHIN_S):
                for stored in waiting:
                    await stored

    async def last_sequence(self, stream: str) -> int:
        """Sequence of the newest message of a stream; 0 if there was none."""
        return (await self.bus.js.stream_info(stream)).state.last_seq

    async def until_stored(self, stream: str, sequence: int, *, within_s: float = WITHIN_S) -> None:
        """Return soon after a stream has come to a sequence."""
        async with asyncio.timeout(within_s):
            while await self.last_sequence(stream) < sequence:  # noqa: ASYNC110  # nobody tells us
                await asyncio.sleep(0.1)  # seldom, so that looking costs the measured nothing

    async def stored_at(self, stream: str, sequence: int) -> datetime:
        """When the server stored a message, by its own clock."""
        moment = (await self.bus.js.get_msg(stream, sequence)).time
        assert moment is not None
        return moment

    @contextlib.asynccontextmanager
    async def collector(self, side: Side) -> AsyncIterator[Collector]:
        """Sees each completion of a side as soon as it is stored."""
        collector = Collector()
        subscription = await self.bus.js.subscribe(
            side.done, stream=side.done_stream, ordered_consumer=True, deliver_policy=DeliverPolicy.NEW,
            cb=collector.see,
        )  # fmt: skip
        try:
            yield collector
        finally:
            await subscription.unsubscribe()


class Collector:
    """When each completion was seen, by id, in loop time (the clock of `time.monotonic`)."""

    def __init__(self) -> None:
        self.seen_s: dict[str, float] = {}
        self._arrived = asyncio.Condition()

    async def see(self, msg: Any) -> None:
        self.seen_s.setdefault(msg.subject.rpartition(".")[2], asyncio.get_running_loop().time())
        async with self._arrived:
            self._arrived.notify_all()

    async def until(self, ids: Sequence[str], *, within_s: float = WITHIN_S) -> None:
        """Return when all of these are seen."""
        async with asyncio.timeout(within_s), self._arrived:
            await self._arrived.wait_for(lambda: all(identity in self.seen_s for identity in ids))


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    """A folder that is gone after the block."""
    folder = Path(tempfile.mkdtemp(prefix="agenthub-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def open_hub(
    folder: Path, roles: Sequence[str], *, durable: bool = True, has_keys: bool = False
) -> AsyncIterator[Hub]:
    """A hub in this folder for the length of the block; opened again, it goes on with what is stored there.

    Args:
        has_keys: Whether NATS admits only who has a key, and each for what it may do.
    """
    _write_organization(folder, roles)
    settings = Settings.load(config=folder / "agenthub.toml")
    organization = load_organization(settings)
    access = access_of(organization, settings) if has_keys else None
    server = NatsServer(folder / "nats", durable=durable, access=access)
    await server.start()
    try:
        settings = Settings.load(config=folder / "agenthub.toml", nats_url=server.url)
        identity = Keyring(settings.keys).find(SYSTEM) if has_keys else None
        async with connect(server.url, name="bench", identity=identity) as bus:
            await provision(bus, topology(role_queues(organization, settings)))
            await _provision_floor(bus)
            yield Hub(server, bus, settings, organization)
    finally:
        await server.stop()


def directive(identity: str, priority: str = "medium", sender: str = SENDER) -> bytes:
    """A directive of about 400 bytes."""
    body = {
        "from_operator": f"operator-{sender}",
        "from_role": sender,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "type": "task_assignment",
        "payload": {"subject": "Attachments", "message": _TEXT, "priority": priority},
        "id": identity,
    }
    return json.dumps(body).encode()


def _write_organization(folder: Path, roles: Sequence[str]) -> None:
    (folder / "roles").mkdir(parents=True, exist_ok=True)
    (folder / "agenthub.toml").write_text('org = "bench"\n')
    for name in roles:
        head = f"---\nname: {name}\ndescription: The {name} of the bench.\n---\n"
        (folder / "roles" / f"{name}.md").write_text(f"{head}You are the {name}.\n")


async def _provision_floor(bus: Bus) -> None:
    await bus.js.add_stream(
        StreamConfig(name=floors.INBOX, subjects=["bench.in.>"], retention=RetentionPolicy.WORK_QUEUE)
    )
    for name in (floors.DONE, floors.PARTS):
        await bus.js.add_stream(StreamConfig(name=name, subjects=[f"bench.{name.lower()}.>"]))
