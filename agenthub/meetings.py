"""Holds meetings, without a model of its own: convene, call the roll, ask in rounds, have the chair decide, report.

The state of each is in a bucket; every message has an id that derives from the meeting, and each step is published
before it is noted. So whoever leads next goes on where the last one stopped, and nothing is sent twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from agenthub import subjects
from agenthub.asks import Answer, Ask, Part
from agenthub.bus.buckets import Bucket
from agenthub.bus.connection import Bus
from agenthub.errors import HubError, HubUnreachableError, MessageError
from agenthub.failpoints import Failpoint, reach
from agenthub.messages import Completion, Message, Outcome, Payload, derived_id, now
from agenthub.minutes import AGENDAS, Meeting, decided, next_step, question, report
from agenthub.org.calendar import Calendar
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.org.registry import Registry
from agenthub.organization import Organization
from agenthub.rhythm import next_moment
from agenthub.role_settings import Schedule
from agenthub.schedules import Fired, Planned, pending

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
_MOST_READ = 5000
_NO_WORK = (Outcome.NOTED, Outcome.REASSIGNED)
_STUCK = (Outcome.BLOCKED, Outcome.NEEDS_HUMAN, Outcome.FAILED, Outcome.DEAD)
STANDUP = "standup"


class Meetings:
    """The meetings of an organization, held by whoever leads."""

    def __init__(self, bus: Bus, organization: Organization, *, clock: Callable[[], datetime] = now) -> None:
        self._bus, self._organization, self._clock = bus, organization, clock
        self._meetings = Bucket(bus, subjects.MEETINGS, Meeting)
        self._calendar = Calendar(bus, organization)
        self._version, self._open = -1, list[str]()

    async def run(self) -> None:
        """Hold meetings until cancelled. A broker that does not answer is no reason to stop."""
        while True:
            try:
                await self.look()
            except (HubError, MessageError) as error:
                logger.warning("a meeting cannot go on: %s", error)
            await next_moment(LOOK_EVERY_S)

    async def look(self) -> None:
        """Convene the stand-up if it is time, and bring all open meetings on."""
        await self._stand_up()
        version = await self._meetings.version()
        if version != self._version:
            self._open = [key for key, one in (await self._meetings.items()).items() if one.is_open]
            self._version = version
        for key in self._open:
            try:
                await self._bring_on(key)
            except HubUnreachableError:
                raise
            except HubError as error:  # an inbox is full: the others go on all the same
                logger.warning("the meeting %s cannot go on: %s", key, error)

    # ── one meeting ────────────────────────────────────────────────────────────────────────────────
    async def _bring_on(self, key: str) -> None:
        meeting, revision = await self._meetings.read(key)
        while meeting is not None and meeting.is_open:
            changed = await self._step(meeting)
            if changed == meeting:
                return
            stored = await self._meetings.update(key, changed, revision)
            if stored is None:
                return  # another process was faster
            meeting, revision = changed, stored

    async def _step(self, meeting: Meeting) -> Meeting:
        """The meeting after what can be done now."""
        moment = self._clock()
        if meeting.present is None:
            beats = await Registry(self._bus).all()
            present = sorted({key.partition(".")[0] for key in beats} & set(meeting.members))
            return meeting.model_copy(update={"present": present})
        if meeting.sent < len(meeting.asks):
            await self._send(meeting)
            return meeting.model_copy(update={"sent": len(meeting.asks)})
        if meeting.asks and not meeting.asks[-1].is_over(moment):
            meeting = await self._collected(meeting)
        step = next_step(meeting, moment)
        if step == "ask":
            return self._with_round(meeting, meeting.members, moment)
        if step == "decide":
            return self._with_round(meeting, [meeting.chair], moment)
        if step == "close":
            return await self._close(meeting, moment)
        return meeting

    async def _collected(self, meeting: Meeting) -> Meeting:
        ask = meeting.asks[-1]
        for part in ask.parts:
            if part.answer is not None:
                continue
            found = await self._bus.last(subjects.DONE, subjects.done(part.role, part.message_id))
            if found is not None:
                ended = Completion.decode(found)
                ask = ask.with_answer(part.message_id, Answer(outcome=ended.outcome, text=ended.text))
        return meeting.model_copy(update={"asks": [*meeting.asks[:-1], ask]})

    def _with_round(self, meeting: Meeting, members: list[str], moment: datetime) -> Meeting:
        """The meeting with one more round, whose questions are still to be sent."""
        number = str(len(meeting.asks) + 1)
        task = self._message(meeting, "meeting_round", "", key=number)
        parts = [
            Part(message_id=derived_id(meeting.id, number, role), role=role, priority=meeting.agenda.priority)
            for role in members
        ]
        deadline = moment + timedelta(seconds=meeting.within_s)
        ask = Ask(
            id=task.id, role=subjects.LEADER, task=task, parts=parts, opened_at=moment, deadline=deadline,
            from_outside=True,
        )  # fmt: skip
        return meeting.model_copy(update={"asks": [*meeting.asks, ask]})

    async def _send(self, meeting: Meeting) -> None:
        number, ask = len(meeting.asks), meeting.asks[-1]
        kind = "meeting_invite" if number == 1 else "meeting_round"
        if number > meeting.agenda.rounds:
            kind = "meeting_decide"
        for part in ask.parts:
            text = question(meeting, part.role, number)
            message = self._message(meeting, kind, text, key="").model_copy(
                update={"id": part.message_id, "deadline": ask.deadline}
            )
            await self._put(part.role, message)
            reach(Failpoint.MEETING_ASKED)

    async def _close(self, meeting: Meeting, moment: datetime) -> Meeting:
        """Publish what came of it, each thing with an id of its own; then it is closed."""
        if len(meeting.asks) > meeting.agenda.rounds and (answer := meeting.asks[-1].parts[0].answer) is not None:
            owners = {*meeting.members, meeting.chair}
            decisions, actions = decided(
                answer.text, by=meeting.chair, owners=owners, moment=meeting.asks[-1].opened_at
            )
            meeting = meeting.model_copy(update={"decisions": decisions, "actions": actions})
        for number, action in enumerate(meeting.actions):
            text = f"{action.what}\n\nYou own this since the {meeting.kind} on {meeting.subject}."
            task = self._message(meeting, "task_assignment", text, key=f"action{number}")
            reply_to = meeting.chair if meeting.chair != action.owner else ""
            await self._put(action.owner, task.model_copy(update={"deadline": action.deadline, "reply_to": reply_to}))
        for number, decision in enumerate(meeting.decisions):
            text = decision.what + (f"\n\nWhy: {decision.why}" if decision.why else "")
            said = self._message(meeting, "meeting_report", text, key=f"decision{number}", decided_by=decision.by)
            await self._bus.publish(subjects.decision_topic("meeting"), said.encode(), message_id=said.id)
        text = report(meeting)
        said = self._message(meeting, "meeting_report", text, key="report")
        stored = await self._bus.publish(subjects.status_topic("meeting"), said.encode(), message_id=said.id)
        reach(Failpoint.MEETING_REPORTED)
        if stored.is_new:
            await Events(self._bus, meeting.chair or subjects.LEADER).tell(
                "meeting", f"{meeting.kind}: {meeting.subject}", said, meeting=meeting.id,
                decisions=len(meeting.decisions), actions=len(meeting.actions),
            )  # fmt: skip
        return meeting.model_copy(update={"closed_at": moment})

    def _message(self, meeting: Meeting, kind: str, text: str, *, key: str, **more: Any) -> Message:
        return Message(
            id=derived_id(meeting.id, kind, key), type=kind, from_role=subjects.LEADER,
            from_operator=f"operator-{subjects.LEADER}", timestamp=self._clock(), trace_id=meeting.id,
            origin=meeting.by, org=self._organization.org,
            payload=Payload(
                subject=f"{meeting.kind.capitalize()}: {meeting.subject}"[:200], message=text,
                priority=meeting.agenda.priority, **more,
            ),
        )  # fmt: skip

    async def _put(self, role: str, message: Message) -> None:
        lane = subjects.lane(role, message.payload.priority, subjects.LEADER)
        await self._bus.publish(lane, message.encode(), message_id=message.id)

    # ── the stand-up ───────────────────────────────────────────────────────────────────────────────
    async def _stand_up(self) -> None:
        """Convene the daily stand-up when it is due: from the log, and only if there is anything to say."""
        line = self._organization.calendar.standup
        if line == "off":
            return
        moment, rule = self._clock(), Schedule(cron=line)
        when = rule.when(self._organization.calendar.zone)
        one = Planned(subjects.LEADER, STANDUP, subjects.LEADER, rule, when, "agenthub.toml")
        fired, revision = await self._calendar.last(one)
        if fired is None:
            newest = await self._bus.newest(subjects.DONE)
            await self._calendar.settle(one, Fired(until=moment, seen={subjects.DONE: newest}), revision)
            return
        todo = pending(when, "once", fired.until, moment)
        if todo is None:
            return
        newest = await self._bus.newest(subjects.DONE)
        meeting = await self._stand_up_of(fired.seen.get(subjects.DONE, 0), todo.until)
        if meeting is None:
            await Events(self._bus, subjects.LEADER).tell(
                "meeting_skipped", "stand-up: nothing happened since the last"
            )
        else:
            await self._meetings.create(subjects.meeting(subjects.LEADER, meeting.id), meeting)
        update = {"until": todo.until, "fired_at": moment, "seen": {subjects.DONE: newest}}
        await self._calendar.settle(one, fired.model_copy(update=update), revision)

    async def _stand_up_of(self, after: int, due: datetime) -> Meeting | None:
        """The stand-up that is due then; None if nothing happened since the last one."""
        ended: dict[str, list[Completion]] = {}
        for received in await self._bus.look(subjects.DONE, subjects.ALL_DONE, most=_MOST_READ, after=after):
            one = Completion.decode(received.data)
            if one.outcome not in _NO_WORK and one.role in self._organization.roles and not _of_meeting(one):
                ended.setdefault(one.role, []).append(one)
        waits: dict[str, list[str]] = {}
        for ask in await Ledger(self._bus).all():
            if not ask.from_outside:
                waits.setdefault(ask.role, []).append(f"{ask.task.title[:80]} waits for {', '.join(ask.waiting_for)}")
        if not ended and not waits:
            return None
        facts = [
            line for role in sorted(ended | waits) for line in _facts(role, ended.get(role, []), waits.get(role, []))
        ]
        stuck = [role for role, found in sorted(ended.items()) if found[-1].outcome in _STUCK]
        identity = f"{STANDUP}-{due:%Y-%m-%d-%H%M}"
        return Meeting(
            id=identity, kind="standup", subject=f"{due:%A, %d %B}", chair="", by=subjects.LEADER, members=stuck,
            opened_at=due, within_s=AGENDAS["standup"].within_s, facts=facts,
        )  # fmt: skip


def _of_meeting(one: Completion) -> bool:
    return one.from_role == subjects.LEADER and one.subject.startswith("Standup: ")


def _facts(role: str, ended: list[Completion], waits: list[str]) -> list[str]:
    done = [one.subject[:80] for one in ended if one.outcome is Outcome.DONE]
    stuck = [f"{one.subject[:80]}: {' '.join(one.text.split())[:200]}" for one in ended if one.outcome in _STUCK]
    lines = [f"{role}: {len(done)} done: {'; '.join(done[-5:])}"] if done else []
    lines += [f"{role}: did not get through: {line}" for line in stuck[-5:]]
    return lines + [f"{role}: {line}" for line in waits[:5]]
