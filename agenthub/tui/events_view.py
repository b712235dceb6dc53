"""Everything that happened, filtered by kind, role, words or id."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult

from agenthub.cli.lines import who_width
from agenthub.messages import Event
from agenthub.tui.event_list import EventList, feed_state, filter_title
from agenthub.tui.facts import Picture
from agenthub.tui.listing import Listing
from agenthub.tui.palette import entitle
from agenthub.tui.view import Selection, View


class EventsView(View):
    """The events on the whole screen."""

    name_of_view = "events"

    def __init__(self) -> None:
        super().__init__(id="events")

    def compose(self) -> ComposeResult:
        width = min(27, who_width(list(self.hub.source.reports_to)))
        events = EventList(who_width=width, id="all-events", has_titles=True)
        events.add_class("framed")
        yield events

    @property
    def _list(self) -> EventList:
        return self.query_one(EventList)

    @property
    def is_filtered(self) -> bool:
        return bool(self._list.filter)

    @property
    def selection(self) -> Selection:
        event = self._list.row
        return Selection() if event is None else of_event(event)

    def hear(self, new: Sequence[Event], dropped: Sequence[Event]) -> None:
        self._list.hear(new, dropped)
        if self.hub.view_name == self.name_of_view:
            self.feed_title()

    def see(self, picture: Picture) -> None:
        self.feed_title()

    def feed_title(self) -> None:
        """Say whether the events follow, stand still, are filtered."""
        events, p = self._list, self.palette
        title = filter_title(p, f"events {len(events.rows):,}", events.filter)
        entitle(events, title, feed_state(self.hub.rate, p, events))

    def filtered(self, filter_: str) -> None:
        self._list.filter_by(filter_, self.hub.store)
        self.feed_title()

    def on_listing_moved(self, event: Listing.Moved) -> None:
        self.feed_title()

    def on_listing_chosen(self, event: Listing.Chosen) -> None:
        self.hub.action_act("look.trace" if self.selection.message_id else "look.peek")


def of_event(event: Event) -> Selection:
    """What keys may do with an event."""
    text = f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}  {event.kind}  {event.role}\n\n{event.text}"
    return Selection(
        role=event.role, message_id=event.message_id, copied=event.model_dump_json(), title=event.kind,
        body=f"{text}\n\n{event.model_dump_json(indent=2)}",
    )  # fmt: skip
