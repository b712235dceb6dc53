"""Everything that the screens read from a hub and do to it: one protocol, and the client behind it.

Widgets know only the protocol, so that a screen can be drawn from a fixed one. Nothing here consumes or changes what
it looks at, but the deeds at the end.
"""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

from agenthub.asks import Ask
from agenthub.breakers import Breakers
from agenthub.budgets import AccountName, Budgets
from agenthub.causation import Node
from agenthub.client import Client, LiveEvent, WaitingMessage
from agenthub.client.allowances import read_limit, set_limits
from agenthub.client.approvals import Approvals
from agenthub.client.learnings import Learnings, Shared
from agenthub.client.letters import Buried
from agenthub.client.schedules import Scheduled, Schedules
from agenthub.client.steering import Effect
from agenthub.errors import HubError
from agenthub.guards.budget import Account, levels, rolled
from agenthub.guards.circuit_breaker import Rules
from agenthub.letters import Replay
from agenthub.messages import Completion, Event, Message, Priority, now
from agenthub.org.reputation import ALL
from agenthub.org.track_record import TrackRecord
from agenthub.tui.dispatch import read_plan
from agenthub.tui.facts import Money, Picture
from agenthub.tui.wording import plural

QUIET_KINDS = frozenset({"model"})
"""Events that tell more than a person wants to see pass by."""
_MOST_WAITING = 200
RoleVerb = Literal["pause", "resume", "cancel", "nudge", "estop", "thaw", "restart"]
MessageVerb = Literal["move", "requeue", "reprioritize", "cancel"]
ScheduleVerb = Literal["run", "pause", "resume", "remove"]


class Source(Protocol):
    """What the screens ask of a hub."""

    @property
    def org(self) -> str: ...
    @property
    def operator(self) -> str: ...
    @property
    def reports_to(self) -> Mapping[str, str]:
        """Role → its manager; all roles, in the order of the organization."""

    async def picture(self) -> Picture: ...
    def forget(self) -> None: ...
    def events(self, *, last: int | None, since: datetime | None) -> AsyncGenerator[Event]: ...
    def live(self, role: str) -> AsyncGenerator[tuple[str, LiveEvent]]: ...
    async def inbox(self, role: str) -> Sequence[WaitingMessage]: ...
    async def letters(self) -> Sequence[Buried]: ...
    async def trace(self, message_id: str) -> Sequence[Node]: ...
    async def completions(self, since: datetime) -> Sequence[Completion]: ...
    async def learnings(self) -> Sequence[Shared]: ...
    async def schedules(self) -> Sequence[Scheduled]: ...

    async def send(self, to: str, text: str, *, priority: Priority) -> Message: ...
    async def approve(self, ask_id: str, *, always: bool = False) -> Ask: ...
    async def reject(self, ask_id: str, reason: str) -> Ask: ...
    async def reply(self, ask_id: str, text: str) -> Ask: ...
    async def judge(self, verb: str, learning_id: str, reason: str) -> None: ...
    async def replay(self, buried: Buried, *, body: bytes | None = None) -> Replay: ...
    async def drop(self, letters: Sequence[Buried]) -> None: ...
    async def steer(self, verb: RoleVerb, role: str | None, words: str = "") -> str: ...
    async def rearrange(self, verb: MessageVerb, role: str, message_id: str, *more: str) -> str: ...
    async def reschedule(self, verb: ScheduleVerb, schedule: str) -> str: ...
    async def plan(self, line: str) -> str: ...
    async def limit(self, role: str, said: str) -> str: ...


