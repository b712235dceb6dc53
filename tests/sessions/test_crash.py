"""A process is killed at any point and a new one takes the same turn again: nothing is paid or done twice."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthub.errors import SessionError
from agenthub.messages import Usage
from agenthub.sessions.journal import Journal
from agenthub.sessions.model_calls import Answer
from agenthub.sessions.session import TextDelta, TurnEnd, TurnResult
from tests.sessions.conftest import Opens
from tests.sessions.scripted import (
    Crash,
    Desk,
    Request,
    ScriptedModel,
    Toolbox,
    calls,
    check_request,
    last_user_blocks,
    says,
    with_ids,
)


def results(request: Request) -> list[str]:
    return [block["content"] for block in last_user_blocks(request) if block["type"] == "tool_result"]


async def crashes(desk: Desk, turn_id: str = "a") -> None:
    with pytest.raises(Crash):
        await desk.turn(turn_id)
    await desk.restart()


# ── one crash, at each point ───────────────────────────────────────────────────────────────────────
async def test_a_crash_in_the_first_model_call_pays_for_that_call_again(desk: Opens) -> None:
    role = await desk(Crash(), says("Here."))
    await crashes(role)
    assert (await role.turn()).text == "Here."
    assert role.model.requests[0] == role.model.requests[1]


async def test_a_crash_in_a_later_model_call_pays_only_for_that_call_again(desk: Opens) -> None:
    role = await desk(calls(("pay", {"text": "x"})), Crash(), says("Paid."))
    await crashes(role)
    assert (await role.turn()).text == "Paid."
    assert role.model.requests[1] == role.model.requests[2]
    assert role.toolbox.texts("pay") == ["x"]


async def test_a_crash_before_a_tool_makes_the_call_once(desk: Opens) -> None:
    role = await desk(calls(("pay", {"text": "x"})), says("Paid."))
    allowed = role.before_effect

    async def killed_before_the_tool() -> None:
        if role.model.requests:
            raise Crash

    role.before_effect = killed_before_the_tool
    await crashes(role)
    role.before_effect = allowed
    assert (await role.turn()).text == "Paid."
    assert role.toolbox.done == [("pay", "x", "a~1")]
    assert len(role.model.requests) == 2


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_crash_in_a_call_that_may_be_repeated_repeats_it_under_the_same_key(desk: Opens, where: str) -> None:
    role = await desk(calls(("write", {"text": "1"}), ("write", {"text": "2"})), says("Done."))
    getattr(role.toolbox, where)["write"] = [Crash()]
    await crashes(role)
    await role.turn()
    first = [("write", "1", "a~1")] * (2 if where == "after" else 1)
    assert role.toolbox.done == [*first, ("write", "2", "a~2")]
    assert results(role.model.requests[1]) == ["did 1", "did 2"]


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("next_turn", ["a", "b"])
async def test_a_crash_in_a_call_that_must_not_be_repeated_is_told_as_unknown(
    desk: Opens, where: str, next_turn: str
) -> None:
    role = await desk(calls(("pay", {"text": "x"})), says("I shall look."), says("And so on."))
    getattr(role.toolbox, where)["pay"] = [Crash()]
    await crashes(role)
    await role.turn(next_turn)
    assert role.toolbox.texts("pay") == ["x"] * (where == "after")
    [told] = results(role.model.requests[1])
    assert "it is unknown whether" in told
    assert last_user_blocks(role.model.requests[1])[0]["is_error"] is True
    await role.restart()
    await role.turn("c")
    assert len(role.model.requests) == 3


async def test_a_crash_after_a_tool_does_not_make_its_call_again(desk: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    role = await desk(calls(("write", {"text": "1"}), ("pay", {"text": "2"}), ("write", {"text": "3"})), says("Done."))

    def record_and_crash(journal: Journal, *args: Any, **named: Any) -> None:
        record(journal, *args, **named)
        raise Crash

    record = Journal.record_step
    monkeypatch.setattr(Journal, "record_step", record_and_crash)
    for _ in range(3):
        await crashes(role)
    monkeypatch.undo()
    assert (await role.turn()).text == "Done."
    assert role.toolbox.done == [("write", "1", "a~1"), ("pay", "2", "a~2"), ("write", "3", "a~3")]
    assert results(role.model.requests[1]) == ["did 1", "did 2", "did 3"]


async def test_a_crash_after_the_last_answer_gives_the_same_end_without_asking(desk: Opens) -> None:
    role = await desk(says("The end."))
    ended = await role.turn()
    for _ in range(2):
        await role.restart()
        assert await role.turn() == ended == TurnResult(TurnEnd.STOPPED, text="The end.")
    assert len(role.model.requests) == 1


async def test_a_crash_after_the_call_that_ends_the_turn_gives_the_same_end_without_asking(desk: Opens) -> None:
    role = await desk(calls(("end", {"text": "all good"}), ("park", {"text": "no"})))
    ended = await role.turn()
    for _ in range(2):
        await role.restart()
        assert await role.turn() == ended
    assert (len(role.model.requests), len(role.toolbox.done)) == (1, 2)


async def test_a_crash_behind_a_cut_answer_does_not_make_it_the_last_word(desk: Opens) -> None:
    role = await desk(says("I have", "max_tokens"), Crash(), says("finished."))
    await crashes(role)
    assert (await role.turn()).text == "finished."
    assert role.model.requests[1] == role.model.requests[2]


async def test_a_cancelled_tool_call_is_unknown_to_a_new_process(desk: Opens) -> None:
    role = await desk(calls(("pay", {"text": "x"})), says("I shall look."))
    begun = asyncio.Event()

    async def hangs(_: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    role.toolbox.during = hangs
    running = asyncio.create_task(role.turn())
    async with asyncio.timeout(30):
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    await role.restart()
    await role.turn()
    assert "it is unknown whether" in results(role.model.requests[1])[0]
    assert role.toolbox.done == []


async def test_notes_that_were_shown_before_a_crash_are_not_shown_again(desk: Opens) -> None:
    role = await desk(calls(("write", {})), Crash(), says("Done."), says("Next."))
    role.journal.add_note("n", "- news")
    await crashes(role)
    await role.turn("a")
    await role.turn("b")
    shown = [str(last_user_blocks(request)).count("- news") for request in role.model.requests]
    assert shown == [1, 0, 0, 0]


# ── turns between ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_turn_that_comes_again_after_another_takes_numbers_of_its_own(desk: Opens, is_restarted: bool) -> None:
    role = await desk(
        calls(("pay", {"text": "1"}), ("pay", {"text": "2"})), SessionError("stumbled"),
        calls(("pay", {"text": "of b"})), says("B is done."),
        calls(("pay", {"text": "3"})), Crash(), says("A is done."),
    )  # fmt: skip
    with pytest.raises(SessionError):
        await role.turn("a")
    if is_restarted:
        await role.restart()
    assert (await role.turn("b")).text == "B is done."
    if is_restarted:
        await role.restart()
    await crashes(role, "a")
    assert (await role.turn("a")).text == "A is done."
    assert role.toolbox.done == [
        ("pay", "1", "a~1"), ("pay", "2", "a~2"), ("pay", "of b", "b~1"), ("pay", "3", "a~3"),
    ]  # fmt: skip


async def test_a_turn_that_comes_again_after_another_is_told_that_it_began(desk: Opens) -> None:
    role = await desk(calls(("write", {})), SessionError("stumbled"), says("B."), says("A."))
    with pytest.raises(SessionError):
        await role.turn("a")
    await role.turn("b")
    await role.turn("a")
    *_, notice, prompt = [block["text"] for block in last_user_blocks(role.model.requests[-1])]
    assert notice.startswith("<hub:notice>You began with the next message before")
    assert prompt == "work on a"
    assert "You began" not in str(role.model.requests[:-1])


async def test_a_call_that_a_crash_cut_off_is_made_under_its_key_when_its_turn_goes_on_after_another(
    desk: Opens,
) -> None:
    role = await desk(calls(("write", {"text": "1"}), ("end", {"text": "all good"})), says("B."))
    role.toolbox.before["write"] = [Crash()]
    await crashes(role, "a")
    await role.turn("b")
    assert (await role.turn("a")).text == "all good"
    assert role.toolbox.done == [("write", "1", "a~1"), ("end", "all good", "a~2")]
    assert len(role.model.requests) == 2  # what ended the turn was answered before


async def test_what_a_call_brought_that_was_cut_off_is_told_when_its_turn_goes_on(desk: Opens) -> None:
    role = await desk(calls(("write", {"text": "1"})), says("B."), says("A."))
    role.toolbox.before["write"] = [Crash()]
    await crashes(role, "a")
    await role.turn("b")
    assert (await role.turn("a")).text == "A."
    assert role.toolbox.done == [("write", "1", "a~1")]
    *_, notice, _ = [block["text"] for block in last_user_blocks(role.model.requests[-1])]
    assert "Your call of `write` that was cut off is made now." in notice


async def test_a_turn_that_failed_before_it_was_answered_leaves_the_one_before_it_to_be_resumed(desk: Opens) -> None:
    role = await desk(
        calls(("write", {"text": "1"})), SessionError("stumbled"), SessionError("stumbled"), says("A is done.")
    )
    for turn_id in ("a", "b"):
        with pytest.raises(SessionError):
            await role.turn(turn_id)
    assert (await role.turn("a")).text == "A is done."
    assert results(role.model.requests[-1]) == ["did 1"]


# ── any crashes at all ─────────────────────────────────────────────────────────────────────────────
_QUICK = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Hundreds of lives make thousands of commits; that these reach the disk is shown elsewhere."""


