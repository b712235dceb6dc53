"""What all views have in common: a name, what is chosen in them, and what they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from textual.containers import Container

from agenthub.asks import Ask
from agenthub.client.letters import Buried
from agenthub.messages import Event, Priority
from agenthub.tui.facts import Picture
from agenthub.tui.listing import Listing

if TYPE_CHECKING:
    from agenthub.tui.app import HubApp
    from agenthub.tui.palette import Palette


class Selection(NamedTuple):
    """What the cursor of a view is on, as far as keys may do something with it."""

    role: str = ""
    message_id: str = ""
    ask: Ask | None = None
    letter: Buried | None = None
    copied: str = ""
    """What `y` copies."""
    title: str = ""
    body: str = ""
    """What `Space` shows."""
    learning_id: str = ""
    schedule: str = ""
    """Id of a schedule."""
    is_paused: bool = False
    """True if that schedule is."""
    waits: bool = False
    """True if it is a message that waits in the inbox of `role`."""
    priority: Priority | None = None
    """Of that message."""


class View(Container):
    """One of the views, or a screen of its own."""

    name_of_view = ""
    """As in `keys.VIEWS`."""
    is_ready = False
    """True once its parts are there."""

    def on_mount(self) -> None:
        self.is_ready = True

    @property
    def hub(self) -> HubApp:
        """The app, by its own type."""
        from agenthub.tui.app import HubApp

        app = self.app
        assert isinstance(app, HubApp)
        return app

    @property
    def palette(self) -> Palette:
        return self.hub.palette

    @property
    def selection(self) -> Selection:
        """What the cursor is on."""
        return Selection()

    @property
    def listings(self) -> Sequence[Listing[object]]:
        """What a filter works on."""
        return ()

    @property
    def is_filtered(self) -> bool:
        """True if lines are left out."""
        return False

    def see(self, picture: Picture) -> None:
        """Show a new picture of the hub; called only while the view is on the screen, and when it comes there."""

    def hear(self, new: Sequence[Event], dropped: Sequence[Event]) -> None:
        """Show what happened; called also while the view is not on the screen."""

    def filtered(self, filter_: str) -> None:
        """Show only what fits."""

    def take_focus(self) -> None:
        """Have keys go to the first of its lists and texts."""
        parts = self.query("Listing, Pane")
        if parts:
            parts.first().focus()

    async def refreshed(self) -> None:
        """Read again what only this view shows; called when it comes on the screen, and regularly then."""
