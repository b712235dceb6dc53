"""What `:` offers: every action by its name, views, agents, themes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from textual.command import DiscoveryHit, Hit, Hits, Provider

from agenthub.tui.keys import KEYS


class _Command(NamedTuple):
    words: str
    text: str
    run: Callable[[], object]


class Actions(Provider):
    """Everything that a key does, and more, found by its words."""

    def _commands(self) -> Iterator[_Command]:
        from agenthub.tui.app import HubApp

        app = self.app
        assert isinstance(app, HubApp)
        for key in KEYS:
            if key.id.startswith("app.") or not app.applies(key) or (key.changes and app.is_read_only):
                continue
            name = key.id.partition(".")[2].replace("_", " ")
            words = f"view {name}" if key.id.startswith("view.") else name
            yield _Command(f"{words}  ({app.shown_keys[key.id]})", key.text, partial(app.action_act, key.id))
        for role in app.source.reports_to:
            yield _Command(f"go to {role}", "put the cursor on this agent", partial(app.deeds.go_to, role))
        for theme in sorted(app.available_themes):
            yield _Command(f"theme {theme}", "other colours, until you leave", partial(setattr, app, "theme", theme))
        yield _Command("quit", "leave; the organization works on", partial(app.action_act, "app.quit"))

    async def discover(self) -> Hits:
        for command in self._commands():
            if not command.words.startswith(("theme ", "go to ")):
                yield DiscoveryHit(command.words, command.run, help=command.text)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for command in self._commands():
            if (score := matcher.match(command.words)) > 0:
                yield Hit(score, matcher.highlight(command.words), command.run, help=command.text)
