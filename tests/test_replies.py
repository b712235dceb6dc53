"""Ask and wait, expect and go away, see who owes what: on the command line as a user types it."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime, timedelta

import pytest

from agenthub import subjects
from agenthub.asks import Ask, Part
from agenthub.cli.options import duration
from agenthub.errors import ConfigError
from agenthub.messages import Message, Outcome, Payload, now
from agenthub.org.ledger import Ledger
from agenthub.sessions.session import Prompt, TurnEnd, TurnResult
from tests.commands import in_hub
from tests.organization import Hub, ScriptedSession, says, until


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1.5m", 90), (" 5s ", 5), ("30", 30), ("0.2", 0.2)],
)
def test_lengths_of_time_as_people_write_them(text: str, seconds: float) -> None:
    assert duration(text, "--within") == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1m", "10 minutes", "1w", "m", "1e3"])
def test_what_is_no_length_of_time_is_refused_with_the_flag_and_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--within takes .* 90s, 10m, 2h or 7d, or seconds; found"):
        duration(text, "--within")


async def test_ask_prints_the_answer_only_and_says_the_rest_on_stderr(hub: Hub) -> None:
    session = says("port 8080")
    async with hub.role("backend", session):
        ran = await in_hub(hub, "ask", "backend", "-", "-p", "high", "--timeout", "30s", stdin=b"Which port?\n")
        assert await in_hub(hub, "pending", "--json") == (0, "[]\n", "")
    assert (ran.code, ran.out) == (0, "port 8080\n")
    assert "backend: done" in ran.err
    (prompt,) = session.prompts
    assert (prompt.task.type, prompt.task.payload.priority, prompt.task.from_role) == ("question", "high", "you")
    (reply,) = await hub.waiting("you")
    assert (reply.type, reply.payload.message, reply.causation_id) == ("reply", "port 8080", prompt.task.id)


@pytest.mark.parametrize(("outcome", "code"), [(Outcome.FAILED, 1), (Outcome.BLOCKED, 1), (Outcome.NEEDS_HUMAN, 1)])
async def test_an_answer_that_is_none_is_told_by_the_exit_code(hub: Hub, outcome: Outcome, code: int) -> None:
    async with hub.role("backend", says(TurnResult(TurnEnd.FINISHED, outcome, "no idea"))):
        ran = await in_hub(hub, "ask", "backend", "Which port?", "--json")
    assert (ran.code, ran.json["text"], ran.json["outcome"]) == (code, "no idea", str(outcome))


async def test_ask_gives_up_after_its_time_says_what_the_role_does_and_the_role_goes_on(hub: Hub) -> None:
    release = asyncio.Event()

    async def slowly(prompt: Prompt) -> TurnResult | str:
        await release.wait()
        return "at last"

    session = ScriptedSession(slowly)
    async with hub.role("backend", session):
        await hub.send("backend", "first")
        await until(lambda: session.prompts)
        ran = await in_hub(hub, "ask", "backend", "Which port?", "--timeout", "1s")
        assert (ran.code, ran.out) == (5, "")
        assert "No answer from backend within 1s: backend has it in its inbox, and works on: first" in ran.err
        (debt,) = (await in_hub(hub, "pending", "--json", "--overdue")).json
        assert (debt["debtor"], debt["creditor"], debt["state"], debt["busy_with"]) == (
            "backend", "you", "waiting", "first"
        )  # fmt: skip
        assert debt["id"][:8] in ran.err
        release.set()
        await hub.completion("backend", debt["message_id"])
    assert (await in_hub(hub, "pending")).err == "nobody owes anybody an answer\n"


async def test_who_cannot_be_asked(hub: Hub) -> None:
    nobody = await in_hub(hub, "ask", "bakend", "Which port?")
    assert (nobody.code, "Did you mean `backend`?" in nobody.err) == (3, True)
    person = await in_hub(hub, "ask", "you", "Which port?")
    assert (person.code, "is a person" in person.err) == (6, True)
    assert await Ledger(hub.bus).all() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--within", "10m"], "add --expect-reply"),
        (["--expect-reply", "--wait"], "choose one"),
        (["--expect-reply", "--within", "soon"], "--within takes"),
        (["--wait", "--timeout", "soon"], "--timeout takes"),
    ],
)
async def test_flags_that_do_not_go_together_are_usage_errors_and_send_nothing(
    hub: Hub, words: list[str], says: str
) -> None:
    ran = await in_hub(hub, "send", "backend", "do it", *words)
    assert (ran.code, says in ran.err) == (2, True), ran
    assert await hub.waiting("backend") == []


async def test_an_expected_answer_is_pending_until_it_is_there_or_dropped(hub: Hub) -> None:
    sent = await in_hub(hub, "send", "--expect-reply", "--within", "2h", "backend", "Report the incident")
    other = await in_hub(hub, "send", "qa", "Test it", "--expect-reply", "--json")
    assert (sent.code, other.code) == (0, 0), (sent, other)
    assert "see `agenthub pending`" in sent.err
    due_s = (datetime.fromisoformat(other.json["due_at"]) - now()).total_seconds()
    assert 500 < due_s < 601
    shown = await in_hub(hub, "pending")
    assert [words in shown.out for words in ("backend", "in 2h", "is down", "Report")] == [True] * 4
    assert (await in_hub(hub, "pending", "--overdue")).err == "nobody is overdue\n"
    (one,) = (await in_hub(hub, "pending", "--role", "qa", "--json")).json
    assert (one["id"], one["reminders"], one["is_overdue"]) == (other.json["id"], 0, False)
    dropped = await in_hub(hub, "pending", "drop", one["id"][:10])
    assert (dropped.code, "you no longer waits for qa" in dropped.err) == (0, True), dropped
    assert (await in_hub(hub, "pending", "drop", one["id"][:10])).code == 3
    async with hub.role("backend", says("reported")):
        await hub.completion("backend", sent.out.strip())
    assert (await in_hub(hub, "pending", "--json")).json == []
    assert await Ledger(hub.bus).all() == []


async def test_pending_shows_what_roles_owe_each_other_and_for_whom_they_wait_themselves(hub: Hub) -> None:
    """ceo asked cto, and cto asked backend and qa for it: the chain can be read off."""

    def parked(role: str, task: str, *asked: tuple[str, str]) -> Ask:
        message = Message(id=task, from_role="you", type="task_assignment", payload=Payload(subject=f"do {task}"))
        parts = [Part(message_id=message_id, role=name, subject=f"part of {name}") for name, message_id in asked]
        return Ask(
            id=f"{role}-ask", role=role, task=message, parts=parts, opened_at=now() - timedelta(seconds=700),
            deadline=now() + timedelta(seconds=1000),
        )  # fmt: skip

    ledger = Ledger(hub.bus)
    await ledger.open(parked("ceo", "t1", ("cto", "t2")))
    await ledger.open(parked("cto", "t2", ("backend", "t3"), ("qa", "t4")))
    owed = {debt["debtor"]: debt for debt in (await in_hub(hub, "pending", "--json")).json}
    assert (owed["cto"]["state"], owed["cto"]["waits_for"]) == ("parked", ["backend", "qa"])
    assert owed["cto"]["now"] == "is parked, waits for backend, qa"
    assert (owed["backend"]["state"], owed["backend"]["creditor"]) == ("down", "cto")
    assert 99 < owed["qa"]["overdue_s"] < 200
    assert len((await in_hub(hub, "pending", "--role", "ceo", "--json")).json) == 1
    table = (await in_hub(hub, "pending", "--overdue")).out
    assert [w for w in ("cto", "2m ago", "backend", "part of") if w in table] == ["cto", "2m ago", "backend", "part of"]
    refused = await in_hub(hub, "pending", "drop", "cto-ask")
    assert (refused.code, "`cto` itself waits" in refused.err) == (6, True)


async def test_help_has_examples_and_the_list_of_commands_imports_none_of_it(hub: Hub) -> None:
    for words in (["ask", "--help"], ["pending", "--help"], ["pending", "drop", "--help"], ["send", "--help"]):
        ran = await in_hub(hub, *words)
        assert (ran.code, "$ agenthub" in ran.out) == (0, True), ran
    program = "import sys, agenthub.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=hub.folder, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert b"pending" in out
    modules = out.decode().splitlines()[-1].split()
    assert not {"agenthub.cli.pending", "agenthub.client", "anthropic", "nats"} & set(modules)


async def test_an_entry_that_a_newer_version_wrote_does_not_hide_the_others(hub: Hub) -> None:
    await in_hub(hub, "send", "qa", "Test it", "--expect-reply")
    (entry,) = await Ledger(hub.bus).all()
    newer = json.loads(entry.model_dump_json()) | {"id": "newer", "colour": "red"}
    await hub.bus.publish(f"$KV.{subjects.LEDGER}.you.newer", json.dumps(newer).encode())
    assert len((await in_hub(hub, "pending", "--json")).json) == 2
