"""What will be sent and what will go wrong, drawn from a seed. Pure: the same seed gives the same plan.

When things happen is the machine's; what happens and in which order of planned seconds is the plan's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from agenthub.failpoints import Failpoint
from chaos.hook import STILL

MANAGERS = {"ceo": ("cto", "cmo"), "cto": ("backend", "frontend", "qa"), "cmo": ("sales", "support")}
ROLES = ("ceo", "cto", "cmo", "backend", "frontend", "qa", "sales", "support")
SPECIALISTS = tuple(role for role in ROLES if role not in MANAGERS)
PRIORITIES = ("critical", "high", "medium", "low")
_WEIGHTS = (1, 3, 6, 2)

MOST_CRASHES = 3
"""Of one role in one life of the supervisor: at five in a minute it leaves a role alone, as it should."""


class Directive(NamedTuple):
    """One message to send."""

    at_s: float
    number: int
    role: str
    sender: str
    way: str
    priority: str
    text: str

    @property
    def tag(self) -> str:
        """What it is found by, also where it has no id."""
        return f"d{self.number:04d}"


class Fault(NamedTuple):
    """One thing to do to the organization."""

    at_s: float
    kind: str
    target: str = ""
    value: Any = None
    """What the kind needs: seconds, a name, fields."""


class Plan(NamedTuple):
    """A whole run."""

    seed: int
    seconds: float
    directives: list[Directive]
    faults: list[Fault]


_OF_MANAGERS = (Failpoint.ASK_OPENED, Failpoint.ASK_SENT, Failpoint.ANSWER_COLLECTED, Failpoint.ASK_CLOSED)
_RARE = (Failpoint.DELAYED, Failpoint.DEAD_END_PUBLISHED, Failpoint.DEAD_LETTER_STORED)
_OF_LONG_CONVERSATIONS = (Failpoint.HAND_OVER_WRITTEN, Failpoint.HAND_OVER_RECORDED)
"""No conversation of a run becomes long enough to come by."""
_OF_CHECKS = (Failpoint.CHECK_RUN, Failpoint.CHECK_RECORDED)
_OF_REPOSITORIES = (Failpoint.COPY_MADE, Failpoint.COPY_FETCHED)
_OF_POLLS = (Failpoint.POLL_DECIDED, Failpoint.AWARD_SENT)
_OF_CALENDAR = (Failpoint.SCHEDULE_DUE, Failpoint.SCHEDULE_FIRED, Failpoint.MEETING_ASKED, Failpoint.MEETING_REPORTED)
"""Nothing is due within minutes; `tests/test_scheduler.py` and `tests/test_meetings.py` come by."""
_NOT_HERE = (*_OF_LONG_CONVERSATIONS, *_OF_CHECKS, *_OF_REPOSITORIES, *_OF_POLLS, *_OF_CALENDAR)
POINTS = [point for point in Failpoint if point not in _NOT_HERE]
_ANYWHERE = [point for point in POINTS if point not in (*_OF_MANAGERS, *_RARE)]

GENTLE = ("cut", "delay", "half-open", "pause", "model", "garbage", "full")
"""Kinds that end no process."""
HARD = ("kill role", "failpoint", "kill server", "pause server", "zombie")
WHOLE = ("kill supervisor", "kill nursery")
NETWORK = ("cut", "delay", "half-open")
"""Kinds that need a proxy between the roles and the server."""
CLUSTER = ("kill leader", "kill follower", "pause leader")
"""Kinds that need a cluster."""
_SERVER = ("kill server", "pause server", "full", *CLUSTER)
_SLOW = ("kill server", *CLUSTER)
"""Kinds that take all roles some seconds to recover from: not one after the other."""


def draw(seed: int, *, seconds: float, directives: int, lives: int, kinds: Sequence[str]) -> Plan:
    """A plan of `lives` lives of the supervisor, in each of which every role has at most `MOST_CRASHES` crashes.

    Args:
        kinds: What may go wrong; each one does at least once if there is room for it.
    """
    chance = random.Random(seed)
    return Plan(seed, seconds, _directives(chance, directives, seconds), _faults(chance, seconds, lives, kinds))


def provoke(rule: str) -> Plan:
    """The plan in which breaking a rule of `hook.BROKEN` shows, whatever the machine: small, and always the same."""

    def directive(at_s: float, number: int, role: str, text: str) -> Directive:
        return Directive(at_s, number, role, "you", "lane", "medium", f"d{number:04d} {text}")

    match rule:
        case "ack-first":  # dies with a message that is acknowledged and nowhere else
            directives = [directive(0.5, n, role, "rehearse: say done") for n, role in enumerate(SPECIALISTS, 1)]
            return Plan(0, 4, directives, [Fault(0, "failpoint", role, "turn.opened 0") for role in SPECIALISTS])
        case "random-ids":  # dies when it has asked, and asks again
            directives = [directive(0.5, 1, "cto", "Build the API and its screens, test them and announce them.")]
            return Plan(0, 4, directives, [Fault(0, "failpoint", "cto", "tool.finished 0")])
        case "no-fence":  # stands still in the middle of its work, which another process goes on with
            texts = [STILL, *["line"] * 4]
            lines = " ".join(f'rehearse: tool append_line {{"text": "{text}"}}' for text in texts)
            directives = [directive(n / 20, n, "qa", f"{lines} rehearse: slow 0.4") for n in range(1, 7)]
            return Plan(0, 4, directives, [Fault(1, "zombie amid a turn", "qa")])
    raise ValueError(f"`{rule}` is no rule that can be broken.")


# ── directives ─────────────────────────────────────────────────────────────────────────────────────
def _directives(chance: random.Random, number: int, seconds: float) -> list[Directive]:
    found = []
    for n, at_s in enumerate(sorted(chance.uniform(0, seconds * 0.9) for _ in range(number)), 1):
        way, sender = chance.choice((("lane", "you"), ("lane", "you"), ("plain", "auditor"), ("stranger", "passer-by")))
        role = chance.choice(("ceo", "cto", "cmo")) if chance.random() < 0.12 else chance.choice(SPECIALISTS)
        priority = chance.choices(PRIORITIES, _WEIGHTS)[0]
        found.append(Directive(at_s, n, role, sender, way, priority, _text(chance, n, role)))
    return found


def _text(chance: random.Random, number: int, role: str) -> str:
    tag = f"d{number:04d}"
    if role in MANAGERS and chance.random() < 0.7:
        return f"{tag} Build the API and its screens, test them and announce them."
    effect = f'rehearse: tool append_line {{"text": "{tag}"}}'
    other = chance.choice([name for name in SPECIALISTS if name != role])
    told = f'{{"to": "{other}", "subject": "{tag}", "message": "for your notes", "priority": "low"}}'
    return (
        f"{tag} "
        + chance.choices(
            (
                f"{effect} rehearse: say {tag} is done",
                f"{effect} rehearse: steps 2",
                f"{effect} {effect.replace(tag, tag + 'b')} rehearse: say twice",
                f"rehearse: tool send {told} rehearse: say told",
                'rehearse: tool report_status {"type": "deploy", "text": "' + tag + '"} rehearse: say reported',
                "rehearse: alone",
                f"{effect} rehearse: slow {chance.uniform(0.3, 1.5):.1f}",
                "rehearse: fail",
                "rehearse: blocked",
                "rehearse: silent",
            ),
            (6, 3, 2, 3, 2, 1, 2, 1, 1, 1),
        )[0]
    )


# ── faults ─────────────────────────────────────────────────────────────────────────────────────────
def _faults(chance: random.Random, seconds: float, lives: int, kinds: Sequence[str]) -> list[Fault]:
    length = seconds / lives
    points = list(POINTS)
    chance.shuffle(points)
    found: list[Fault] = []
    for life in range(lives):
        start = life * length
        crashes = dict.fromkeys(ROLES, 0)
        if "failpoint" in kinds:  # read when a process starts: so they are there when this life begins
            for role in chance.sample(ROLES, k=min(len(ROLES), -(-len(POINTS) // lives))):
                point = _point_for(role, points) or chance.choice(_ANYWHERE)
                found.append(Fault(start, "failpoint", role, f"{point} {chance.choice((0, 0, 1, 2))}"))
                crashes[role] += 1
        found += _in_one_life(chance, start, length, crashes, [k for k in kinds if k not in (*WHOLE, "failpoint")])
        if life and (whole := [kind for kind in WHOLE if kind in kinds]):
            found.append(Fault(start, whole[(life + 1) % len(whole)]))
    return sorted(found, key=lambda fault: fault.at_s)


def _point_for(role: str, points: list[Failpoint]) -> Failpoint | None:
    """The next place that this role comes by; it is taken off the list."""
    for point in points:
        if role in MANAGERS or point not in _OF_MANAGERS:
            points.remove(point)
            return point
    return None


def _in_one_life(
    chance: random.Random, start: float, length: float, crashes: dict[str, int], kinds: Sequence[str]
) -> list[Fault]:
    found: list[Fault] = []
    number = max(len(kinds), int(length / 1.2))
    drawn = [*kinds, *chance.choices(kinds, k=number - len(kinds))] if kinds else []
    for kind in drawn:
        at_s = start + length * chance.uniform(0.12, 0.85)
        role = chance.choice(ROLES)
        if kind == "kill role":
            free = [name for name in ROLES if crashes[name] < MOST_CRASHES]
            if not free:
                continue
            role = chance.choice(free)
            crashes[role] += 1
        if kind == "zombie" and sum(fault.kind == "zombie" for fault in found):
            continue  # takes its time: one in a life
        if kind in _SLOW and sum(fault.kind == kind for fault in found) >= max(1, length / 10):
            continue
        found.append(Fault(at_s, kind, _target(kind, role), _value(chance, kind, role)))
    return found


def _target(kind: str, role: str) -> str:
    return "server" if kind in _SERVER else role


def _value(chance: random.Random, kind: str, role: str) -> Any:
    match kind:
        case "pause":
            return round(chance.choice((0.2, 1.0, 6.0)) * chance.uniform(0.7, 1.3), 2)
        case "pause server" | "pause leader":
            return round(chance.uniform(0.3, 2.5), 2)
        case "half-open":
            return round(chance.uniform(1.0, 8.0), 2)
        case "delay":
            return {"seconds": round(chance.uniform(1.0, 4.0), 2), "delay_s": round(chance.uniform(0.05, 0.8), 2)}
        case "full":
            return round(chance.uniform(1.0, 3.0), 2)
        case "model":
            return {"role": chance.choice(("", role)), **chance.choice(MODEL_FAULTS)}
        case "garbage":
            return chance.randrange(10**6)
    return None


MODEL_FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 429, "retry_after": 0.3, "times": 2},
    {"status": 529, "times": 4},
    {"status": 500, "times": 1},
    {"cut_after_events": 3},
    {"end_after_events": 4},
    {"error_in_stream": "overloaded_error"},
    {"delay_first_byte_s": 1.5},
    {"stop_reason": "max_tokens"},
    {"status": 400},
)
"""What the model does now and then, as `agenthub.rehearsal.faults` knows it."""
