"""Each promise has a history that breaks it; a history that breaks nothing is clean."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from chaos.history import (
    Accepted,
    Alive,
    Asked,
    Begun,
    Buried,
    Effect,
    Ended,
    History,
    Injected,
    Merged,
    Opened,
    Recorded,
)
from chaos.report import Verdict, complaints, table
from chaos.rules import RULES, calls_in_flight, check, slowest_recovery


def clean() -> History:
    """Two directives, one of them buried; a crash during a model call; everything as promised."""
    return History(
        accepted=[Accepted("a", "qa", 1, sender="you"), Accepted("b", "qa", 2, sender="you")],
        ended=[Ended("a", "qa", "done"), Ended("b", "qa", "dead")],
        buried=[Buried("b", "qa")],
        opened=[Opened("qa", "a", 1.0), Opened("qa", "b", 2.0)],
        recorded=[Recorded("qa", 1, 1.5), Recorded("qa", 3, 2.5)],
        asked=[Asked("qa", 1, 1.1), Asked("qa", 1, 1.4), Asked("qa", 3, 2.1)],
        effects=[Effect("line", "a~1", "qa", 10, 1.2), Effect("line", "b~1", "qa", 11, 2.2)],
        merged=[Merged("cto", "t~r", "t~r: qa")],
        injected=[Injected("kill role", "qa", 1.2, is_crash=True)],
        alive=[Alive("qa", 1.0), Alive("qa", 1.7)],
    )


BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("lost", {"ended": [Ended("a", "qa", "done")], "buried": []}),
    ("lost", {"buried": []}),
    ("completed twice", {"ended": [Ended("a", "qa", "done"), Ended("a", "qa", "failed"), Ended("b", "qa", "dead")]}),
    ("completed twice", {"buried": [Buried("b", "qa"), Buried("b", "qa")]}),
    ("completed twice", {"buried": [Buried("a", "qa"), Buried("b", "qa")]}),
    ("invented", {"ended": [*clean().ended, Ended("c", "qa", "done")]}),
    ("invented", {"ended": [*clean().ended, Ended("a", "cto", "done")]}),
    ("effects repeated", {"effects": [Effect("line", "a~1", "qa"), Effect("line", "a~1", "qa")]}),
    ("model calls repeated", {"asked": [Asked("qa", 1, 1.1), Asked("qa", 1, 1.6)]}),
    (
        "model calls repeated",
        {
            "begun": [Begun("qa", 1, 3.0)], "recorded": [*clean().recorded, Recorded("qa", 1, 3.5, 1)],
            "asked": [*clean().asked, Asked("qa", 1, 3.1), Asked("qa", 1, 3.6)],
        },
    ),
    ("order violations", {"opened": [Opened("qa", "a", 2.0), Opened("qa", "b", 1.0)]}),
    ("parts merged twice", {"merged": [Merged("cto", "t~r", "t~r: qa"), Merged("cto", "u~r", "t~r: qa")]}),
    ("zombie effects", {"effects": [Effect("line", f"{at}", "qa", at % 2 + 5, at) for at in (1, 2, 3)]}),
    ("left behind", {"leftovers": ["4711 nats-server"]}),
    ("left behind", {"left_alone": ["qa"]}),
    ("left behind", {"problems": ["the broker could not be read"]}),
]  # fmt: skip


def test_a_history_that_keeps_every_promise_is_clean() -> None:
    verdict = Verdict.of("clean", 1, 60, clean())
    assert (verdict.is_clean, complaints(verdict)) == (True, "")


@pytest.mark.parametrize(("rule", "changes"), BROKEN)
def test_each_broken_promise_is_found_by_its_rule_and_no_other(rule: str, changes: dict[str, Any]) -> None:
    found = check(dataclasses.replace(clean(), **changes))
    assert [name for name, violations in found.items() if violations] == [rule]


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)


def test_what_was_sent_and_not_confirmed_may_end_or_not() -> None:
    for ended in ([], [Ended("c", "qa", "done")]):
        history = dataclasses.replace(clean(), ended=[*clean().ended, *ended], offered={"c"})
        assert not any(check(history).values())


def test_other_priorities_senders_and_doors_are_other_queues() -> None:
    late = dataclasses.replace(clean(), opened=[Opened("qa", "a", 2.0), Opened("qa", "b", 1.0)])
    second = late.accepted[1]
    for other in (second._replace(priority="high"), second._replace(sender="me"), second._replace(way="plain")):
        accepted = [late.accepted[0], other]
        assert not any(check(dataclasses.replace(late, accepted=accepted)).values())


def test_what_was_taken_again_counts_when_it_was_taken_first() -> None:
    opened = [Opened("qa", "a", 1.0), Opened("qa", "b", 2.0), Opened("qa", "a", 3.0)]
    assert not check(dataclasses.replace(clean(), opened=opened))["order violations"]


def test_a_conversation_that_begins_anew_asks_at_the_same_places_for_something_else() -> None:
    begun, asked = [Begun("qa", 1, 3.0)], [*clean().asked, Asked("qa", 1, 3.1)]
    assert check(dataclasses.replace(clean(), asked=asked))["model calls repeated"]
    assert not check(dataclasses.replace(clean(), asked=asked, begun=begun))["model calls repeated"]


def test_a_call_that_was_paid_again_before_it_was_recorded_was_in_flight() -> None:
    assert calls_in_flight(clean()) == 1
    refused = dataclasses.replace(clean(), asked=[Asked("qa", 1, 1.1, 529), Asked("qa", 1, 1.4)])
    assert calls_in_flight(refused) == 0


def test_the_slowest_recovery_is_from_a_crash_to_the_next_sign_of_life_of_that_role() -> None:
    found = slowest_recovery(clean())
    assert found is not None
    assert (found.role, found.kind, round(found.seconds, 3)) == ("qa", "kill role", 0.5)
    assert slowest_recovery(History()) is None


def test_the_table_has_every_rule_and_fault_and_complaints_name_what_was_seen() -> None:
    history = dataclasses.replace(clean(), ended=[Ended("b", "qa", "dead")])
    verdict = Verdict.of("own server", 5, 60, history)
    shown = table([verdict, Verdict.of("network", 5, 60, clean())])
    for row in (*RULES, "kill role", "slowest recovery"):
        assert any(line.strip().startswith(row) for line in shown.splitlines())
    assert complaints(verdict) == "own server: lost: qa/a: accepted by lane as 1, no end"
    assert verdict.to_json()["violations"]["lost"][0]["about"] == "qa/a"


@pytest.mark.parametrize("name", ["a", "GENBRAIN_AGENTS-1"])
def test_of_what_a_role_put_off_no_journal_says_when_it_was_taken_first(name: str) -> None:
    late = dataclasses.replace(clean(), opened=[Opened("qa", "a", 2.0), Opened("qa", "b", 1.0)])
    assert check(late)["order violations"]
    assert not check(dataclasses.replace(late, put_off={("qa", name)}))["order violations"]
