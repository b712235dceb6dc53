"""The demo as a newcomer sees it, in a shell that does not know the program by its name."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agenthub.cli.show import in_order
from agenthub.cradle import RUN_VARIABLE
from agenthub.messages import Event
from tests.organization import write_organization


@pytest.mark.parametrize("is_venv_here", [True, False])
async def test_what_it_says_to_type_next_works_and_its_times_do_not_step_back(
    tmp_path: Path, is_venv_here: bool
) -> None:
    write_organization(tmp_path)
    program = Path(sys.executable).with_name("agenthub")
    if is_venv_here:
        (tmp_path / ".venv").symlink_to(program.parent.parent)
        program = tmp_path / ".venv" / "bin" / "agenthub"
    process = await asyncio.create_subprocess_exec(
        program.with_name("python"), "-m", "agenthub", "demo", "Ship it", "--speed", "50", cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != RUN_VARIABLE} | {"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    said = out.decode()
    typed = ".venv/bin/agenthub" if is_venv_here else str(program)
    assert f"next        {typed} up -d --wait, then {typed} send ceo" in said
    times = [float(seconds) for seconds in re.findall(r"^ *([0-9.]+)s  ", said, re.MULTILINE)]
    assert len(times) > 3
    assert times == sorted(times)


async def test_an_event_that_is_told_before_an_earlier_one_is_shown_after_it_and_none_is_kept() -> None:
    goes_on = asyncio.Event()

    def event(second: int) -> Event:
        return Event(kind="step", role="qa", at=datetime(2026, 5, 17, 8, 0, second, tzinfo=UTC), text=f"{second}")

    async def told() -> AsyncGenerator[Event]:
        for second in (2, 1, 3):
            yield event(second)
        await goes_on.wait()
        for second in (5, 4):
            yield event(second)

    shown: list[str] = []
    async with asyncio.timeout(30):
        async for one in in_order(told(), within_s=0.2):
            shown.append(one.text)
            if one.text == "3":
                goes_on.set()
    assert shown == ["1", "2", "3", "4", "5"]
