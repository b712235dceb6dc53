"""How a role works with others: it tells, it asks and parks, it collects the answers and goes on.

Nobody waits inside a turn. An ask is entered in the ledger before its messages are sent; the answers come
through the inbox like everything else, and so does the deadline, which the broker keeps as a schedule.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from agenthub import subjects
from agenthub.approvals import APPROVAL, DECISION, Approval, check_decider
from agenthub.asks import Answer, Ask, Part, Request, Tender
from agenthub.bus.connection import Bus, NoStreamError, StreamFullError
from agenthub.errors import RateExceededError, RefusedError, unknown
from agenthub.failpoints import Failpoint, reach
from agenthub.guards.rate_gate import RateGate
from agenthub.messages import Completion, Message, Outcome, Payload, derived_id
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.organization import Organization
from agenthub.reassignment import reply_id, stands_in
from agenthub.verification import Verification
from agenthub.votes import Ballot

_NOT_TAKEN = (StreamFullError, NoStreamError)
ASK_DEADLINE = "ask.deadline"
"""Subject of the system event by which a schedule says that an ask's time is over."""


class Coordination:
    """Sends what one role has to say to others, and keeps what it waits for."""

    def __init__(
        self, bus: Bus, organization: Organization, role: str, *, ledger: Ledger, events: Events,
        clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._bus, self._organization, self._role = bus, organization, role
        self._ledger, self._events, self._clock = ledger, events, clock
        self._parked: dict[str, set[str]] = {}
        self._of_people: set[str] = set()
        limits = organization.defaults
        self._gate = RateGate(rate=limits.pair_rate, window_s=limits.pair_window_s)

    async def start(self) -> None:
        """Load what this role waits for."""
        for ask in await self._ledger.of(self._role):
            self._note_open(ask)

    @property
    def parked(self) -> int:
        """How many tasks wait for answers."""
        return len(self._parked)

    @property
    def parked_tasks(self) -> list[str]:
        """Ids of the tasks that wait for answers."""
        return list(self._parked)

    @property
    def approvals_waiting(self) -> int:
        """How many calls and questions of this role wait for a person."""
        return len(self._of_people)

    def waits(self, task_id: str, *, besides: Ask | None = None) -> bool:
        """True if the task waits for an answer to any other ask than `besides`."""
        return bool(self._parked.get(task_id, set()) - {besides.id if besides else ""})

    async def tell(self, request: Request, *, about: Message, key: str) -> Message:
        """Send a message that needs no answer. `key` makes its id: telling again after a crash tells once.

        Raises:
            RefusedError: If there is no such recipient, or it got too many messages from this role just now.
        """
        self._check_recipient(request.to, or_operator=True)
        message = self.message("direct_message", request, about=about, message_id=derived_id(self._role, key))
        try:
            await self._send(request.to, message)
        except NoStreamError as error:
            raise _refusal(request.to) from error
        return message

    async def publish(self, topic: str, text: str, *, about: Message, key: str) -> Message:
        """Publish a message on a topic."""
        request = Request("", topic.removeprefix("agent-hub.topics."), text, about.payload.priority)
        message = self.message(subjects.type_on(topic), request, about=about, message_id=derived_id(self._role, key))
        await self._bus.publish(topic, message.encode(), message_id=message.id)
        return message

    async def ask(
        self, requests: Sequence[Request], *, about: Message, key: str, within_s: float,
        verification: Verification | None = None, ballot: Ballot | None = None, tender: Tender | None = None,
    ) -> Ask:  # fmt: skip
        """Ask others and park the task until they have answered, or the time is over.

        `key` is that of the tool call: the turn, `~` and a number.

        Raises:
            RefusedError: If there is no such recipient, it is this role, nothing is asked, or a recipient got
                too many messages from this role just now.
        """
        if not requests:
            raise RefusedError("Nothing is asked: `tasks` is empty.")
        for request in requests:
            self._check_recipient(request.to, or_operator=False)
        for to, more in Counter(request.to for request in requests).items():
            await self._check_rate(to, more, about)  # before anybody is asked, not halfway through
        ask_id = derived_id(self._role, key)
        opened_at = self._clock()
        deadline = opened_at + timedelta(seconds=within_s)
        deadline = min(deadline, about.deadline) if about.deadline else deadline
        late = {} if ballot is None and tender is None else {"deadline": deadline}  # what comes later does not count
        messages = [
            self.message(
                request.type, request, about=about, message_id=derived_id(ask_id, str(number)), ask_id=ask_id
            ).model_copy(update=late)
            for number, request in enumerate(requests)
        ]
        parts = [
            Part(message_id=message.id, role=request.to, subject=request.subject, priority=request.priority)
            for message, request in zip(messages, requests, strict=True)
        ]
        ask = Ask(
            id=ask_id, role=self._role, task=about, turn_id=key.rpartition("~")[0], parts=parts, opened_at=opened_at,
            deadline=deadline, verification=verification, ballot=ballot, tender=tender,
        )  # fmt: skip
        await self._open(ask, messages)
        return ask

    async def ask_person(
        self, approval: Approval, *, about: Message, key: str, within_s: float,
        verification: Verification | None = None,
    ) -> Ask:  # fmt: skip
        """Ask the operator to decide and park the task until they have, or the time is over, which is a no.

        `key` is that of the tool call.

        Raises:
            RefusedError: If the task waits for another decision already, which the answer to this one would make be
                forgotten, or the operator got too many messages from this role just now.
        """
        operator = self._organization.operator
        ask_id = derived_id(self._role, key)
        if (self._parked.get(about.id, set()) & self._of_people) - {ask_id}:
            raise RefusedError("Not asked: your task waits for another decision already. Call again when you go on.")
        await self._check_rate(operator, 1, about)
        opened_at = self._clock()
        deadline = opened_at + timedelta(seconds=within_s)
        deadline = min(deadline, about.deadline) if about.deadline else deadline
        request = Request(operator, approval.title[:200], approval.words(self._role, ask_id), about.payload.priority)
        message = self.message(APPROVAL, request, about=about, message_id=derived_id(ask_id, "0"), ask_id=ask_id)
        more = {**approval.model_dump(mode="json"), "task_id": about.id, "expires_at": deadline.isoformat()}
        message = message.model_copy(update={"payload": message.payload.model_copy(update={"approval": more})})
        part = Part(message_id=message.id, role=operator, subject=request.subject, priority=request.priority)
        ask = Ask(
            id=ask_id, role=self._role, task=about, turn_id=key.rpartition("~")[0], parts=[part], opened_at=opened_at,
            deadline=deadline, approval=approval, verification=verification,
        )  # fmt: skip
        await self._open(ask, [message])
        return ask

    async def hand_out(self, ask: Ask, message: Message) -> None:
        """Open an ask that follows from another, and send the one message of it; again changes nothing.

        Unlike what a model asks for, it is neither refused nor given up: it is decided.
        """
        await asyncio.gather(self._ledger.open(ask), self._schedule_deadline(ask))
        self._note_open(ask)
        await self.put(ask.parts[0].role, message)

    async def _open(self, ask: Ask, messages: Sequence[Message]) -> None:
        """Enter an ask, then send what is asked; in this order, so that no answer finds nobody waiting.

        Who cannot be asked, since their inbox is full, has refused: the others work already, and are waited for.
        """
        await asyncio.gather(self._ledger.open(ask), self._schedule_deadline(ask))
        reach(Failpoint.ASK_OPENED)
        self._note_open(ask)
        sending = [self._send(part.role, message) for part, message in zip(ask.parts, messages, strict=True)]
        came = await asyncio.gather(*sending, return_exceptions=True)
        failed = [(part, error) for part, error in zip(ask.parts, came, strict=True) if error is not None]
        hard = [error for _, error in failed if not isinstance(error, _NOT_TAKEN)]
        if hard or (failed and len(failed) == len(ask.parts)):
            reason = hard[0] if hard else failed[0][1]
            if isinstance(reason, RefusedError | StreamFullError | NoStreamError):
                await self.close(ask)  # the model hears of it and decides anew: nothing waits for these answers
            raise _refusal(ask.parts[0].role) if isinstance(reason, NoStreamError) else reason
        for part, error in failed:
            said = _refusal(part.role) if isinstance(error, NoStreamError) else error
            no = Answer(outcome=Outcome.REFUSED, text=f"Not asked: {said}")
            await self._ledger.record(self._role, ask.id, message_id=part.message_id, by=part.role, answer=no)

    def _note_open(self, ask: Ask) -> None:
        self._parked.setdefault(ask.task.id, set()).add(ask.id)
        if ask.approval is not None and not ask.is_answered:
            self._of_people.add(ask.id)

    def check_decider(self, publisher: str) -> None:
        """Return if who published a decision may decide about what this role waits for.

        Raises:
            ForgedError: Else.
        """
        check_decider(publisher, self._organization.operator)

    async def collect(self, reply: Message) -> Ask | None:
        """Enter an answer; the ask it belongs to, or None if nobody waits for it."""
        if not reply.correlation_id:
            return None
        if reply.at_door and (asked := await self._ledger.find(self._role, reply.correlation_id)) and asked.is_poll:
            return None  # nobody knows whose vote it would be
        answer = Answer(
            outcome=reply.payload.outcome or Outcome.DONE, text=reply.payload.message, evidence=reply.payload.evidence,
            attachments=reply.payload.attachments, checked=reply.payload.checked,
            verified_by=reply.payload.verified_by or "",
            always=(reply.payload.model_extra or {}).get("always") is True,
            vote=reply.payload.vote or "", bid=reply.payload.bid,
        )  # fmt: skip
        by = reply.on_behalf_of if reply.on_behalf_of and await stands_in(self._bus, reply) else reply.from_role
        if by != reply.from_role:
            answer = answer.model_copy(update={"vote": "", "bid": None})  # nobody votes or bids for another
        if (by == self._organization.operator) != (reply.type == DECISION):
            return None  # a person answers by a decision, whose publisher was checked, and nobody else does
        ask = await self._ledger.record(
            self._role, reply.correlation_id, message_id=reply.causation_id, by=by, answer=answer
        )
        self._of_people.discard(reply.correlation_id)
        reach(Failpoint.ANSWER_COLLECTED)
        return ask

    async def expired(self, ask_id: str) -> Ask | None:
        """An ask of this role whose time is over; None if its task has gone on, or it is not over yet."""
        ask = await self._ledger.find(self._role, ask_id)
        if ask is not None and ask.approval is not None and self._clock() >= ask.deadline:
            part = ask.parts[0]  # entered, so that a decision that comes after all does not say otherwise
            no = Answer(outcome=Outcome.REFUSED, text=f"Nobody decided by {ask.deadline:%Y-%m-%d %H:%M} UTC.")
            ask = await self._ledger.record(self._role, ask_id, message_id=part.message_id, by=part.role, answer=no)
            self._of_people.discard(ask_id)
        if ask is None or ask.is_over(self._clock()):
            return ask
        await self._schedule_deadline(ask)  # the broker's clock is ahead of ours, or somebody made this up
        return None

    async def close(self, ask: Ask) -> None:
        """Forget an ask whose task has gone on."""
        await self._ledger.close(self._role, ask.id)
        self._forget(ask.task.id, ask.id)

    async def close_other(self, task: Message, ask_id: str) -> None:
        """Forget another ask of the same task, if it is still known here."""
        if ask_id in self._parked.get(task.id, ()):
            await self._ledger.close(self._role, ask_id)
            self._forget(task.id, ask_id)

    def _forget(self, task_id: str, ask_id: str) -> None:
        waiting = self._parked.get(task_id, set())
        waiting.discard(ask_id)
        self._of_people.discard(ask_id)
        if not waiting:
            self._parked.pop(task_id, None)

    async def close_all(self, task: Message) -> None:
        """Forget whatever a finished task still waited for; late answers are only noted."""
        for ask_id in self._parked.pop(task.id, set()):
            if ask_id in self._of_people:
                self._of_people.discard(ask_id)
                await self._events.tell("withdrawn", f"{ask_id[:8]} is not to be decided: its task has ended", task)
            await self._ledger.close(self._role, ask_id)

    def answers(self, task: Message) -> bool:
        """True if who asked is told. Strangers, who have no inbox here, find the completion on its subject."""
        to = task.reply_to or task.from_role
        return (to != self._role or bool(task.on_behalf_of)) and self._has_inbox(to)

    async def reply(self, task: Message, completion: Completion) -> None:
        """Tell who asked how it ended, if this role `answers`."""
        to = task.reply_to or task.from_role
        if not self.answers(task):
            return
        kind = "task_result" if task.type == "task_assignment" else "reply"
        reply = Message(
            id=reply_id(task.id, self._role), type=kind, on_behalf_of=task.on_behalf_of,
            from_operator=f"operator-{self._role}", from_role=self._role, timestamp=completion.ended_at,
            trace_id=task.trace_id, correlation_id=task.correlation_id, origin=task.origin,
            causation_id=task.causation_id if task.on_behalf_of else task.id,
            hop=task.hop + 1, org=self._organization.org,
            payload=Payload(
                subject=f"Re: {task.title}"[:200], message=completion.text, priority=task.payload.priority,
                outcome=completion.outcome, evidence=completion.evidence, checked=completion.check,
                verified_by=completion.verified_by or None, attachments=completion.attachments,
                vote=completion.vote or None, bid=completion.bid,
            ),
        )  # fmt: skip
        try:
            await self._send(to, reply)
        except NoStreamError:  # it has ended for good since it asked
            await self._events.tell("undelivered", f"{to} has no inbox any more", task)
        except StreamFullError:
            if to in self._organization.roles and completion.outcome is not Outcome.REFUSED:
                raise
            # Nobody empties a person's inbox by force, nor waits for who floods and does not read; the completion is
            # on its subject all the same.
            await self._events.tell("undelivered", f"the inbox of {to} is full", task)

    def message(self, kind: str, request: Request, *, about: Message, message_id: str, ask_id: str = "") -> Message:
        """A message of this role to another, on account of `about`, not sent yet."""
        return Message(
            id=message_id, type=kind, from_operator=f"operator-{self._role}", from_role=self._role,
            timestamp=self._clock(), trace_id=about.trace_id, causation_id=about.id, origin=about.origin,
            hop=about.hop + 1, org=self._organization.org, correlation_id=ask_id,
            payload=Payload(
                subject=request.subject, message=request.text, priority=request.priority,
                attachments=list(request.attachments), check=request.check, verify=request.verify,
                verifies=request.verifies, ballot=request.ballot, tender=request.tender,
            ),
        )  # fmt: skip

    async def _send(self, to: str, message: Message) -> None:
        if not message.is_answer:
            await self._check_rate(to, 1, message)
            self._gate.pass_through(to, at_s=self._clock().timestamp())
        await self.put(to, message)

    async def put(self, to: str, message: Message) -> None:
        """Store a message in an inbox, however many it got from this role just now; again changes nothing."""
        subject = subjects.lane(to, message.payload.priority, self._role)
        stored = await self._bus.publish(
            subject, message.encode(), message_id=message.id, headers={subjects.TRACE_PARENT: message.trace_parent()}
        )
        if message.is_poll or message.type in ("task_assignment", APPROVAL):
            reach(Failpoint.ASK_SENT)
        if stored.is_new:
            await self._events.tell(
                "sent", message.title, message, to=to, type=message.type, priority=message.payload.priority,
                causation_id=message.causation_id,
            )  # fmt: skip

    async def _check_rate(self, to: str, more: int, about: Message) -> None:
        """Raise if this role may not send `more` messages to another now, or only say so.

        Raises:
            RateExceededError: Says when it may go on.
        """
        limits, moment = self._organization.defaults, self._clock()
        wait_s = self._gate.wait_s(to, at_s=moment.timestamp(), more=more)
        if not wait_s or limits.rate_gate == "off":
            return
        may_go_on = moment + timedelta(seconds=math.ceil(min(wait_s, limits.pair_window_s)))
        error = RateExceededError(
            to, more=more, rate=limits.pair_rate, window_s=limits.pair_window_s, retry_after_s=wait_s,
            when=f"{may_go_on:%H:%M:%S} UTC",
        )  # fmt: skip
        text = f"{more} more to {to} than {limits.pair_rate:.0f} within {limits.pair_window_s:g} s"
        await self._events.record("rate", text, about, to=to, is_refused=limits.rate_gate == "enforce")
        if limits.rate_gate == "enforce":
            raise error

    async def _schedule_deadline(self, ask: Ask) -> None:
        reminder = Message(
            id=derived_id(ask.id, "deadline", self._clock().isoformat()), type="system_event",
            from_role=self._role, correlation_id=ask.id, timestamp=ask.opened_at,
            trace_id=ask.task.trace_id, causation_id=ask.task.id,
            payload=Payload(subject=ASK_DEADLINE, priority=ask.task.payload.priority),
        )  # fmt: skip
        await self._bus.publish_at(
            ask.deadline + timedelta(milliseconds=50), subjects.schedule(self._role, ask.id),
            subjects.due(self._role), reminder.encode(), message_id=reminder.id,
        )  # fmt: skip

    def _has_inbox(self, name: str) -> bool:
        return name in self._organization.roles or name == self._organization.operator

    def _check_recipient(self, to: str, *, or_operator: bool) -> None:
        if to == self._role:
            raise RefusedError(f"`{to}` is you. Do it yourself, or ask somebody else.")
        if to == self._organization.operator and not or_operator:
            raise RefusedError(f"`{to}` is the person you work for. Call `ask_human` to have them decide.")
        if not self._has_inbox(to):
            raise RefusedError(unknown("role", to, self._organization.roles))


def _refusal(to: str) -> RefusedError:
    """Of what was for a role that has ended since this one was started."""
    return RefusedError(f"`{to}` has no inbox any more: it has ended for good. Do it yourself, or ask somebody else.")
