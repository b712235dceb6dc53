"""Roles that Claude Code plays, in a hub: the loop, the broker and the rehearsal model around the real program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from agenthub.budgets import AccountName, Budgets
from agenthub.guards.budget import Amount, LimitSet, Reservation
from agenthub.messages import Event, Outcome, now
from agenthub.organization import load_organization
from agenthub.rehearsal import start_rehearsal
from agenthub.runtime import RolePlace, run_role
from agenthub.sandbox import isolation
from agenthub.settings import Settings
from tests.commands import agenthub
from tests.organization import Hub, says, until, write_organization
from tests.sessions.sessions import NEEDS_CLAUDE_CODE, by_curl, noted_requests

pytestmark = NEEDS_CLAUDE_CODE


@contextlib.asynccontextmanager
async def playing(
    hub: Hub, role: str, *, speed: float = 0, tools: str = "", asked: list[dict[str, Any]] | None = None
) -> AsyncIterator[Settings]:
    """The role, played by Claude Code with the rehearsal model, in this process; `asked` gets what that is asked."""
    write_organization(hub.folder, '[defaults]\nsession = "claude-code"\ncritical_grace_s = 0.2\n')
    if tools:
        file = hub.folder / "roles" / f"{role}.md"
        file.write_text(file.read_text("utf-8").replace("agenthub:\n", f"tools: {tools}\nagenthub:\n", 1), "utf-8")
    hub.organization = load_organization(hub.settings)
    async with start_rehearsal(speed=speed) as endpoint:
        noted_requests(endpoint, asked)
        settings = Settings.load(
            config=hub.settings.config, nats_url=hub.server.url, model_url=endpoint.url, rehearse=True, grace_s=3.0
        ).model_copy(update={"api_key": SecretStr("rehearsal")})
        stop = asyncio.Event()
        running = asyncio.create_task(run_role(RolePlace(settings, hub.organization, role), stop=stop))
        try:
            yield settings
        finally:
            stop.set()
            await running


async def test_a_manager_delegates_is_parked_and_puts_the_answers_together(hub: Hub) -> None:
    backend, qa = says("It has an API."), says("It is tested.")
    async with playing(hub, "cto") as settings, hub.role("backend", backend), hub.role("qa", qa):
        asked = await hub.send("cto", "We need an api with sql, and testing of it.")
        done = await hub.completion("cto", asked, within_s=60)
    assert done.outcome == Outcome.DONE
    assert "It has an API" in done.text
    reports = list((settings.state / "workspaces" / "cto").rglob("*.md"))
    assert any("It is tested." in report.read_text("utf-8") for report in reports)
    assert done.usage.calls == 3, "one to delegate, two for the report and the end"
    assert done.usage.cost_usd > 0


async def test_a_new_conversation_begins_with_what_the_role_has_learned(hub: Hub) -> None:
    policy = hub.settings.state / "learning" / "backend" / "policy.md"
    policy.parent.mkdir(parents=True)
    policy.write_text("# Policy\n\n## A migration adds a column\n\nAdd it without a default first.\n")
    async with playing(hub, "backend") as settings:
        await hub.completion("backend", await hub.send("backend", "rehearse: say Done."), within_s=60)
    [record] = (settings.state / "claude-code" / "backend").glob("projects/*/*.jsonl")
    told = record.read_text("utf-8")
    assert told.index("<hub:policy>") < told.index("Add it without a default first") < told.index("<hub:message")


@pytest.mark.parametrize("manner", ["", "rehearse: stubborn\n"])
async def test_it_makes_way_for_what_is_critical_and_does_no_step_again(hub: Hub, manner: str) -> None:
    async with playing(hub, "backend", speed=50) as settings:
        long = await hub.send("backend", f"{manner}rehearse: steps 20 Write the manual", priority="medium")
        notes = settings.state / "workspaces" / "backend" / "notes"
        await until(lambda: notes.exists() and len(list(notes.iterdir())) >= 2, within_s=60)
        critical = await hub.send("backend", "rehearse: say put out", priority="critical")
        fire = await hub.completion("backend", critical, within_s=60)
        done = await hub.completion("backend", long, within_s=60)
    assert done.outcome == Outcome.DONE, done.text
    assert (fire.text, fire.outcome, done.outcome) == ("put out", Outcome.DONE, Outcome.DONE)
    assert fire.ended_at < done.ended_at
    assert len(list(notes.iterdir())) == 20
    assert done.usage.calls <= 23


@pytest.mark.skipif(bool(isolation().remedy), reason=isolation().found)
async def test_its_shell_finds_no_key_of_the_hub_and_no_file_of_another_role(hub: Hub) -> None:
    async with playing(hub, "backend", tools="Bash") as settings:
        keys = [path.read_text("utf-8").strip() for path in settings.keys.glob("*.nk")]
        assert keys, "there is something to find"
        secret = settings.state / "workspaces" / "qa" / "secret.md"
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text("the word is umbrella")
        command = (
            f"cat {settings.keys}/*; cat {secret}; cat {hub.folder}/agenthub.toml; ls -A {settings.state}; echo end"
        )
        asked = await hub.send(
            "backend", f"rehearse: tool Bash {json.dumps({'command': command})}\nrehearse: say Done."
        )
        done = await hub.completion("backend", asked, within_s=60)
    assert done.outcome == Outcome.DONE, done.text
    [record] = (settings.state / "claude-code" / "backend").glob("projects/*/*.jsonl")
    results = [line for line in record.read_text("utf-8").splitlines() if '"tool_result"' in line]
    assert "end" in results[0]
    assert not any(word in results[0] for word in (*keys, "umbrella", 'org = \\"acme', "journals"))


# ── money ──────────────────────────────────────────────────────────────────────────────────────────
ACCOUNT = AccountName("backend", is_rehearsal=True)
with_shell = pytest.mark.skipif(
    bool(isolation().remedy) or shutil.which("curl", path="/usr/bin:/bin") is None,
    reason=isolation().found or "no curl to ask with",
)


async def limited(budgets: Budgets, *, left: float) -> None:
    """Let the role spend so many more tokens today."""
    await until(lambda: _is_settled(budgets))
    spent = (await budgets.accounts())[ACCOUNT.key].spent["day"].tokens
    await budgets.set(ACCOUNT, "tokens_day", LimitSet(amount=spent + left, by="you", at=now()))


async def _is_settled(budgets: Budgets) -> bool:
    return not (await budgets.accounts())[ACCOUNT.key].reserved


async def put_off(hub: Hub, message_id: str) -> Event:
    """What is told when a message is put off."""
    async with hub.bus.listen("agent-hub.events.delayed.backend") as heard, asyncio.timeout(60):
        event = Event.decode((await anext(heard)).data)
    assert event.message_id == message_id
    return event


@with_shell
async def test_what_its_shell_asks_passes_no_limit_and_its_message_waits_for_money(hub: Hub) -> None:
    budgets, asked = Budgets(hub.bus), list[dict[str, Any]]()
    async with playing(hub, "backend", tools="Bash", asked=asked) as settings:
        await hub.completion("backend", await hub.send("backend", "rehearse: say Hello."), within_s=60)
        await limited(budgets, left=1)
        many = f"for i in 1 2 3 4 5; do {by_curl()}; echo; done"
        words = f"rehearse: tool Bash {json.dumps({'command': many})}\nrehearse: say Done."
        message_id = await hub.send("backend", words)
        event = await put_off(hub, message_id)
        assert ("has spent" in event.text, event.data["failures"]) == (True, 0)
        assert [request["model"] for request in asked] == ["claude-sonnet-5-5"] * 2
        more = ("budget", "allow", "backend", "tokens_day=1000000", "--rehearsal", "--nats", hub.server.url)
        allowed = await agenthub(*more, folder=hub.folder)
        assert allowed.code == 0, allowed
        done = await hub.completion("backend", message_id, within_s=60)
    assert (done.outcome, done.text) == (Outcome.DONE, "Done.")
    assert [request["model"] for request in asked] == ["claude-sonnet-5-5"] * 3
    [record] = (settings.state / "claude-code" / "backend").glob("projects/*/*.jsonl")
    assert record.read_text("utf-8").count("permission_error") >= 5


@with_shell
async def test_what_others_set_aside_in_the_middle_of_its_turn_is_waited_for(hub: Hub) -> None:
    budgets, asked = Budgets(hub.bus), list[dict[str, Any]]()
    async with playing(hub, "backend", tools="Bash", asked=asked) as settings:
        workspace = settings.state / "workspaces" / "backend"
        waits = "touch begun; until test -e go; do sleep 0.05; done"
        words = f"rehearse: tool Bash {json.dumps({'command': waits})}\nrehearse: say Done."
        message_id = await hub.send("backend", words)
        await until((workspace / "begun").exists, within_s=60)
        await limited(budgets, left=100_000)
        others = Reservation(tokens=100_000, id="r1", at=now(), until=now() + timedelta(hours=1))
        await budgets.reserve(ACCOUNT, {}, "qa", others, at=now())
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(put_off(hub, message_id))
            await asyncio.sleep(0)
            (workspace / "go").touch()
        event = waiting.result()
        assert ("set aside for calls that run" in event.text, event.data["failures"]) == (True, 0)
        assert len(asked) == 1
        await budgets.settle(ACCOUNT, "qa", "r1", Amount(), at=now())
        done = await hub.completion("backend", message_id, within_s=60)
    assert (done.outcome, done.text, done.usage.calls) == (Outcome.DONE, "Done.", 2)
    assert len(asked) == 2
