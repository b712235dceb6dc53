"""Keys pressed against a real organization: a real server, the real role, the rehearsal model over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from textual.pilot import Pilot

from agenthub import subjects
from agenthub.bus.connecting import connect
from agenthub.bus.identity import OPERATOR, Keyring
from agenthub.client import Client
from agenthub.client.schedules import Schedules
from agenthub.client.states import HELD, IDLE, NEEDS_YOU, PAUSED, State
from agenthub.control import Standing
from agenthub.messages import Event, Outcome, now
from agenthub.rehearsal.server import start_rehearsal
from agenthub.role_settings import Schedule
from agenthub.tui.app import HubApp
from agenthub.tui.event_list import EventList
from agenthub.tui.headline import Headline, ViewTabs
from agenthub.tui.inbox_view import InboxView
from agenthub.tui.org_view import OrgView
from agenthub.tui.pane import Pane
from agenthub.tui.schedules_view import SchedulesView
from agenthub.tui.source import HubSource
from agenthub.tui.views import MessageView
from tests.organization import Hub, until
from tests.test_approvals import WRITE, Desk, _organize
from tests.test_budget import delayed, paid_role

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


async def test_what_was_read_at_the_start_is_no_rate_and_inboxes_are_counted_alike(hub: Hub) -> None:
    for number in range(200):
        told = Event(kind="step", role="qa", at=now() - timedelta(hours=1), text=f"number {number}")
        await hub.bus.publish(subjects.event("step", "qa"), told.encode())
    await hub.send("qa", "wait")
    client = Client(hub.bus, hub.organization)
    await client.send("you", "a note")
    async with screen(hub) as (app, pilot):
        await until(lambda: len(app.store.events) >= 200)
        await until(lambda: app.picture and app.picture.mail)
        await pilot.pause()
        assert app.rate == 0
        first, tabs = (str(app.base.query_one(part).render()) for part in (Headline, ViewTabs))
        assert "inbox 2" in first and "2 Inbox 2" in tabs


async def test_what_waits_for_money_is_in_the_inbox_with_what_it_waits_for(hub: Hub) -> None:
    toml = "[roles.backend]\nbudget_usd_day = 0\n"
    async with start_rehearsal(speed=0) as endpoint, paid_role(hub, "backend", endpoint, toml), screen(hub) as shown:
        app, pilot = shown
        message_id, _ = await delayed(hub, "backend", "Write the attachment API")
        await pilot.press("2")
        inbox = app.front
        assert isinstance(inbox, InboxView)
        row = await until(
            lambda: next((row for row in inbox.listing.rows if row.id == message_id and row.item.put_off), None)
        )
        assert row.item.put_off.words.startswith("waits for money until 2")
        assert not row.waits
        await pilot.press("1")
        assert org(app).agent_list.select("backend")
        await pilot.press("v")
        await until(lambda: "waits for money until 2" in org(app).panel.pane.text)


async def test_watching_changes_nothing(desk: Desk) -> None:
    async def streams() -> dict[str, int]:
        found = await desk.hub.bus.js.streams_info()
        return {
            info.config.name or "": info.state.last_seq for info in found if "registry" not in str(info.config.name)
        }

    recorded = await desk.hub.bus.newest(subjects.AUDIT)
    await desk.hub.send("backend", WRITE)  # no role runs: it waits
    await until(lambda: _is_recorded(desk, recorded))  # the broker's own copy comes a moment later
    before = await streams()
    async with screen(desk.hub) as (app, pilot):
        for key in ("2", "3", "4", "5", "8", "1", "space", "escape", "t", "o", "e", "v", "v"):
            await pilot.press(key)
            await pilot.pause()
        await until(lambda: app.picture and app.picture.waiting == 1)
    assert await streams() == before


async def _is_recorded(desk: Desk, before: int) -> bool:
    return await desk.hub.bus.newest(subjects.AUDIT) > before


async def test_read_only_turns_off_what_changes_something_and_says_so(desk: Desk) -> None:
    async with desk.works(), screen(desk.hub, is_read_only=True) as (app, pilot):
        await desk.hub.send("backend", WRITE)
        await until(lambda: app.picture and app.picture.decisions)
        await pilot.press("a", "A", "s")
        assert not app.bar.has_focus
        assert len(await desk.approvals.waiting()) == 1
        assert "turned off" in "".join(str(notice.message) for notice in app._notifications)
        assert isinstance(org(app).feed, EventList)


async def test_keys_pause_reorder_stop_and_let_go_on_what_really_works(desk: Desk) -> None:
    async def standing() -> Standing:
        return (await Client(desk.hub.bus, desk.hub.organization).steering.standing())["backend"]

    async with desk.works(), screen(desk.hub) as (app, pilot):

        def state() -> State | None:
            agent = org(app).agent
            return agent and agent.state

        assert org(app).agent_list.select("backend")
        await pilot.press("p")
        await until(lambda: state() == PAUSED)
        paused = (await standing()).paused
        assert paused is not None
        assert paused.by == "you"
        low = await desk.hub.send("backend", "rehearse: say last", priority="low")
        first = await desk.hub.send("backend", "rehearse: say first")
        await pilot.press("2")
        inbox = app.front
        assert isinstance(inbox, InboxView)
        await until(lambda: [row.id for row in inbox.listing.rows] == [first, low])
        await pilot.press("down", "plus")
        await until(lambda: [str(row.item.message and row.item.message.payload.priority) for row in inbox.listing.rows]
                    == ["medium", "medium"])  # fmt: skip
        assert inbox.listing.select(next(inbox.key(row) for row in inbox.listing.rows if row.id == low))
        await pilot.press("plus")
        await until(lambda: [row.id for row in inbox.listing.rows] == [low, first])
        await pilot.press("1", "E")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("y")
        await until(lambda: state() == HELD)
        await pilot.press("p")  # it may take messages again, and is stopped all the same
        await until(lambda: _is(standing, paused=False, stopped=True))
        await pilot.press("U")
        ends = [await desk.hub.completion("backend", identity) for identity in (low, first)]
        assert [(end.outcome, end.text) for end in ends] == [(Outcome.DONE, "last"), (Outcome.DONE, "first")]
        assert ends[0].ended_at < ends[1].started_at
        await until(lambda: state() == IDLE)


async def _is(standing: Callable[[], Awaitable[Standing]], *, paused: bool, stopped: bool) -> bool:
    found = await standing()
    return (found.paused is not None, found.stopped is not None) == (paused, stopped)


async def test_a_schedule_is_fired_by_a_key_and_its_message_worked_off(desk: Desk) -> None:
    client = Client(desk.hub.bus, desk.hub.organization)
    rule = Schedule.model_validate({"cron": "@yearly", "text": "rehearse: say swept"})
    await Schedules(client).add("sweep", "backend", rule)
    async with desk.works(), screen(desk.hub) as (app, pilot):
        await pilot.press("7")
        view = app.front
        assert isinstance(view, SchedulesView)
        await until(lambda: view.listing.rows)
        await pilot.press("R")
        await until(lambda: [e for e in app.store.events if e.kind == "completed" and e.text == "swept"])
        await pilot.press("p")
        await until(lambda: view.listing.rows and view.listing.rows[0].one.is_paused)
        await pilot.press("D")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("y")
        await until(lambda: not view.listing.rows)
