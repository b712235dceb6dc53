"""The app: it puts the views on the screen, tells them what happens, and turns keys into deeds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from textual import work
from textual.app import App, ComposeResult
from textual.binding import BindingsMap
from textual.css.query import NoMatches
from textual.screen import Screen
from textual.widgets import ContentSwitcher

from agenthub.errors import AgenthubError
from agenthub.messages import Completion, Event, now
from agenthub.tui import feed
from agenthub.tui.bar import Bar
from agenthub.tui.commands import Actions
from agenthub.tui.cost_chart import SPAN, CostChart, Spendings
from agenthub.tui.deeds import Deeds
from agenthub.tui.facts import Picture
from agenthub.tui.headline import Headline, ViewTabs
from agenthub.tui.key_line import KeyLine, shown_key
from agenthub.tui.keys import BY_ID, IN_LISTS, KEYS, Key, Preferences, bindings
from agenthub.tui.listing import Listing
from agenthub.tui.org_view import OrgView
from agenthub.tui.palette import NIGHT, Palette
from agenthub.tui.role_panel import RolePanel
from agenthub.tui.source import Source
from agenthub.tui.store import EventStore
from agenthub.tui.view import View
from agenthub.tui.view_screen import ViewScreen
from agenthub.tui.views import more_views

logger = logging.getLogger(__name__)

_WIDE = 120
"""So many cells wide a screen is on which the right half has room."""
_RATE_OVER = timedelta(seconds=10)
_REFRESH_S = 2.0
_COSTS_S = 30.0


class HubApp(App[None]):
    """A hub on a screen."""

    CSS_PATH = "app.tcss"
    COMMANDS = {Actions}
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_WIDE, "-wide")]
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self, source: Source, *, clock: Callable[[], datetime] = now, preferences: Preferences | None = None,
        is_read_only: bool = False, last: int = 500, since: datetime | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            last: How many events to begin with, unless `since` says from when on.
        """
        super().__init__()
        self.source, self.clock, self.is_read_only = source, clock, is_read_only
        self.store = EventStore()
        self.feed = feed.Feed(source, self, last=last, since=since)
        self.deeds = Deeds(self)
        self.picture: Picture | None = None
        self._begun = False
        self._preferences = preferences = preferences or Preferences()
        self._recent: list[datetime] = []
        self._watched = ""
        self._title = ""
        self.keymap = dict(preferences.keymap)
        self._bindings = BindingsMap([*self._bindings_of_app(), *bindings(self.keymap)])
        self.shown_keys = {key.id: shown_key(self.keymap.get(key.id, key.key)) for key in KEYS}
        self.register_theme(NIGHT)
        self._palette: tuple[str, Palette] | None = None
        self.theme = preferences.theme or NIGHT.name
        self.set_keymap({name: keys for name, keys in self.keymap.items() if name in IN_LISTS})

    def _bindings_of_app(self) -> Iterable[Any]:
        """What Textual itself binds: the palette's Ctrl-P and Ctrl-C."""
        return [binding for _, binding in self._bindings if binding.action not in ("quit", "help_quit")]

    # ── parts ──────────────────────────────────────────────────────────────────────────────────────
    def compose(self) -> ComposeResult:
        yield Headline(self.source.org, is_read_only=self.is_read_only)
        yield ViewTabs()
        with ContentSwitcher(initial="org"):
            yield OrgView(roles=list(self.source.reports_to))
            yield from more_views()
        yield Bar(list(self.source.reports_to))
        yield KeyLine()

    @property
    def palette(self) -> Palette:
        """The colours of the theme that is on."""
        if self._palette is None or self._palette[0] != self.theme:
            self._palette = (self.theme, Palette(self.get_css_variables()))
        return self._palette[1]

    @property
    def is_wide(self) -> bool:
        """True if there is room for the right half."""
        return self.size.width >= _WIDE

    @property
    def base(self) -> Screen[Any]:
        """The screen with the views."""
        return self.screen_stack[0]

    @property
    def bar(self) -> Bar:
        return self.base.query_one(Bar)

    @property
    def view_name(self) -> str:
        """Which view is on the screen, whatever lies over it."""
        return self.base.query_one(ContentSwitcher).current or "org"

    @property
    def front(self) -> View:
        """The view that keys are about."""
        for screen in reversed(self.screen_stack[1:]):
            if isinstance(screen, ViewScreen) and screen.view.is_ready:
                return screen.view
        return self.base.query_one(f"#{self.view_name}", View)

    @property
    def is_there(self) -> bool:
        """False once the screen is taken down: what comes then is not drawn."""
        if not (self._begun and self.is_running) or self._exit:
            return False
        return bool(self.screen_stack) and bool(self.base.query(Headline))

    @property
    def rate(self) -> float:
        """Events a second, of late: by when they happened, so that what was read at the start does not count."""
        begun = self.clock() - _RATE_OVER
        self._recent = [at for at in self._recent if at > begun]
        return len(self._recent) / _RATE_OVER.total_seconds()

    # ── life ───────────────────────────────────────────────────────────────────────────────────────
    def on_mount(self) -> None:
        self.title = f"agenthub {self.source.org}"
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """Once everything is there that can be told something."""
        self._begun = True
        self.front.query(Listing).first().focus()
        for warning in self._preferences.warnings:
            self.say(warning, severity="warning", timeout=12)
        self._run_feed()
        self._read_costs()
        self.set_interval(1.0, self._tick)
        self.set_interval(_REFRESH_S, self.refresh_front)
        self.set_interval(_COSTS_S, self._read_costs)
        self.theme_changed_signal.subscribe(self, lambda _: self._repaint())
        self.show_keys()

    @work(exclusive=True, group="feed")
    async def _run_feed(self) -> None:
        await self.feed.run()

    def _tick(self) -> None:
        if not self.is_there:
            return
        self.base.query_one(Headline).see(self.picture, self.clock())

    @work(exclusive=True, group="costs")
    async def _read_costs(self) -> None:
        at = self.clock()
        try:
            found: Sequence[Completion] = await self.source.completions(at - SPAN)
        except (AgenthubError, TimeoutError) as error:
            logger.info("costs: %s", error)
            return
        spendings = Spendings.of(found, at)
        for chart in self.base.query(CostChart):
            chart.show(spendings)

    @work(exclusive=True, group="refresh")
    async def refresh_front(self) -> None:
        """Read again what only the front view shows."""
        if not self.is_there:
            return
        view = self.front
        try:
            await view.refreshed()
        except (AgenthubError, TimeoutError) as error:
            logger.info("%s: %s", view.name_of_view, error)
        except NoMatches:
            if self.is_there and view is self.front:
                raise  # else it was taken down meanwhile

    def _repaint(self) -> None:
        if not self.is_there:
            return
        for screen in self.screen_stack:
            for listing in screen.query(Listing):
                listing.redraw()
        if self.picture is not None:
            self.front.see(self.picture)

    # ── what happens ───────────────────────────────────────────────────────────────────────────────
    def on_seen(self, event: feed.Seen) -> None:
        """The hub as it is now."""
        if not self.is_there:
            return
        self.picture = event.picture
        with self.batch_update():
            self.base.query_one(Headline).see(self.picture, self.clock())
            self.base.query_one(ViewTabs).see(self.picture)
            self.front.see(self.picture)
            self.show_keys()
        self._show_title()

    def on_lost(self, event: feed.Lost) -> None:
        """The hub does not answer: what is on the screen stays, and it is said."""
        if not self.is_there:
            return
        if self.picture is not None:
            self.picture = self.picture._replace(round_trip_s=None)
            self.base.query_one(Headline).see(self.picture, self.clock())

    def on_heard(self, event: feed.Heard) -> None:
        """Events: a burst of them is drawn once."""
        if not self.is_there:
            return
        begun = self.clock() - _RATE_OVER
        self._recent += [one.at for one in event.events if one.at > begun]
        new: Sequence[Event] = event.events
        dropped = self.store.add(new)
        with self.batch_update():
            for view in self.base.query(View):
                view.hear(new, dropped)

    def on_said(self, event: feed.Said) -> None:
        """Words of the role that is watched."""
        if not self.is_there:
            return
        for panel in self.front.query(RolePanel):
            if panel.role == event.role:
                panel.hear(event.events)

    def watch_role(self, role: str) -> None:
        """Have what a role says and does be told."""
        if role != self._watched:
            self._watched = role
            self.feed.watch(role)

    def watch_again(self) -> None:
        """Have it be told from its recent past on once more."""
        self.feed.watch(self._watched)

    def on_listing_moved(self, event: Listing.Moved) -> None:
        if event.listing.has_focus:  # what another one is on changes no key
            self.show_keys()

    def on_descendant_focus(self) -> None:
        self.show_keys()

    def on_resize(self) -> None:
        self.call_after_refresh(self._see_again)

    def _see_again(self) -> None:
        if not self.is_there:
            return
        if self.picture is not None:
            self.front.see(self.picture)
        self.show_keys()

    def _show_title(self) -> None:
        """The title of the terminal: who needs a person, seen in the list of windows."""
        assert self.picture is not None
        need = len(self.picture.decisions)
        title = f"{need} need you · {self.source.org}" if need else f"{self.source.org} · agenthub"
        if title != self._title:
            self._title = self.title = title
            driver = self._driver
            if driver is not None and not self.is_headless and not self.is_web:
                safe = "".join(c for c in title if c.isprintable())
                driver.write(f"\x1b]0;{safe}\x07")

    # ── views ──────────────────────────────────────────────────────────────────────────────────────
    def go(self, name: str) -> None:
        """Put a view on the screen."""
        while isinstance(self.screen, ViewScreen):
            self.pop_screen()
        self.base.query_one(ContentSwitcher).current = name
        self.base.query_one(ViewTabs).shows(name)
        if self.picture is not None:
            self.front.see(self.picture)
        self.front.take_focus()
        self.refresh_front()
        self.show_keys()

    def open(self, view: View) -> None:
        """Put something on a screen of its own; Escape comes back."""
        self.push_screen(ViewScreen(view))

    def on_view_tabs_wanted(self, event: ViewTabs.Wanted) -> None:
        self.go(event.view)

    # ── keys ───────────────────────────────────────────────────────────────────────────────────────
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "act" and parameters:
            key = BY_ID.get(str(parameters[0]))
            return key is not None and self.applies(key)
        return super().check_action(action, parameters)

    def applies(self, key: Key) -> bool:
        """True if a key does something in the view that is on the screen."""
        try:
            return not key.views or self.front.name_of_view in key.views
        except (IndexError, LookupError):  # nothing is on the screen yet
            return False

    def show_keys(self) -> None:
        """Those that do something to what is chosen."""
        if self.picture is None or not self.is_there:
            return
        selection = self.front.selection
        shown = []
        for key in KEYS:
            is_way_out = key.id == "app.back" and self.screen is not self.base
            if not (key.is_shown or is_way_out) or not self.applies(key) or (key.changes and self.is_read_only):
                continue
            if key.id.startswith("decide.") and not self.deeds.decides(key.id, selection):
                continue
            shown.append((key, self.shown_keys[key.id]))
        for line in self.screen.query(KeyLine):
            line.see(shown)

    def on_key_line_pressed(self, event: KeyLine.Pressed) -> None:
        self.action_act(event.identity)

    def action_act(self, identity: str) -> None:
        """Do what a key is for."""
        key = BY_ID[identity]
        if key.changes and self.is_read_only:
            self.say(f"Read-only: `{key.word}` is turned off. Start without --read-only to change things.")
            return
        self._do(identity)

    @work(group="deeds")
    async def _do(self, identity: str) -> None:
        try:
            await self.deeds.do(identity)
        except (AgenthubError, TimeoutError) as error:
            self.say(str(error) or "It took too long.", severity="error", timeout=8)
        if not self._exit:
            self.show_keys()

    def say(self, text: str, *, severity: Any = "information", timeout: float = 5) -> None:
        """A few words in the corner; nothing in them is read as markup."""
        self.notify(text, severity=severity, timeout=timeout, markup=False)

    # ── writing ────────────────────────────────────────────────────────────────────────────────────
    def on_bar_sent(self, event: Bar.Sent) -> None:
        self._send(event.text)

    @work(group="deeds")
    async def _send(self, text: str) -> None:
        try:
            await self.deeds.send(text)
        except (AgenthubError, TimeoutError) as error:
            self.say(str(error), severity="error", timeout=8)
            self.bar.write(text)

    def on_bar_filtered(self, event: Bar.Filtered) -> None:
        self.front.filtered(event.text)

    def on_bar_left(self) -> None:
        self.front.take_focus()
