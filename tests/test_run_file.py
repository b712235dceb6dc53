"""One hub in a folder: who looks whether one runs never keeps it from starting."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agenthub.errors import HubRunningError
from agenthub.run_file import is_locked, lock


def test_those_who_look_do_not_keep_a_hub_from_starting_and_see_none_before(tmp_path: Path) -> None:
    lock(tmp_path, "acme").close()
    over, lies = threading.Event(), list[str]()

    def look() -> None:
        while not over.is_set():
            if is_locked(tmp_path) and not held.is_set():
                lies.append("somebody who only looks is taken for a hub")

    held = threading.Event()
    lookers = [threading.Thread(target=look) for _ in range(3)]
    for thread in lookers:
        thread.start()
    try:
        over.wait(0.2)
        assert not lies
        held.set()
        for _ in range(100):
            lock(tmp_path, "acme").close()
    finally:
        over.set()
        for thread in lookers:
            thread.join()


def test_a_second_hub_is_refused(tmp_path: Path) -> None:
    with lock(tmp_path, "acme"):
        assert is_locked(tmp_path)
        with pytest.raises(HubRunningError, match="`acme` already is starting"):
            lock(tmp_path, "acme")
    assert not is_locked(tmp_path)
