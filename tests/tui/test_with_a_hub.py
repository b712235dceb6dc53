"""Keys pressed against a real organization: a real server, the real role, the rehearsal model over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from textual.pilot import Pilot

from agenthub.bus.connecting import connect
from agenthub.bus.identity import OPERATOR, Keyring
from agenthub.client import Client
from agenthub.messages import Outcome
from agenthub.rehearsal.server import start_rehearsal
from agenthub.tui.app import HubApp
from agenthub.tui.event_list import EventList
from agenthub.tui.facts import NEEDS_YOU
from agenthub.tui.org_view import OrgView
from agenthub.tui.pane import Pane
from agenthub.tui.source import HubSource
from agenthub.tui.views import MessageView
from tests.organization import Hub, until
from tests.test_approvals import WRITE, Desk, _organize

WIDE = (168, 42)


@pytest.fixture
async def desk(hub: Hub) -> AsyncIterator[Desk]:
    await _organize(hub)
    async with start_rehearsal(speed=0) as endpoint:
        yield Desk(hub, endpoint)


@contextlib.asynccontextmanager
async def screen(
    hub: Hub, size: tuple[int, int] = WIDE, is_read_only: bool = False
) -> AsyncIterator[tuple[HubApp, Pilot[None]]]:
    """The terminal UI with a connection of its own, as `agenthub tui` has it."""
    identity = Keyring(hub.settings.keys).find(OPERATOR)
    async with connect(hub.server.url, name="tui", patience_s=5, identity=identity) as bus:
        app = HubApp(HubSource(Client(bus, hub.organization), is_rehearsal=True), is_read_only=is_read_only)
        async with app.run_test(size=size) as pilot:
            await until(lambda: app.picture is not None)
            yield app, pilot


def org(app: HubApp) -> OrgView:
    return app.base.query_one(OrgView)


async def write(pilot: Pilot[None], text: str) -> None:
    keys = {"@": "at", "!": "exclamation_mark", " ": "space"}
    await pilot.press(*(keys.get(character, character) for character in text))


async def test_a_directive_is_written_and_its_work_seen(desk: Desk) -> None:
    async with desk.works(), screen(desk.hub) as (app, pilot):
        await pilot.press("s")
        app.bar.value = ""
        await write(pilot, "@backend !high rehearse: say shipped")
        await pilot.press("enter")
        feed = org(app).feed
        (done,) = await until(lambda: [e for e in feed.rows if e.kind == "completed" and e.text == "shipped"])
        assert (done.role, done.data["priority"]) == ("backend", "high")
        assert org(app).agent_list.select("backend")
        pane = org(app).panel.pane
        await until(lambda: "shipped" in pane.text)  # the transcript of its recent past
        feed.focus()
        assert feed.row is not None
        await pilot.press("T")
        await until(lambda: isinstance(app.front, MessageView) and "shipped" in app.front.query_one(Pane).text)
        await pilot.press("escape")
        assert app.front is org(app)


async def test_what_waits_for_a_person_is_first_and_one_key_approves_it(desk: Desk) -> None:
    async with desk.works(), screen(desk.hub) as (app, pilot):
        message_id = await desk.hub.send("backend", WRITE)
        await until(lambda: app.picture and app.picture.decisions)
        await pilot.pause()
        agent = org(app).agent_list.rows[0]
        assert (agent.role, agent.state) == ("backend", NEEDS_YOU)
        assert app.title == "1 need you · acme"
        assert not desk.written()
        await pilot.press("a")
        done = await desk.hub.completion("backend", message_id)
        assert (done.outcome, desk.written()) == (Outcome.DONE, True)
        await until(lambda: app.picture and not app.picture.decisions)


async def test_a_no_takes_a_reason_and_escape_takes_it_back(desk: Desk) -> None:
    async with desk.works(), screen(desk.hub, (80, 24)) as (app, pilot):
        message_id = await desk.hub.send("backend", WRITE)
        await until(lambda: app.picture and app.picture.decisions)
        await pilot.press("4", "x")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("escape")
        assert len(await desk.approvals.waiting()) == 1
        await pilot.press("x")
        await until(lambda: len(app.screen_stack) == 2)
        await write(pilot, "not on a Friday")
        await pilot.press("enter")
        done = await desk.hub.completion("backend", message_id)
        assert (done.outcome, "not on a Friday" in done.text, desk.written()) == (Outcome.BLOCKED, True, False)


async def test_watching_changes_nothing(desk: Desk) -> None:
    async def streams() -> dict[str, int]:
        found = await desk.hub.bus.js.streams_info()
        return {
            info.config.name or "": info.state.last_seq for info in found if "registry" not in str(info.config.name)
        }

    await desk.hub.send("backend", WRITE)  # no role runs: it waits
    before = await streams()
    async with screen(desk.hub) as (app, pilot):
        for key in ("2", "3", "4", "5", "8", "1", "space", "escape", "t", "o", "e", "v", "v"):
            await pilot.press(key)
            await pilot.pause()
        await until(lambda: app.picture and app.picture.waiting == 1)
    assert await streams() == before


async def test_read_only_turns_off_what_changes_something_and_says_so(desk: Desk) -> None:
    async with desk.works(), screen(desk.hub, is_read_only=True) as (app, pilot):
        await desk.hub.send("backend", WRITE)
        await until(lambda: app.picture and app.picture.decisions)
        await pilot.press("a", "A", "s")
        assert not app.bar.has_focus
        assert len(await desk.approvals.waiting()) == 1
        assert "turned off" in "".join(str(notice.message) for notice in app._notifications)
        assert isinstance(org(app).feed, EventList)
