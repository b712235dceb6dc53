"""What keys do to what goes on: each is recorded with who did it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agenthub.control import Standing
from agenthub.errors import RefusedError
from agenthub.messages import Priority
from agenthub.tui.dialogs import Confirm, Say
from agenthub.tui.source import RoleVerb
from agenthub.tui.view import Selection
from agenthub.tui.wording import plural

if TYPE_CHECKING:
    from agenthub.tui.app import HubApp


class Hands:
    """The hands of a person on what goes on."""

    def __init__(self, app: HubApp) -> None:
        self._app = app

    @property
    def _selection(self) -> Selection:
        return self._app.front.selection

    # ── agents ─────────────────────────────────────────────────────────────────────────────────────
    async def role_pause(self) -> None:
        role = self._role()
        verb: RoleVerb = "pause" if self._standing(role).paused is None else "resume"
        came = await self._app.source.steer(verb, role)
        self._done(f"{role} {'is paused' if verb == 'pause' else 'goes on'}", came)

    async def role_stop(self) -> None:
        role = self._role()
        verb: RoleVerb = "estop" if self._standing(role).stopped is None else "thaw"
        came = await self._app.source.steer(verb, role)
        self._done(f"{role} {'is stopped' if verb == 'estop' else 'goes on where it was'}", came)

    async def role_cancel(self) -> None:
        role, selection = self._role(), self._selection
        if not selection.message_id:
            raise RefusedError(f"{role} works on nothing at this moment.")
        about = f"It ends as failed:\n{selection.body}"
        reason = await self._ask(f"Cancel what {role} works on", about, "why; who asked for it reads it")
        if reason is not None:
            self._done(f"{role}: cancelled", await self._app.source.steer("cancel", role, reason))

    async def role_nudge(self) -> None:
        role = self._role()
        words = await self._ask(f"Nudge {role}", "It reads this at its next step.", "empty: nobody sees any progress")
        if words is not None:
            self._done(f"{role} reads it at its next step", await self._app.source.steer("nudge", role, words))

    async def role_restart(self) -> None:
        role = self._role()
        self._done(f"{role} is started again after its message", await self._app.source.steer("restart", role))

    def _role(self) -> str:
        role = self._selection.role
        if role not in self._app.source.reports_to:
            raise RefusedError(f"`{role}` is no agent." if role else "There is no agent here.")
        return role

    def _standing(self, role: str) -> Standing:
        statuses = self._app.picture.statuses if self._app.picture else ()
        return next((status.standing for status in statuses if status.role.partition(".")[0] == role), Standing())

    # ── everything ─────────────────────────────────────────────────────────────────────────────────
    async def hub_estop(self) -> None:
        many = plural(len(self._app.source.reports_to), "agent")
        detail = ["No model is called any more, and nothing is lost.", "Its counterpart goes on where everything was."]
        if await self._app.push_screen_wait(Confirm(f"Stop {many} at their next step?", detail)):
            self._done("everything is stopped", await self._app.source.steer("estop", None))

    async def hub_thaw(self) -> None:
        self._done("everything goes on where it was", await self._app.source.steer("thaw", None))

    # ── messages that wait ─────────────────────────────────────────────────────────────────────────
    async def message_raise(self) -> None:
        await self._rank(-1)

    async def message_lower(self) -> None:
        await self._rank(1)

    async def _rank(self, by: int) -> None:
        waits, priorities = self._waits(), list(Priority)
        assert waits.priority is not None
        place = waits.priority.rank + by
        if not 0 <= place < len(priorities):
            raise RefusedError(f"It is {waits.priority} already: there is nothing beyond.")
        await self._app.source.rearrange("reprioritize", waits.role, waits.message_id, priorities[place])
        self._done(f"{waits.message_id[:8]} is {priorities[place]} now")

    async def message_requeue(self) -> None:
        waits = self._waits()
        await self._app.source.rearrange("requeue", waits.role, waits.message_id)
        self._done(f"{waits.message_id[:8]} is behind the others")

    async def message_move(self) -> None:
        waits, roles = self._waits(), list(self._app.source.reports_to)
        about = f"{waits.title}\n\nNow for {waits.role}. There are {', '.join(roles)}."
        to = await self._ask("Move · which role shall do it?", about, "role")
        if to:
            await self._app.source.rearrange("move", waits.role, waits.message_id, to.removeprefix("@"))
            self._done(f"{waits.message_id[:8]} is for {to} now")

    async def message_cancel(self) -> None:
        waits = self._waits()
        about = f"It ends as failed:\n{waits.title}"
        reason = await self._ask(f"Cancel what waits for {waits.role}", about, "why; who sent it reads it")
        if reason is not None:
            await self._app.source.rearrange("cancel", waits.role, waits.message_id, reason)
            self._done(f"{waits.message_id[:8]} is cancelled")

    def _waits(self) -> Selection:
        selection = self._selection
        if not selection.message_id:
            raise RefusedError("There is no message here that can be read.")
        if not selection.waits:
            raise RefusedError(f"{selection.role} works on it already. Cancel it there.")
        if selection.role not in self._app.source.reports_to:
            raise RefusedError("That is your own mail: read it with `agenthub inbox`.")
        return selection

    # ── schedules ──────────────────────────────────────────────────────────────────────────────────
    async def schedule_run(self) -> None:
        one = self._schedule()
        self._done(f"{one.schedule}: fired", await self._app.source.reschedule("run", one.schedule))

    async def schedule_add(self) -> None:
        examples = 'sweep @qa "0 9 * * 1-5" Run the slow tests', "look @devops 30m Look at the queues"
        line = await self._ask("New schedule", "\n".join(("Such as:", "", *examples)), "name @role when text")
        if line:
            self._done(f"{await self._app.source.plan(line)} is added")

    async def schedule_pause(self) -> None:
        one = self._schedule()
        await self._app.source.reschedule("resume" if one.is_paused else "pause", one.schedule)
        self._done(f"{one.schedule} {'fires again' if one.is_paused else 'is paused'}")

    async def schedule_remove(self) -> None:
        one = self._schedule()
        if await self._app.push_screen_wait(Confirm("Remove 1 schedule for good?", one.body.splitlines())):
            await self._app.source.reschedule("remove", one.schedule)
            self._done(f"{one.schedule} is removed")

    def _schedule(self) -> Selection:
        if not self._selection.schedule:
            raise RefusedError("There is no schedule here.")
        return self._selection

    # ── money ──────────────────────────────────────────────────────────────────────────────────────
    async def limit_set(self) -> None:
        role = self._role()
        about = "usd_day=5 · tokens_hour=2M · turns_day=unlimited · usd_day=file: what the files say again"
        said = await self._ask(f"Limit of {role}", about, "usd_day=5")
        if said:
            self._done(await self._app.source.limit(role, said))

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
        selection = self._selection
        if not selection.learning_id:
            raise RefusedError("There is no learning here.")
        reason = await self._ask(f"{verb.capitalize()} · {what}", selection.title, "why; may be left empty")
        if reason is not None:
            await self._app.source.judge(verb, selection.learning_id, reason)
            self._done(f"{selection.learning_id[:8]}: {verb}d")

    # ── how ────────────────────────────────────────────────────────────────────────────────────────
    async def _ask(self, title: str, about: str, hint: str) -> str | None:
        """Words of the person; None: they changed their mind."""
        return await self._app.push_screen_wait(Say(title, about, hint=hint))

    def _done(self, what: str, came: str = "") -> None:
        self._app.say(f"{what} · {came}" if came else what)
        self._app.feed.look_soon()
        self._app.refresh_front()
