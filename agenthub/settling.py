"""How a message ends at a role: record, then publish, then let it be acknowledged. Or it comes again later.

What is published here derives from what is recorded, and has an id: doing it again after a crash changes nothing.
Every door out is behind the lease: a process that lost its role ends nothing, and its result is kept for review.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from agenthub import subjects
from agenthub.asks import Ask
from agenthub.bus.connection import Bus
from agenthub.bus.dead_letters import bury
from agenthub.bus.deliveries import Delivery
from agenthub.control import Control
from agenthub.coordination import Coordination
from agenthub.errors import HubError, LeaseLostError, SessionError
from agenthub.failpoints import Failpoint, reach
from agenthub.letters import publisher, stand_in
from agenthub.messages import Completion, Message, Outcome, Usage
from agenthub.org.events import Events
from agenthub.reassignment import may_have_moved, moved_to, pass_on, record_move
from agenthub.sessions.blocks import whole
from agenthub.sessions.journal import Journal
from agenthub.sessions.session import TurnEnd, TurnResult

logger = logging.getLogger(__name__)


class Work(NamedTuple):
    """One turn to take: for a message that came, or for a parked task that goes on."""

    task: Message
    """Whose completion the turn may bring."""
    turn_id: str
    prompt: str
    ask: Ask | None = None
    """What the task was parked for."""


class _End(NamedTuple):
    """A completion and its bytes: they are recorded and then published."""

    completion: Completion
    data: bytes

    @staticmethod
    def of(completion: Completion) -> _End:
        return _End(completion, completion.encode())


class Settling:
    """Ends the messages of one role."""

    def __init__(
        self,
        role: str,
        *,
        bus: Bus,
        journal: Journal,
        coordination: Coordination,
        events: Events,
        clock: Callable[[], datetime],
        before_effect: Callable[[], Awaitable[None]],
        spent: Callable[[Message, str, Usage], Awaitable[None]],
        reassign_after_s: float,
        stand_in: Callable[[], Awaitable[str]],
        ended: Callable[[Completion], None] = lambda completion: None,
    ) -> None:
        """Settling of one role.

        Args:
            before_effect: Awaited before anything is published; raises if this process may not act.
            spent: Told what each turn cost, once or more often.
            reassign_after_s: How long a role must be gone before its messages go to its fallback.
            stand_in: Gives the role that may do now what this one may not; empty: nobody.
            ended: Called once for each message that has come to its end here.
        """
        self._role, self._bus, self._journal = role, bus, journal
        self._coordination, self._events, self._clock = coordination, events, clock
        self._before_effect, self._spent, self._reassign_after_s = before_effect, spent, reassign_after_s
        self._stand_in, self._ended = stand_in, ended

    async def has_ended(self, task: Message) -> bool:
        """True if the message has its end already."""
        return await self._bus.last(subjects.DONE, subjects.done(self._role, task.id)) is not None

    async def went_elsewhere(self, work: Work, delivery: Delivery, *, order: Control | None) -> bool:
        """True if the message went to another role: then no turn is taken for it.

        Either to the fallback, while this role was gone; or a person has moved it by `order`, which is carried out
        here if they could not come to an end with it.
        """
        waited_s = (self._clock() - delivery.stored_at).total_seconds()
        may_be = order is not None or may_have_moved(
            deliveries=delivery.deliveries, attempts_before=delivery.attempts_before, waited_s=waited_s,
            after_s=self._reassign_after_s,
        )  # fmt: skip
        if work.ask is not None or not may_be:
            return False
        end = await moved_to(self._bus, self._role, work.task.id)
        if end is None and order is not None and not self._journal.turns_of(work.task.id):
            why = f"moved {order.words}"
            end = await record_move(self._bus, work.task, self._role, order.to, why=why, at=self._clock())
        if end is None:
            return False
        logger.info("%s has gone to %s", work.task.id, end.reassigned_to)
        await self._before_effect()
        await pass_on(self._bus, work.task, end, by=self._role)
        self._journal.finish(work.turn_id, {"reassigned": end.reassigned_to})
        await self._coordination.close_all(work.task)
        return True

    async def hand_over(self, work: Work, why: str) -> bool:
        """Have the role that stands in for this one do what is asked; False if nobody does, or work on it has begun."""
        if work.ask is not None or work.task.on_behalf_of or self._journal.turns_of(work.task.id):
            return False
        stand_in = await self._stand_in()
        if not stand_in:
            return False
        await self._before_effect()
        end = await record_move(self._bus, work.task, self._role, stand_in, why=why, at=self._clock())
        if end is None:
            return False
        await pass_on(self._bus, work.task, end, by=self._role)
        await self._events.tell("reassigned", f"to {end.reassigned_to}: {why}", work.task, to=end.reassigned_to)
        logger.info("%s goes to %s: %s", work.task.id, end.reassigned_to, why)
        return True

    async def ended_before(self, work: Work, delivery: Delivery) -> bool:
        """True if a turn that is open here has published its end: power loss took the record of that."""
        found = await self._bus.last(subjects.DONE, subjects.done(self._role, work.task.id))
        if found is None:
            return False
        end = Completion.decode(found)
        record: dict[str, Any] = {"completion": end.model_dump(mode="json")}
        if end.outcome is Outcome.DEAD:
            record = {"dead": {"reason": end.text, "trace": "", "tries": end.attempts}}
        elif end.outcome is Outcome.REASSIGNED:
            record = {"reassigned": end.reassigned_to}
        self._journal.finish(work.turn_id, record)
        await self.publish_end(work, record, delivery)
        return True

    async def end(self, work: Work, result: TurnResult, delivery: Delivery) -> None:
        """Record how a turn ended, then publish it."""
        waits = self._coordination.waits(work.task.id, besides=work.ask)
        if result.end is TurnEnd.PARKED or (result.end is TurnEnd.STOPPED and waits):
            record: dict[str, Any] = {"parked": result.text}
            end = None
            self._journal.finish(work.turn_id, record)
        else:
            record, end = {}, _End.of(self._completion(work.task, result))
            self._journal.finish(work.turn_id, f'{{"completion":{end.data.decode()}}}')
        reach(Failpoint.TURN_RECORDED)
        logger.info("%s is %s", work.task.id, "parked" if end is None else result.outcome)
        await self._publish_all(work, record, end, delivery)

    async def publish_end(self, work: Work, record: dict[str, Any], delivery: Delivery) -> None:
        """Publish what a recorded turn brought; again after a crash, which changes nothing."""
        completion = Completion.model_validate(record["completion"]) if "completion" in record else None
        await self._publish_all(work, record, None if completion is None else _End.of(completion), delivery)

    async def _publish_all(self, work: Work, record: dict[str, Any], end: _End | None, delivery: Delivery) -> None:
        if end is None or end.completion.usage.calls:
            usage = self._journal.usage_of_turn(work.turn_id, message_id=work.task.id)
            await self._spent(work.task, work.turn_id, usage)
        if end is not None:
            await self._publish(work.task, end)
        elif "parked" in record:
            await self._events.tell("parked", str(record["parked"]), work.task)
        elif "reassigned" in record:
            pass  # it has its end
        else:
            await self._publish_dead(delivery, work.task, **record["dead"])
        # Only now: while its ask is in the ledger, an answer that is delivered again finds the way back here.
        if work.ask is not None:
            await self._coordination.close(work.ask)
            reach(Failpoint.ASK_CLOSED)
        if "parked" not in record:
            await self._coordination.close_all(work.task)

    async def complete(self, task: Message, outcome: Outcome, text: str = "") -> None:
        """Complete a message that needed no turn."""
        await self._publish(task, _End.of(self._completion(task, TurnResult(TurnEnd.FINISHED, outcome, text))))

    async def bury(
        self, delivery: Delivery, message: Message | None, reason: str, *, work: Work | None = None, tries: int = 1
    ) -> None:
        """Give up on a message for good, and tell who asked."""
        record: dict[str, Any] = {"reason": reason, "trace": traceback.format_exc() if work else "", "tries": tries}
        if work is None:
            await self._publish_dead(delivery, message, **record)
        else:
            self._journal.finish(work.turn_id, {"dead": record})
            await self.publish_end(work, {"dead": record}, delivery)

    async def later(
        self, delivery: Delivery, message: Message | None, why: Exception | str, *, in_s: float, failures: int
    ) -> None:
        """Have the broker bring the message again after a while; a delayed nak would block the lane meanwhile."""
        await self._before_effect()
        logger.warning("%s goes back for %.1f s: %s", delivery.default_id, in_s, why)
        moment = self._clock() + timedelta(seconds=in_s)
        name = f"{delivery.stream}-{delivery.sequence}"
        headers = {subjects.ID: delivery.default_id, subjects.ATTEMPTS: str(failures)}
        if subjects.DOOR in delivery.headers:
            headers[subjects.DOOR] = delivery.headers[subjects.DOOR]
        if isinstance(why, SessionError) and why.waits_for:
            headers[subjects.WAITS_FOR] = why.waits_for
        await self._bus.publish_at(
            moment, subjects.schedule(self._role, name), subjects.due(self._role), delivery.data,
            message_id=f"later-{self._role}-{name}", headers=headers,
        )  # fmt: skip
        reach(Failpoint.DELAYED)
        await self._events.tell("delayed", f"again in {in_s:.0f} s: {why}", message, failures=failures)

    # ── completions ────────────────────────────────────────────────────────────────────────────────
    def _completion(self, task: Message, result: TurnResult) -> Completion:
        account = self._journal.account(task.id)
        return Completion(
            message_id=task.id, role=self._role, outcome=result.outcome, subject=task.title, text=whole(result.text),
            evidence=[whole(one) for one in result.evidence], implicit=result.end is TurnEnd.STOPPED,
            from_role=task.from_role, check=result.check, verified_by=result.verified_by,
            attachments=list(result.attachments), type=task.type, vote=result.vote, bid=result.bid,
            verifies=task.payload.verifies or "",
            trace_id=task.trace_id, causation_id=task.causation_id, priority=task.payload.priority,
            started_at=account.started_at or self._clock(), ended_at=self._clock(), turns=account.turns,
            usage=account.usage,
        )  # fmt: skip

    async def _publish(self, task: Message, end: _End) -> None:
        """The completion, which the broker takes once, and the reply to who asked."""
        completion = end.completion
        try:
            await self._before_effect()
        except LeaseLostError:
            await self._keep_late(completion)
            raise
        storing = self._store(end)
        if (completion.ended_at - completion.started_at).total_seconds() >= self._reassign_after_s:
            if (first := await storing) is None or first.outcome is not Outcome.REASSIGNED:
                await self._coordination.reply(task, completion)  # else the fallback answers
        elif completion.outcome is Outcome.NOTED or not self._coordination.answers(task):
            await storing
        else:
            await asyncio.gather(storing, self._coordination.reply(task, completion))
        reach(Failpoint.REPLY_PUBLISHED)

    async def _store(self, end: _End) -> Completion | None:
        """Store an end; the one that was there before, if it is another."""
        completion = end.completion
        subject = subjects.done(self._role, completion.message_id)
        stored = await self._bus.publish(
            subject, end.data, only_first=True, message_id=f"{self._role}.{completion.message_id}.done"
        )
        reach(Failpoint.COMPLETION_PUBLISHED)
        if not stored.is_new:
            found = await self._bus.last(subjects.DONE, subject)
            if found is not None and (first := Completion.decode(found)).ended_at != completion.ended_at:
                await self._keep_late(completion)
                return first
        else:
            self._ended(completion)
        return None

    async def _keep_late(self, completion: Completion) -> None:
        """Keep for a person what came after another process had ended the message, or had taken the role."""
        logger.warning("the result of %s came too late; it is kept for review", completion.message_id)
        identity = f"{self._role}.{completion.message_id}.late.{completion.ended_at.timestamp()}"
        try:
            await self._bus.publish(subjects.late(self._role), completion.encode(), message_id=identity)
        except HubError as error:
            logger.error("it could not be kept: %s", error)

    async def _publish_dead(
        self, delivery: Delivery, message: Message | None, *, reason: str, trace: str, tries: int
    ) -> None:
        await self._before_effect()
        known = message
        if message is None or message.from_role != publisher(delivery.subject, delivery.headers, delivery.data):
            known = stand_in(delivery.subject, delivery.headers, delivery.data, default_id=delivery.default_id)
        about = {} if known is None else {
            "from_role": known.from_role, "subject": known.title, "trace_id": known.trace_id,
            "causation_id": known.causation_id, "priority": known.payload.priority,
        }  # fmt: skip
        is_buried = await bury(
            self._bus, self._role, delivery, reason, traceback=trace, attempts=tries,
            message_id=message.id if message else None, about=about,
        )  # fmt: skip
        reach(Failpoint.DEAD_LETTER_STORED)
        if not is_buried:
            return
        await self._events.tell("dead", reason, message or known or delivery.default_id)
        if known is not None and not known.is_answer:
            result = TurnResult(TurnEnd.FINISHED, Outcome.DEAD, f"Not worked off: {reason}")
            await self._coordination.reply(known, self._completion(known, result))
