"""What is committed stays: turns, the conversation, steps, what it cost, notes."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agenthub.errors import ConfigError, LeaseLostError
from agenthub.messages import Usage
from agenthub.sessions.journal import Answered, Entry, Journal, Step, Turn

USAGE = Usage(calls=1, input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4, cost_usd=0.5)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    """Opens the journal of this test once more, as another process would."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.closing(Journal(tmp_path / "deep" / "journal.db")))


@pytest.fixture
def journal(opened: Callable[[], Journal]) -> Journal:
    return opened()


def opens(journal: Journal, turn_id: str = "t", *, message: str = "m", ack: str = "ack.1", failures: int = 0) -> Turn:
    return journal.open_turn(turn_id, message_id=message, ack_subject=ack, failures_before=failures)


def records(journal: Journal, turn_id: str = "t", text: str = "yes", *, message: str = "m", **more: Any) -> None:
    journal.record_answer(
        turn_id, message_id=message, asked=said("well?"), answered=said(text), model="x", usage=USAGE, **more
    )


def said(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


# ── turns ──────────────────────────────────────────────────────────────────────────────────────────
def test_a_turn_that_is_taken_up_again_after_a_crash_counts_its_attempts(opened: Callable[[], Journal]) -> None:
    assert opens(opened()) == Turn(is_done=False, attempts=1, failures=0, result=None)
    assert opens(opened()) == Turn(is_done=False, attempts=2, failures=0, result=None)


def test_a_failure_and_a_leave_on_purpose_are_no_signs_of_a_crash(journal: Journal) -> None:
    opens(journal)
    assert journal.fail("t") == 1
    assert opens(journal) == Turn(is_done=False, attempts=1, failures=1, result=None)
    journal.put_back("t")
    assert opens(journal) == Turn(is_done=False, attempts=1, failures=1, result=None)


def test_failures_that_another_replica_counted_are_taken_over(journal: Journal) -> None:
    assert opens(journal, failures=1).failures == 1
    assert opens(journal, failures=3).failures == 3
    assert opens(journal, failures=2).failures == 3
    assert journal.fail("t") == 4


def test_a_turn_that_is_done_stays_as_it_was_done(opened: Callable[[], Journal]) -> None:
    journal = opened()
    opens(journal)
    assert not journal.is_done("t")
    journal.finish("t", {"parked": "waits"})
    journal.finish("t", {"parked": "another result"})
    journal.put_back("t")
    again = opened()
    assert again.is_done("t")
    assert opens(again) == Turn(is_done=True, attempts=1, failures=0, result={"parked": "waits"})
    assert not again.is_done("unheard of")


def test_a_message_knows_when_its_first_turn_began_and_how_many_there_were(journal: Journal) -> None:
    assert journal.account("m").started_at is None
    before = datetime.now(UTC)
    opens(journal, "t")
    first = journal.account("m").started_at
    assert first is not None
    assert before <= first <= datetime.now(UTC)
    opens(journal, "t~r")
    opens(journal, "other", message="n")
    assert (journal.turns_of("m"), journal.account("m").started_at) == (2, first)


# ── the conversation ───────────────────────────────────────────────────────────────────────────────
def test_the_conversation_is_read_as_it_was_recorded(opened: Callable[[], Journal]) -> None:
    journal = opened()
    records(journal, "t", "one", stop_reason="max_tokens")
    records(journal, "u", "two")
    records(journal, "t", "thrée \0 😀")
    again = opened()
    assert again.history()[:2] == [Entry("t", "user", said("well?")), Entry("t", "assistant", said("one"))]
    assert [entry.turn_id for entry in again.history()] == ["t", "t", "u", "u", "t", "t"]
    assert again.answers("t") == [Answered(said("one"), "max_tokens"), Answered(said("thrée \0 😀"), "")]
    assert again.last_turn() == "t"
    assert again.answers("unheard of") == []


def test_before_anything_is_said_there_is_no_last_turn(journal: Journal) -> None:
    assert (journal.last_turn(), journal.history()) == ("", [])


def test_an_answer_is_recorded_with_what_it_cost_and_what_it_read_or_not_at_all(journal: Journal) -> None:
    journal.add_note("n", "news")
    with pytest.raises(sqlite3.ProgrammingError):
        records(journal, notes=[object])  # fails behind the other statements
    assert journal.history() == []
    assert journal.usage_of("m") == Usage()
    assert journal.unread_notes() == [("n", "news")]
    records(journal, notes=["n"])
    assert len(journal.history()) == 2
    assert journal.usage_of("m") == USAGE
    assert journal.unread_notes() == []


def test_two_processes_cannot_tangle_one_conversation(opened: Callable[[], Journal]) -> None:
    frozen, successor = opened(), opened()
    assert frozen.history() == successor.history() == []
    records(successor, "s")
    with pytest.raises(LeaseLostError, match=r"journal\.db"):
        frozen.check_alone()
    with pytest.raises(LeaseLostError, match=r"journal\.db"):
        records(frozen, "f")
    records(successor, "s")
    assert {entry.turn_id for entry in opened().history()} == {"s"}
    frozen.history()
    records(frozen, "f")  # it has read what the other wrote: nothing is tangled


# ── steps ──────────────────────────────────────────────────────────────────────────────────────────
def test_a_step_is_unheard_of_then_begun_then_known(opened: Callable[[], Journal]) -> None:
    journal = opened()
    assert journal.step("t", 0) is None
    journal.intend("t", 0, "pay")
    assert opened().step("t", 0) == Step(None)
    journal.record_step("t", 0, "pay", {"content": "paid"})
    assert opened().step("t", 0) == Step({"content": "paid"})
    assert journal.step("t", 1) is journal.step("u", 0) is None


def test_what_must_not_be_done_twice_cannot_be_begun_twice(opened: Callable[[], Journal]) -> None:
    opened().intend("t", 0, "pay")
    with pytest.raises(sqlite3.IntegrityError):
        opened().intend("t", 0, "pay")


# ── usage ──────────────────────────────────────────────────────────────────────────────────────────
def test_usage_is_summed_for_a_message_and_for_a_time(journal: Journal) -> None:
    before = datetime.now(UTC)
    records(journal, "t", message="m")
    records(journal, "t~r", message="m")
    records(journal, "u", message="n")
    journal.record_usage("u", message_id="n", model="x", usage=USAGE)
    assert journal.usage_of("m") == USAGE + USAGE
    assert journal.usage_of("n") == USAGE + USAGE
    assert journal.usage_since(before).calls == 4
    assert journal.usage_since(datetime.now(UTC) + timedelta(seconds=1)) == Usage()


# ── notes ──────────────────────────────────────────────────────────────────────────────────────────
def test_notes_are_shown_once_oldest_first_and_only_so_many(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([3.0, 2.0, 1.0, 0.0])  # the clock was set back meanwhile
    monkeypatch.setattr("time.time", lambda: next(moments))
    for name in ("c", "a", "b", "a"):
        journal.add_note(name, f"text of {name}")
    monkeypatch.undo()
    assert journal.unread_notes() == [("c", "text of c"), ("a", "text of a"), ("b", "text of b")]
    assert [name for name, _ in journal.unread_notes(2)] == ["c", "a"]
    records(journal, notes=["c", "a"])
    assert [name for name, _ in journal.unread_notes()] == ["b"]
    journal.add_note("a", "told again")
    assert [name for name, _ in journal.unread_notes()] == ["b"]


# ── the file ───────────────────────────────────────────────────────────────────────────────────────
def test_a_journal_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with contextlib.closing(Journal(path)) as journal:
        records(journal)
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(
            "DROP INDEX entry_conversation; ALTER TABLE entry DROP COLUMN conversation;"
            " ALTER TABLE entry DROP COLUMN tokens; ALTER TABLE entry DROP COLUMN stop_reason; PRAGMA user_version = 1;"
        )
    for _ in range(2):
        with contextlib.closing(Journal(path)) as journal:
            records(journal, stop_reason="end_turn")
            assert journal.answers("t")[0] == Answered(said("yes"), "")


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with contextlib.closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match=r"journal\.db was written by a newer agenthub"):
        Journal(path)


FULL, NORMAL = 2, 1

_WRITES: dict[str, tuple[Callable[[Journal], object], int]] = {
    "open_turn": (lambda journal: opens(journal, "other"), NORMAL),
    "finish": (lambda journal: journal.finish("t", {}), NORMAL),
    "a step that may be repeated": (lambda journal: journal.record_step("t", 1, "look", {}, may_repeat=True), NORMAL),
    "fail": (lambda journal: journal.fail("t"), FULL),
    "put_back": (lambda journal: journal.put_back("t"), FULL),
    "record_answer": (records, FULL),
    "begin_anew": (
        lambda journal: journal.begin_anew(
            "t", message_id="m", hand_over=said("so far"), tokens=3, model="x", usage=USAGE
        ),
        FULL,
    ),
    "record_usage": (lambda journal: journal.record_usage("t", message_id="m", model="x", usage=USAGE), FULL),
    "intend": (lambda journal: journal.intend("t", 1, "pay"), FULL),
    "record_step": (lambda journal: journal.record_step("t", 1, "pay", {}), FULL),
    "add_note": (lambda journal: journal.add_note("n", "text"), FULL),
    "prune": (lambda journal: journal.prune(), FULL),
}


@pytest.mark.parametrize("name", _WRITES)
def test_what_must_survive_power_loss_is_forced_to_the_disk_whatever_was_written_before(
    journal: Journal, name: str
) -> None:
    db = journal._file.reading
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    write, mode = _WRITES[name]
    opens(journal)
    if mode == NORMAL:
        journal.add_note("before", "text")
    written: list[str] = []
    db.set_trace_callback(written.append)
    write(journal)
    db.set_trace_callback(None)
    assert any(statement.split()[0] in ("INSERT", "UPDATE", "DELETE") for statement in written)
    assert db.execute("PRAGMA synchronous").fetchone() == (mode,)
    changes = [at for at, statement in enumerate(written) if statement.startswith("PRAGMA synchronous")]
    assert changes == [0], written  # before anything was written


_WRITER = """
import sys
from pathlib import Path
from agenthub.messages import Usage
from agenthub.sessions.journal import Journal

journal = Journal(Path(sys.argv[1]))
for n in range(10**9):
    turn = f"t{n}"
    journal.open_turn(turn, message_id=turn, ack_subject="ack")
    journal.record_answer(
        turn, message_id=turn, asked=[{"n": n}], answered=[{"n": n}], model="x", usage=Usage(calls=1, cost_usd=1.0)
    )
    journal.intend(turn, 0, "pay")
    journal.record_step(turn, 0, "pay", {"n": n})
    journal.finish(turn, {"n": n})
    print(n, flush=True)
"""


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes without end and prints what is committed."""
    with subprocess.Popen([sys.executable, "-c", _WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        try:
            yield writer
        finally:
            writer.kill()


def _committed(writer: subprocess.Popen[str], at_least: int) -> int:
    """Reads on until so many are committed; the last one."""
    assert writer.stdout is not None
    return next(number for line in writer.stdout if (number := int(line)) >= at_least)


@pytest.mark.parametrize("at_least", [0, 7, 50])
def test_a_killed_journal_keeps_all_that_was_committed_and_opens_again(tmp_path: Path, at_least: int) -> None:
    path = tmp_path / "journal.db"
    with _writing(path) as writer:
        last = _committed(writer, at_least)
        writer.kill()
        assert writer.stdout is not None
        last = max([last, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    with contextlib.closing(Journal(path)) as journal:
        for n in range(last + 1):
            assert journal.is_done(f"t{n}")
            assert journal.answers(f"t{n}") == [Answered([{"n": n}], "")]
            assert journal.step(f"t{n}", 0) == Step({"n": n})
        history = journal.history()
        assert [entry.role for entry in history] == ["user", "assistant"] * (len(history) // 2)
        assert journal.usage_since(datetime.fromtimestamp(0, UTC)).calls == len(history) // 2
        records(journal, "after")
        assert journal.last_turn() == "after"


def test_another_process_can_read_while_one_writes(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with _writing(path) as writer:
        seen = _committed(writer, 0)
        with contextlib.closing(Journal(path)) as reader:
            for _ in range(5):
                seen = _committed(writer, seen + 1)
                assert reader.is_done(f"t{seen}")
                assert reader.usage_of(f"t{seen}").cost_usd == 1.0
            assert writer.poll() is None
