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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from agenthub import subjects
from agenthub.acceptance import Acceptance
from agenthub.asks import Ask
from agenthub.bus.connection import StreamFullError
from agenthub.bus.deliveries import Delivery
from agenthub.control import Control
from agenthub.errors import (
    BreakerOpenError,
    BudgetExhaustedError,
    ForgedError,
    FrozenError,
    HubError,
    HubUnreachableError,
    LeaseLostError,
    MessageError,
    ModelRefusedError,
    ModelUnavailableError,
    RefusedError,
    SessionError,
    TraceParkedError,
    TurnCancelledError,
)
from agenthub.failpoints import Failpoint, reach
from agenthub.guards.circuit_breaker import ramp_s
from agenthub.inbox import Inbox
from agenthub.messages import Message, Outcome
from agenthub.org.activity import Activity
from agenthub.org.events import Events
from agenthub.preemption import Preemption
from agenthub.sessions.journal import Journal
from agenthub.sessions.session import Granted, ModelCalled, Prompt, Session, ToolEnded, ToolStarted, TurnEnd, TurnResult
from agenthub.settling import Settling, Work
from agenthub.steered import Steered
from agenthub.trace_guard import TraceGuard
from agenthub.triage import Triage
from agenthub.turn_gate import TurnGate

logger = logging.getLogger(__name__)

FULL_PAUSE_S = 10.0
MAX_CRASHES = 3
"""A message during which the process died this often, without any progress in between, is buried: it probably
kills it. Fewer than the crashes after which the supervisor leaves a role alone."""
LOOK_FOR_ROOM_S = 5.0
"""How often a role whose disk is full looks whether there is room again."""


@dataclass(frozen=True)
class LoopLimits:
    """How much one message may take."""

    max_tries: int = 3
    turn_timeout_s: float = 1800.0
    first_retry_s: float = 1.0
    """Back-off before the second try; doubled for each further one."""