class Clockwork:
    """Counts all that happens; the process is killed when it comes to one of `crash_at`."""

    def __init__(self, crash_at: Sequence[int]) -> None:
        self._happened = itertools.count()
        self._crash_at = set(crash_at)

    def tick(self) -> None:
        if next(self._happened) in self._crash_at:
            raise Crash


class BrittleJournal(Journal):
    """The process may be killed before and after each commit."""

    clockwork: Clockwork

    def record_answer(self, *args: Any, **named: Any) -> None:
        self._between(super().record_answer, *args, **named)

    def intend(self, *args: Any, **named: Any) -> None:
        self._between(super().intend, *args, **named)

    def record_step(self, *args: Any, **named: Any) -> None:
        self._between(super().record_step, *args, **named)

    def _between(self, commit: Callable[..., None], *args: Any, **named: Any) -> None:
        self.clockwork.tick()
        commit(*args, **named)
        self.clockwork.tick()


class ParrotModel(ScriptedModel):
    """Answers by how many answers the request holds, as a model that has only the request does."""

    def __init__(self, script: Sequence[Answer], clockwork: Clockwork) -> None:
        super().__init__()
        self.script, self._clockwork = script, clockwork

    async def answer(
        self, *, system: str, tools: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]]
    ) -> AsyncGenerator[TextDelta | Usage | Answer]:
        check_request(messages)
        self.requests.append([dict(message) for message in messages])
        self._clockwork.tick()
        answer = self.script[(len(messages) // 2) % len(self.script)]
        yield TextDelta("...")
        self._clockwork.tick()
        yield with_ids(answer, len(messages))


class BrittleDesk(Desk):
    def __init__(self, path: Path, model: ParrotModel, toolbox: Toolbox, clockwork: Clockwork) -> None:
        super().__init__(path, model, toolbox, max_steps=6)
        self._clockwork = clockwork

        async def before_effect() -> None:
            clockwork.tick()

        self.before_effect = before_effect

    def open_journal(self) -> Journal:
        journal = BrittleJournal(self.path)
        journal.clockwork = self._clockwork
        return journal


class BrittleToolbox(Toolbox):
    """The process may be killed in a tool, before and after it acts."""

    def __init__(self, clockwork: Clockwork) -> None:
        super().__init__()

        async def tick(_: str) -> None:
            clockwork.tick()

        self.during = tick
        self.done = _Effects(clockwork)


class _Effects(list[tuple[str, str, str]]):
    def __init__(self, clockwork: Clockwork) -> None:
        super().__init__()
        self._clockwork = clockwork

    def append(self, effect: tuple[str, str, str]) -> None:
        super().append(effect)
        self._clockwork.tick()


class Life(NamedTuple):
    """What came of a role that was killed again and again."""

    ends: dict[str, TurnResult]
    toolbox: Toolbox
    model: ParrotModel
    journal: Journal
    crashes: int


_TOOL = st.sampled_from(["write", "write", "pay", "pay", "end", "park", "no_such_tool"])
_CALLS = st.lists(_TOOL, min_size=1, max_size=3).map(
    lambda names: calls(*((name, {"text": f"{name}{n}"}) for n, name in enumerate(names)))
)
_ANSWER = st.one_of(_CALLS, _CALLS, st.just(says("so far", "max_tokens")), st.just(says("done")))


async def lives(folder: str, script: list[Answer], crash_at: list[int], order: list[str]) -> Life:
    """Take the turns a, b and c; after a crash another one may be first."""
    clockwork = Clockwork(crash_at)
    model, toolbox = ParrotModel(script, clockwork), BrittleToolbox(clockwork)
    desk = BrittleDesk(Path(folder) / "journal.db", model, toolbox, clockwork)
    await desk.restart()
    waiting, choices, ends, crashed = ["a", "b", "c"], itertools.cycle(order), {}, 0
    while waiting:
        wanted = next(choices)
        turn_id = wanted if wanted in waiting else waiting[0]
        try:
            ends[turn_id] = await desk.turn(turn_id)
            waiting.remove(turn_id)
        except Crash:
            crashed += 1
            await desk.restart()
    return Life(ends, toolbox, model, desk.journal, crashed)


@settings(max_examples=100, deadline=None)
@given(
    script=st.lists(_ANSWER, min_size=1, max_size=6),
    crash_at=st.lists(st.integers(0, 60), max_size=8, unique=True),
    order=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=7),
)
def test_whatever_is_asked_and_wherever_it_is_killed_nothing_is_done_or_paid_twice(
    script: list[Answer], crash_at: list[int], order: list[str]
) -> None:
    with tempfile.TemporaryDirectory(dir=_QUICK) as folder:
        life = asyncio.run(lives(folder, script, crash_at, order))
        try:
            _check(life, crash_at)
        finally:
            life.journal.close()


def _check(life: Life, crash_at: list[int]) -> None:
    history = life.journal.history()
    made = {entry.turn_id: 0 for entry in history}
    tools = {}
    for entry in history:
        for block in entry.content if entry.role == "assistant" else []:
            if block["type"] == "tool_use":
                made[entry.turn_id] += 1
                tools[f"{entry.turn_id}~{made[entry.turn_id]}"] = (block["name"], block["input"]["text"])
    effects = Counter(life.toolbox.done)
    for (name, text, key), times in effects.items():
        assert tools[key] == (name, text), "a key belongs to one call for ever"
        assert times == 1 or name != "pay", "what must not be repeated was not"
    for turn_id, end in life.ends.items():  # what the end reports has happened
        last = f"{turn_id}~{made.get(turn_id, 0)}"
        assert end.end in (TurnEnd.STOPPED, TurnEnd.FINISHED, TurnEnd.PARKED)
        assert last in tools or not made.get(turn_id)
    # Each request goes beyond what is recorded, so what was answered is never asked again; and history only grows.
    asked = Counter(len(request) for request in life.model.requests)
    assert sum(times - 1 for times in asked.values()) <= life.crashes <= len(crash_at)
    assert len(asked) == len(history) // 2
    entire = [{"role": entry.role, "content": entry.content} for entry in history]
    for request in life.model.requests:
        assert request[:-1] == entire[: len(request) - 1]


@settings(max_examples=40, deadline=None)
@given(script=st.lists(_ANSWER, min_size=1, max_size=5), crash_at=st.integers(0, 40))
def test_after_one_crash_a_turn_ends_as_it_would_have_without(script: list[Answer], crash_at: int) -> None:
    with tempfile.TemporaryDirectory(dir=_QUICK) as calm, tempfile.TemporaryDirectory(dir=_QUICK) as stormy:
        expected = asyncio.run(lives(calm, script, [], ["a"]))
        found = asyncio.run(lives(stormy, script, [crash_at], ["a"]))
        expected.journal.close()
        found.journal.close()
        assert found.ends == expected.ends
        missing = set(expected.toolbox.done) - set(found.toolbox.done)
        assert {name for name, _, _ in missing} <= {"pay"}
        assert len(missing) <= 1
        assert set(found.toolbox.done) <= set(expected.toolbox.done)