class HubSource:
    """A running hub as the screens see it."""

    def __init__(self, client: Client, *, is_rehearsal: bool) -> None:
        """
        Args:
            is_rehearsal: Whose accounts are shown: those of rehearsals, or those of real money.
        """
        organization = client.organization
        self.org, self.operator = organization.org, organization.operator
        self.reports_to = {name: role.settings.reports_to or "" for name, role in organization.roles.items()}
        self._client, self._is_rehearsal = client, is_rehearsal
        self._approvals, self._learnings, self._schedules = Approvals(client), Learnings(client), Schedules(client)
        skills = {name: role.settings.skills for name, role in organization.roles.items()}
        self._track_record = TrackRecord(client.bus, skills)
        self._budgets = Budgets(client.bus)
        self._breakers = Breakers(client.bus, rules=Rules(), clock=now)
        self._rest: tuple[float, Picture] = (float("-inf"), Picture(now()))

    # ── looking ────────────────────────────────────────────────────────────────────────────────────
    async def picture(self) -> Picture:
        """All agents now; of what changes seldom, what it was a moment ago."""
        began = time.perf_counter()
        await self._client.bus.flush()
        trip = time.perf_counter() - began if self._client.bus.is_connected else None
        statuses = await self._client.roles()
        looked, rest = self._rest
        if time.monotonic() - looked >= 1.5:
            rest = await self._look_at_the_rest()
            self._rest = (time.monotonic(), rest)
        return rest._replace(at=now(), statuses=statuses, round_trip_s=trip)

    def forget(self) -> None:
        """Have the next picture be new in all its parts."""
        self._rest = (float("-inf"), self._rest[1])

    async def _look_at_the_rest(self) -> Picture:
        decisions, breakers, dead, accounts, mail, trust = await asyncio.gather(
            self._approvals.waiting(), self._breakers.all(), self._client.letters.unreplayed(),
            self._budgets.accounts(), self._client.mail(), self._trust(),
        )  # fmt: skip
        return Picture(
            now(), decisions=decisions, breakers=[found for found in breakers.values() if found.state != "closed"],
            dead=dead, mail=mail, money=self._money(accounts), trust=trust,
        )  # fmt: skip

    async def _trust(self) -> dict[str, float]:
        """How the work of roles ended, of those of which something is known."""
        try:
            found = await self._track_record.scores()
        except HubError:  # it may not be read by everybody who may watch
            return {}
        return {role: by_skill[ALL].value for role, by_skill in found.items() if ALL in by_skill}

    def _money(self, accounts: Mapping[str, Account]) -> dict[str, Money]:
        at, result = now(), {}
        for role in ("", *self.reports_to):
            name = AccountName(role, self._is_rehearsal)
            account = rolled(accounts.get(name.key, Account()), at)
            limits = {
                level.limit: level.amount for level in levels(account, name.limits(self._client.organization), at)
            }
            result[role] = Money(account.spent["day"].usd, limits.get("usd_day"))
        return result

    def events(self, *, last: int | None, since: datetime | None) -> AsyncGenerator[Event]:
        """What happened, and then what happens, until closed."""
        return self._client.events(last=last, since=since, follow=True, without=QUIET_KINDS)

    def live(self, role: str) -> AsyncGenerator[tuple[str, LiveEvent]]:
        """What a role says and does while it does."""
        return self._client.live(role)

    async def inbox(self, role: str) -> Sequence[WaitingMessage]:
        """What waits at a role, or at the operator, then what is put off; nothing is taken."""
        found = await self._client.waiting(role, most=_MOST_WAITING)
        if role != self.operator and len(found) < _MOST_WAITING:
            found += await self._client.put_off(role, most=_MOST_WAITING - len(found))
        return found

    async def letters(self) -> Sequence[Buried]:
        """All dead letters."""
        return await self._client.letters.all()

    async def trace(self, message_id: str) -> Sequence[Node]:
        """All that became of a message."""
        return await self._client.tracing.trace(message_id)

    async def completions(self, since: datetime) -> Sequence[Completion]:
        """How messages ended, and what each took."""
        return await self._client.ended(since)

    async def learnings(self) -> Sequence[Shared]:
        """Every learning, the newest first."""
        return await self._learnings.all()

    async def schedules(self) -> Sequence[Scheduled]:
        """Every schedule with the next times at which it is due."""
        return await self._schedules.all()

    # ── doing ──────────────────────────────────────────────────────────────────────────────────────
    async def send(self, to: str, text: str, *, priority: Priority) -> Message:
        """Put a directive into an inbox."""
        return await self._client.send(to, text, priority=priority)

    async def approve(self, ask_id: str, *, always: bool = False) -> Ask:
        """Let a tool call be made; with `always` also all that are like it."""
        return await self._approvals.approve(ask_id, always=always)

    async def reject(self, ask_id: str, reason: str) -> Ask:
        """Do not let a tool call be made, or leave a question without an answer."""
        return await self._approvals.reject(ask_id, reason)

    async def reply(self, ask_id: str, text: str) -> Ask:
        """Answer a question: freely, or by a choice or its number."""
        return await self._approvals.reply(ask_id, text)

    async def judge(self, verb: str, learning_id: str, reason: str) -> None:
        """Promote, demote, quarantine or release a learning, for all roles."""
        await getattr(self._learnings, verb)(learning_id, reason=reason)

    async def replay(self, buried: Buried, *, body: bytes | None = None) -> Replay:
        """Give a dead letter another life, with another message if there is a `body`."""
        return await self._client.letters.replay(buried, body=body)

    async def drop(self, letters: Sequence[Buried]) -> None:
        """Throw dead letters away for good."""
        await self._client.letters.drop(letters)

    async def steer(self, verb: RoleVerb, role: str | None, words: str = "") -> str:
        """Decide about a role, or about all; what its processes say that they do, in a line."""
        found: Effect | list[Effect] = await getattr(self._client.steering, verb)(role, words)
        return _came(found if isinstance(found, list) else [found])

    async def rearrange(self, verb: MessageVerb, role: str, message_id: str, *more: str) -> str:
        """Decide about a message that waits: `more` is where to, or how urgent, and why; what came of it."""
        return _came([await getattr(self._client.inboxes, verb)(role, message_id, *more)])

    async def reschedule(self, verb: ScheduleVerb, schedule: str) -> str:
        """Fire, pause, resume or remove a schedule; of firing, the id of the message."""
        found = await getattr(self._schedules, verb)(schedule)
        return f"as {found.id[:8]}" if isinstance(found, Message) else ""

    async def plan(self, line: str) -> str:
        """Add a schedule as a line says it; its id."""
        planned = read_plan(line)
        return (await self._schedules.add(planned.name, planned.to, planned.rule)).id

    async def limit(self, role: str, said: str) -> str:
        """Set a limit of a role, `usd_day=5`; what came of it."""
        name = AccountName(role, self._is_rehearsal)
        _, woken = await set_limits(self._client, name, dict([read_limit(said.strip())]), by=getpass.getuser())
        return f"{role}: {said.strip()} · {plural(woken, 'message')} waited for money"


def _came(effects: Sequence[Effect]) -> str:
    """What processes say to decisions, in a line."""
    if not all(effect.is_new for effect in effects):
        return "it holds already"
    came = [f"{key}: {said}" for effect in effects for key, said in sorted(effect.came.items())]
    silent = [key for effect in effects for key in effect.silent]
    if silent:
        came.append(f"no answer yet from {', '.join(silent)}")
    return " · ".join(came[:3]) + (f" and {len(came) - 3} more" if len(came) > 3 else "")
