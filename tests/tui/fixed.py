"""A hub that stands still: what the screens show is the same in every run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from agenthub.approvals import Approval
from agenthub.asks import Ask, Part
from agenthub.causation import Node, Stage
from agenthub.client import LiveEvent, RoleStatus, WaitingMessage
from agenthub.client.learnings import Shared
from agenthub.client.letters import Buried
from agenthub.client.schedules import Scheduled
from agenthub.guards.circuit_breaker import Breaker
from agenthub.learnings import Learning
from agenthub.letters import DeadLetter, Replay
from agenthub.messages import Completion, Event, Message, Outcome, Payload, Priority, Usage
from agenthub.org.trust import State
from agenthub.org.trust_states import Opinion
from agenthub.presence import Absence, Heartbeat
from agenthub.role_settings import Schedule
from agenthub.schedules import Fired, Planned
from agenthub.times import coming
from agenthub.tui.facts import Money, Picture

AT = datetime(2026, 5, 17, 17, 4, 12, tzinfo=UTC)
REPORTS_TO = {
    "ceo": "you", "cto": "ceo", "backend": "cto", "frontend": "cto", "qa": "cto", "devops": "cto", "docs": "ceo",
    "data": "cto", "support": "ceo",
}  # fmt: skip


def ago(**length: float) -> datetime:
    return AT - timedelta(**length)


def message(role: str, text: str, *, id_: str, priority: str = "medium", sender: str = "ceo", **fields: Any) -> Message:
    return Message(
        from_role=sender, from_operator=f"operator-{sender}", timestamp=ago(minutes=11), type="task_assignment",
        payload=Payload.model_validate({"subject": text, "message": f"{text}, please.", "priority": priority}), id=id_,
        trace_id=id_, **fields,
    )  # fmt: skip


def ask(role: str, approval: Approval, *, id_: str, seconds: float = 20) -> Ask:
    task = message(role, "Release 1.9.2 to production", id_=f"7{id_}")
    return Ask(
        id=id_, role=role, task=task, parts=[Part(message_id=f"8{id_}", role="you")], opened_at=ago(seconds=seconds),
        deadline=AT + timedelta(minutes=9, seconds=30), approval=approval,
    )  # fmt: skip


def decisions() -> list[Ask]:
    rollout = {"command": "kubectl rollout restart deploy/api -n prod"}
    return [
        ask("devops", Approval(tool="run_command", input=rollout, rule="Bash(kubectl *)", source="roles/devops.md"),
            id_="d0d0d0d0aaaa"),
        ask("qa", Approval(kind="question", question="Rotate the staging key now or tonight?",
                           choices=["now", "tonight"]), id_="e1e1e1e1bbbb", seconds=75),
    ]  # fmt: skip


def beat(role: str, state: str, doing: str, *, cost: float, context: int, age_s: float, **fields: Any) -> Heartbeat:
    return Heartbeat(
        role=role, state=state, doing=doing, since=ago(minutes=11), beat_at=ago(seconds=age_s),
        started_at=ago(days=3, hours=4), pid=41207, host="lab", model="claude-sonnet-5-5",
        usage_today=Usage(calls=40, output_tokens=9000, cache_read_tokens=180_000, cost_usd=cost),
        context_tokens=context, context_window=200_000, **fields,
    )  # fmt: skip


def statuses() -> list[RoleStatus]:
    def of(heartbeat: Heartbeat, *waits: int) -> RoleStatus:
        return RoleStatus(heartbeat.role, heartbeat, dict(zip(Priority, waits, strict=True)), 0)

    gone = Absence(role="support", since=ago(seconds=38), reason="no heartbeat for 38 s")
    return [
        of(beat("ceo", "working", "plan sprint 14 from 3 blocker reports", cost=3.1, context=90_000, age_s=1,
                message_id="5f00aa", priority=Priority.HIGH), 0, 1, 2, 1),
        of(beat("cto", "idle", "", cost=0.9, context=50_000, age_s=2, parked=2), 0, 0, 0, 0),
        of(beat("backend", "working", "attachment API: write migration + tests", cost=4.02, context=144_000, age_s=0,
                message_id="8f21cafe", priority=Priority.HIGH), 0, 2, 3, 0),
        of(beat("frontend", "working", "fix upload progress bar (#412)", cost=1.55, context=40_000, age_s=2,
                message_id="412aaa", priority=Priority.MEDIUM), 0, 0, 2, 1),
        of(beat("qa", "working", "post-deploy checks for api@1.9.2", cost=0.71, context=30_000, age_s=2,
                message_id="9a9a", priority=Priority.CRITICAL), 1, 0, 1, 0),
        of(beat("devops", "working", "Release 1.9.2 to production", cost=1.94, context=80_000, age_s=2,
                message_id="7d0d0d0d0aaaa", priority=Priority.HIGH), 1, 2, 0, 0),
        of(beat("docs", "idle", "", cost=0.22, context=20_000, age_s=3), 0, 0, 0, 0),
        of(beat("data", "idle", "", cost=0.12, context=5_000, age_s=2), 0, 0, 4, 1),
        RoleStatus("support", None, dict.fromkeys(Priority, 0) | {Priority.HIGH: 1}, 0, gone),
    ]  # fmt: skip


def event(seconds: float, kind: str, role: str, text: str, **data: Any) -> Event:
    return Event(kind=kind, role=role, at=ago(seconds=seconds), text=text, message_id="8f21cafe", trace_id="8f21cafe",
                 data=data)  # fmt: skip


def happened() -> list[Event]:
    return [
        event(74, "completed", "frontend", "blocked: need the attachment size cap", outcome="blocked", from_role="ceo"),
        event(67, "sent", "qa", "staging has no S3 bucket", to="ceo", type="question"),
        event(61, "ready", "data", "works on claude-haiku-5-5"),
        event(51, "sent", "ceo", "attachment API: write migration + tests", to="backend", type="task_assignment"),
        event(48, "taken", "backend", "attachment API: write migration + tests", from_role="ceo"),
        event(40, "step", "backend", "write_file migrations/0042_attachments.py, 38 lines", tool="write_file"),
        event(31, "parked", "devops", "asks you: kubectl rollout restart deploy/api -n prod"),
        event(24, "unhealthy", "support", "no heartbeat for 38 s"),
        event(20, "dead", "support", "TypeError: unsupported operand type(s)"),
        event(11, "completed", "docs", "changelog 1.9.2", outcome="done", from_role="ceo", subject="changelog 1.9.2",
              usage={"output_tokens": 5000, "cost_usd": 0.04}),
        event(4, "step", "backend", "run_command pytest -q tests/attachments", tool="run_command"),
        event(1, "sent", "you", "[bold red]not markup[/] and no \x1b[2J escape", to="backend", type="direct_message"),
    ]  # fmt: skip


def said() -> list[LiveEvent]:
    def live(number: int, kind: Any, text: str = "", **fields: Any) -> LiveEvent:
        return LiveEvent(number=number, kind=kind, at=ago(seconds=60 - number), text=text, **fields)

    return [
        live(1, "turn", "attachment API: write migration + tests", message_id="8f21cafe", from_role="ceo"),
        live(2, "text", "I'll add the table first, "), live(3, "text", "then the route."), live(4, "model"),
        live(5, "tool", "write_file migrations/0042_attachments.py", tool="write_file"),
        live(6, "tool_ended", "write_file migrations/0042_attachments.py", tool="write_file", duration_s=0.1),
        live(7, "tool", "run_command pytest -q tests/attachments", tool="run_command"),
        live(8, "tool_ended", "run_command pytest -q", tool="run_command", is_error=True, duration_s=4.1),
        live(9, "text", "The 413 path returns 500 when the body is chunked. Fixing the limit in the stream reader."),
        live(10, "model"), live(11, "tool", "edit_file api/limits.py", tool="edit_file"),
        live(12, "tool_ended", "edit_file api/limits.py", tool="edit_file", duration_s=0.02),
    ]  # fmt: skip


def completions() -> list[Completion]:
    result = []
    for hours in range(24):
        for role, cost in (("backend", 0.2), ("ceo", 0.12), ("devops", 0.08)):
            share = 1 + abs(12 - hours) % 7
            ended = ago(hours=hours, minutes=7)
            usage = Usage(
                calls=3, input_tokens=900, output_tokens=500, cache_read_tokens=9000, cost_usd=cost * share / 7
            )
            result.append(Completion(message_id=f"{role}{hours}", role=role, outcome=Outcome.DONE, started_at=ended,
                                     ended_at=ended, usage=usage))  # fmt: skip
    return result


def letters() -> list[Buried]:
    def letter(id_: str, role: str, reason: str, text: str, hours: float) -> DeadLetter:
        body = message(role, text, id_=id_).encode().decode()
        return DeadLetter(
            message_id=id_, role=role, reason=reason, attempts=3, buried_at=ago(hours=hours),
            stored_at=ago(hours=hours), stream="GENBRAIN_AGENTS", sequence=7, body=body,
            subject=f"agent-hub.operators.operator-{role}.inbox.high.ceo",
            traceback="Traceback (most recent call last):\n  File \"loop.py\", line 1\nTypeError: no",
        )  # fmt: skip

    replayed = Replay(message_id="dead0002", role="qa", number=1, new_id="f00dfeed", replayed_at=ago(hours=1))
    return [
        Buried(letter("dead0001", "support", "TypeError: unsupported operand", "Answer ticket 1187", 0.1), [1], []),
        Buried(letter("dead0002", "qa", "its deadline has passed", "Check staging", 5), [2], [replayed]),
        Buried(letter("dead0003", "data", "the process died 3 times while it worked", "Index", 9), [3], []),
    ]  # fmt: skip


def inboxes() -> dict[str, list[WaitingMessage]]:
    def waiting(role: str, text: str, sequence: int, **fields: Any) -> WaitingMessage:
        found = message(role, text, id_=f"{sequence:x}c0ffee", **fields)
        return WaitingMessage(found, "", sequence, ago(minutes=sequence / 7), found.encode())

    broken = WaitingMessage(None, "agent-hub.operators.operator-data.inbox", 99, ago(minutes=2), b"{not json")
    return {
        "backend": [
            waiting(
                "backend", "Rate limit the upload route", 171, priority="high", deadline=AT + timedelta(minutes=42)
            ),
            waiting("backend", "Index the attachments table", 172, sender="data"),
        ],
        "qa": [waiting("qa", "Smoke test production", 180, priority="critical", sender="devops")],
        "data": [waiting("data", "Weekly numbers", 181, priority="low"), broken],
        "you": [waiting("you", "Re: plan sprint 14", 190)],
    }


def learnings() -> list[Shared]:
    def shared(trigger: str, approach: str, author: str, hours: float, *opinions: Opinion, why: str = "") -> Shared:
        said = Learning(trigger=trigger, approach=approach, outcome="It held.", domain=("api",), evidence=("8f21cafe",),
                        confidence=0.9)  # fmt: skip
        roles = dict(zip(("backend", "qa", "devops"), opinions, strict=False))
        return Shared(said.id, said, (author,), ago(hours=hours), why, roles)

    def opinion(trust: float, confirmed: int, refuted: int, state: State) -> Opinion:
        return Opinion(learning="", trust=trust, confirmations=confirmed, contradictions=refuted, state=state)

    return [
        shared("S3 answers 503", "retry twice with jitter", "frontend", 0.2, opinion(0.82, 4, 0, State.PROMOTED),
               opinion(0.76, 3, 0, State.PROMOTED)),
        shared("uploads larger than 20 MB", "stream them to disk", "backend", 3, opinion(0.5, 0, 0, State.HINT)),
        shared("tests are slow", "skip them", "data", 20, opinion(0.2, 0, 3, State.QUARANTINED), why="asks"),
    ]  # fmt: skip


def schedules() -> list[Scheduled]:
    def scheduled(
        owner: str, name: str, text: str, *, is_paused: bool = False, fired_h: float = 9, **rule: str
    ) -> Scheduled:
        one = Schedule.model_validate({"text": text, **rule})
        made = Planned(owner, name, owner, one, one.when("UTC"), "role file")
        fired = Fired(until=ago(hours=fired_h), message_id="5c4edc4e", fired_at=ago(hours=fired_h))
        return Scheduled(made, is_paused, () if is_paused else tuple(coming(made.when, AT, most=5)), fired)

    return [
        scheduled("ceo", "standup", "Run the stand-up.", cron="0 9 * * 1-5"),
        scheduled("devops", "health", "Look at what is unhealthy.", every="15m", news="unhealthy", fired_h=0.2),
        scheduled("docs", "weekly", "Sum the week up.", cron="0 17 * * 5", is_paused=True, fired_h=50),
    ]


def trace() -> Node:
    def stage(seconds: float, kind: str, text: str = "", **fields: Any) -> Stage:
        return Stage(kind=kind, at=ago(seconds=seconds), text=text, **fields)

    child = Node(
        message_id="c41d", role="qa", from_role="backend", subject="check the attachment API", at=ago(seconds=30),
        outcome=Outcome.DONE, attempts=1, turns=1, usage=Usage(calls=2, output_tokens=900, cost_usd=0.02),
        stages=[stage(29, "taken", duration_s=0.2), stage(20, "settled", "17 passed", duration_s=10.0)],
    )  # fmt: skip
    return Node(
        message_id="8f21cafe", role="backend", from_role="ceo", subject="attachment API: write migration + tests",
        at=ago(seconds=60), attempts=2, turns=1, usage=Usage(calls=5, output_tokens=4000, cost_usd=0.83),
        stages=[
            stage(60, "stored", "high"), stage(57, "taken", duration_s=3.0),
            stage(50, "model", "I'll add the table first, then the route.", duration_s=4.0,
                  data={"calls": 1, "output_tokens": 900, "cost_usd": 0.2}),
            stage(44, "step", "write_file migrations/0042_attachments.py, 38 lines", duration_s=0.1),
            stage(40, "step", "run_command pytest -q", duration_s=4.1, data={"is_error": True}),
            stage(33, "taken", data={"attempt": 2}),
        ],
        children=[child],
    )  # fmt: skip


_SAYING = ("steer", "rearrange", "reschedule", "plan", "limit")
"""What is answered in words."""


class FixedSource:
    """A hub as the screens see it, of which nothing ever changes; what is done to it is noted in `deeds`."""

    org, operator = "acme-dev", "you"
    reports_to: Mapping[str, str] = REPORTS_TO

    def __init__(self) -> None:
        self.deeds: list[tuple[Any, ...]] = []

    async def picture(self) -> Picture:
        money = {role: Money(0.0, 5.0) for role in REPORTS_TO} | {"": Money(12.27, 40.0)}
        breaker = Breaker(state="open", shown="data", reason="3 of 5 failed: rate limit", retry_at=AT)
        return Picture(AT, statuses(), decisions(), [breaker], dead=2, mail=1, money=money,
                       trust={"backend": 0.82, "qa": 0.74, "support": 0.41}, round_trip_s=0.0004)  # fmt: skip

    def forget(self) -> None: ...

    async def events(self, *, last: int | None, since: datetime | None) -> AsyncGenerator[Event]:
        for found in happened():
            yield found
        await asyncio.Event().wait()

    async def live(self, role: str) -> AsyncGenerator[tuple[str, LiveEvent]]:
        for found in said() if role in ("backend", "devops") else []:
            yield role, found
        await asyncio.Event().wait()

    async def inbox(self, role: str) -> Sequence[WaitingMessage]:
        return inboxes().get(role, [])

    async def letters(self) -> Sequence[Buried]:
        return letters()

    async def schedules(self) -> Sequence[Scheduled]:
        return schedules()

    async def learnings(self) -> Sequence[Shared]:
        return learnings()

    async def trace(self, message_id: str) -> Sequence[Node]:
        return [trace()]

    async def completions(self, since: datetime) -> Sequence[Completion]:
        return completions()

    def __getattr__(self, name: str) -> Any:
        """Whatever is done to it."""
        if name.startswith("_"):
            raise AttributeError(name)

        async def deed(*arguments: Any, **named: Any) -> Any:
            self.deeds.append((name, *arguments, *named.values()))
            if name == "replay":
                return Replay(message_id="dead0001", role="support", number=1, new_id="f00dfeed", replayed_at=AT)
            return "backend: done" if name in _SAYING else message("you", "done", id_="feedbeef0001")

        return deed
