"""What each key does. One function for each action; `group.action` is `group_action` here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from agenthub.asks import Ask
from agenthub.errors import ConfigError, RefusedError
from agenthub.tui.decisions import body
from agenthub.tui.dialogs import Confirm, Help, Peek, Say
from agenthub.tui.dispatch import parse
from agenthub.tui.editor import Edit
from agenthub.tui.event_list import EventList
from agenthub.tui.hands import Hands
from agenthub.tui.keys import IN_LISTS, KEYS
from agenthub.tui.listing import Listing
from agenthub.tui.org_view import OrgView
from agenthub.tui.role_panel import RolePanel
from agenthub.tui.view import Selection
from agenthub.tui.views import DeadView, EventsView, MessageView, RoleView
from agenthub.tui.wording import plural

if TYPE_CHECKING:
    from agenthub.tui.app import HubApp

_GROUPS = {
    "view": "views", "look": "look", "talk": "write", "decide": "decide", "role": "steer agents",
    "message": "messages that wait", "letter": "dead letters", "app": "this screen",
    "list": "in lists", "pane": "in texts",
    "learning": "learnings", "schedule": "schedules", "limit": "money", "hub": "everything",
}  # fmt: skip


class Deeds:
    """The hands of the app."""

    def __init__(self, app: HubApp) -> None:
        self._app = app
        self._hands = Hands(app)

    async def do(self, identity: str) -> None:
        """Do what a key is for."""
        if identity.startswith("view."):
            self._app.go(identity.removeprefix("view."))
            return
        name = identity.replace(".", "_")
        deed: Callable[[], Awaitable[None]] = getattr(self, name, None) or getattr(self._hands, name)
        await deed()

    @property
    def _selection(self) -> Selection:
        return self._app.front.selection

    # ── looking ────────────────────────────────────────────────────────────────────────────────────
    async def look_peek(self) -> None:
        selection = self._selection
        if selection.body:
            self._app.push_screen(Peek(selection.title, selection.body))

    async def look_attach(self) -> None:
        role = self._selection.role
        if role in self._app.source.reports_to:
            self._app.open(RoleView(role))

    async def look_trace(self) -> None:
        selection = self._selection
        if not selection.message_id:
            raise RefusedError("There is no message here to trace.")
        self._app.open(MessageView(selection.message_id))

    async def look_panel(self) -> None:
        for panel in self._app.front.query(RolePanel):
            if panel.next_panel() == "Transcript":
                self._app.watch_again()
            if self._app.picture is not None:
                self._app.front.see(self._app.picture)
        self._app.refresh_front()

    async def look_follow(self) -> None:
        front = self._app.front
        lists = [found for found in front.query(EventList) if found.has_focus or isinstance(front, EventsView)]
        if lists:
            for events in lists:
                events.follows = not events.follows
                if events.follows:
                    events.action_end(1)
        else:
            for panel in front.query(RolePanel):
                panel.pane.follows = not panel.pane.follows
                if panel.pane.follows:
                    panel.pane.action_scroll_end()
        if self._app.picture is not None:
            front.see(self._app.picture)

    async def look_freeze(self) -> None:
        for events in self._app.front.query(EventList):
            events.freeze(self._app.store)
        if isinstance(self._app.front, OrgView | EventsView):
            self._app.front.feed_title()

    async def look_sort(self) -> None:
        if isinstance(self._app.front, OrgView):
            self._app.front.next_sorting()

    async def look_tree(self) -> None:
        if isinstance(self._app.front, OrgView):
            self._app.front.turn_tree()

    async def look_filter(self) -> None:
        self._app.bar.filter("")

    async def look_copy(self) -> None:
        copied = self._selection.copied
        if not copied:
            raise RefusedError("There is nothing here to copy.")
        self._app.copy_to_clipboard(copied)
        self._app.say(f"copied: {copied if len(copied) < 60 else copied[:57] + '…'}")

    async def look_refresh(self) -> None:
        self._app.feed.look_soon()
        self._app.refresh_front()

    # ── writing and deciding ───────────────────────────────────────────────────────────────────────
    async def talk_send(self) -> None:
        role = self._selection.role
        self._app.go(self._app.view_name)
        self._app.bar.write(f"@{role} " if role in self._app.source.reports_to else "@")

    async def send(self, line: str) -> None:
        """Send what was written."""
        if not line.strip():
            return
        said = parse(line, roles=self._app.source.reports_to, to=self._selection.role)
        if self._app.is_read_only:
            raise RefusedError("Read-only: nothing is sent. Start without --read-only to write to agents.")
        message = await self._app.source.send(said.to, said.text, priority=said.priority)
        self._app.say(f"sent {message.id[:8]} to {said.to}, {said.priority}")
        self._app.feed.look_soon()

    def decides(self, identity: str, selection: Selection) -> bool:
        """True if a key fits what waits to be decided."""
        if selection.ask is None or selection.ask.approval is None:
            return False
        is_question = selection.ask.approval.kind == "question"
        if identity == "decide.always" and selection.ask.approval.kind == "grant":
            return False
        return identity == "decide.reject" or (identity == "decide.reply") == is_question

    async def decide_approve(self) -> None:
        ask = self._ask("decide.approve")
        await self._app.source.approve(ask.id)
        self._decided(f"approved for {ask.role}")

    async def decide_always(self) -> None:
        ask = self._ask("decide.always")
        assert ask.approval is not None
        question = f"Always let {ask.role} call {ask.approval.tool} like this?"
        if await self._app.push_screen_wait(Confirm(question, body(ask).splitlines())):
            await self._app.source.approve(ask.id, always=True)
            self._decided(f"approved for {ask.role}, now and always")

    async def decide_reject(self) -> None:
        ask = self._ask("decide.reject")
        reason = await self._app.push_screen_wait(
            Say(f"Reject · {ask.role}", body(ask), hint="why not; the agent reads it (may be left empty)")
        )
        if reason is not None:
            await self._app.source.reject(ask.id, reason)
            self._decided(f"rejected for {ask.role}")

    async def decide_reply(self) -> None:
        ask = self._ask("decide.reply")
        assert ask.approval is not None
        choices = ask.approval.choices
        answer = await self._app.push_screen_wait(
            Say(f"{ask.role} asks", ask.approval.question, choices=choices, is_free=not choices, hint="your answer")
        )
        if answer:
            await self._app.source.reply(ask.id, answer)
            self._decided(f"answered {ask.role}: {answer[:60]}")

    def _ask(self, identity: str) -> Ask:
        ask = self._selection.ask
        if ask is None:
            raise RefusedError("Nothing waits for your decision here. The view 4 lists what does.")
        if not self.decides(identity, self._selection):
            assert ask.approval is not None
            key = self._app.shown_keys["decide.reply" if ask.approval.kind == "question" else "decide.approve"]
            what = "is a question: answer it" if ask.approval.kind == "question" else "takes a yes or a no: approve it"
            raise RefusedError(f"What {ask.role} wants {what} with `{key}`.")
        return ask

    def _decided(self, what: str) -> None:
        self._app.say(what)
        self._app.feed.look_soon()

    # ── dead letters ───────────────────────────────────────────────────────────────────────────────
    async def letter_replay(self) -> None:
        letter = self._selection.letter
        if letter is None:
            raise RefusedError("There is no dead letter here.")
        mark = await self._app.source.replay(letter)
        self._app.say(f"replayed as {mark.new_id[:8]} in the inbox of {mark.role}")
        self._looked()

    async def letter_edit(self) -> None:
        letter = self._selection.letter
        if letter is None:
            raise RefusedError("There is no dead letter here.")
        title = f"Replay {letter.letter.message_id[:8]} with another message"
        text = await self._app.push_screen_wait(Edit(title, letter.letter.data.decode(errors="replace")))
        if text is not None:
            mark = await self._app.source.replay(letter, body=text.encode())
            self._app.say(f"replayed as {mark.new_id[:8]} in the inbox of {mark.role}")
            self._looked()

    async def letter_replay_all(self) -> None:
        view = self._app.front
        letters = view.unreplayed if isinstance(view, DeadView) else []
        if not letters:
            raise RefusedError("There is nothing here that was not replayed yet.")
        many = plural(len(letters), "dead letter")
        detail = [f"{item.letter.role}  {item.letter.message_id[:8]}  {item.letter.reason}" for item in letters]
        if not await self._app.push_screen_wait(Confirm(f"Replay {many}?", detail)):
            return
        failed = 0
        for letter in letters:
            try:
                await self._app.source.replay(letter)
            except (RefusedError, ConfigError):
                failed += 1
        self._app.say(f"replayed {len(letters) - failed}" + (f", {failed} may not be" if failed else ""))
        self._looked()

    async def letter_drop(self) -> None:
        letter = self._selection.letter
        if letter is None:
            raise RefusedError("There is no dead letter here.")
        about = [letter.letter.role, letter.letter.message_id, letter.letter.reason]
        if await self._app.push_screen_wait(Confirm("Drop 1 dead letter for good?", about)):
            await self._app.source.drop([letter])
            self._app.say("dropped")
            self._looked()

    def _looked(self) -> None:
        self._app.feed.look_soon()
        self._app.refresh_front()

    # ── this screen ────────────────────────────────────────────────────────────────────────────────
    async def app_command(self) -> None:
        self._app.action_command_palette()

    async def app_help(self) -> None:
        app, rows = self._app, []
        here = [key for key in KEYS if app.applies(key)]
        for group, name in _GROUPS.items():
            for key in here:
                if key.id.partition(".")[0] == group:
                    off = " (off: read-only)" if key.changes and app.is_read_only else ""
                    rows.append((name, app.shown_keys[key.id], key.text + off, key.id))
        lists = {"up": "↑ k", "down": "↓ j", "page_up": "PgUp", "page_down": "PgDn", "first": "Home g", "last": "End G",
                 "open": "Enter →"}  # fmt: skip
        for identity in IN_LISTS:
            word = identity.partition(".")[2]
            if identity.startswith("list."):
                rows.append((_GROUPS["list"], app.keymap.get(identity, lists[word]), word.replace("_", " "), identity))
        app.push_screen(Help(app.front.name_of_view, rows))

    async def app_back(self) -> None:
        app = self._app
        if app.bar.has_focus:
            app.bar.action_leave()
        elif len(app.screen_stack) > 1:
            app.pop_screen()
            app.front.see(app.picture) if app.picture else None
        elif any(listing.filter for listing in app.front.query(EventList)) or app.front.is_filtered:
            app.front.filtered("")
        elif app.view_name != "org":
            app.go("org")

    async def app_quit(self) -> None:
        self._app.exit()

    def go_to(self, role: str) -> None:
        """Put the cursor on an agent."""
        self._app.go("org")
        view = self._app.front
        for listing in view.query(Listing):
            if listing.select(role):
                listing.focus()
                return
