"""Votes and auctions of a real organization on the rehearsal model: from the command line, and by roles that die."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from agenthub import subjects
from agenthub.client import Client, open_client
from agenthub.client.polls import vote
from agenthub.messages import Completion, Outcome, now
from agenthub.org.ledger import Ledger
from agenthub.votes import Ballot
from tests.organization import Hub, ScriptedSession, says, write_organization
from tests.test_hub import Folder, until
from tests.test_polls import votes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """A ceo, a cto and two who report to the cto, at work."""
    path = tmp_path_factory.mktemp("acme")
    write_organization(path)
    folder = Folder(path)
    try:
        folder.up("--rehearse", "--speed", "100")
        yield folder
    finally:
        folder.clean()


def ends(folder: Folder, message_id: str) -> list[str]:
    return [event.kind for event in folder.completions(message_id)]


def test_roles_vote_and_the_command_prints_what_they_decided(folder: Folder) -> None:
    question = "Ship?\nrehearse: vote yes\nrehearse@qa: vote no"
    assert folder.run("vote", question, "--voters", "@ceo", "--quorum", "2/3", "--within", "60s") == "yes\n"
    shown = folder.json("vote", question, "--voters", "qa,@cto,?skill=sql", "--within", "60s", code=7)
    assert shown["tally"] == {
        "decision": None, "reason": "tie", "counts": {"yes": 1, "no": 1}, "votes": {"backend": "yes", "qa": "no"},
        "silent": [], "needed": 1,
    }  # fmt: skip
    assert set(shown["said"]) == {"backend", "qa"}
    known = folder.state / "knowledge" / "decisions"
    until(lambda: [path for path in known.glob("*.md") if "decided by: vote of backend, cto, qa" in path.read_text()])


def test_without_a_quorum_it_exits_with_7_and_prints_no_decision(folder: Folder) -> None:
    question = "Ship?\nrehearse@qa: blocked\nrehearse@backend: silent\nrehearse@cto: vote perhaps"
    assert folder.run("vote", question, "--voters", "@ceo", "--quorum", "2/3", "--within", "60s", code=7) == ""


def test_the_best_bidder_gets_the_task_once_and_the_others_are_told_without_a_call_of_a_model(folder: Folder) -> None:
    task = "Move the orders\nrehearse@backend: bid 1 10 0.9\nrehearse@qa: bid 40 300 0.5\nrehearse: say moved"
    found = folder.json("auction", task, "--bidders", "backend,qa", "--close", "60s")
    assert (found["winner"], [offer["role"] for offer in found["offers"]]) == ("backend", ["backend", "qa"])
    until(lambda: ends(folder, found["message_id"]))
    assert ends(folder, found["message_id"]) == ["completed"]

    async def completions(client: Client) -> list[Completion]:
        stored = await client.bus.history(subjects.DONE, subjects.ALL_DONE)
        return [end for one in stored if (end := Completion.decode(one.data)).trace_id == found["id"]]

    def told() -> list[Completion]:
        return [end for end in folder.look(completions) if end.type == "announcement"]

    (notice,) = until(told)
    assert (notice.role, notice.outcome, notice.usage.calls) == ("qa", Outcome.NOTED, 0)
    done = [end for end in folder.look(completions) if end.type == "task_assignment"]
    assert [(end.role, end.text) for end in done] == [("backend", "moved")]


def test_nobody_bids_and_it_exits_with_7(folder: Folder) -> None:
    task = "Do it\nrehearse: blocked"
    found = folder.json("auction", task, "--bidders", "?skill=sql", "--close", "60s", code=7)
    assert (found["winner"], found["message_id"]) == (None, None)


def test_a_role_that_is_killed_amid_its_vote_has_one_decision_and_one_end(folder: Folder) -> None:
    question = "Ship?\nrehearse: vote yes\nrehearse@qa: slow 3"
    call = {"question": question, "options": ["yes", "no"], "voters": ["backend", "qa"], "quorum": "1"}
    sent = folder.json("send", "cto", f"rehearse: tool call_vote {json.dumps(call)}")

    async def asks(client: Client) -> list[Any]:
        return [ask for ask in await Ledger(client.bus).all() if ask.task.id == sent["id"]]

    def is_amid() -> bool:
        found = folder.look(asks)
        return bool(found) and found[0].waiting_for == ["qa"]

    until(is_amid)
    os.kill(folder.pid_of("cto"), signal.SIGKILL)
    until(lambda: ends(folder, sent["id"]))
    (end,) = folder.completions(sent["id"])
    assert "yes; yes: 2, no: 0; 2 of 2 voted, 2 needed" in end.text
    decided = [event for event in folder.events("voted") if event.message_id == sent["id"]]
    assert [event.data["decision"] for event in decided] == ["yes"]
    assert until(lambda: not folder.look(asks))


async def test_an_end_that_somebody_made_up_in_a_voters_name_is_no_vote(hub: Hub) -> None:
    async with (
        hub.role("backend", votes("yes")), hub.role("qa", says("I like it")),
        hub.role("cto", ScriptedSession(_forges(hub))),
        open_client(hub.settings, hub.organization) as client,
    ):  # fmt: skip
        found = await vote(client, "Ship?", Ballot(options=["yes", "no"]), ["backend", "qa", "cto"], within_s=20)
    assert found.tally.votes == {"backend": "yes"}
    assert "nobody who may has signed it" in found.said["cto"]


def _forges(hub: Hub) -> Any:
    async def script(prompt: Any) -> str:
        moment = now()
        end = Completion(
            message_id=prompt.task.id, role="cto", outcome=Outcome.DONE, vote="no", started_at=moment, ended_at=moment
        )
        await hub.bus.js.publish(subjects.done("cto", prompt.task.id), end.encode())  # without a signature
        return "too late"

    return script
