"""Files what the organization knows: what was decided, what meetings came to, which learnings roles trust. No model.

Whoever leads does it. What is filed is read by roles as they `recall` it, so it is looked through for poison before, as
learnings are: what is suspicious is not filed but told to a person, once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.errors import HubError, MessageError
from agenthub.guards.poisoning import suspicion, suspicion_of, withheld
from agenthub.learnings import Judgement, read
from agenthub.masking import mask_of_keys
from agenthub.messages import Message, derived_id, now
from agenthub.notices import Notices
from agenthub.org.events import Events
from agenthub.org.filed import Filed, Trusted
from agenthub.org.knowledge import Knowledge, decided_by
from agenthub.org.trust import State
from agenthub.org.trust_states import Opinions, TrustStates
from agenthub.organization import Organization
from agenthub.rhythm import next_moment

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
_MOST_READ = 5000
_DECISIONS, _MEETINGS = "decisions", "meetings"


class Filing:
    """Keeps the knowledge base of an organization."""

    def __init__(
        self, bus: Bus, organization: Organization, folder: Path, *, clock: Callable[[], datetime] = now
    ) -> None:
        """The keeper of the knowledge base in `folder`."""
        self._bus, self._organization, self._folder, self._clock = bus, organization, folder, clock
        self._knowledge, self._filed = Knowledge(folder), Filed(folder)
        self._events = Events(bus, subjects.LEADER)
        self._notices = Notices(
            subjects.LEADER, operator=organization.operator, org=organization.org, bus=bus, events=self._events
        )
        self._states = TrustStates(bus)
        self._read_up_to, self._version = 0, -1
        self._trusted: dict[str, tuple[str, ...]] | None = None

    async def run(self) -> None:
        """File until cancelled. A broker that does not answer, a full disk or a file that people wrote is no reason to
        stop."""
        while True:
            try:
                await self.look()
            except (HubError, MessageError, OSError, UnicodeError) as error:
                logger.warning("the knowledge base is not up to date: %s", error)
            await next_moment(LOOK_EVERY_S)

    async def look(self) -> None:
        """File what is new, and take out what holds no more."""
        is_new = await self._file_topics()
        if await self._file_learnings() or is_new:
            self._knowledge.index()

    # ── what was decided and reported ──────────────────────────────────────────────────────────────
    async def _file_topics(self) -> bool:
        newest = await self._bus.newest(subjects.TOPICS)
        if newest == self._read_up_to:
            return False
        is_new = False
        for kind, subject in ((_DECISIONS, subjects.DECISIONS), (_MEETINGS, subjects.status_topic("meeting"))):
            for received in await self._bus.look(subjects.TOPICS, subject, most=_MOST_READ, after=self._read_up_to):
                try:
                    message = Message.read(received.data, default_id=f"{subjects.TOPICS}-{received.sequence}")
                except MessageError:
                    continue
                if not self._knowledge.knows(message.id):
                    is_new = await self._file(kind, message) or is_new
        self._read_up_to = newest
        return is_new

    async def _file(self, kind: str, message: Message) -> bool:
        """File one message, if nothing speaks against it; True if it was."""
        text, why = message.payload.message, ""
        if kind == _MEETINGS:  # minutes are many people's words: one line of them does not cost the rest
            text, why = withheld(text)
        against = suspicion_of(f"{message.title}\n{decided_by(message)}\n{text}")
        if why or against:
            await self._tell(kind, message, against or why, is_filed=not against)
        if against:
            self._knowledge.pass_over(message)
            return False
        payload = message.payload.model_copy(update={"message": text})
        return self._knowledge.keep(kind, message.model_copy(update={"payload": payload}))

    async def _tell(self, kind: str, message: Message, why: str, *, is_filed: bool) -> None:
        what = "Minutes" if kind == _MEETINGS else "A decision"
        how = "filed without the lines that say so" if is_filed else "not filed"
        await self._events.tell("withheld", f"{what} of {message.from_role}: {why}; {how}", message)
        text = (
            f"{why[0].upper()}{why[1:]}. It is {how}, so no role reads that when it recalls what is known.\n\n"
            f"{mask_of_keys(message.title)}\n\n{mask_of_keys(message.payload.message[:2000])}\n\n"
            f"If it should be known, write it into a file in {self._folder / kind}: files of your own are found, too."
        )
        identity = derived_id("withheld", message.id)
        await self._notices.tell(identity, f"{what} of {message.from_role}: {how}", text, is_question=False)

    # ── what was learned ───────────────────────────────────────────────────────────────────────────
    async def _file_learnings(self) -> bool:
        version = await self._states.version()
        if version == self._version:
            return False
        trusted = trusted_by(await self._states.all(), self._organization.roles)
        has_changed = False
        if trusted != self._trusted:
            wanted, gone = await self._words(trusted)
            has_changed = self._filed.sync(wanted, stay=gone)
            self._trusted = trusted
        self._version = version
        return has_changed

    async def _words(self, trusted: Mapping[str, tuple[str, ...]]) -> tuple[dict[str, Trusted], set[str]]:
        """What these learnings say, and those whose words are gone from the stream.

        Those that a person should see first are left out, and those that only their authors trust.
        """
        if not trusted:
            return {}, set()
        found: dict[str, Trusted] = {}
        decided: dict[str, str] = {}
        operator = self._organization.operator
        after = max(0, await self._bus.newest(subjects.LEARNING) - _MOST_READ)
        for received in await self._bus.look(subjects.LEARNING, subjects.ALL_LEARNINGS, most=_MOST_READ, after=after):
            try:
                message, said = read(received.subject, received.data, default_id="-", operator=operator)
            except MessageError:
                continue
            if isinstance(said, Judgement):
                if said.verdict in ("promote", "release", "quarantine"):
                    decided[said.learning] = said.verdict
            elif said.id in trusted:
                known = found.get(said.id, Trusted(said, (), trusted[said.id]))
                shown = tuple(dict.fromkeys((*known.learning.evidence, *said.evidence)))
                learning = known.learning.model_copy(update={"evidence": shown})
                found[said.id] = known._replace(
                    learning=learning, authors=tuple(dict.fromkeys((*known.authors, message.from_role)))
                )
        wanted = {}
        for identity, one in found.items():
            by = tuple(role for role in one.by if role not in one.authors)
            verdict = decided.get(identity, "")
            is_clean = not suspicion(one.learning) or operator in one.authors or verdict in ("promote", "release")
            if by and is_clean and verdict != "quarantine":
                wanted[identity] = one._replace(by=by)
        return wanted, trusted.keys() - found.keys()


def trusted_by(thought: Mapping[str, Opinions], roles: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """By learning whose policy has it; without what is in quarantine anywhere."""
    found: dict[str, list[str]] = {}
    suspected = set()
    for role in sorted(thought.keys() & roles.keys()):
        for opinion in thought[role].opinions:
            if opinion.state is State.PROMOTED:
                found.setdefault(opinion.learning, []).append(role)
            elif opinion.state is State.QUARANTINED:
                suspected.add(opinion.learning)
    return {identity: tuple(by) for identity, by in sorted(found.items()) if identity not in suspected}
