"""Bringing the broker to the topology that is wanted: what is missing is made, what differs adapted, both are said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Set
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from nats.js.api import ConsumerConfig, PersistMode, StreamConfig
from nats.js.errors import APIError
from nats.js.errors import NotFoundError as StreamMissing

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.topology import OURS, Topology, topology
from agenthub.errors import HubError

_AT_ONCE = 8
"""Requests under way while provisioning: in a cluster each consumer is a Raft group that must elect its leader."""
_NO_PEERS, _NOT_CLUSTERED = 10005, 10074
_NO_ROOM = (10047, 10023)
"""More than the server, or each of those of a cluster, may store."""


class Change(NamedTuple):
    """One thing that provisioning made, adapted or removed (or would, in a dry run)."""

    action: str
    """create, update or delete"""
    kind: str
    """stream or consumer"""
    name: str
    detail: str
    """The fields that differ, `name: old → new`; empty for a creation."""


async def provision(bus: Bus, wanted: Topology, *, dry_run: bool = False, keep: Set[str] = frozenset()) -> list[Change]:
    """Bring the broker to `wanted`; what changed, or would change in a dry run.

    Idempotent: a second run changes nothing. Consumers of roles that are gone are deleted, since a forgotten
    durable would keep topic messages for ever, but not those of the roles in `keep`; streams are never deleted.
    """
    changes: list[Change] = []
    for config in wanted.streams:
        changes += await _provision_stream(bus, config, dry_run)
    by_stream: dict[str, list[ConsumerConfig]] = {config.name or "": [] for config in wanted.streams}
    for stream, consumer in wanted.consumers:
        by_stream[stream].append(consumer)
    for stream, consumers in by_stream.items():
        if stream.startswith("KV_"):
            continue
        is_missing = dry_run and Change("create", "stream", stream, "") in changes
        there = {} if is_missing else await _consumers_of(bus, stream)
        found = {name: config for name, config in there.items() if (config.metadata or {}).get(OURS) not in keep}
        changes += await _provision_consumers(bus, stream, consumers, found, dry_run)
    return changes


async def _provision_stream(bus: Bus, config: StreamConfig, dry_run: bool) -> list[Change]:
    assert config.name
    name = config.name
    try:
        found = (await bus.patiently(lambda: bus.js.stream_info(name), name)).config
    except StreamMissing:
        if not dry_run:
            await _apply(bus, config, bus.js.add_stream, "be made")
        return [Change("create", "stream", name, "")]
    is_async = found.persist_mode is not None and PersistMode(found.persist_mode) is PersistMode.ASYNC
    if is_async and config.num_replicas != 1:  # the server refuses both together, and neither can be changed
        if name == f"KV_{subjects.REGISTRY}" and not dry_run:
            await bus.patiently(lambda: bus.js.delete_stream(name), name)  # heartbeats come again within seconds
            return await _provision_stream(bus, config, dry_run)
        config = replace(config, num_replicas=1)
    config = replace(config, persist_mode=found.persist_mode)  # a stream keeps the one it was made with
    difference = _difference(config, found)
    if not difference:
        return []
    if not dry_run:
        await _apply(
            bus, config, bus.js.update_stream, f"be brought from what it is to what this version needs ({difference})"
        )
    return [Change("update", "stream", name, difference)]


async def _apply(
    bus: Bus, config: StreamConfig, how: Callable[[StreamConfig], Awaitable[object]], what: str
) -> None:  # fmt: skip
    async def ask() -> None:
        try:
            await how(config)
        except APIError as error:
            if error.err_code == _NO_PEERS and "offline" in (error.description or ""):
                raise TimeoutError(error.description) from error  # a server of the cluster that will be back
            raise

    try:
        await bus.patiently(ask, str(config.name))
    except APIError as error:
        remedy = ""
        if error.err_code in (_NO_PEERS, _NOT_CLUSTERED):
            remedy = f" {config.num_replicas} replicas need as many servers with JetStream, or set `nats.replicas = 1`."
        elif error.err_code in _NO_ROOM:
            gib = sum(max(stream.max_bytes or 0, 0) for stream in topology(()).streams) / 1024**3
            remedy = (
                f" All streams together may take {gib:.0f} GiB: let the server store as much, by `max_file` in its"
                " `jetstream` block; without that it takes three quarters of what is free on its disk."
            )
        raise HubError(f"The stream {config.name} cannot {what}: {error.description}.{remedy}") from error


async def _consumers_of(bus: Bus, stream: str) -> dict[str, ConsumerConfig]:
    found: dict[str, ConsumerConfig] = {}
    while page := await bus.patiently(partial(bus.js.consumers_info, stream, len(found)), stream):
        found |= {info.name: info.config for info in page}
    return found


async def _provision_consumers(
    bus: Bus, stream: str, wanted: list[ConsumerConfig], found: dict[str, ConsumerConfig], dry_run: bool
) -> list[Change]:
    names = {config.durable_name for config in wanted}
    changes = [
        Change("delete", "consumer", f"{stream}/{name}", "")
        for name in sorted(set(found) - names)
        if OURS in (found[name].metadata or {})  # what others made on our streams is not ours to delete
    ]
    todo = []
    for config in wanted:
        assert config.durable_name
        if config.durable_name not in found:
            changes.append(Change("create", "consumer", f"{stream}/{config.durable_name}", ""))
            todo.append(config)
        elif difference := _difference(config, found[config.durable_name]):
            changes.append(Change("update", "consumer", f"{stream}/{config.durable_name}", difference))
            todo.append(config)
    if not dry_run:
        for change in changes:
            if change.action == "delete":
                with contextlib.suppress(StreamMissing):  # a try before was not answered
                    name = change.name.split("/", 1)[1]
                    await bus.patiently(partial(bus.js.delete_consumer, stream, name), change.name)
        under_way = asyncio.Semaphore(_AT_ONCE)

        async def add(config: ConsumerConfig) -> None:
            async with under_way:
                await bus.patiently(lambda: bus.js.add_consumer(stream, config), f"{stream}/{config.durable_name}")

        await asyncio.gather(*(add(config) for config in todo))
    return changes


def _difference(wanted: StreamConfig | ConsumerConfig, found: StreamConfig | ConsumerConfig) -> str:
    """Fields that `wanted` states and `found` has otherwise, as people read them."""
    differing = []
    for name, value in wanted.__dict__.items():
        other = getattr(found, name, None)
        if value is None or value == other or (isinstance(value, list) and sorted(value) == sorted(other or ())):
            continue
        if not value and not other:
            continue
        if isinstance(value, dict) and value.items() <= (other or {}).items():
            continue  # the server adds its own
        differing.append(f"{name}: {_shown(other)} → {_shown(value)}")
    return ", ".join(differing)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)} subjects" if len(value) > 3 else ", ".join(map(str, value))
    return str(getattr(value, "value", value))