class Loop:
    """Works off one role's inbox, one message at a time."""

    def __init__(
        self,
        role: str,
        *,
        inbox: Inbox,
        session: Session,
        journal: Journal,
        triage: Triage,
        settling: Settling,
        preemption: Preemption,
        traces: TraceGuard,
        events: Events,
        activity: Activity,
        limits: LoopLimits,
        clock: Callable[[], datetime],
        before_effect: Callable[[], Awaitable[None]],
        gate: TurnGate,
        take_in: Callable[[Message], Message],
        acceptance: Acceptance,
        hand_in: Callable[[Message, TurnResult], Awaitable[TurnResult]],
        steered: Steered,
    ) -> None:
        """The loop of one role.

        Args:
            before_effect: Raises if this process may not act as the role any more.
            gate: Asked before each turn whether there is money and a model for it: else none is opened.
            take_in: Called with what comes in before anything is made of it; gives it as it is worked off.
            hand_in: Called with a task that is over and how it ended, before anybody is told; gives what is told.
            acceptance: Says what a task must show before it counts as done.
            steered: By whom people stop, cancel and move what is in hand.
        """
        self._role, self._inbox, self._session, self._journal = role, inbox, session, journal
        self._triage, self._settling, self._preemption = triage, settling, preemption
        self._traces = traces
        self._events, self._activity, self._limits, self._clock = events, activity, limits, clock
        self._before_effect, self._gate, self._take_in = before_effect, gate, take_in
        self._acceptance, self._steered, self._hand_in = acceptance, steered, hand_in
        self._has_opened = False
        """True if the turn of the delivery in hand was opened."""

    async def run(self) -> None:
        """Work until the inbox is closed."""
        acknowledging: asyncio.Task[bool] | None = None
        try:
            while (delivery := await self._inbox.next()) is not None:
                reach(Failpoint.TAKEN)
                is_over = await self.handle(delivery)
                self._activity.rests()
                if not is_over:
                    self._inbox.keep(delivery)
                    continue
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

    async def handle(self, delivery: Delivery) -> bool:
        """Work off one delivery. True: it may be acknowledged. False: it is to be handled again from here."""
        try:
            is_over = await self._handle(delivery)
            await self._gate.leave()
            return is_over
        except sqlite3.OperationalError as error:
            if not is_for_want_of_room(error):
                raise
            await self._until_there_is_room(error)
            return False
        except HubUnreachableError:
            raise
        except HubError as error:  # a stream is full: what was to be published is recorded, and is tried again
            await self._settling.later(delivery, None, error, in_s=FULL_PAUSE_S, failures=delivery.attempts_before)
        return True

    async def _handle(self, delivery: Delivery) -> bool:
        message: Message | None = None
        work: Work | None = None
        self._has_opened = False
        try:
            await self._before_effect()
            message = self._take_in(Message.read(delivery.data, default_id=delivery.default_id))
            message = message.having(**_of_the_door(message, delivery))
            await self._triage.check(message, delivery)
            if message.coalesce and await self._inbox.has_newer(message, delivery):
                await self._settling.complete(message, Outcome.NOTED, "a newer one of the same kind waits")
                return True
            if self._triage.has_expired(message):
                await self._settling.complete(message, Outcome.NOTED, "expired: what it asks for is decided without it")
                return True
            work = await self._triage.sort(message)
            if work is None:
                return True
            with self._steered.in_hand(work.task) as order:
                return await self._work(work, delivery, order)
        except MessageError as error:
            if message is not None and isinstance(error, ForgedError):
                message = message.model_copy(update={"id": delivery.place_id})
            await self._settling.bury(delivery, message, str(error))
        except RefusedError as error:
            assert message is not None
            if work is None:
                await self._settling.complete(message, Outcome.REFUSED, str(error))
            else:  # a parked task ends, not the answer that it waited for
                await self._settling.end(work, TurnResult(TurnEnd.FINISHED, Outcome.REFUSED, str(error)), delivery)
        except FrozenError:
            self._put_back(work)
            return False  # it stays in hand, and the inbox hands out nothing until a person lets it
        except TurnCancelledError as error:
            assert work is not None
            if not await self._settling.has_ended(work.task):
                await self._settling.end(work, TurnResult(TurnEnd.FINISHED, Outcome.FAILED, str(error)), delivery)
        except (BudgetExhaustedError, ModelUnavailableError, TraceParkedError) as error:
            self._put_back(work)
            if isinstance(error, BreakerOpenError) and error.is_of_role and work is not None:
                if await self._settling.hand_over(work, str(error)):
                    return True
            elif isinstance(error, ModelUnavailableError):
                await self._gate.unavailable(error)
            rank = message.payload.priority.rank if message else 0
            whole_s = error.whole_wait_s if isinstance(error, ModelUnavailableError) else error.retry_after_s
            wait_s = error.retry_after_s + ramp_s(whole_s, rank=rank, who=self._role)
            await self._settling.later(delivery, message, error, in_s=wait_s, failures=delivery.attempts_before)
        except SessionError as error:
            assert work is not None
            failures = self._fail(work)
            await self._gate.ended(ok=False, reason=str(error))
            if failures >= self._limits.max_tries or isinstance(error, ModelRefusedError):
                await self._settling.end(work, TurnResult(TurnEnd.FINISHED, Outcome.FAILED, str(error)), delivery)
            else:
                await self._settling.later(delivery, message, error, in_s=self._back_off_s(failures), failures=failures)
        except StreamFullError:
            self._put_back(work)
            raise
        except sqlite3.Error:
            raise  # nothing can be recorded, so nothing may be done
        except (LeaseLostError, HubUnreachableError, asyncio.CancelledError):
            if work is not None and self._activity.is_to_be_cut_short:
                self._fail(work)  # else a turn that hangs would be begun again for ever
            else:
                self._put_back(work)
            raise  # this process can act no more, or must not: leaving gives the delivery back
        except Exception as error:  # a bug
            logger.exception("handling %s failed", delivery.default_id)
            failures = self._fail(work) if work else delivery.attempts_before + 1
            if failures >= self._limits.max_tries:
                await self._settling.bury(
                    delivery, message, f"{type(error).__name__}: {error}", work=work, tries=failures
                )
            else:
                await self._settling.later(delivery, message, error, in_s=self._back_off_s(failures), failures=failures)

        return True

    # ── doing it ───────────────────────────────────────────────────────────────────────────────────
    async def _work(self, work: Work, delivery: Delivery, order: Control | None) -> bool:
        """Take a turn and settle what comes of it; False if it made way for something critical and goes on later."""
        if await self._settling.went_elsewhere(work, delivery, order=order):
            return True
        self._steered.check(work.task)
        try:
            await self._gate.enter()
        except SessionError:  # what is done needs nothing more
            if not self._journal.is_done(work.turn_id):
                raise
        turn = self._journal.open_turn(
            work.turn_id, message_id=work.task.id, ack_subject=delivery.reply_subject,
            failures_before=delivery.attempts_before,
        )  # fmt: skip
        self._has_opened = True
        reach(Failpoint.TURN_OPENED)
        if turn.is_done:  # a crash came between recording and acknowledging
            await self._settling.publish_end(work, turn.result or {}, delivery)
            return True
        if turn.attempts > 1 and await self._settling.ended_before(work, delivery):
            return True
        if turn.attempts > MAX_CRASHES:
            reason = f"the process of `{self._role}` died {turn.attempts - 1} times while it worked on this"
            await self._settling.bury(delivery, work.task, reason, work=work, tries=turn.attempts)
            return True
        if turn.failures >= self._limits.max_tries:  # the process had to end before it could say so
            failed = TurnResult(TurnEnd.FINISHED, Outcome.FAILED, f"{turn.failures} tries made no progress")
            await self._settling.end(work, failed, delivery)
            return True
        await self._traces.check(work.task, is_new=work.ask is None)
        self._activity.works(work.task)
        logger.info(
            "%s %s: %s from %s", "goes on with" if work.ask else "took", work.task.id, work.task.payload.priority,
            work.task.from_role,
        )  # fmt: skip
        kind = "resumed" if work.ask else "taken"
        waited_s = round(max(0.0, (self._clock() - delivery.stored_at).total_seconds()), 3)
        self._events.tell_soon(
            kind, work.task.title, work.task, from_role=work.task.from_role, attempt=turn.attempts, waited_s=waited_s
        )
        try:
            async with asyncio.timeout(self._limits.turn_timeout_s) as limit, self._preemption.watch(work.task):
                with self._steered.watch(work.task, limit):
                    result = await self._turn(work)
        except TimeoutError as error:
            self._steered.check(work.task)
            raise SessionError(f"The turn took longer than {self._limits.turn_timeout_s:.0f} s.") from error
        if result.end is TurnEnd.INTERRUPTED:
            self._steered.check(work.task)
        if result.end is TurnEnd.INTERRUPTED and self._activity.is_to_be_cut_short:
            raise SessionError("The turn made no progress and was interrupted.")
        if self._preemption.made_way(result):
            self._put_back(work)
            await self._events.tell("interrupted", "makes way for a critical message, then goes on", work.task)
            return False
        if result.end is TurnEnd.INTERRUPTED:
            self._put_back(work)
            await self._settling.later(delivery, work.task, "the turn was interrupted", in_s=0, failures=turn.failures)
            return True
        if result.end is not TurnEnd.PARKED:
            with contextlib.suppress(
                LeaseLostError
            ):  # then another process works there; settling says what becomes of it
                await self._before_effect()
                result = await self._hand_in(work.task, result)
        await self._settling.end(work, result, delivery)
        is_ok = result.outcome is not Outcome.FAILED or bool(work.task.payload.verifies)  # to reject is no failure
        await self._gate.ended(ok=is_ok, reason="" if is_ok else result.text)
        return True

    async def _turn(self, work: Work) -> TurnResult:
        if (end := await self._acceptance.resumed(work.task, work.turn_id, work.ask)) is not None:
            return end
        prompt = Prompt(work.prompt, work.task, goes_on=work.ask is not None, granted=_granted(work.ask))
        turn = self._session.turn(prompt, turn_id=work.turn_id)
        async with contextlib.aclosing(turn) as happening:
            async for event in happening:
                self._activity.progresses()
                match event:
                    case TurnResult():
                        return await self._acceptance.ended(work.task, work.turn_id, event, besides=work.ask)
                    case ToolStarted(name, summary, patience_s):
                        self._activity.does(f"{name} {summary}", patience_s=patience_s)
                    case ToolEnded(name, summary, is_error, changes, duration_s):
                        await self._gate.acted(f"{name} {summary}", is_error=is_error)
                        if changes:
                            await self._traces.changed(work.task)
                        await self._events.tell(
                            "step", f"{name} {summary}", work.task, tool=name, is_error=is_error,
                            duration_s=round(duration_s, 4),
                        )  # fmt: skip
                    case ModelCalled(usage, model, duration_s, said):
                        self._activity.spends(usage)
                        self._activity.context = await self._session.context()
                        if said or usage.output_tokens:
                            await self._gate.answered()
                        spent = usage.model_dump(exclude_defaults=True)
                        await self._events.tell(
                            "model", said, work.task, model=model, duration_s=round(duration_s, 4), **spent
                        )
                    case _:
                        pass
        raise SessionError("The session ended a turn without a result.")

    # ── when it went wrong ─────────────────────────────────────────────────────────────────────────
    async def _until_there_is_room(self, error: Exception) -> None:
        """Nothing that could not be recorded may be done: wait until the disk takes records again."""
        logger.error("%s cannot be written: %s; looking again every %.0f s", self._journal.path, error, LOOK_FOR_ROOM_S)
        self._activity.cannot_work("the disk is full")
        await self._events.tell("stuck", f"the disk is full: {self._journal.path.name} cannot be written")
        while True:
            await asyncio.sleep(LOOK_FOR_ROOM_S)
            if self._journal.is_writable():
                break
        logger.info("the disk takes records again")

    def _fail(self, work: Work | None) -> int:
        """Count a failed try; how many there were."""
        return self._journal.fail(work.turn_id) if work else 1

    def _put_back(self, work: Work | None) -> None:
        if work is not None and self._has_opened:
            self._journal.put_back(work.turn_id)

    def _back_off_s(self, failures: int) -> float:
        return float(self._limits.first_retry_s * 2 ** (failures - 1) * random.uniform(0.75, 1.25))


def is_for_want_of_room(error: sqlite3.Error) -> bool:
    """True if the disk is full, or does not take writes for another reason that may pass."""
    name = getattr(error, "sqlite_errorname", "")
    return name in ("SQLITE_FULL", "SQLITE_READONLY") or name.startswith("SQLITE_IOERR")


def _granted(ask: Ask | None) -> Granted | None:
    """The tool call that waited for a yes and has it."""
    if ask is None or ask.approval is None or not ask.is_approved:
        return None
    answer = ask.parts[0].answer
    return Granted(ask.approval.tool, ask.approval.input, always=answer is not None and answer.always)


def _of_the_door(message: Message, delivery: Delivery) -> dict[str, bool | None]:
    """By which door a message came in, whatever it says of that itself; only that it is a stranger's is believed.

    What the role put off itself came by none.
    """
    door = delivery.headers.get(subjects.DOOR, "")
    is_vouched_for = not door or door.startswith(subjects.ALL_DUE)
    place, lane = subjects.place_of(door), subjects.lane_of(delivery.subject)
    came_here = lane is not None and place is not None and place.role == lane.role and not place.priority
    return {"at_door": None if is_vouched_for else True, "is_stranger": came_here or message.is_stranger or None}
