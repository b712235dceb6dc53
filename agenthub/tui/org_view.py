"""The first view: agents, what happens, the one that is looked at, what waits for a person, what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical

from agenthub.asks import Ask
from agenthub.cli.lines import who_width
from agenthub.messages import Event
from agenthub.tui.agent_list import AgentList
from agenthub.tui.cost_chart import CostChart
from agenthub.tui.decisions import DecisionPanel, body
from agenthub.tui.event_list import EventList, feed_state, filter_title
from agenthub.tui.events_view import of_event
from agenthub.tui.facts import SORTINGS, Agent, Picture, Sorting, agents, as_tree, fits, ordered
from agenthub.tui.listing import Listing
from agenthub.tui.palette import entitle
from agenthub.tui.role_panel import RolePanel
from agenthub.tui.view import Selection, View
from agenthub.tui.wording import age


class OrgView(View):
    """Who does what, who needs you, at what cost."""

    name_of_view = "org"
    DEFAULT_CSS = """
    OrgView { layout: horizontal; height: 1fr; }
    OrgView #left { width: 3fr; }
    OrgView #right { width: 2fr; }
    """

    def __init__(self, *, roles: Sequence[str]) -> None:
        super().__init__(id="org")
        self._roles = roles
        self._last: dict[str, Event] = {}
        """What each role ended last."""
        self._picture: Picture | None = None
        self._found: list[Agent] = []
        self.sorting: Sorting = SORTINGS[0]
        self.is_tree = False
        self._filter = ""

    def compose(self) -> ComposeResult:
        longest = max((len(role) for role in self._roles), default=8)
        with Vertical(id="left"):
            yield AgentList(clock=self.hub.clock, longest=longest, id="agents")
            yield EventList(who_width=min(27, who_width(list(self._roles))), id="feed")
        with Vertical(id="right"):
            yield RolePanel(id="panel")
            yield DecisionPanel(id="decisions")
            yield CostChart(id="chart")

    # ── parts ──────────────────────────────────────────────────────────────────────────────────────
    @property
    def agent_list(self) -> AgentList:
        return self.query_one("#agents", AgentList)

    @property
    def feed(self) -> EventList:
        return self.query_one("#feed", EventList)

    @property
    def panel(self) -> RolePanel:
        return self.query_one("#panel", RolePanel)

    @property
    def decisions(self) -> DecisionPanel:
        return self.query_one("#decisions", DecisionPanel)

    @property
    def listings(self) -> Sequence[Listing[object]]:
        return [self.agent_list, self.feed]  # type: ignore[list-item]

    @property
    def is_filtered(self) -> bool:
        return bool(self._filter)

    @property
    def is_wide(self) -> bool:
        """True if the right half is on the screen."""
        return self.hub.is_wide

    @property
    def agent(self) -> Agent | None:
        """The one under the cursor."""
        return self.agent_list.row

    @property
    def selection(self) -> Selection:
        if self.feed.has_focus and (event := self.feed.row) is not None:
            return of_event(event)
        agent = self.agent
        if agent is None:
            return Selection()
        ask = self._ask(agent)
        said = f"{agent.state.word}\n\n{agent.doing}" if ask is None else body(ask)
        return Selection(
            role=agent.role, message_id=agent.message_id, ask=ask, copied=agent.message_id or agent.role,
            title=agent.key, body=said,
        )  # fmt: skip

    def _ask(self, agent: Agent) -> Ask | None:
        picture = self._picture
        if picture is None:
            return None
        if self.is_wide and self.decisions.marked is not None:
            return self.decisions.marked
        return next((ask for ask in picture.decisions if ask.id == agent.ask_id), None)

    # ── told ───────────────────────────────────────────────────────────────────────────────────────
    def see(self, picture: Picture) -> None:
        self._picture = picture
        self._found = [self._with_last(agent) for agent in agents(picture)]
        self.agent_list.styles.height = len(self._found) + 3
        self.feed_title()  # where nothing happens the rate falls
        self._show()

    def _with_last(self, agent: Agent) -> Agent:
        """An agent that does nothing says what it did last."""
        last = self._last.get(agent.role)
        if agent.doing or last is None:
            return agent
        outcome = str(last.data.get("outcome", last.kind)).replace("_", " ")
        what = str(last.data.get("subject") or last.text)
        return agent._replace(doing=f"{outcome} {age(last.at, self.hub.clock())} ago: {what}")

    def _show(self) -> None:
        found = [agent for agent in self._found if fits(self._filter, agent.key, agent.state.word, agent.doing)]
        found = as_tree(found, self.hub.source.reports_to) if self.is_tree else ordered(found, self.sorting)
        self.agent_list.show(found)
        how = "as they report · t for the list" if self.is_tree else f"sorted: {self.sorting} · o to change"
        p = self.palette
        entitle(self.agent_list, filter_title(p, "agents", self._filter), p.text((f" {how} ", "dim")))
        self._show_agent()

    def _show_agent(self) -> None:
        picture, agent = self._picture, self.agent
        if picture is None or not self.is_wide:
            return
        if agent is not None and self.panel.of(agent.role):
            self.hub.watch_role(agent.role)
        self.panel.see(agent, picture)
        self.decisions.see(
            picture.decisions, at=picture.at, role=agent.role if agent else "", palette=self.palette,
            keys=self.hub.shown_keys,
        )  # fmt: skip
        self.query_one("#chart", CostChart).see(picture)

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        self.hub.action_act("look.attach" if event.listing is self.agent_list else "look.trace")

    def on_listing_moved(self, event: Listing.Moved) -> None:
        if event.listing is self.agent_list:
            self._show_agent()

    def hear(self, new: Sequence[Event], dropped: Sequence[Event]) -> None:
        self._last |= {event.role: event for event in new if event.kind in ("completed", "dead")}
        self.feed.hear(new, dropped)
        self.feed_title()

    def feed_title(self) -> None:
        """Say whether the events follow, stand still, are filtered."""
        entitle(
            self.feed,
            filter_title(self.palette, "events", self._filter),
            feed_state(self.hub.rate, self.palette, self.feed),
        )

    def filtered(self, filter_: str) -> None:
        self._filter = filter_
        self.feed.filter_by(filter_, self.hub.store)
        self.feed_title()
        self._show()

    def next_sorting(self) -> None:
        """Sort by the next column."""
        self.is_tree = False
        self.sorting = SORTINGS[(SORTINGS.index(self.sorting) + 1) % len(SORTINGS)]
        self._show()

    def turn_tree(self) -> None:
        """The org chart, or the list again."""
        self.is_tree = not self.is_tree
        self._show()

    async def refreshed(self) -> None:
        if self.is_wide and self.panel.panel == "Inbox" and self.panel.role:
            role = self.panel.role
            waiting = await self.hub.source.inbox(role)
            if self.panel.role == role:
                self.panel.show_inbox(waiting, self.hub.clock())
