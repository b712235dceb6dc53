"""What keys do to what goes on: each is recorded with who did it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agenthub.errors import RefusedError
from agenthub.tui.dialogs import Say

if TYPE_CHECKING:
    from agenthub.tui.app import HubApp


class Hands:
    """The hands of a person on what goes on."""

    def __init__(self, app: HubApp) -> None:
        self._app = app

    # ── learnings ──────────────────────────────────────────────────────────────────────────────────
    async def learning_promote(self) -> None:
        await self._judge("promote", "into the policy of all roles")

    async def learning_demote(self) -> None:
        await self._judge("demote", "out of the policy of all roles")

    async def learning_quarantine(self) -> None:
        await self._judge("quarantine", "away from all models")

    async def learning_release(self) -> None:
        await self._judge("release", "it is left to what roles find")

    async def _judge(self, verb: str, what: str) -> None:
        selection = self._app.front.selection
        if not selection.learning_id:
            raise RefusedError("There is no learning here.")
        reason = await self._app.push_screen_wait(
            Say(f"{verb.capitalize()} · {what}", selection.title, hint="why; may be left empty")
        )
        if reason is not None:
            await self._app.source.judge(verb, selection.learning_id, reason)
            self._done(f"{selection.learning_id[:8]}: {verb}d")

    # ── how ────────────────────────────────────────────────────────────────────────────────────────
    def _done(self, what: str, came: str = "") -> None:
        self._app.say(f"{what} · {came}" if came else what)
        self._app.feed.look_soon()
        self._app.refresh_front()
