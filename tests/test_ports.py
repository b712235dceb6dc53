"""Ports: kept for a server while it does not listen."""

from __future__ import annotations

import socket
import sys

import pytest

from agenthub.ports import Port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere two may not bind one port")


def test_only_who_sets_what_servers_set_can_listen_on_a_port_that_is_held() -> None:
    with Port() as held:
        with pytest.raises(OSError, match="in use"), socket.socket() as taker:
            taker.bind(("127.0.0.1", held.number))
        for _ in range(2):  # also again, as after a crash
            with socket.create_server(("127.0.0.1", held.number)), socket.create_connection(("127.0.0.1", held.number)):
                pass
            with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", held.number)):
                pass
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", held.number))


def test_the_system_gives_a_port_that_is_held_to_nobody_who_wants_any() -> None:
    takers: list[socket.socket] = []
    held: list[Port] = []
    try:
        for _ in range(200):
            held.append(Port())
            takers.append(socket.create_server(("127.0.0.1", 0)))
        assert len({port.number for port in held} | {taker.getsockname()[1] for taker in takers}) == 400
    finally:
        for port in held:
            port.close()
        for taker in takers:
            taker.close()


def test_a_port_that_somebody_has_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {number} .*in use"):
            Port(number)
