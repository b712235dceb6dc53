"""Our changes to the client of nats-py, against servers that stop, go and come back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus
from agenthub.bus.identity import SYSTEM
from agenthub.bus.nats_client import ClosingTransport, HeedingClient
from agenthub.bus.server import NatsServer
from tests.organization import keys_of, until

KIB = 1024


@contextlib.contextmanager
def frozen(server: NatsServer) -> Iterator[None]:
    """A server that does nothing for the length of the block."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def fill(client: HeedingClient) -> None:
    """Publish until no more is taken without waiting."""
    while waiting_bytes(client) < 8 * KIB * KIB:
        await client.publish("told", bytes(500 * KIB))
        await asyncio.sleep(0)


async def answers(bus: Bus) -> None:
    async def answer(msg: Msg) -> None:
        await msg.respond(msg.data)

    await bus.nc.subscribe("asked", cb=answer)
    await bus.flush()


def waiting_bytes(client: HeedingClient) -> int:
    """What is held for a server that does not read."""
    writer: asyncio.StreamWriter = client._transport._io_writer  # type: ignore[union-attr]
    return client.pending_data_size + writer.transport.get_write_buffer_size()


async def test_what_one_taker_makes_of_a_message_does_not_make_the_client_deaf(bus: Bus) -> None:
    def fails(msg: Msg) -> None:
        raise ValueError(msg.data)

    await bus.nc.subscribe_directly("odd", fails)
    await answers(bus)
    await bus.nc.publish("odd", b"nobody understands this")
    assert (await bus.nc.request("asked", b"still here", timeout=8)).data == b"still here"


async def test_questions_to_a_server_that_does_not_read_do_not_fill_the_memory(server: NatsServer, bus: Bus) -> None:
    await answers(bus)
    with frozen(server):
        for _ in range(60):
            with pytest.raises((NatsError, TimeoutError)):
                await bus.nc.request("asked", bytes(500 * KIB), timeout=0.02)
        most = waiting_bytes(bus.nc)
    assert most < 12 * KIB * KIB
    await until(lambda: waiting_bytes(bus.nc) == 0)
    assert (await bus.nc.request("asked", b"and on", timeout=20)).data == b"and on"


async def test_who_waits_for_a_server_that_does_not_read_can_be_cancelled(server: NatsServer, bus: Bus) -> None:
    with frozen(server):
        await fill(bus.nc)
        for _ in range(100):  # the kernel may take some more meanwhile
            waiting = asyncio.create_task(bus.nc.publish("told", bytes(500 * KIB)))
            await asyncio.wait([waiting], timeout=0.1)
            if not waiting.done():
                break
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting], timeout=5)
        assert waiting.cancelled()


async def test_who_publishes_waits_for_a_server_that_does_not_read_and_not_for_ever(
    server: NatsServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agenthub.bus.connecting.FLUSHED_WITHIN_S", 0.2)
    async with bus.listen("told") as heard, connect(server.url, name="tells", identity=bus.identity) as other:
        with frozen(server):
            await fill(other.nc)
            async with asyncio.timeout(10):  # less than it takes to find the connection dead
                await other.nc.publish("told", b"at last".ljust(500 * KIB))
        async with asyncio.timeout(30):
            while not (await anext(heard)).data.startswith(b"at last"):
                pass


async def test_a_first_question_that_is_cancelled_does_not_leave_the_others_without_answers(
    server: NatsServer, bus: Bus
) -> None:
    await answers(bus)
    async with connect(server.url, name="asks", identity=bus.identity) as other:
        with frozen(server):
            await fill(other.nc)
            first = asyncio.create_task(other.nc.request("asked", b"first", timeout=20))
            await asyncio.wait([first], timeout=0.1)
            first.cancel()
            await asyncio.wait([first], timeout=5)
            assert first.cancelled()
        assert (await other.nc.request("asked", b"second", timeout=20)).data == b"second"


async def test_a_flush_that_a_dead_server_had_not_read_is_answered_by_the_next(server: NatsServer, bus: Bus) -> None:
    with frozen(server):
        await fill(bus.nc)
        flushing = asyncio.create_task(bus.nc.flush(timeout=20))
        await asyncio.sleep(0)
        await server.kill()
    await server.start()
    await flushing
    assert not bus.nc._pongs


@pytest.fixture
def unheeding(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], asyncio.Event]:
    """Has a step of connecting end in the moment in which it is cancelled, of which it then knows nothing, as happens
    until Python 3.11. Gives what is set as soon as it can be cancelled."""

    def make(step: str) -> asyncio.Event:
        begun, as_it_is = asyncio.Event(), getattr(ClosingTransport, step)

        async def unheeding(*args: Any, **kwargs: Any) -> Any:
            made = await as_it_is(*args, **kwargs)
            begun.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.9)  # the client itself gives up after a second
            return made

        monkeypatch.setattr(ClosingTransport, step, unheeding)
        return begun

    return make


