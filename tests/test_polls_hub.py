"""Votes and auctions of a real organization on the rehearsal model: from the command line, and by roles that die."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from agenthub import subjects
from agenthub.auctions import Bid
from agenthub.client import Client, open_client
from agenthub.client.polls import vote
from agenthub.messages import Completion, Outcome, now
from agenthub.org.ledger import Ledger
from agenthub.sessions.session import TurnEnd, TurnResult
from agenthub.votes import Ballot
from tests.organization import Hub, ScriptedSession, says, write_organization
from tests.organization import until as until_it
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


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["vote", "Ship?", "--voters", "backend,qa,cto", "--within", "60s"], b"yes\n"),
        (["auction", "Ship it", "--bidders", "@ceo", "--close", "60s"], b"qa\n"),
    ],
)
async def test_who_waits_for_roles_at_a_terminal_sees_who_is_missing_until_when_and_nothing_of_it_stays(
    hub: Hub, words: list[str], out: bytes
) -> None:
    goes_on, said = asyncio.Event(), bytearray()
    ours, its = pty.openpty()

    async def script(prompt: Any) -> TurnResult:
        if prompt.task.type == "task_assignment":
            return TurnResult(TurnEnd.FINISHED, Outcome.DONE, "it is done")
        await goes_on.wait()
        bid = Bid(cost_usd=1, eta_minutes=10, confidence=0.9)
        return TurnResult(TurnEnd.FINISHED, Outcome.DONE, "me too", vote="yes", bid=bid)

    def has_said(pattern: str) -> bool:
        while select.select([ours], [], [], 0)[0]:
            said.extend(os.read(ours, 65536))
        return re.search(pattern, said.decode(errors="replace")) is not None

    async with hub.role("backend", votes("yes")), hub.role("qa", ScriptedSession(script)):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agenthub", *words, "--nats", hub.server.url,
            cwd=hub.folder, stdout=asyncio.subprocess.PIPE, stderr=its,
            env=dict(os.environ) | {"TERM": "xterm", "COLUMNS": "120"},
        )  # fmt: skip
        await until_it(
            lambda: has_said(
                r"\r\x1b\[K1 of 3 have answered · missing: (qa ● working, )?cto ✖ down(, qa ● working)? "
                r"· \d\ds left, until \d\d:\d\d:\d\d"
            )
        )
        goes_on.set()
        await until_it(lambda: has_said(r"\r\x1b\[K2 of 3 have answered · missing: cto ✖ down · "))
        async with hub.role("cto", votes("yes")), asyncio.timeout(40):
            found, _ = await process.communicate()
    assert (process.returncode, found) == (0, out)
    assert has_said(r"\r\x1b\[K(yes; yes: 3|qa: )")
    os.close(ours)
    os.close(its)


async def test_in_a_pipe_a_vote_that_waits_says_nothing_but_what_comes_of_it(hub: Hub) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agenthub", "vote", "Ship?", "--voters", "qa", "--within", "2s", "--nats", hub.server.url,
        cwd=hub.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    assert (process.returncode, out) == (7, b"")
    assert err.decode().splitlines() == [
        "asked qa; waiting 2s at the most",
        "no decision (no quorum); yes: 0, no: 0; 0 of 1 voted, 1 needed",
        "qa: no vote; no answer in time",
    ]
