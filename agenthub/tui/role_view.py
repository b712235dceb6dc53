"""One agent on the whole screen."""

from __future__ import annotations

from textual.app import ComposeResult

from agenthub.tui.decisions import body
from agenthub.tui.facts import Picture, agents
from agenthub.tui.role_panel import RolePanel
from agenthub.tui.view import Selection, View


class RoleView(View):
    """What an agent says and does, what waits for it, what is known of it."""

    name_of_view = "role"

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role
        self._picture: Picture | None = None

    def compose(self) -> ComposeResult:
        panel = RolePanel()
        panel.add_class("framed")
        yield panel

    def on_mount(self) -> None:
        self.query_one(RolePanel).of(self._role)
        self.hub.watch_role(self._role)
        self.hub.watch_again()

    @property
    def selection(self) -> Selection:
        if self._picture is None:
            return Selection(role=self._role)
        agent = next((found for found in agents(self._picture) if found.role == self._role), None)
        ask = next((ask for ask in self._picture.decisions if ask.role == self._role), None)
        message_id = agent.message_id if agent else ""
        said = body(ask) if ask else agent.doing if agent else ""
        return Selection(role=self._role, message_id=message_id, ask=ask, copied=message_id or self._role,
                         title=self._role, body=said)  # fmt: skip

    def see(self, picture: Picture) -> None:
        self._picture = picture
        found = next((agent for agent in agents(picture) if agent.role == self._role), None)
        self.query_one(RolePanel).see(found, picture)

    async def refreshed(self) -> None:
        panel = self.query_one(RolePanel)
        if panel.panel == "Inbox":
            panel.show_inbox(await self.hub.source.inbox(self._role), self.hub.clock())
