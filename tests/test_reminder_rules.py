"""The rules of reminding: when what is sent to whom, when its clock stands still, what a debtor does about it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthub.asks import Ask, Part
from agenthub.messages import Message, Payload
from agenthub.org.pending import Owed, debts
from agenthub.presence import Heartbeat
from agenthub.reminders import PINGS, next_reminder

NOON = datetime(2026, 5, 17, 12, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


# ── the rule ───────────────────────────────────────────────────────────────────────────────────────
def history(looks_s: Sequence[float], *, most: int = 7) -> list[tuple[int, int, float]]:
    """Number, level and moment of each reminder, for who looks at these moments after the answer was due."""
    sent: list[tuple[int, int, float]] = []
    for at_s in looks_s:
        found = next_reminder(NOON, [later(s) for _, _, s in sent], later(at_s))
        if found is not None and len(sent) < most:
            sent.append((found.number, found.level, at_s))
    return sent


def test_pings_after_30_60_120_and_240_s_then_the_managers_level_by_level() -> None:
    assert history(range(-600, 2000)) == [
        (1, 0, 30), (2, 0, 60), (3, 0, 120), (4, 0, 240), (5, 1, 480), (6, 2, 960), (7, 3, 1920)
    ]  # fmt: skip


@given(st.lists(st.floats(-100, 20_000), max_size=300).map(sorted))
def test_however_one_looks_nothing_is_early_left_out_or_said_in_one_breath(looks_s: list[float]) -> None:
    sent = history(looks_s)
    assert [number for number, _, _ in sent] == list(range(1, len(sent) + 1))
    assert [level for _, level, _ in sent] == [max(0, number - PINGS) for number, _, _ in sent]
    for number, _, at_s in sent:
        assert at_s >= 30 * 2 ** (number - 1)
    for (_, _, before_s), (number, _, at_s) in itertools.pairwise(sent):
        assert at_s - before_s >= 30 * 2 ** (number - 1) / 4 - 1e-3


@given(st.floats(1, 7))
def test_who_looks_regularly_is_never_later_than_one_look(every_s: float) -> None:
    looks = [step * every_s for step in range(int(1000 / every_s))]
    for number, _, at_s in history(looks):
        assert at_s - 30 * 2 ** (number - 1) <= every_s + 1e-3


@given(st.lists(st.tuples(st.floats(0, 1000), st.booleans()), max_size=50))
def test_the_clock_stands_still_exactly_while_the_debtor_is_excused(looks: list[tuple[float, bool]]) -> None:
    part, excused_s, since = Part(message_id="m", role="qa"), 0.0, None
    at_s = 0.0
    for pause_s, is_excused in looks:
        at_s += pause_s
        excused_s += pause_s if since is not None else 0.0
        part = part.excuse(is_excused, later(at_s))
        since = at_s if is_excused else None
    assert part.excused_for_s(later(at_s)) == pytest.approx(excused_s, abs=1e-3)


# ── who owes what ──────────────────────────────────────────────────────────────────────────────────
def message(identity: str, sender: str = "cto") -> Message:
    return Message(id=identity, from_role=sender, type="task_assignment", payload=Payload(subject=f"do {identity}"))


def ask(role: str, task: str, *asked: tuple[str, str], within_s: float = 1800, outside: bool = False) -> Ask:
    parts = [Part(message_id=message_id, role=name) for name, message_id in asked]
    return Ask(
        id=f"ask-{task}", role=role, task=message(task), parts=parts, opened_at=NOON, deadline=later(within_s),
        from_outside=outside,
    )  # fmt: skip


def beat(role: str, message_id: str = "", doing: str = "") -> Heartbeat:
    return Heartbeat(
        role=role, state="working" if message_id else "idle", doing=doing, message_id=message_id, since=NOON,
        beat_at=NOON, started_at=NOON, pid=1, host="here",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("beats", "own", "state", "words"),
    [
        ({}, None, "down", "is down"),
        ({"qa": beat("qa")}, None, "waiting", "has it in its inbox"),
        ({"qa": beat("qa", "other", "a test")}, None, "waiting", "works on: a test"),
        ({"qa": beat("qa"), "qa.1": beat("qa", "m")}, None, "working", "works on it"),
        ({"qa": beat("qa")}, ask("qa", "m", ("backend", "n")), "parked", "waits for backend"),
        ({}, ask("qa", "m", ("backend", "n")), "parked", "waits for backend"),
        ({"qa": beat("qa")}, ask("qa", "other", ("backend", "n")), "waiting", "inbox"),
        ({"qa": beat("qa")}, ask("qa", "m", ("backend", "n"), within_s=1), "waiting", "inbox"),  # its time is over
    ],
)
def test_what_the_debtor_does_about_it(beats: dict[str, Heartbeat], own: Ask | None, state: str, words: str) -> None:
    asked = ask("cto", "t", ("qa", "m"))
    owed = [Owed(asked, asked.parts[0], "qa", "m")]
    (debt,) = debts(owed, [asked, *([own] if own else [])], beats, reply_within_s=600, at=later(60))
    assert (debt.state, debt.is_excused) == (state, state in ("working", "parked"))
    assert words in debt.words


@pytest.mark.parametrize(
    ("within_s", "outside", "due_s"), [(1800, False, 600), (300, False, 300), (1800, True, 1800), (60, True, 60)]
)
def test_when_an_answer_is_due(within_s: float, outside: bool, due_s: float) -> None:
    assert ask("cto", "t", ("qa", "m"), within_s=within_s, outside=outside).due_at(600) == later(due_s)
