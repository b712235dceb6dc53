"""Keys, filters, the line to write in, a user's own file: rules without a hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from agenthub.errors import AgenthubError
from agenthub.messages import Event, Priority
from agenthub.tui.app import HubApp
from agenthub.tui.dispatch import Dispatch, parse, read_plan
from agenthub.tui.event_list import EventList
from agenthub.tui.facts import agents, as_tree, fits, ordered
from agenthub.tui.feed import Heard, Seen
from agenthub.tui.inbox_view import InboxView
from agenthub.tui.keys import KEYS, Preferences, read_preferences
from agenthub.tui.org_view import OrgView
from agenthub.tui.role_view import RoleView
from agenthub.tui.schedules_view import SchedulesView
from agenthub.tui.store import EventStore
from agenthub.tui.wording import age
from tests.organization import until
from tests.tui.drawn import drawn
from tests.tui.fixed import AT, REPORTS_TO, FixedSource, event

THEMES = ("agenthub", "nord")


@contextlib.asynccontextmanager
async def screen(size: tuple[int, int] = (168, 42), **keymap: str) -> AsyncIterator[tuple[HubApp, Pilot[None]]]:
    preferences = Preferences(keymap={name.replace("__", "."): keys for name, keys in keymap.items()})
    app = HubApp(FixedSource(), clock=lambda: AT, preferences=preferences)
    async with app.run_test(size=size) as pilot:
        await until(lambda: app.picture is not None and app.store.events)
        await pilot.pause()
        yield app, pilot


def deeds(app: HubApp) -> list[tuple[object, ...]]:
    assert isinstance(app.source, FixedSource)
    return app.source.deeds


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("@backend !high look at this", Dispatch("backend", "look at this", Priority.HIGH)),
        ("!urgent @qa now", Dispatch("qa", "now", Priority.CRITICAL)),
        ("no names at all", Dispatch("ceo", "no names at all", Priority.MEDIUM)),
        ("@qa mail me @home !soon", Dispatch("qa", "mail me @home !soon", Priority.MEDIUM)),
        ("@nobody hello", "nobody"),
        ("@qa !hgih hello", "hgih"),
        ("@qa !high  ", "nothing to send"),
    ],
)
def test_a_line_says_whom_and_how_urgent(line: str, said: Dispatch | str) -> None:
    if isinstance(said, Dispatch):
        assert parse(line, roles=REPORTS_TO, to="ceo") == said
        return
    with pytest.raises(AgenthubError, match=said):
        parse(line, roles=REPORTS_TO, to="ceo")


@pytest.mark.parametrize(
    ("filter_", "passes"), [("", True), ("BACK", True), ("!back", False), ("!qa", True), ("qa", False), (" ! ", True)]
)
def test_a_filter_and_its_inverse(filter_: str, passes: bool) -> None:
    assert fits(filter_, "backend", "working") is passes


async def test_who_needs_a_person_is_first_and_a_tree_shows_who_reports_to_whom() -> None:
    found = agents(await FixedSource().picture())
    assert [agent.role for agent in ordered(found, "needs you first")][:4] == ["qa", "devops", "support", "data"]
    assert ordered(found, "cost")[0].role == "backend"
    tree = as_tree(found, REPORTS_TO)
    assert [(agent.role, agent.depth) for agent in tree][:3] == [("ceo", 0), ("cto", 1), ("backend", 2)]
    assert len(tree) == len(found)
    circle = as_tree(found, {**REPORTS_TO, "ceo": "cto"})
    assert {agent.role for agent in circle} == set(REPORTS_TO)


def test_the_store_is_bounded() -> None:
    store = EventStore(most=100)
    many = [event(0, "step", "qa", str(number)) for number in range(250)]
    dropped: list[Event] = []
    for start in range(0, 250, 10):
        dropped += store.add(many[start : start + 10])
    assert len(store.events) <= 100
    assert dropped + store.events == many


def test_every_action_has_its_own_name_and_its_own_key_where_it_is() -> None:
    assert len({key.id for key in KEYS}) == len(KEYS)
    for one in KEYS:
        for other in KEYS:
            shares = set(one.key.split(",")) & set(other.key.split(","))
            together = not one.views or not other.views or set(one.views) & set(other.views)
            assert one is other or not shares or not together, (one.id, other.id)


def test_what_is_wrong_in_a_users_file_is_said_and_the_rest_holds(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    assert read_preferences(file, themes=THEMES) == Preferences()
    file.write_text('[tui]\ntheme = "nord"\n[tui.keymap]\n"look.freeze" = "z"\n"look.freze" = "y"\nlook.sort = 3\n')
    found = read_preferences(file, themes=THEMES)
    assert (found.theme, found.keymap) == ("nord", {"look.freeze": "z"})
    assert "`look.freze` is no action. Did you mean `look.freeze`?" in found.warnings[0]
    assert "look.sort" in found.warnings[1]
    file.write_text('[tui]\ntheme = "nrod"\nkeymap = 1\ncolour = 2\n')
    found = read_preferences(file, themes=THEMES)
    assert (found.theme, found.keymap, len(found.warnings)) == ("", {}, 3)
    file.write_text("[tui\n")
    assert "cannot be read" in read_preferences(file, themes=THEMES).warnings[0]


async def test_what_waits_for_a_person_is_folded_anew_when_the_screen_gets_narrower() -> None:
    async with screen() as (app, pilot):
        await pilot.press("down")
        await pilot.pause()
        await pilot.resize_terminal(122, 42)
        await pilot.pause()
        lines = drawn(app).splitlines()
        (first,) = [number for number, line in enumerate(lines) if "◆ waiting for you (2)" in line]
        left = lines[first].index("╭─ ◆")
        rows = [line[left + 2 : left + 15].strip() for line in lines[first + 1 : first + 8]]
        assert [row for row in rows if row] == ["▸ devops", "qa"], "only names stand before the words"
        (panel,) = [number for number, line in enumerate(lines) if "─ devops ─" in line]
        assert "approve: run_command" in lines[panel + 2] and "context " in lines[panel + 3]


async def test_a_role_needs_a_person_since_it_asked_and_not_since_its_process_said_so() -> None:
    found = {agent.role: agent for agent in agents(await FixedSource().picture())}
    assert age(found["qa"].since, AT) == "1m"
    assert age(found["cto"].since, AT) == "11m"


async def test_a_key_can_be_put_elsewhere() -> None:
    async with screen(look__tree="z") as (app, pilot):
        org = app.base.query_one(OrgView)
        await pilot.press("t")
        assert not org.is_tree
        await pilot.press("z")
        await until(lambda: org.is_tree)


async def test_keys_decide_only_what_they_are_for_and_what_is_chosen() -> None:
    async with screen() as (app, pilot):
        await pilot.press("a")  # the question of qa is first: a yes is no answer to it
        await until(lambda: app._notifications)
        assert deeds(app) == []
        await pilot.press("r")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("2")
        await until(lambda: deeds(app) == [("reply", "e1e1e1e1bbbb", "tonight")])
        await pilot.press("down", "a")
        await until(lambda: deeds(app)[1:] == [("approve", "d0d0d0d0aaaa")])
        await pilot.press("A")  # for always: that is asked first
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("n")
        assert len(deeds(app)) == 2


async def test_what_cannot_be_taken_back_asks_and_says_how_many() -> None:
    async with screen() as (app, pilot):
        await pilot.press("5")
        view = app.front
        await until(lambda: view.selection.letter)
        await pilot.press("ctrl+r")
        await until(lambda: len(app.screen_stack) == 2)
        assert "2 dead letters" in str(app.screen.query_one("#window").border_title)
        await pilot.press("escape")
        await pilot.press("D")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("n")
        assert deeds(app) == []
        await pilot.press("ctrl+r")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("y")
        await until(lambda: [deed[0] for deed in deeds(app)] == ["replay", "replay"])


async def test_frozen_events_stand_still_and_nothing_is_missed() -> None:
    async with screen() as (app, pilot):
        feed = app.base.query_one(OrgView).feed
        before = len(feed.rows)
        await pilot.press("e")
        await until(lambda: feed.is_frozen)
        app.post_message(Heard([event(0, "step", "qa", "while frozen")] * 30))
        await until(lambda: feed.kept_back == 30)
        assert len(feed.rows) == before
        await pilot.press("e")
        await until(lambda: len(feed.rows) == before + 30)


async def test_the_rate_falls_when_nothing_happens() -> None:
    moment = AT
    app = HubApp(FixedSource(), clock=lambda: moment)
    async with app.run_test(size=(168, 42)):
        await until(lambda: app.picture is not None and app.store.events)
        feed = app.front.query_one("#feed", EventList)
        app.post_message(Heard([event(0, "step", "qa", f"number {number}") for number in range(500)]))
        await until(lambda: "live · 50" in str(feed.border_subtitle))
        moment = AT + timedelta(seconds=11)
        await until(lambda: "live · 0.0/s" in str(feed.border_subtitle))


async def test_a_burst_is_drawn_once_and_a_day_of_events_scrolls() -> None:
    async with screen() as (app, pilot):
        feed = app.base.query_one(OrgView).feed
        drawn = 0
        draw = feed._line

        def counted(*arguments: object) -> object:
            nonlocal drawn
            drawn += 1
            return draw(*arguments)  # type: ignore[arg-type]

        feed._line = counted  # type: ignore[method-assign,assignment]
        app.post_message(Heard([event(0, "step", "qa", f"number {number}") for number in range(20_000)]))
        await until(lambda: len(feed.rows) > 20_000)
        await pilot.pause()
        assert 0 < drawn <= 3 * feed.size.height  # only what is on the screen
        feed.focus()
        await pilot.press("g")
        assert feed.scroll_offset.y == 0
        await pilot.press("G")
        await asyncio.sleep(0)
        assert feed.row is not None
        assert feed.row.text == "number 19999"


async def test_a_filter_leaves_lines_out_until_escape() -> None:
    async with screen() as (app, pilot):
        org = app.base.query_one(OrgView)
        everybody = len(org.agent_list.rows)
        await pilot.press("slash", "exclamation_mark", "w", "o", "r", "k", "enter")
        await until(lambda: len(org.agent_list.rows) < everybody)
        assert all(agent.state.word != "working" for agent in org.agent_list.rows)
        await pilot.press("escape")
        await until(lambda: len(org.agent_list.rows) == everybody)


async def test_an_agent_is_steered_by_one_key_and_what_ends_its_work_asks_why() -> None:
    async with screen() as (app, pilot):
        assert app.base.query_one(OrgView).agent_list.select("backend")
        await pilot.press("p", "S", "R")
        steered = [("steer", "pause", "backend"), ("steer", "estop", "backend"), ("steer", "restart", "backend")]
        await until(lambda: sorted(map(str, deeds(app))) == sorted(map(str, steered)))
        await pilot.press("c")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("escape", "n")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("l", "o", "o", "k", "enter")
        await until(lambda: deeds(app)[3:] == [("steer", "nudge", "backend", "look")])
        await pilot.press("c")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("n", "o", "enter")
        await until(lambda: deeds(app)[4:] == [("steer", "cancel", "backend", "no")])


async def test_an_agent_that_does_nothing_has_nothing_to_cancel() -> None:
    async with screen() as (app, pilot):
        assert app.base.query_one(OrgView).agent_list.select("docs")
        await pilot.press("c")
        await until(lambda: "works on nothing" in "".join(str(notice.message) for notice in app._notifications))
        assert deeds(app) == []


async def test_everything_is_stopped_only_after_a_yes_that_says_how_many() -> None:
    async with screen() as (app, pilot):
        await pilot.press("E")
        await until(lambda: len(app.screen_stack) == 2)
        assert "9 agents" in str(app.screen.query_one("#window").border_title)
        await pilot.press("n")
        assert deeds(app) == []
        await pilot.press("E")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("y")
        await until(lambda: deeds(app) == [("steer", "estop", None)])
        await pilot.press("U")
        await until(lambda: deeds(app)[1:] == [("steer", "thaw", None)])


async def test_a_message_that_waits_is_ranked_moved_put_back_and_cancelled() -> None:
    async with screen() as (app, pilot):
        await pilot.press("2")
        view = app.front
        assert isinstance(view, InboxView)
        await until(lambda: view.listing.rows)
        assert view.listing.select("backend/171")
        await pilot.press("plus", "minus", "R")
        whose = ("rearrange", "reprioritize", "backend", "abc0ffee")
        await until(lambda: len(deeds(app)) == 3)
        assert set(deeds(app)) == {
            (*whose, Priority.CRITICAL), (*whose, Priority.MEDIUM), ("rearrange", "requeue", *whose[2:])
        }  # fmt: skip
        await pilot.press("m")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("q", "a", "enter")
        await until(lambda: deeds(app)[3:] == [("rearrange", "move", *whose[2:], "qa")])
        await pilot.press("D")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("enter")
        await until(lambda: deeds(app)[4:] == [("rearrange", "cancel", *whose[2:], "")])
        assert view.listing.select("qa/180")
        await pilot.press("plus")  # critical already
        await until(lambda: "nothing beyond" in "".join(str(notice.message) for notice in app._notifications))
        assert view.listing.select("data/99")
        await pilot.press("R")  # cannot be read
        await until(lambda: "no message here" in "".join(str(notice.message) for notice in app._notifications))
        assert len(deeds(app)) == 5


async def test_a_schedule_is_run_paused_and_removed() -> None:
    async with screen() as (app, pilot):
        await pilot.press("7")
        view = app.front
        assert isinstance(view, SchedulesView)
        await until(lambda: view.listing.rows)
        await pilot.press("R", "p")
        await until(lambda: len(deeds(app)) == 2)
        assert set(deeds(app)) == {("reschedule", "run", "devops.health"), ("reschedule", "pause", "devops.health")}
        assert view.listing.select("docs.weekly")
        await pilot.press("p")
        await until(lambda: deeds(app)[2:] == [("reschedule", "resume", "docs.weekly")])
        await pilot.press("D")
        await until(lambda: len(app.screen_stack) == 2)
        await pilot.press("y")
        await until(lambda: deeds(app)[3:] == [("reschedule", "remove", "docs.weekly")])


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('sweep @qa "0 9 * * 1-5" Run it', {"cron": "0 9 * * 1-5"}), ("sweep @qa @daily Run it", {"cron": "@daily"}),
        ("sweep qa 1h30m Run it", {"every": "1h30m"}),
        ('sweep @qa "2026-12-24 18:00" Run it', {"at": "2026-12-24 18:00"}),
    ],
)  # fmt: skip
def test_a_line_says_what_is_due_when(line: str, rule: dict[str, str]) -> None:
    plan = read_plan(line)
    said = plan.rule.model_dump(exclude_defaults=True)
    assert (plan.name, plan.to, said) == ("sweep", "qa", {**rule, "text": "Run it"})


@pytest.mark.parametrize(
    "line", ["", "sweep", "sweep @qa", 'sweep @qa "0 9 * *" x', 'sweep @qa "unclosed', "sweep @qa never x"]
)
def test_a_line_that_plans_nothing_says_what_to_write(line: str) -> None:
    with pytest.raises(AgenthubError):
        read_plan(line)


async def test_a_dead_letter_gets_another_life_with_another_message(tmp_path: Path) -> None:
    async with screen() as (app, pilot):
        await pilot.press("5")
        await until(lambda: app.front.selection.letter)
        await pilot.press("e")
        await until(lambda: len(app.screen_stack) == 2)
        area = app.screen.query_one(TextArea)
        assert '"message"' in area.text
        await pilot.press("escape")
        await pilot.press("e")
        await until(lambda: len(app.screen_stack) == 2)
        app.screen.query_one(TextArea).text = "{}"
        await pilot.press("ctrl+s")
        await until(lambda: [(deed[0], deed[-1]) for deed in deeds(app)] == [("replay", b"{}")])


async def test_a_limit_is_set_and_a_schedule_added_by_a_line() -> None:
    async with screen() as (app, pilot):
        await pilot.press("8")
        await until(lambda: app.front.selection.role)
        await pilot.press("b")
        await until(lambda: len(app.screen_stack) == 2)
        app.screen.query_one(Input).value = "usd_day=8"
        await pilot.press("enter")
        await until(lambda: deeds(app) == [("limit", "backend", "usd_day=8")])
        await pilot.press("7", "n")
        await until(lambda: len(app.screen_stack) == 2)
        app.screen.query_one(Input).value = "sweep @qa 30m Sweep"
        await pilot.press("enter")
        await until(lambda: deeds(app)[1:] == [("plan", "sweep @qa 30m Sweep")])


async def test_what_comes_while_the_screen_is_taken_down_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is read until the last moment: an opened view may be gone by then, and what lies below it not yet."""
    late = []

    async def post(view: RoleView) -> None:
        assert view.hub.picture is not None
        late.append(view.hub.post_message(Seen(view.hub.picture)))

    monkeypatch.setattr(RoleView, "on_unmount", post, raising=False)
    async with screen() as (app, pilot):
        await pilot.press("down", "enter")
        await until(lambda: app.front.name_of_view == "role")
    assert late == [True]
