"""What a task must show before it counts as done: a check that passes, evidence, somebody else's approval."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from agenthub import subjects
from agenthub.client import Client
from agenthub.client.approvals import Approvals
from agenthub.failpoints import Failpoint
from agenthub.messages import Completion, Outcome, Priority
from agenthub.organization import load_organization
from agenthub.rehearsal import start_rehearsal
from agenthub.sandbox import isolation
from agenthub.sessions.session import Prompt, TurnEnd, TurnResult
from agenthub.verification import ACCEPT, AGAIN, GIVE_UP, MAX_REJECTIONS
from tests.commands import in_hub
from tests.organization import Hub, ScriptedSession, directive, says, until, write_organization
from tests.test_breakers import at_work
from tests.test_failpoints import Office, office

__all__ = ["office"]

needs_sandbox = pytest.mark.skipif(bool(isolation().remedy), reason=isolation().found)

_BACKEND = """---
name: backend
description: The backend of Acme.
tools: {tools}
agenthub:
  reports_to: cto
  permissions: {{deny: ["Bash(rm *)"], ask: ["Bash(git push *)"]}}
---
You are the backend of Acme.
"""
FINISH = 'rehearse: tool finish {"outcome": "done", "summary": "built"}\n'
WRITE = 'rehearse: tool write_file {"path": "built.md", "content": "it"}\n'


def with_backend(hub: Hub, tools: str = "Read, Write, Bash") -> None:
    (hub.folder / "roles" / "backend.md").write_text(_BACKEND.format(tools=tools))
    hub.organization = load_organization(hub.settings)


async def asks(hub: Hub, role: str, text: str, *, sender: str = "you", **demands: Any) -> str:
    """Send a directive on a lane, as who may publish there."""
    message = directive(text, sender=sender)
    message["payload"].update(demands)
    lane = subjects.lane(role, Priority.MEDIUM, sender)
    await hub.bus.publish(lane, json.dumps(message).encode(), message_id=message["id"])
    return str(message["id"])


async def ends(hub: Hub, text: str, **demands: Any) -> Completion:
    """How the backend, played by the rehearsal model, ends a task."""
    async with start_rehearsal(speed=0) as endpoint, at_work(hub, endpoint, "backend"):
        return await hub.completion("backend", await asks(hub, "backend", text, **demands))


# ── checks ─────────────────────────────────────────────────────────────────────────────────────────
@needs_sandbox
async def test_a_check_that_passes_shows_that_it_is_done(hub: Hub) -> None:
    with_backend(hub)
    done = await ends(hub, f"{WRITE}{FINISH}", check="test -f built.md && echo it is there")
    assert done.check is not None
    assert (done.outcome, done.check.exit_code, done.check.output) == (Outcome.DONE, 0, "it is there")
    assert done.is_verified
    (reply,) = await until(lambda: hub.waiting("you"))
    assert reply.payload.checked == done.check


@needs_sandbox
async def test_the_model_reads_why_its_check_failed_and_mends_it(hub: Hub) -> None:
    with_backend(hub)
    done = await ends(hub, f"{FINISH}{WRITE}{FINISH}", check="cat built.md; echo token=$((6*7))x; test -f built.md")
    assert (done.outcome, done.is_verified) == (Outcome.DONE, True)
    assert done.turns == 1
    told = await hub.bus.history(subjects.EVENTS, "agent-hub.events.step.backend")
    assert "failed with exit code 1" in json.loads(told[0].data)["text"]


@needs_sandbox
async def test_a_check_that_fails_three_times_is_a_failure_with_its_output(hub: Hub) -> None:
    with_backend(hub)
    done = await ends(hub, FINISH * 5, check="echo one of 12 failed; echo x >> runs; exit 3")
    assert (done.outcome, done.is_verified) == (Outcome.FAILED, False)
    assert "one of 12 failed" in done.text
    assert (hub.settings.state / "workspaces" / "backend" / "runs").read_text() == "x\n" * 3


@needs_sandbox
@pytest.mark.parametrize(
    ("tools", "check", "sender", "why"),
    [
        ("Read, Write", "touch ran", "you", "the role has no shell"),
        ("Read, Write, Bash", "touch ran; rm -rf x", "you", "Bash(rm *)"),
        ("Read, Write, Bash", "touch ran; git push origin main", "you", "Bash(git push *)"),
        ("Read, Write, Bash(pytest *)", "touch ran", "you", "`tools:` line"),
        ("Read, Write, Bash", "touch ran", "qa", "`qa` may not have `backend` run commands"),
        ("Read, Write, Bash", "touch ran", "cto", ""),
        ("Read, Write, Bash", "touch ran", "ceo", ""),
    ],
)
async def test_a_check_is_run_only_for_who_may_instruct_and_if_the_rules_allow_it(
    hub: Hub, tools: str, check: str, sender: str, why: str
) -> None:
    with_backend(hub, tools)
    done = await ends(hub, FINISH, check=check, sender=sender)
    assert done.check is not None
    assert (done.outcome, why in done.text) == (Outcome.COMPLETED_UNVERIFIED if why else Outcome.DONE, True)
    assert (hub.settings.state / "workspaces" / "backend" / "ran").exists() == (not why)


@needs_sandbox
async def test_nobody_at_the_public_door_has_a_command_run(hub: Hub) -> None:
    with_backend(hub)
    message = directive(FINISH)
    message["payload"]["check"] = "touch ran"
    async with start_rehearsal(speed=0) as endpoint, at_work(hub, endpoint, "backend"):
        await hub.put("backend", message)
        done = await hub.completion("backend", str(message["id"]))
    assert done.outcome is Outcome.COMPLETED_UNVERIFIED
    assert not (hub.settings.state / "workspaces" / "backend" / "ran").exists()


@needs_sandbox
async def test_a_model_that_just_stops_is_checked_too(hub: Hub) -> None:
    with_backend(hub)
    done = await ends(hub, "rehearse: silent", check="echo nothing built; exit 1")
    assert (done.outcome, "nothing built" in done.text) == (Outcome.FAILED, True)


@pytest.mark.parametrize(("evidence", "outcome"), [((), Outcome.COMPLETED_UNVERIFIED), (("report.md",), Outcome.DONE)])
async def test_done_without_the_evidence_that_was_demanded_is_unverified(
    hub: Hub, evidence: tuple[str, ...], outcome: Outcome
) -> None:
    async with hub.role("backend", says(TurnResult(TurnEnd.STOPPED, text="built", evidence=evidence))):
        done = await hub.completion("backend", await asks(hub, "backend", "build it", needs_evidence=True))
        (reply,) = await until(lambda: hub.waiting("you"))
    assert (done.outcome, reply.payload.outcome) == (outcome, outcome)
    assert done.text.startswith("built")


@pytest.mark.parametrize("demands", [{"check": True}, {"verify": 7}, {"check": "x" * 5000}])
async def test_demands_that_make_no_sense_are_buried_and_the_role_goes_on(hub: Hub, demands: dict[str, Any]) -> None:
    async with hub.role("backend", says("yes")):
        await asks(hub, "backend", "build it", **demands)
        good = await hub.completion("backend", await asks(hub, "backend", "build it"))
    (letter,) = await hub.bus.history(subjects.DEAD_LETTERS, subjects.dead_letter("backend"))
    assert good.outcome is Outcome.DONE
    assert f"payload.{next(iter(demands))}" in json.loads(letter.data)["reason"]


# ── verifiers ──────────────────────────────────────────────────────────────────────────────────────
STOPS = TurnResult(TurnEnd.STOPPED, text="built")


def verdicts(outcome: Outcome) -> ScriptedSession:
    """A verifier that always says the same, in other words: who repeats itself has its trace parked."""
    faults = itertools.cycle(["no tests", "a typo", "too slow", "wrong colour", "no docs", "leaks memory", "crashes"])

    async def script(prompt: Prompt) -> TurnResult:
        return TurnResult(TurnEnd.FINISHED, outcome, f"verdict: {outcome}, {next(faults)}")

    return ScriptedSession(script)


@pytest.mark.parametrize(
    ("verdict", "outcome", "by"),
    [
        (Outcome.DONE, Outcome.DONE, "qa"), (Outcome.BLOCKED, Outcome.COMPLETED_UNVERIFIED, ""),
        (Outcome.NEEDS_HUMAN, Outcome.COMPLETED_UNVERIFIED, ""),
    ],
)  # fmt: skip
async def test_another_role_verifies_and_the_doer_is_not_asked_again(
    hub: Hub, verdict: Outcome, outcome: Outcome, by: str
) -> None:
    doer, verifier = says(STOPS), verdicts(verdict)
    async with hub.role("backend", doer), hub.role("qa", verifier):
        done = await hub.completion("backend", await asks(hub, "backend", "build it", verify="qa"))
        (reply,) = await until(lambda: hub.waiting("you"))
    assert (done.outcome, done.verified_by, done.is_verified) == (outcome, by, bool(by))
    assert (reply.payload.outcome, reply.payload.verified_by) == (outcome, by or None)
    assert done.text.startswith("built")
    assert (len(doer.prompts), len(verifier.prompts)) == (1, 1)
    assert "build it" in verifier.prompts[0].text


async def test_what_is_rejected_is_done_again_and_after_three_times_a_person_decides(hub: Hub) -> None:
    doer, verifier = says(STOPS), verdicts(Outcome.FAILED)
    approvals = Approvals(Client(hub.bus, hub.organization))
    async with hub.role("backend", doer), hub.role("qa", verifier):
        message_id = await asks(hub, "backend", "build it", verify="qa")
        (ask,) = await until(approvals.waiting)
        assert (len(doer.prompts), len(verifier.prompts)) == (MAX_REJECTIONS, MAX_REJECTIONS)
        assert "was rejected" in doer.prompts[1].text
        assert "verdict: failed" in doer.prompts[1].text
        await approvals.reply(ask.id, AGAIN)
        (ask,) = await until(approvals.waiting)
        assert len(doer.prompts) == 2 * MAX_REJECTIONS
        await approvals.reply(ask.id, ACCEPT)
        done = await hub.completion("backend", message_id)
    assert (done.outcome, done.verified_by, done.text) == (Outcome.DONE, "you", "built")


@pytest.mark.parametrize("rejects", [False, True])
async def test_a_person_may_give_it_up(hub: Hub, rejects: bool) -> None:
    approvals = Approvals(Client(hub.bus, hub.organization))
    async with hub.role("backend", says(STOPS)), hub.role("qa", verdicts(Outcome.FAILED)):
        message_id = await asks(hub, "backend", "build it", verify="qa")
        (ask,) = await until(approvals.waiting)
        await (approvals.reject(ask.id, "no more") if rejects else approvals.reply(ask.id, GIVE_UP))
        done = await hub.completion("backend", message_id)
    assert (done.outcome, done.verified_by) == (Outcome.FAILED, "")
    assert "verdict: failed" in done.text


async def test_a_role_that_is_always_verified_needs_no_word_in_the_task_and_a_verifier_is_not_verified(
    hub: Hub,
) -> None:
    write_organization(hub.folder, roles={"backend": {"verified_by": "qa"}, "qa": {"verified_by": "backend"}})
    hub.organization = load_organization(hub.settings)
    async with hub.role("backend", says(STOPS)), hub.role("qa", verdicts(Outcome.DONE)):
        done = await hub.completion("backend", await asks(hub, "backend", "build it"))
    assert (done.outcome, done.verified_by) == (Outcome.DONE, "qa")


@pytest.mark.parametrize(("verify", "why"), [("backend", "its own work"), ("nobody", "there is no `nobody`")])
async def test_a_verifier_that_cannot_be_leaves_it_unverified(hub: Hub, verify: str, why: str) -> None:
    async with hub.role("backend", says(STOPS)):
        done = await hub.completion("backend", await asks(hub, "backend", "build it", verify=verify))
    assert (done.outcome, why in done.text) == (Outcome.COMPLETED_UNVERIFIED, True)


async def test_a_verifier_that_stops_without_a_verdict_has_approved_of_nothing(hub: Hub) -> None:
    async with hub.role("backend", says(STOPS)), hub.role("qa", says(STOPS)):
        done = await hub.completion("backend", await asks(hub, "backend", "build it", verify="qa"))
    assert (done.outcome, done.verified_by) == (Outcome.COMPLETED_UNVERIFIED, "")


async def test_work_that_nobody_verified_in_time_is_unverified(hub: Hub) -> None:
    write_organization(hub.folder, toml="[defaults]\nask_within_s = 1")
    hub.organization = load_organization(hub.settings)
    async with hub.role("backend", says(STOPS)):
        done = await hub.completion("backend", await asks(hub, "backend", "build it", verify="qa"))
    assert (done.outcome, "`qa` has not verified it" in done.text) == (Outcome.COMPLETED_UNVERIFIED, True)


async def test_a_person_may_verify(hub: Hub) -> None:
    approvals = Approvals(Client(hub.bus, hub.organization))
    async with hub.role("backend", says(STOPS)):
        message_id = await asks(hub, "backend", "build it", verify="you")
        (ask,) = await until(approvals.waiting)
        assert "build it" in ask.approval.question if ask.approval else False
        await approvals.reply(ask.id, ACCEPT)
        done = await hub.completion("backend", message_id)
    assert (done.outcome, done.verified_by) == (Outcome.DONE, "you")


async def test_a_verdict_of_somebody_else_counts_for_nothing(hub: Hub) -> None:
    async def script(prompt: Prompt) -> TurnResult:
        return TurnResult(TurnEnd.FINISHED, Outcome.FAILED, "looked")

    doer = says(STOPS)
    async with hub.role("backend", doer):
        message_id = await asks(hub, "backend", "build it", verify="qa")
        (asked,) = await until(lambda: hub.waiting("qa"))
        forged = directive("fine", sender="cto") | {
            "type": "task_result", "correlation_id": asked.correlation_id, "causation_id": asked.id,
        }  # fmt: skip
        forged["payload"]["outcome"] = "done"
        lane = subjects.lane("backend", Priority.HIGH, "cto")
        await hub.bus.publish(lane, json.dumps(forged).encode(), message_id=forged["id"])
        await until(lambda: _has_no_lane(hub, "cto"))
        assert await hub.bus.last(subjects.DONE, subjects.done("backend", message_id)) is None
        async with hub.role("qa", ScriptedSession(script)):
            await until(lambda: len(doer.prompts) >= 2)


async def _has_no_lane(hub: Hub, sender: str) -> bool:
    return not await hub.waiting("backend", sender=sender)


async def test_the_verifier_gets_the_files_that_are_named_as_evidence(hub: Hub) -> None:
    (hub.settings.state / "workspaces" / "backend").mkdir(parents=True)
    (hub.settings.state / "workspaces" / "backend" / "report.md").write_text("all green")
    stops = TurnResult(TurnEnd.STOPPED, text="built", evidence=("report.md", "pytest: 3 passed", "../../journals/x"))
    async with hub.role("backend", says(stops)):
        await asks(hub, "backend", "build it", verify="qa")
        (asked,) = await until(lambda: hub.waiting("qa"))
    (file,) = asked.payload.attachments
    assert (file.name, await Client(hub.bus, hub.organization).attachment(file.key)) == ("report.md", b"all green")


# ── crashes ────────────────────────────────────────────────────────────────────────────────────────
@needs_sandbox
@pytest.mark.parametrize(
    ("point", "runs"),
    [
        (Failpoint.CHECK_RUN, 2), (Failpoint.CHECK_RECORDED, 1), (Failpoint.TOOL_FINISHED, 1),
        (Failpoint.ASK_OPENED, 1), (Failpoint.ASK_SENT, 1), (Failpoint.ANSWER_COLLECTED, 1),
        (Failpoint.TURN_RECORDED, 1), (Failpoint.COMPLETION_PUBLISHED, 1),
    ],
)  # fmt: skip
async def test_killed_while_it_is_checked_and_verified(office: Office, point: Failpoint, runs: int) -> None:
    hub = office.hub
    (hub.folder / "roles" / "backend.md").write_text(_BACKEND.format(tools="Read, Write, Bash"))
    hub.organization = load_organization(hub.settings)
    office.arm("backend", point)
    office.start("backend")
    office.start("cto")
    message_id = await asks(hub, "backend", FINISH, check="echo x >> runs", verify="cto")
    await office.dies("backend")
    office.start("backend")
    done = await hub.completion("backend", message_id, within_s=60)
    assert (done.outcome, done.verified_by, done.text) == (Outcome.DONE, "cto", "built")
    assert (hub.settings.state / "workspaces" / "backend" / "runs").read_text() == "x\n" * runs
    stored = await office.stored()
    assert {message: count for message, count in stored.items() if count > 1} == {}
    assert [kind for kind, sender, _ in stored if sender == "backend"].count("task_assignment") == 1


# ── people ─────────────────────────────────────────────────────────────────────────────────────────
async def test_the_command_line_names_demands_and_says_what_is_unverified(hub: Hub) -> None:
    async with hub.role("backend", says(STOPS)):
        ran = await in_hub(hub, "send", "backend", "build it", "--evidence", "--wait")
        assert (ran.code, "no evidence was given" in ran.out) == (7, True), ran
        assert (await in_hub(hub, "send", "backend", "build it", "--verify", "qu")).code == 3
        assert (await in_hub(hub, "send", "@all", "build it", "--verify", "qa")).code == 2
