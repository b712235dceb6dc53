"""Fires schedules as messages, without a model: one process does it for all, by lease.

The id of a firing derives from the schedule and its time, so whoever fires it again after a crash sends the same.
Publish, then note; what comes in between is harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.errors import HubError, HubUnreachableError, MessageError
from agenthub.failpoints import Failpoint, reach
from agenthub.messages import Completion, Event, Message, Outcome, now
from agenthub.org.calendar import Calendar
from agenthub.org.events import Events
from agenthub.organization import Organization
from agenthub.rhythm import until_next_s
from agenthub.schedules import BUSY_AT_MOST, Fired, Pending, Planned, firing, pending
from agenthub.times import next_due

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""How often it looks for what was added or paused; what is due comes when it is due."""
_MOST_NEWS = 200
"""Events that are looked through for news; who has more has news."""
_NEWS_BYTES = 4000


class Checked(NamedTuple):
    """How a check command ended."""

    exit_code: int
    output: str


Check = Callable[[str], Awaitable[Checked]]
"""Runs a command in the sandbox of the role in whose process this is."""


class Scheduler:
    """Fires what is due.

    The leader fires all schedules but those with a check command: such a command runs where the role's workspace
    is, so the process of the role fires them itself.
    """

    def __init__(
        self,
        bus: Bus,
        organization: Organization,
        *,
        clock: Callable[[], datetime] = now,
        checks_of: str = "",
        check: Check | None = None,
    ) -> None:
        """The scheduler of the leader, or with `checks_of` that of a role for its own schedules with a check."""
        self._bus, self._organization, self._clock = bus, organization, clock
        self._checks_of, self._check = checks_of, check
        self._calendar = Calendar(bus, organization)
        self._version = -1
        self._planned: list[Planned] = []
        self._resting: set[str] = set()
        self._kept: dict[str, tuple[Fired, int]] = {}
        self._next: dict[str, datetime | None] = {}
        """When each is next looked at; None: never again."""

    async def run(self) -> None:
        """Fire until cancelled. A broker that does not answer is no reason to stop."""
        while True:
            wait_s = until_next_s(LOOK_EVERY_S)
            try:
                await self.look()
                if (due := self.next_at) is not None:
                    wait_s = min(wait_s, max(0.05, (due - self._clock()).total_seconds()))
            except (HubError, MessageError) as error:
                logger.warning("schedules could not be fired: %s", error)
            await asyncio.sleep(wait_s)

    @property
    def next_at(self) -> datetime | None:
        """When something is next to be done; None: never, as things are."""
        return min((due for due in self._next.values() if due is not None), default=None)

    async def look(self) -> None:
        """Fire what is due by now."""
        moment = self._clock()
        await self._reload()
        for one in self._planned:
            due = self._next.get(one.id, moment)
            if due is None or due > moment:
                continue
            try:
                await self._see_to(one, moment)
            except HubUnreachableError:
                raise
            except HubError as error:  # an inbox is full: the others fire all the same
                logger.warning("%s cannot fire: %s", one.id, error)

    async def _reload(self) -> None:
        version = await self._calendar.version()
        if version == self._version:
            return
        everyone = await self._calendar.all()
        self._planned = [one for one in everyone if self._fires(one)]
        self._resting = set(await self._calendar.resting())
        self._kept.clear()
        self._next = {}
        self._version = version

    def _fires(self, one: Planned) -> bool:
        return one.fires == (self._checks_of or subjects.LEADER)

    async def _see_to(self, one: Planned, moment: datetime) -> None:
        fired, revision = self._kept.get(one.id) or await self._calendar.last(one)
        if fired is None:  # seen for the first time: what was due before it was there is nobody's business
            await self._settle(one, Fired(until=one.since or moment, seen=await self._newest(one)), revision)
            fired, revision = self._kept[one.id]
        todo = pending(one.when, one.rule.misfire, fired.until, moment)
        if todo is None:
            self._next[one.id] = next_due(one.when, moment)
            return
        self._next[one.id] = next_due(one.when, moment)
        if one.id in self._resting:
            await self._settle(one, fired.model_copy(update={"until": todo.until, "is_waiting": False}), revision)
            return
        if fired.is_waiting:  # it was on time when it began to wait
            todo = Pending((todo.until,), todo.until)
        await self._fire(one, fired, revision, todo, moment)

    async def _fire(self, one: Planned, fired: Fired, revision: int, todo: Pending, moment: datetime) -> None:
        settled = fired.model_copy(update={"until": todo.until, "is_waiting": False})
        busy = one.rule.while_busy != "coalesce" and todo.due and await self._is_busy(one, fired, moment)
        if busy and one.rule.while_busy == "wait":
            self._next[one.id] = moment  # as soon as that has ended
            if not fired.is_waiting:
                await self._settle(one, fired.model_copy(update={"is_waiting": True}), revision)
                await self._tell("schedule_waits", one, "the last firing has not ended", last=fired.message_id)
            return
        if busy:
            await self._settle(one, settled, revision)
            await self._tell("schedule_skipped", one, "the last firing has not ended", last=fired.message_id)
            return
        if todo.missed:
            text = f"{todo.missed} missed; its rule is `{one.rule.misfire}`: {len(todo.due)} now"
            await self._tell("misfired", one, text, missed=todo.missed, fires=len(todo.due))
        news, seen = await self._news(one, fired) if todo.due else ("", fired.seen)
        if news is None:
            await self._settle(one, settled.model_copy(update={"seen": seen}), revision)
            return
        for due in todo.due:
            message = firing(one, due, org=self._organization.org, news=news)
            # A role puts its own into the lane as its sorter does: it may publish as nobody else.
            lane = subjects.lane(one.to, message.payload.priority, one.fires)
            headers = {subjects.DOOR: subjects.schedule(one.owner, one.name)} if self._checks_of else None
            reach(Failpoint.SCHEDULE_DUE)
            stored = await self._bus.publish(lane, message.encode(), message_id=message.id, headers=headers)
            reach(Failpoint.SCHEDULE_FIRED)
            settled = settled.model_copy(update={"message_id": message.id, "fired_at": moment})
            if stored.is_new:
                await self._tell("fired", one, f"due {due:%Y-%m-%d %H:%M:%S} UTC", message, due=due.isoformat())
        await self._settle(one, settled.model_copy(update={"seen": seen}), revision)

    async def _settle(self, one: Planned, fired: Fired, revision: int) -> None:
        entry = await self._calendar.settle(one, fired, revision)
        if entry is None:  # another process settled it: look again at what it left
            newest, found = await self._calendar.last(one)
            self._kept[one.id] = (newest or fired, found)
            self._version = -1
            return
        self._kept[one.id] = (entry.value, entry.revision)
        if self._version == entry.revision - 1:  # our own change is no reason to read everything again
            self._version = entry.revision

    async def _is_busy(self, one: Planned, fired: Fired, moment: datetime) -> bool:
        """True if what it fired last is in the inbox, in work, or parked."""
        if not fired.message_id or fired.fired_at is None or moment - fired.fired_at > BUSY_AT_MOST:
            return False
        return await self._bus.last(subjects.DONE, subjects.done(one.to, fired.message_id)) is None

    # ── is there anything to do? ───────────────────────────────────────────────────────────────────
    async def _news(self, one: Planned, fired: Fired) -> tuple[str | None, dict[str, int]]:
        """What is to be said beside its text, None if there is nothing new; and how far was read."""
        seen = await self._newest(one)
        if one.rule.news and not await self._happened(one, fired):
            await self._tell("schedule_skipped", one, "nothing new")
            return None, seen
        if not one.rule.check or self._check is None:
            return "", seen
        ended = await self._check(one.rule.check)
        if ended.exit_code == 0:
            return ended.output.strip()[:_NEWS_BYTES] or "(nothing)", seen
        if ended.exit_code == 1:
            await self._tell("schedule_skipped", one, "its check found nothing")
        else:
            text = f"its check ended with {ended.exit_code}: {ended.output.strip()[-300:]}"
            await self._tell("check_failed", one, text, exit_code=ended.exit_code)
        return None, seen

    async def _newest(self, one: Planned) -> dict[str, int]:
        if not one.rule.news:
            return {}
        return {stream: await self._bus.newest(stream) for stream in (subjects.DONE, subjects.EVENTS)}

    async def _happened(self, one: Planned, fired: Fired) -> bool:
        """True if anything was told that counts as news, besides what its own last firing caused."""
        for stream, subject in _watched(one):
            after = fired.seen.get(stream, 0)
            found = await self._bus.look(stream, subject, most=_MOST_NEWS, after=after)
            if len(found) == _MOST_NEWS:
                return True
            for received in found:
                try:
                    told: Completion | Event = (
                        Completion.decode(received.data) if stream == subjects.DONE else Event.decode(received.data)
                    )
                except MessageError:
                    continue
                is_work = not isinstance(told, Completion) or told.outcome is not Outcome.NOTED
                if is_work and told.trace_id != fired.message_id:
                    return True
        return False

    async def _tell(self, kind: str, one: Planned, text: str, about: Message | None = None, **data: object) -> None:
        logger.info("%s %s: %s", one.id, kind, text)
        await Events(self._bus, one.to).tell(kind, f"{one.id}: {text}", about, schedule=one.id, **data)


def _watched(one: Planned) -> list[tuple[str, str]]:
    """Streams and subjects in which news of a schedule would stand. Ends of work have a stream of their own."""
    roles = one.rule.news_of or ("*",)
    found: list[tuple[str, str]] = []
    for kind in one.rule.news:
        for role in roles:
            if kind in ("any", "completed"):
                found.append((subjects.DONE, subjects.done(role, "*")))
            else:
                found.append((subjects.EVENTS, subjects.event(kind, role)))
    return found
