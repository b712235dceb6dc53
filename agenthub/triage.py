"""What a message asks for: a turn of its own, going on with a parked task, a note to be read later, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from agenthub.approvals import DECISION
from agenthub.asks import Ask
from agenthub.bus.deliveries import Delivery
from agenthub.coordination import ASK_DEADLINE, Coordination
from agenthub.errors import MessageError
from agenthub.guards.loop_guard import check_hops
from agenthub.guards.senders import Senders, sender_of
from agenthub.intake import Intake
from agenthub.messages import Message, Outcome
from agenthub.polls import Polls
from agenthub.sessions import prompts
from agenthub.sessions.journal import Journal
from agenthub.settling import Settling, Work
from agenthub.trace_guard import TraceGuard


class Triage:
    """Sorts what comes in for one role."""

    def __init__(
        self,
        role: str,
        *,
        journal: Journal,
        coordination: Coordination,
        settling: Settling,
        polls: Polls,
        traces: TraceGuard,
        senders: Senders,
        intake: Intake,
        clock: Callable[[], datetime],
        max_hops: int,
    ) -> None:
        """The triage of one role.

        Args:
            polls: Decides votes and auctions that are over.
            senders: Says whether a message is from whom it names.
            intake: Says whether who sent it may ask it.
            max_hops: How often a message may have been passed on.
        """
        self._role, self._journal, self._coordination, self._settling = role, journal, coordination, settling
        self._polls, self._traces, self._senders, self._intake = polls, traces, senders, intake
        self._clock, self._max_hops = clock, max_hops

    async def check(self, message: Message, delivery: Delivery) -> None:
        """Return if the message may be worked off.

        Raises:
            ForgedError: If it is not from whom it says.
            MessageError: If it came too late, or has been passed on too often.
            RefusedError: If its sender may not ask this.
        """
        self._senders.check(message, delivery.subject, delivery.signed_headers, delivery.data)
        if message.type == DECISION:
            self._coordination.check_decider(sender_of(delivery.subject, delivery.headers))
        if self._is_late(message) and not message.is_poll:
            raise MessageError(f"its deadline {message.deadline:%Y-%m-%d %H:%M:%S} UTC has passed")
        check_hops(message, max_hops=self._max_hops)
        await self._intake.check(message, delivery)

    def has_expired(self, message: Message) -> bool:
        """True if it asks for a vote or a bid that nobody counts any more: it is over, and nothing is wrong with it."""
        return message.is_poll and self._is_late(message)

    def _is_late(self, message: Message) -> bool:
        return message.deadline is not None and message.deadline < self._clock()

    async def sort(self, message: Message) -> Work | None:
        """The turn that a message asks for; None if it asks for none and is done with."""
        if message.type == "system_event" and message.payload.subject == ASK_DEADLINE:
            ask = await self._coordination.expired(message.correlation_id)
            return await self._continuation(ask) if ask is not None else None
        if message.from_role == self._role and not message.on_behalf_of:
            await self._note(message)  # own output never wakes its author
            return None
        if message.is_answer:
            await self._traces.answered(message)
            ask = await self._coordination.collect(message)
            if ask is None:
                if not self._journal.is_done(_continuation_id(message.correlation_id)):
                    await self._note(message)
                return None
            return await self._continuation(ask) if ask.is_over(self._clock()) else None
        if not message.is_actionable:
            await self._note(message)
            return None
        return Work(message, message.id, prompts.framed(message))

    async def _continuation(self, ask: Ask) -> Work | None:
        turn_id = _continuation_id(ask.id)
        if not self._journal.is_done(turn_id) and await self._settling.has_ended(ask.task):
            await self._coordination.close(ask)  # another replica has finished the task without this answer
            return None
        # After a crash between asking and recording, the answers may be here before the task itself comes again.
        self._journal.finish(ask.turn_id, {"parked": "its answers are here"})
        decided = await self._polls.decided(ask)
        if decided is None:
            return None
        ask = decided
        prompt = prompts.continued(ask)
        if not self._journal.turns_of(ask.task.id):  # this session never saw the task
            prompt = f"{prompts.framed(ask.task)}\n{prompt}"
        return Work(ask.task, turn_id, prompt, ask)

    async def _note(self, message: Message) -> None:
        """Keep a message that asks for no work for the next turn to read."""
        is_stale = message.type == "reminder" and self._journal.is_done(message.causation_id)
        if message.from_role != self._role and not is_stale:
            self._journal.add_note(message.id, prompts.note(message))
        if not message.is_answer:
            await self._settling.complete(message, Outcome.NOTED)


def _continuation_id(ask_id: str) -> str:
    return f"{ask_id}~r"
