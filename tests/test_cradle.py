"""The nursery begins before anything is known of the hub: whatever that comes to, none may be left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from agenthub.cradle import RUN_VARIABLE, begin_nursery
from tests.commands import program
from tests.organization import write_organization

WITHIN_S = 30.0
_MARK = "_TEST_MARK"


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Value of a variable that all processes of this test inherit."""
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    monkeypatch.setenv(_MARK, value := uuid.uuid4().hex)
    return value


def alive(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_ours = process.environ().get(_MARK) == mark and process.pid != os.getpid()
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def test_what_goes_wrong_before_the_hub_starts_ends_the_nursery(mark: str) -> None:
    with pytest.raises(ValueError, match="wrong"), begin_nursery() as nursery:
        assert psutil.Process(nursery.process.pid).environ()[RUN_VARIABLE] == nursery.run_id
        raise ValueError("wrong")
    assert nursery.process.returncode is not None
    assert alive(mark) == []


@pytest.mark.parametrize("words", [["up", "--config", "nowhere.toml"], ["demo", "--config", "nowhere.toml"]])
def test_a_wrong_configuration_is_said_alone_and_leaves_no_process(
    mark: str, tmp_path: Path, words: Sequence[str]
) -> None:
    process = program(*words, folder=tmp_path)
    out, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1
    assert "nowhere.toml" in err
    assert alive(mark) == []


def test_a_start_that_is_killed_while_it_imports_leaves_no_process(mark: str, tmp_path: Path) -> None:
    write_organization(tmp_path)
    process = program("up", "--rehearse", folder=tmp_path)
    until(lambda: len(alive(mark)) == 2)
    process.kill()
    process.communicate(timeout=WITHIN_S)
    until(lambda: not alive(mark))


def test_the_nursery_begins_before_the_libraries_are_imported() -> None:
    code = "import sys, agenthub.cli.run; print(sorted({'pydantic', 'nats', 'psutil', 'yaml'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_a_role_imports_nothing_for_its_client_that_the_nursery_could_have() -> None:
    code = (
        "import sys; from agenthub import nursery; nursery.preload(); before = set(sys.modules);"
        "from agenthub.sessions.anthropic import AnthropicModel;"
        "AnthropicModel('claude', api_key='none', base_url='http://127.0.0.1:1');"
        "print(sorted(set(sys.modules) - before))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
