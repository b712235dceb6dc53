"""What must hold of a history. Pure functions: each takes a history and gives its violations, none if all is well.

H1 every accepted message ends in exactly one completion or dead letter. H2 nothing ends that nobody sent.
H3 no effect is repeated, no recorded answer of the model is asked for again. H4 who lost a role does nothing after
its successor began. H6 per sender and priority the first takings are in order. H7 a fan-in merges each part once.
(H5, nothing is acknowledged before its end is stored, shows as H1: it is lost when the process dies in between.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from agenthub import subjects
from chaos.history import Accepted, Asked, History

DEAD = "dead"


class Violation(NamedTuple):
    """One broken promise: which, what it is about, what was seen."""

    rule: str
    about: str
    reason: str


Rule = Callable[[History], list[Violation]]


def lost(history: History) -> list[Violation]:
    """H1: accepted, and never ended."""
    ended = {(end.role, end.id) for end in history.ended}
    return [
        Violation("lost", f"{one.role}/{one.id}", f"accepted by {one.way} as {one.sequence}, no end")
        for one in _unique(history)
        if (one.role, one.id) not in ended
    ]


def twice(history: History) -> list[Violation]:
    """H1: more than one completion, more than one dead letter, or the one and the other."""
    found = []
    ends = Counter((end.role, end.id) for end in history.ended)
    letters = Counter((letter.role, letter.id) for letter in history.buried)
    outcomes = {(end.role, end.id): end.outcome for end in history.ended}
    for (role, identity), times in ends.items():
        if times > 1:
            found.append(Violation("completed twice", f"{role}/{identity}", f"{times} completions"))
    for (role, identity), times in letters.items():
        if times > 1:
            found.append(Violation("completed twice", f"{role}/{identity}", f"{times} dead letters"))
        if outcomes.get((role, identity), DEAD) != DEAD:
            outcome = outcomes[role, identity]
            found.append(Violation("completed twice", f"{role}/{identity}", f"buried, and completed as {outcome}"))
    for (role, identity), outcome in outcomes.items():
        if outcome == DEAD and (role, identity) not in letters:
            found.append(Violation("lost", f"{role}/{identity}", "ended as dead, but there is no dead letter"))
    return found


def invented(history: History) -> list[Violation]:
    """H2: ended, and never accepted."""
    known = {(one.role, one.id) for one in history.accepted}
    return [
        Violation("invented", f"{end.role}/{end.id}", f"ended as {end.outcome}, nobody sent it")
        for end in history.ended
        if (end.role, end.id) not in known and end.id not in history.offered
    ]


def repeated_effects(history: History) -> list[Violation]:
    """H3: the same effect more than once."""
    times = Counter((effect.kind, effect.role, effect.key) for effect in history.effects)
    return [
        Violation("effect repeated", f"{role}/{key}", f"{kind}: {count} times")
        for (kind, role, key), count in times.items()
        if count > 1
    ]


def repeated_calls(history: History) -> list[Violation]:
    """H3: the model was asked again for what was answered and recorded."""
    recorded, place = _first_recorded(history), _placing(history)
    found = []
    for call in history.asked:
        since = recorded.get(place(call))
        if since is not None and call.at > since:
            reason = f"asked again {call.at - since:.2f} s after the answer was recorded"
            found.append(Violation("model call repeated", f"{call.role}/{call.position}", reason))
    return found


def calls_in_flight(history: History) -> int:
    """Model calls that were answered and paid, and then paid again, because a crash came before the record."""
    recorded, place = _first_recorded(history), _placing(history)
    paid = Counter(
        place(call)
        for call in history.asked
        if call.status == 200 and call.at <= recorded.get(place(call), float("inf"))
    )
    return sum(times - 1 for times in paid.values())


def out_of_order(history: History) -> list[Violation]:
    """H6: of one sender, door and priority a later message was taken before an earlier one.

    Of what went back for a while, since the model or its money was away, no journal says when it was taken first.
    """
    taken: dict[tuple[str, str], float] = {}
    for opened in history.opened:
        key = (opened.role, opened.id)
        taken[key] = min(opened.at, taken.get(key, opened.at))
    queues: dict[tuple[str, str, str, str], list[tuple[int, str]]] = defaultdict(list)
    for one in _unique(history):
        names = {(one.role, one.id), (one.role, f"{subjects.AGENTS}-{one.sequence}")}
        if one.is_work and (one.role, one.id) in taken and not names & history.put_off:
            queues[one.role, one.sender, one.way, one.priority].append((one.sequence, one.id))
    found = []
    for (role, sender, way, priority), messages in queues.items():
        newest, newest_id = float("-inf"), ""
        for _, identity in sorted(messages):
            at = taken[role, identity]
            if at < newest:
                reason = f"{priority} by {way} from {sender}: taken {newest - at:.2f} s before {newest_id}"
                found.append(Violation("out of order", f"{role}/{identity}", reason + ", which was sent before it"))
            else:
                newest, newest_id = at, identity
    return found


def merged_twice(history: History) -> list[Violation]:
    """H7: one part was shown more than once."""
    times = Counter((merged.role, merged.part) for merged in history.merged)
    return [
        Violation("part merged twice", f"{role}/{part}", f"{count} times")
        for (role, part), count in times.items()
        if count > 1
    ]


def acted_after_its_successor(history: History) -> list[Violation]:
    """H4: a process did something as a role after a later one had begun to."""
    found = []
    over: dict[str, set[int]] = defaultdict(set)
    acting: dict[str, int] = {}
    for effect in sorted((e for e in history.effects if e.process), key=lambda e: e.at):
        if effect.process in over[effect.role]:
            reason = f"process {effect.process} acted after {acting[effect.role]} had taken over"
            found.append(Violation("zombie", f"{effect.role}/{effect.key}", reason))
        elif acting.get(effect.role, effect.process) != effect.process:
            over[effect.role].add(acting[effect.role])
            acting[effect.role] = effect.process
        else:
            acting[effect.role] = effect.process
    return found


def left_behind(history: History) -> list[Violation]:
    """A role was given up, a process outlived its organization, or the run could not do its work."""
    return [
        *(Violation("left alone", role, "the supervisor gave it up") for role in history.left_alone),
        *(Violation("left behind", who, "alive after the end") for who in history.leftovers),
        *(Violation("run", "harness", problem) for problem in history.problems),
    ]


RULES: Mapping[str, Rule] = {
    "lost": lost,
    "completed twice": twice,
    "invented": invented,
    "effects repeated": repeated_effects,
    "model calls repeated": repeated_calls,
    "order violations": out_of_order,
    "parts merged twice": merged_twice,
    "zombie effects": acted_after_its_successor,
    "left behind": left_behind,
}
"""Every rule, by the name of its row in the table."""


def check(history: History) -> dict[str, list[Violation]]:
    """The violations of each rule; a message lost or ended twice stands under what it is, whoever found it."""
    found = {name: rule(history) for name, rule in RULES.items()}
    found["lost"] += [one for one in found["completed twice"] if one.rule == "lost"]
    found["completed twice"] = [one for one in found["completed twice"] if one.rule != "lost"]
    return found


class Recovery(NamedTuple):
    """How long a role was away after a fault that ended its process."""

    role: str
    kind: str
    seconds: float


def slowest_recovery(history: History) -> Recovery | None:
    """The longest time from a crash to the next sign of life of that role; None if nothing crashed."""
    signs: dict[str, list[float]] = defaultdict(list)
    for sign in history.alive:
        signs[sign.role].append(sign.at)
    found = [
        Recovery(fault.target, fault.kind, min(later) - fault.at)
        for fault in history.injected
        if fault.is_crash and (later := [at for at in signs[fault.target] if at > fault.at])
    ]
    return max(found, key=lambda one: one.seconds, default=None)


def _unique(history: History) -> list[Accepted]:
    return list({(one.role, one.id): one for one in reversed(history.accepted)}.values())[::-1]


_Place = tuple[str, int, int]
"""Role, which of its conversations, and how many messages that had."""


def _first_recorded(history: History) -> dict[_Place, float]:
    found: dict[_Place, float] = {}
    for one in history.recorded:
        key = (one.role, one.conversation, one.position)
        found[key] = min(one.at, found.get(key, one.at))
    return found


def _placing(history: History) -> Callable[[Asked], _Place]:
    """Where in which conversation a call belongs: the model's own count knows the time only."""
    begun: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for one in history.begun:
        begun[one.role].append((one.at, one.conversation))

    def place(call: Asked) -> _Place:
        conversation = max((number for at, number in begun[call.role] if at <= call.at), default=0)
        return call.role, conversation, call.position

    return place
