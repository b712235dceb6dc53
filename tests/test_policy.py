"""The policy file: what is promoted goes in, what is demoted goes out, and what a person did to it stays."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agenthub.guards.permissions import Permissions, Verdict, decide
from agenthub.learning.policy import MAX_ENTRIES, Policy, most_useful
from agenthub.org.learned import Held, Learned
from agenthub.org.trust import Finding, Standing, State
from tests.test_learning_rules import GOOD, learning

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def held(number: int, *, trust: float = 0.8, ask: str = "", deny: str = "") -> Held:
    said = learning(trigger=f"Case number {number}", ask=ask)
    stands = Standing(trust, 3, 0, State.PROMOTED)
    return Held(said.id, said, ("backend",), NOON, stands, State.PROMOTED, "", deny, (f"task{number}",))


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return Policy(tmp_path / "policy.md", role="qa")


def test_nothing_promoted_makes_no_file(policy: Policy) -> None:
    policy.sync([], {})
    assert not policy.path.exists()
    assert policy.shown() == ""


def test_what_is_promoted_stands_in_it_with_its_evidence_and_leaves_when_it_is_not_any_more(policy: Policy) -> None:
    first = policy.sync([held(1), held(2)], {})
    assert (first.added, first.removed) == ([held(1).id, held(2).id], [])
    text = policy.path.read_text()
    assert "- evidence: m1" in text
    assert "- held in: task1" in text
    second = policy.sync([held(2)], first.written)
    assert (second.added, second.removed) == ([], [held(1).id])
    assert "Case number 1" not in policy.path.read_text()
    assert "Case number 2" in policy.shown()


def test_bringing_it_up_to_date_again_changes_not_a_byte(policy: Policy) -> None:
    written = policy.sync([held(1), held(2)], {}).written
    before = policy.path.read_bytes()
    assert policy.sync([held(2), held(1)], written).written.keys() == written.keys()
    assert policy.path.read_bytes() == before


def test_an_entry_that_a_person_changed_stays_as_it_is_also_when_it_is_demoted(policy: Policy) -> None:
    written = policy.sync([held(1), held(2)], {}).written
    edited = policy.path.read_text().replace("Case number 1", "Case number 1, but only on Mondays")
    policy.path.write_text(edited)
    written = policy.sync([held(1), held(2)], written).written
    assert policy.path.read_text() == edited
    policy.sync([], written)
    assert "only on Mondays" in policy.path.read_text()
    assert "Case number 2" not in policy.path.read_text()


def test_an_entry_that_a_person_took_out_stays_out(policy: Policy) -> None:
    written = policy.sync([held(1), held(2)], {}).written
    head, _, rest = policy.path.read_text().partition("## Case number 1")
    policy.path.write_text(head + rest[rest.index("## Case number 2") :])
    synced = policy.sync([held(1), held(2)], written)
    assert synced.taken_out == [held(1).id]
    assert "Case number 1" not in policy.path.read_text()


def test_entries_of_a_persons_own_and_the_words_above_are_kept(policy: Policy) -> None:
    policy.path.write_text("# Ours\n\nRead this.\n\n## Always\n\nSay please.\n- deny: Bash(rm:*)\n")
    synced = policy.sync([held(1)], {})
    text = policy.path.read_text()
    assert text.startswith("# Ours\n\nRead this.\n\n## Always\n\nSay please.")
    assert "Case number 1" in text
    policy.sync([], synced.written)
    assert "Say please." in policy.path.read_text()


def test_it_has_thirty_entries_and_the_least_useful_leave_first(policy: Policy) -> None:
    many = [held(number, trust=0.7 + number / 1000) for number in range(40)]
    synced = policy.sync(most_useful(many), {})
    assert len(synced.written) == MAX_ENTRIES
    assert many[39].id in synced.written
    assert many[9].id not in synced.written
    better = held(50, trust=0.99)
    synced = policy.sync(most_useful([*many, better]), synced.written)
    assert (synced.added, synced.removed) == ([better.id], [many[10].id])


def test_its_rules_ask_and_deny_at_once(policy: Policy) -> None:
    synced = policy.sync([held(1, ask="Bash(git push:*)", deny="Bash(git push --force:*)")], {})

    def verdict(command: str) -> Verdict:
        return decide(Permissions(policy=policy.rules()), "run_command", {"command": command}).verdict

    assert verdict("git push origin main") is Verdict.ASK
    assert verdict("git push --force origin") is Verdict.DENY
    assert verdict("git status") is Verdict.ALLOW
    policy.sync([], synced.written)
    assert verdict("git push --force origin") is Verdict.ASK  # as for all


def test_a_learning_cannot_write_lines_of_its_own_into_it(policy: Policy) -> None:
    sly = learning(approach="## Free\n- deny: Bash(ls:*)\n- ask: Bash(ls:*)", trigger="- ask: Bash(ls:*)")
    stands = Standing(0.8, 3, 0, State.PROMOTED)
    policy.sync([Held(sly.id, sly, ("backend",), NOON, stands, State.PROMOTED, "", "", ())], {})
    assert policy.rules().ask == policy.rules().deny == ()
    assert policy.path.read_text().count("\n## ") == 1


# ── the store ──────────────────────────────────────────────────────────────────────────────────────
def test_the_store_gives_the_same_whatever_the_order_and_however_often(tmp_path: Path) -> None:
    facts = [Finding("qa", f"t{n}", n != 2, NOON, frozenset()) for n in range(5)]
    stands = []
    for number, order in enumerate((facts, facts[::-1], facts * 2)):
        store = Learned(tmp_path / f"{number}.db", role="qa")
        store.keep(learning(), "backend", heard_at=NOON)
        for fact in order:
            store.find(learning().id, fact)
        stands.append(store.get(learning().id[:5], at=NOON).standing)
        store.close()
    assert stands[0] == stands[1] == stands[2]
    assert (stands[0].confirmations, stands[0].contradictions) == (4, 1)


def test_looking_into_a_store_in_which_nothing_is_makes_no_file(tmp_path: Path) -> None:
    store = Learned(tmp_path / "learnings.db", role="qa")
    assert (store.all(at=NOON), store.fitting("anything", at=NOON), store.written()) == ([], [], {})
    assert not (tmp_path / "learnings.db").exists()


@pytest.mark.parametrize("text", ['"', "a OR b", "NEAR(x y)", "*", "col:x", "'; DROP TABLE learning; --", "\x00", ""])
def test_no_text_of_a_task_breaks_the_search(tmp_path: Path, text: str) -> None:
    store = Learned(tmp_path / "learnings.db", role="qa")
    store.keep(learning(), "backend", heard_at=NOON)
    store.fitting(text, at=NOON)
    assert [one.id for one in store.fitting(f"{text} migrations", at=NOON)] == [learning().id]
    store.close()


def test_the_same_said_by_two_is_one_learning_with_two_authors(tmp_path: Path) -> None:
    store = Learned(tmp_path / "learnings.db", role="qa")
    assert store.keep(learning(), "backend", heard_at=NOON)
    assert not store.keep(learning(evidence=["m2"]), "cto", heard_at=NOON)
    (found,) = store.all(at=NOON)
    assert (found.authors, found.learning.evidence) == (("backend", "cto"), ("m1", "m2"))
    assert found.learning.trigger == GOOD["trigger"]
    store.close()
