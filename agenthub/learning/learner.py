"""The learner of one role: takes in what others publish, learns from how tasks end, keeps the policy. No model calls.

It reads the learning subjects by a consumer of its own, beside the inbox: learnings wake nobody. Whatever is wrong with
one of them, it is dropped with the reason told; the role goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.deliveries import Delivery, Pull
from agenthub.errors import HubError, MessageError, NotFoundError
from agenthub.guards.poisoning import suspicion
from agenthub.learning.policy import Policy, most_useful
from agenthub.learnings import Judgement, Learning, read
from agenthub.messages import Completion, Outcome, derived_id
from agenthub.notices import Notices
from agenthub.org.events import Events
from agenthub.org.learned import Held, Learned
from agenthub.org.trust import Finding, State
from agenthub.org.trust_states import Opinions, TrustStates
from agenthub.together import run_together

logger = logging.getLogger(__name__)

MOST_OF_ONE = 20
"""Learnings that one author may publish within `OF_ONE_WITHIN`; what is more is dropped by all who read it."""
OF_ONE_WITHIN = timedelta(hours=1)
LOOK_AGAIN_S = 3600.0
"""How often trust is looked at without news: it drifts while nothing happens."""
PAUSE_S = 5.0
_BATCH = 64

HELPED, NO_DIFFERENCE, HURT = "helped", "no_difference", "hurt"


class Place(NamedTuple):
    """Which role learns, and who may overrule it."""

    role: str
    operator: str


class Learner:
    """What one role learns from others."""

    def __init__(
        self, place: Place, *, bus: Bus, learned: Learned, policy: Policy, events: Events, notices: Notices,
        clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._place, self._bus, self._learned, self.policy = place, bus, learned, policy
        self._events, self._notices, self._clock = events, notices, clock
        self._states = TrustStates(bus)
        self._woken = asyncio.Event()
        self._has_some = asyncio.Event()
        """Set once something was learned."""
        consumer = subjects.learning_consumer(place.role)
        self._pull = Pull(bus, subjects.LEARNING, consumer, self._woken.set, batch=_BATCH)

    def states(self) -> dict[str, int]:
        """How many learnings are in which state."""
        held = self._learned.all(at=self._clock())
        return {str(state): sum(one.state is state for one in held) for state in State}

    # ── what the session asks ──────────────────────────────────────────────────────────────────────
    def hints(self, task: str, text: str) -> list[Held]:
        """Unproven learnings that fit a task, at most five; the same for a task that is begun again."""
        if self._learned.is_empty:
            return []
        try:
            at = self._clock()
            if known := self._learned.offers(task):
                return [one for one in self._learned.all(at=at, only=known) if one.state is State.HINT]
            found = self._learned.fitting(text, at=at)
            self._learned.offered(task, [one.id for one in found], at=at)
        except sqlite3.Error as error:
            logger.error("no hints for %s: %s", task, error)
            return []
        return found

    def find(self, prefix: str) -> Held:
        """The learning that an agent names.

        Raises:
            NotFoundError: If there is none, or it is not to be used.
        """
        held = self._learned.get(prefix, at=self._clock())
        if held.state is State.QUARANTINED:
            raise NotFoundError(f"There is no learning whose id begins with `{prefix}`.")
        return held

    def report(self, held: Held, task: str, result: str, note: str) -> None:
        """Note what the agent says of a learning; it counts when the task has ended."""
        self._has_some.set()  # maybe another process of the role has learned it
        self._learned.report(held.id, task, result, note, at=self._clock())

    def published_lately(self) -> int:
        """How many learnings of its own the role has published within the hour, as far as they have come back."""
        return self._learned.count_heard(self._place.role, since=self._clock() - OF_ONE_WITHIN)

    # ── the service ────────────────────────────────────────────────────────────────────────────────
    async def run(self) -> None:
        """Learn until cancelled."""
        self._bus.on_reconnect(self._pull_again)
        await self._pull.open()
        try:
            await run_together([("learn from others", self._serve()), ("learn from how tasks end", self._follow())])
        finally:
            await self._pull.close()
            self._learned.close()

    async def _serve(self) -> None:
        if not self._learned.is_empty:
            self._has_some.set()
            await self._guarded(self._look_again)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._woken.wait()
            is_news = self._woken.is_set()
            self._woken.clear()
            if not is_news and not self._learned.is_empty:
                await self._guarded(self._look_again)
            while self._pull.held:
                batch, self._pull.held = self._pull.held, []
                if not await self._guarded(partial(self._take_in, batch)):
                    for delivery in batch:
                        await delivery.give_back()
                    await asyncio.sleep(PAUSE_S)
            await self._pull.pull()

    async def _follow(self) -> None:
        await self._has_some.wait()  # before, no end says anything of a learning, and most roles end many tasks
        async with self._bus.listen(subjects.done(self._place.role, "*")) as ends:
            await self._guarded(self._settle)
            async for received in ends:
                task = received.subject.rpartition(".")[2]
                await self._guarded(partial(self._settle, {task}))

    async def _pull_again(self) -> None:
        await self._pull.pull_again()
        if not self._learned.is_empty:
            await self._guarded(self._look_again)  # ends that were stored meanwhile were not heard

    async def _guarded(self, what: Callable[[], Awaitable[None]]) -> bool:
        """Do something that must never end the process; False if it failed."""
        try:
            await what()
        except (sqlite3.Error, OSError, HubError) as error:
            logger.error("learning: %s", error)
            return False
        return True

    # ── what comes in ──────────────────────────────────────────────────────────────────────────────
    async def _take_in(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            if not delivery.is_settled:
                await self._take(delivery)
        await self._refresh()
        if not self._learned.is_empty:
            self._has_some.set()
        for delivery in batch:
            await delivery.ack()

    async def _take(self, delivery: Delivery) -> None:
        author = delivery.subject.rpartition(".")[2]
        is_person = author == self._place.operator
        if not is_person:
            many = self._learned.heard(author, delivery.sequence, delivery.stored_at, within=OF_ONE_WITHIN)
            if many > MOST_OF_ONE:
                if many == MOST_OF_ONE + 1:  # said once, or a flood of learnings would be one of events, too
                    await self._drop(author, f"`{author}` published more than {MOST_OF_ONE} learnings within an hour")
                return
        try:
            message, said = read(
                delivery.subject, delivery.data, default_id=delivery.default_id, operator=self._place.operator
            )
        except MessageError as error:
            await self._drop(author, str(error))
            return
        if isinstance(said, Judgement):
            if not said.roles or self._place.role in said.roles:
                self._learned.judge(said, message.id, at=delivery.stored_at, operator=self._place.operator)
            return
        why = "" if is_person else suspicion(said)
        if self._learned.keep(said, author, heard_at=delivery.stored_at, suspicion=why):
            await self._told(said, author, why)

    async def _told(self, learning: Learning, author: str, why: str) -> None:
        if not why:
            await self._events.tell("learned", f"{learning.trigger}: {learning.approach}", learning=learning.id)
            return
        await self._events.tell("quarantined", f"a learning of {author}: {why}", learning=learning.id)
        text = (
            f"{why[0].upper()}{why[1:]}. No role follows it until you decide.\n\nWhen: {learning.trigger}\n"
            f"Do: {learning.approach}\n\n`agenthub learnings release {learning.id}` lets it earn trust like any other, "
            f"`agenthub learnings refute {learning.id}` is your word against it; otherwise it stays where it is."
        )
        # All roles say this under one id, so it is stored once; of one author within an hour only the first.
        await self._notices.tell(
            derived_id("quarantine", author), f"A learning of {author} is in quarantine", text, is_question=False
        )

    async def _drop(self, author: str, reason: str) -> None:
        logger.warning("a learning of %s is dropped: %s", author, reason)
        await self._events.tell("learning_dropped", f"of {author}: {reason}")

    # ── how tasks end ──────────────────────────────────────────────────────────────────────────────
    async def _settle(self, tasks: Collection[str] | None = None) -> None:
        """Make findings of what was reported about tasks that have ended; of these, or of all."""
        if self._learned.is_empty:
            return
        reported = self._learned.reported()
        has_found = False
        for task in reported if tasks is None else reported.keys() & set(tasks):
            stored = await self._bus.last(subjects.DONE, subjects.done(self._place.role, task))
            if stored is None:
                continue
            end = Completion.decode(stored)
            is_success = verified_success(end)
            for learning, result, _ in reported[task]:
                if result == HURT or (result == HELPED and is_success):
                    finding = Finding(self._place.role, task, result == HELPED, end.ended_at, _evidence(end))
                    self._learned.find(learning, finding)
                    has_found = True
            self._learned.settled(task)
        if has_found:
            await self._refresh()

    # ── what follows ───────────────────────────────────────────────────────────────────────────────
    async def _look_again(self) -> None:
        await self._settle()
        await self._refresh()

    async def _refresh(self) -> None:
        """Bring the policy file to what is promoted now, and tell what this role thinks."""
        if self._learned.is_empty:
            return
        at = self._clock()
        held = self._learned.all(at=at)
        promoted = [one for one in held if one.state is State.PROMOTED and self._place.role not in one.authors]
        synced = self.policy.sync(most_useful(promoted), self._learned.written())
        for identity in synced.taken_out:
            said = Judgement(learning=identity, verdict="demote", reason="a person took it out of the policy file")
            self._learned.judge(said, derived_id("policy", identity, at.isoformat()), at=at, operator="")
        self._learned.set_written(synced.written)
        for kind, identities in (("promoted", synced.added), ("demoted", synced.removed)):
            for one in held:
                if one.id in identities:
                    text = f"{one.learning.trigger}: {one.learning.approach}"
                    await self._events.tell(kind, text, learning=one.id, trust=round(one.standing.trust, 3))
        if synced.taken_out:
            held = self._learned.all(at=at)
        await self._states.put(self._place.role, Opinions.of(held, at=at))


def verified_success(end: Completion) -> bool:
    """True if a task ended well, and something shows it: not if the model just stopped, or only says so."""
    return end.is_verified or (end.outcome is Outcome.DONE and not end.implicit and bool(end.evidence))


def _evidence(end: Completion) -> frozenset[str]:
    """Ids of messages that the end of a task names; paths and the like are no witnesses that could be compared."""
    return frozenset(one for one in end.evidence if len(one) >= 32 and subjects.message_id(one))
