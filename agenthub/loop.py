"""THE MAIN LOOP: take the most urgent message, guard, turn, answer, settle; take the next.

Record, then publish, then acknowledge: a crash between any two repeats something that has an id. What
becomes of a delivery is decided by the type of what its handling ended in, in `handle` and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from agenthub import subjects
from agenthub.asks import Ask
from agenthub.bus.connection import Bus, StreamFullError
from agenthub.bus.dead_letters import bury
from agenthub.bus.deliveries import Delivery
from agenthub.coordination import ASK_DEADLINE, Coordination
from agenthub.errors import (
    BudgetExhaustedError,
    HubError,
    HubUnreachableError,
    LeaseLostError,
    MessageError,
    ModelRefusedError,
    ModelUnavailableError,
    RefusedError,
    SessionError,
)
from agenthub.failpoints import Failpoint, reach
from agenthub.guards.loop_guard import check_hops
from agenthub.inbox import Inbox
from agenthub.messages import Completion, Message, Outcome
from agenthub.org.activity import Activity
from agenthub.org.events import Events
from agenthub.sessions import prompts
from agenthub.sessions.journal import Journal
from agenthub.sessions.session import ModelCalled, Prompt, Session, ToolEnded, ToolStarted, TurnEnd, TurnResult

logger = logging.getLogger(__name__)

FULL_PAUSE_S = 10.0
MAX_CRASHES = 3
"""A message during which the process died this often, without any progress in between, is buried: it probably
kills it. Fewer than the crashes after which the supervisor leaves a role alone."""


@dataclass(frozen=True)
class LoopLimits:
    """How much one message may take."""

    max_tries: int = 3
    max_hops: int = 16
    turn_timeout_s: float = 1800.0
    first_retry_s: float = 1.0
    """Back-off before the second try; doubled for each further one."""


class Work(NamedTuple):
    """One turn to take: for a message that came, or for a parked task that goes on."""

    task: Message
    """Whose completion the turn may bring."""
    turn_id: str
    prompt: str
    ask: Ask | None = None
    """What the task was parked for."""


class Loop:
    """Works off one role's inbox, one message at a time."""

    def __init__(
        self,
        role: str,
        *,
        bus: Bus,
        inbox: Inbox,
        session: Session,
        journal: Journal,
        coordination: Coordination,
        events: Events,
        activity: Activity,
        limits: LoopLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._role, self._bus, self._inbox = role, bus, inbox
        self._session, self._journal, self._coordination = session, journal, coordination
        self._events, self._activity, self._limits, self._clock = events, activity, limits, clock

    async def run(self) -> None:
        """Work until the inbox is closed."""
        acknowledging: asyncio.Task[bool] | None = None
        try:
            while (delivery := await self._inbox.next()) is not None:
                reach(Failpoint.TAKEN)
                await self.handle(delivery)
                self._activity.rests()
                reach(Failpoint.BEFORE_ACK)
                # The answer to an acknowledgement is awaited behind the next turn: if it was lost, the broker
                # delivers again and the journal knows the turn.
                if acknowledging is not None:
                    await acknowledging
                acknowledging = asyncio.create_task(delivery.ack(), name="acknowledge")
                await asyncio.sleep(0)  # it is on its way before the lane is asked for the next one
        finally:
            if acknowledging is not None:
                await acknowledging

    async def handle(self, delivery: Delivery) -> None:
        """Work off one delivery; what has returned from here may be acknowledged."""
        try:
            await self._handle(delivery)
        except HubUnreachableError:
            raise
        except HubError as error:  # a stream is full: what was to be published is recorded, and is tried again
            await self._later(delivery, None, error, in_s=FULL_PAUSE_S, failures=delivery.attempts_before)

    async def _handle(self, delivery: Delivery) -> None:
        message: Message | None = None
        work: Work | None = None
        try:
            message = Message.read(delivery.data, default_id=delivery.default_id)
            self._check(message, delivery)
            work = await self._sort(message)
            if work is not None:
                await self._work(work, delivery)
        except MessageError as error:
            await self._bury(delivery, message, str(error))
        except RefusedError as error:
            assert message is not None
            await self._complete(message, TurnResult(TurnEnd.FINISHED, Outcome.REFUSED, str(error)))
        except (BudgetExhaustedError, ModelUnavailableError) as error:
            self._put_back(work)
            await self._later(delivery, message, error, in_s=error.retry_after_s, failures=delivery.attempts_before)
        except SessionError as error:
            assert work is not None
            failures = self._fail(work)
            if failures >= self._limits.max_tries or isinstance(error, ModelRefusedError):
                await self._end(work, TurnResult(TurnEnd.FINISHED, Outcome.FAILED, str(error)), delivery)
            else:
                await self._later(delivery, message, error, in_s=self._back_off_s(failures), failures=failures)
        except StreamFullError:
            self._put_back(work)
            raise
        except sqlite3.Error:
            raise  # nothing can be recorded, so nothing may be done: the supervisor tries again with back-off
        except (LeaseLostError, HubUnreachableError, asyncio.CancelledError):
            self._put_back(work)
            raise  # this process can act no more, or must not: leaving gives the delivery back
        except Exception as error:  # a bug
            logger.exception("handling %s failed", delivery.default_id)
            failures = self._fail(work) if work else delivery.attempts_before + 1
            if failures >= self._limits.max_tries:
                await self._bury(delivery, message, f"{type(error).__name__}: {error}", work=work, tries=failures)
            else:
                await self._later(delivery, message, error, in_s=self._back_off_s(failures), failures=failures)

    # ── what is to be done ─────────────────────────────────────────────────────────────────────────
    def _check(self, message: Message, delivery: Delivery) -> None:
        sender = delivery.subject.rpartition(".")[2]
        if subjects.DOOR not in delivery.headers and sender != message.from_role:
            raise MessageError(f"`from_role` says `{message.from_role}`, but `{sender}` published it")
        if message.deadline is not None and message.deadline < self._clock():
            raise MessageError(f"its deadline {message.deadline:%Y-%m-%d %H:%M:%S} UTC has passed")
        check_hops(message, max_hops=self._limits.max_hops)

    async def _sort(self, message: Message) -> Work | None:
        """The turn that a message asks for; None if it asks for none and is done with."""
        if message.type == "system_event" and message.payload.subject == ASK_DEADLINE:
            ask = await self._coordination.expired(message.correlation_id)
            return self._continuation(ask) if ask is not None else None
        if message.from_role == self._role:
            await self._note(message)  # own output never wakes its author
            return None
        if message.is_answer:
            ask = await self._coordination.collect(message)
            if ask is None:
                if not self._journal.is_done(_continuation_id(message.correlation_id)):
                    await self._note(message)
                return None
            return self._continuation(ask) if ask.is_over(self._clock()) else None
        if not message.is_actionable:
            await self._note(message)
            return None
        return Work(message, message.id, prompts.framed(message))

    def _continuation(self, ask: Ask) -> Work:
        prompt = prompts.answered(ask)
        if not self._journal.turns_of(ask.task.id):  # this session never saw the task
            prompt = f"{prompts.framed(ask.task)}\n{prompt}"
        return Work(ask.task, _continuation_id(ask.id), prompt, ask)

    async def _note(self, message: Message) -> None:
        """Keep a message that asks for no work for the next turn to read."""
        if message.from_role != self._role:
            self._journal.add_note(message.id, prompts.note(message))
        if not message.is_answer:
            await self._complete(message, TurnResult(TurnEnd.FINISHED, Outcome.NOTED))

    # ── doing it ───────────────────────────────────────────────────────────────────────────────────
    async def _work(self, work: Work, delivery: Delivery) -> None:
        turn = self._journal.open_turn(
            work.turn_id, message_id=work.task.id, ack_subject=delivery.reply_subject,
            failures_before=delivery.attempts_before,
        )  # fmt: skip
        reach(Failpoint.TURN_OPENED)
        if turn.is_done:  # a crash came between recording and acknowledging
            await self._publish_end(work, turn.result or {}, delivery)
            return
        if turn.attempts > MAX_CRASHES:
            reason = f"the process of `{self._role}` died {turn.attempts - 1} times while it worked on this"
            await self._bury(delivery, work.task, reason, work=work, tries=turn.attempts)
            return
        self._activity.works(work.task)
        logger.info(
            "%s %s: %s from %s", "goes on with" if work.ask else "took", work.task.id, work.task.payload.priority,
            work.task.from_role,
        )  # fmt: skip
        kind = "resumed" if work.ask else "taken"
        await self._events.tell(kind, work.task.title, work.task, from_role=work.task.from_role, attempt=turn.attempts)
        try:
            async with asyncio.timeout(self._limits.turn_timeout_s):
                result = await self._turn(work)
        except TimeoutError as error:
            raise SessionError(f"The turn took longer than {self._limits.turn_timeout_s:.0f} s.") from error
        if result.end is TurnEnd.INTERRUPTED:
            self._put_back(work)
            await self._later(delivery, work.task, "the turn was interrupted", in_s=0, failures=turn.failures)
            return
        await self._end(work, result, delivery)

    async def _turn(self, work: Work) -> TurnResult:
        turn = self._session.turn(Prompt(work.prompt, work.task), turn_id=work.turn_id)
        async with contextlib.aclosing(turn) as happening:
            async for event in happening:
                match event:
                    case TurnResult():
                        return event
                    case ToolStarted(name, summary):
                        self._activity.does(f"{name} {summary}")
                    case ToolEnded(name, summary, is_error):
                        await self._events.tell("step", f"{name} {summary}", work.task, tool=name, is_error=is_error)
                    case ModelCalled(usage):
                        self._activity.spends(usage)
                    case _:
                        pass
        raise SessionError("The session ended a turn without a result.")

    # ── ending it ──────────────────────────────────────────────────────────────────────────────────
    async def _end(self, work: Work, result: TurnResult, delivery: Delivery) -> None:
        """Record how a turn ended, then publish it."""
        waits = self._coordination.waits(work.task.id, besides=work.ask)
        if result.end is TurnEnd.PARKED or (result.end is TurnEnd.STOPPED and waits):
            record: dict[str, Any] = {"parked": result.text}
        else:
            record = {"completion": self._completion(work.task, result).model_dump(mode="json")}
        self._journal.finish(work.turn_id, record)
        reach(Failpoint.TURN_RECORDED)
        logger.info("%s is %s", work.task.id, "parked" if "parked" in record else result.outcome)
        await self._publish_end(work, record, delivery)

    async def _publish_end(self, work: Work, record: dict[str, Any], delivery: Delivery) -> None:
        """Publish what a recorded turn brought; again after a crash, which changes nothing."""
        if "parked" in record:
            await self._events.tell("parked", str(record["parked"]), work.task)
        elif "dead" in record:
            await self._publish_dead(delivery, work.task, **record["dead"])
        else:
            await self._publish(work.task, Completion.model_validate(record["completion"]))
        # Only now: while its ask is in the ledger, an answer that is delivered again finds the way back here.
        if work.ask is not None:
            await self._coordination.close(work.ask)
            reach(Failpoint.ASK_CLOSED)
        if "parked" not in record:
            await self._coordination.close_all(work.task)

    async def _complete(self, task: Message, result: TurnResult) -> None:
        """Complete a message that needed no turn."""
        await self._publish(task, self._completion(task, result))

    async def _publish(self, task: Message, completion: Completion) -> None:
        """The completion, which the broker takes once, and the reply to who asked."""
        storing = self._store(task, completion)
        if completion.outcome is Outcome.NOTED:
            await storing
        else:
            await asyncio.gather(storing, self._coordination.reply(task, completion))
        reach(Failpoint.REPLY_PUBLISHED)

    async def _store(self, task: Message, completion: Completion) -> None:
        await self._bus.publish(
            subjects.done(self._role, task.id), completion.encode(), only_first=True,
            message_id=f"{self._role}.{task.id}.done",
        )  # fmt: skip
        reach(Failpoint.COMPLETION_PUBLISHED)

    def _completion(self, task: Message, result: TurnResult) -> Completion:
        return Completion(
            message_id=task.id, role=self._role, outcome=result.outcome, subject=task.title, text=result.text,
            evidence=list(result.evidence), implicit=result.end is TurnEnd.STOPPED, from_role=task.from_role,
            trace_id=task.trace_id, causation_id=task.causation_id, priority=task.payload.priority,
            started_at=self._journal.started_at(task.id) or self._clock(), ended_at=self._clock(),
            turns=self._journal.turns_of(task.id), usage=self._journal.usage_of(task.id),
        )  # fmt: skip

    # ── when it went wrong ─────────────────────────────────────────────────────────────────────────
    async def _bury(
        self, delivery: Delivery, message: Message | None, reason: str, *, work: Work | None = None, tries: int = 1
    ) -> None:
        """Give up on a message for good, and tell who asked."""
        record: dict[str, Any] = {"reason": reason, "trace": traceback.format_exc() if work else "", "tries": tries}
        if work is None:
            await self._publish_dead(delivery, message, **record)
        else:
            self._journal.finish(work.turn_id, {"dead": record})
            await self._publish_end(work, {"dead": record}, delivery)

    async def _publish_dead(
        self, delivery: Delivery, message: Message | None, *, reason: str, trace: str, tries: int
    ) -> None:
        about = {} if message is None else {
            "from_role": message.from_role, "subject": message.title, "trace_id": message.trace_id,
            "priority": message.payload.priority,
        }  # fmt: skip
        is_buried = await bury(
            self._bus, self._role, delivery, reason, traceback=trace, attempts=tries,
            message_id=message.id if message else None, about=about,
        )  # fmt: skip
        reach(Failpoint.DEAD_LETTER_STORED)
        if not is_buried:
            return
        await self._events.tell("dead", reason, message)
        if message is not None and not message.is_answer:
            result = TurnResult(TurnEnd.FINISHED, Outcome.DEAD, f"Not worked off: {reason}")
            await self._coordination.reply(message, self._completion(message, result))

    async def _later(
        self, delivery: Delivery, message: Message | None, why: Exception | str, *, in_s: float, failures: int
    ) -> None:
        """Have the broker bring the message again after a while; a delayed nak would block the lane meanwhile."""
        logger.warning("%s goes back for %.1f s: %s", delivery.default_id, in_s, why)
        moment = self._clock() + timedelta(seconds=in_s)
        name = f"{delivery.stream}-{delivery.sequence}"
        headers = {subjects.ID: delivery.default_id, subjects.ATTEMPTS: str(failures)}
        if subjects.DOOR in delivery.headers:
            headers[subjects.DOOR] = delivery.headers[subjects.DOOR]
        await self._bus.publish_at(
            moment, subjects.schedule(self._role, name), subjects.due(self._role), delivery.data,
            message_id=f"later-{self._role}-{name}", headers=headers,
        )  # fmt: skip
        reach(Failpoint.DELAYED)
        await self._events.tell("delayed", f"again in {in_s:.0f} s: {why}", message, failures=failures)

    def _fail(self, work: Work | None) -> int:
        """Count a failed try; how many there were."""
        return self._journal.fail(work.turn_id) if work else 1

    def _put_back(self, work: Work | None) -> None:
        if work is not None:
            self._journal.put_back(work.turn_id)

    def _back_off_s(self, failures: int) -> float:
        return float(self._limits.first_retry_s * 2 ** (failures - 1) * random.uniform(0.75, 1.25))


def _continuation_id(ask_id: str) -> str:
    return f"{ask_id}~r"