STEPS = pytest.mark.parametrize("step", ["connect", "drain"])


@STEPS
async def test_who_closes_while_a_lost_connection_is_made_anew_leaves_nothing(
    server: NatsServer, tmp_path: Path, unheeding: Callable[[str], asyncio.Event], step: str
) -> None:
    before = asyncio.all_tasks()
    async with connect(server.url, name="test", identity=keys_of(tmp_path).find(SYSTEM)) as bus:
        begun = unheeding(step)
        await server.kill()
        await server.start()
        async with asyncio.timeout(20):
            await begun.wait()
    await until(lambda: asyncio.all_tasks() <= before, within_s=10)
    assert bus.nc.is_closed


@STEPS
async def test_who_is_cancelled_while_it_connects_leaves_nothing(
    server: NatsServer, tmp_path: Path, unheeding: Callable[[str], asyncio.Event], step: str
) -> None:
    async def connected() -> None:
        async with connect(server.url, name="test", identity=keys_of(tmp_path).find(SYSTEM)):
            raise AssertionError("nobody wants this any more")

    before, begun = asyncio.all_tasks(), unheeding(step)
    connecting = asyncio.create_task(connected())
    async with asyncio.timeout(20):
        await begun.wait()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await until(lambda: asyncio.all_tasks() <= before, within_s=10)


async def test_ten_thousand_questions_at_once_are_each_answered_and_leave_nothing(bus: Bus) -> None:
    await answers(bus)
    asked = (bus.nc.request("asked", b"%d" % number, timeout=30) for number in range(10_000))
    assert [int(answer.data) for answer in await asyncio.gather(*asked)] == list(range(10_000))
    assert not bus.nc._asked


async def test_questions_that_a_killed_server_took_along_leave_nothing_and_late_answers_hurt_nobody(
    server: NatsServer, bus: Bus
) -> None:
    await answers(bus)
    with frozen(server):
        late = [asyncio.create_task(bus.nc.request("asked", b"late", timeout=0.2)) for _ in range(50)]
        gone = [asyncio.create_task(bus.nc.request("asked", b"gone", timeout=9)) for _ in range(50)]
        await asyncio.gather(*late, return_exceptions=True)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
    assert (await bus.nc.request("asked", b"now", timeout=20)).data == b"now"
    with frozen(server):
        lost = [asyncio.create_task(bus.nc.request("asked", b"lost", timeout=1)) for _ in range(50)]
        await asyncio.sleep(0)
        await server.kill()
    await server.start()
    await asyncio.gather(*lost, return_exceptions=True)
    await until(lambda: bus.is_connected)
    assert (await bus.nc.request("asked", b"again", timeout=20)).data == b"again"
    assert not bus.nc._asked
    assert len(bus.nc._takers) == 1


async def test_who_is_cancelled_after_the_time_for_an_answer_was_over_leaves_no_error_behind(
    server: NatsServer, bus: Bus
) -> None:
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    await answers(bus)
    await bus.nc.request("asked", b"before", timeout=8)
    with frozen(server):
        await fill(bus.nc)
        bus.nc._max_pending_size = bus.nc.pending_data_size  # so the question waits for the server to read
        asking = asyncio.create_task(bus.nc.request("asked", timeout=0.05))
        await asyncio.wait([asking], timeout=0.2)
        assert not asking.done()
        asking.cancel()
        await asyncio.wait([asking])
    assert asking.cancelled()
    del asking
    gc.collect()
    assert not unheard


_LINES = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from([b"Nats-Msg-Id: 1", b"a :b", b"a b: c", b"\x1c: d", b":", b"n\xc3\xa4: x"]),
    ),
    max_size=6,
)


@given(_LINES)
def test_headers_are_read_as_nats_py_reads_them(lines: list[bytes]) -> None:
    raw = b"\r\n".join(lines) + b"\r\n\r\n"
    assert HeedingClient._parse_header_lines(raw) == Client._parse_header_lines(raw)
