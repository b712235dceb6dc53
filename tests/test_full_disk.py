"""A role whose disk is full does nothing that it could not record, says so, and goes on when there is room."""

from __future__ import annotations

import asyncio

import pytest

from agenthub import loop
from agenthub.org.registry import Registry
from agenthub.runtime import RolePlace, run_role
from agenthub.sessions.journal import Journal
from tests.organization import Hub, says, until


class SmallDisk(RolePlace):
    """A place whose journal is on a disk that `fill` fills: SQLite itself refuses to write more pages."""

    opened: list[Journal] = []  # noqa: RUF012

    def journal(self) -> Journal:
        self.opened.append(super().journal())
        return self.opened[-1]

    def fill(self) -> None:
        (pages,) = self.opened[-1]._file.reading.execute("PRAGMA page_count").fetchone()
        self.opened[-1]._file.reading.execute(f"PRAGMA max_page_count = {pages}")

    def free(self) -> None:
        self.opened[-1]._file.reading.execute("PRAGMA max_page_count = 1000000")


async def test_a_full_disk_stops_the_work_until_there_is_room(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOOK_FOR_ROOM_S", 0.05)
    place = SmallDisk(hub.settings, hub.organization, "backend")
    stop, session = asyncio.Event(), says("done")
    running = asyncio.create_task(run_role(place, stop=stop, session=session))
    try:
        first = await hub.send("backend", "a small one")
        await hub.completion("backend", first)
        place.fill()
        sent = [await hub.send("backend", "x", id=f"{n}{'x' * 150}") for n in range(60)]  # rows, until no page is left
        beat = await until(lambda: _state(hub, "stuck"))
        assert "disk is full" in beat.doing
        assert not running.done()
        place.free()
        for message_id in sent:
            assert (await hub.completion("backend", message_id)).outcome == "done"
    finally:
        stop.set()
        await running
    assert len(session.prompts) <= 63, "what had a turn has no second one, but for the one that could not be recorded"


async def _state(hub: Hub, state: str) -> object:
    beat = (await Registry(hub.bus).all()).get("backend")
    return beat if beat is not None and beat.state == state else None
