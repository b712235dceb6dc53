"""How a role is, as all who list roles say it: in a glyph, a word and a colour. Rules; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from agenthub.asks import Ask
from agenthub.client.inboxes import RoleStatus
from agenthub.control import Standing
from agenthub.guards.circuit_breaker import Breaker
from agenthub.presence import Heartbeat


class State(NamedTuple):
    """How a role is, in a glyph, a word and a colour: never in one of them alone."""

    glyph: str
    word: str
    colour: str
    """A name of the palette."""
    rank: int
    """The lower, the sooner a person should look."""


NEEDS_YOU = State("◆", "needs you", "hot", 0)
DOWN = State("✖", "down", "bad", 1)
CIRCUIT = State("▲", "circuit", "bad", 2)
STUCK = State("▲", "stuck", "bad", 3)
HELD = State("■", "stopped", "bad", 4)
"""A person has stopped it."""
PAUSED = State("‖", "paused", "warn", 5)
PAUSING = State("‖", "pausing", "warn", 5)
"""A person has paused it, and it finishes what it has begun."""
NO_FILE = State("▲", "no file", "warn", 5)
"""It runs by a file that is gone, or cannot be read any more."""
WORKING = State("●", "working", "good", 6)
STOPPING = State("◌", "stopping", "dim", 7)
IDLE = State("○", "idle", "cool", 8)
STOPPED = State("◌", "stopped", "dim", 9)
_MOST_OF_A_TITLE = 120
"""What is to be decided may be a whole file; here it is named only."""
_NO_PROGRESS_RANK = 4
_NO_PROGRESS = [State("▲", word, "warn", _NO_PROGRESS_RANK) for word in ("stalled", "nudged", "interrupted")]
_STATES = {state.word: state for state in (DOWN, PAUSED, WORKING, STOPPING, IDLE, STUCK, *_NO_PROGRESS)}


def state_named(word: str) -> State:
    """The state that a heartbeat, or the directory, names."""
    return _STATES.get(word, State("●", word, "text", WORKING.rank))


def in_short(title: str) -> str:
    """What is to be decided, so that it fits into a row."""
    return title if len(title) <= _MOST_OF_A_TITLE else f"{title[:_MOST_OF_A_TITLE]}…"


def asks_by_role(decisions: Iterable[Ask]) -> Mapping[str, Ask]:
    """Of what waits for a person, the oldest first, that of each role which waits longest."""
    return {ask.role: ask for ask in reversed(list(decisions))}


def breakers_by_role(breakers: Iterable[Breaker]) -> Mapping[str, Breaker]:
    """Those that are not closed, by the role they are of; that of a model account is no role's."""
    return {breaker.shown.strip("`"): breaker for breaker in breakers if breaker.state != "closed"}


def state_and_doing(status: RoleStatus, ask: Ask | None, breaker: Breaker | None) -> tuple[State, str]:
    """How a role is, and what it does or waits for.

    Args:
        ask: What it waits for a person to decide.
        breaker: Its breaker, if that is not closed.
    """
    if ask is not None and ask.approval is not None:
        verb = "asks" if ask.approval.kind == "question" else "approve"
        return NEEDS_YOU, f"{verb}: {in_short(ask.approval.title)}"
    beat, absence = status.heartbeat, status.absence
    if beat is None:
        if absence is None:
            return DOWN, "gives no sign of life"
        return (STOPPED if absence.was_stopped else DOWN), absence.reason
    if held := _held(status.standing, beat):
        return held
    if not status.has_file:
        return NO_FILE, beat.doing or "runs on by a file that is gone or wrong"
    if breaker is not None:
        return CIRCUIT, breaker.reason
    if beat.health != "ok":
        return State("▲", beat.health, "warn", _NO_PROGRESS_RANK), beat.doing
    doing = beat.doing
    if not doing and beat.parked:
        doing = f"{beat.parked} parked, waits for others"
    return state_named(beat.state), doing


def since_when(status: RoleStatus, ask: Ask | None) -> datetime | None:
    """When a role entered the state of `state_and_doing`; None: it never gave a sign of life."""
    if ask is not None and ask.approval is not None:
        return ask.opened_at
    known = status.heartbeat or status.absence
    return known.since if known else None


def _held(standing: Standing, beat: Heartbeat) -> tuple[State, str] | None:
    """How a person holds a role; None: nobody does."""
    if standing.stopped is not None:
        return HELD, standing.stopped.words
    if standing.paused is not None:
        return (PAUSING, beat.doing) if beat.message_id else (PAUSED, standing.paused.words)
    return None
