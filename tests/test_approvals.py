"""A person decides about tool calls: parked, decided, and made once; with the real role and the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agenthub import subjects
from agenthub.approvals import Approval
from agenthub.client import Client
from agenthub.client.approvals import Approvals
from agenthub.coordination import Coordination
from agenthub.errors import NotFoundError, RefusedError
from agenthub.messages import Event, Message, Outcome, now
from agenthub.org.events import Events
from agenthub.org.ledger import Ledger
from agenthub.org.registry import Registry
from agenthub.organization import load_organization
from agenthub.rehearsal.server import Endpoint, start_rehearsal
from agenthub.runtime import RolePlace, run_role
from agenthub.sessions.journal import Journal
from agenthub.settings import Settings
from tests.commands import in_hub
from tests.organization import Hub, directive, until, write_organization
from tests.test_health import get

WRITE = 'rehearse: tool write_file {"path": "plan.md", "content": "ship it"}\nrehearse: say written'
ASKS = {"backend": {"permissions": "{ask: [write_file], deny: ['Write(secrets/**)']}"}, "qa": {}}


class Desk:
    """The role backend, which works with the rehearsal model, and the person at the top."""

    def __init__(self, hub: Hub, endpoint: Endpoint) -> None:
        self.hub, self.endpoint = hub, endpoint
        self.approvals = Approvals(Client(hub.bus, hub.organization))

    @contextlib.asynccontextmanager
    async def works(self) -> AsyncIterator[None]:
        config = self.hub.folder / "agenthub.toml"
        settings = Settings.load(
            config=config, nats_url=self.hub.server.url, model_url=self.endpoint.url, api_key="rehearsal",
            rehearse=True, heartbeat_s=0.5, lease_ttl_s=3.0, grace_s=3.0,
        )  # fmt: skip
        stop = asyncio.Event()
        place = RolePlace(settings, load_organization(settings), "backend")
        running = asyncio.create_task(run_role(place, stop=stop))
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(30):
                await running

    async def waits(self, count: int = 1) -> list[str]:
        """Ids of what waits for a decision, as soon as there are so many."""
        found: list[Any] = await until(lambda: self._waiting(count))
        return [ask.id for ask in found]

    async def _waiting(self, count: int) -> Any:
        found = await self.approvals.waiting()
        return found if len(found) == count else None

    async def counted(self) -> float:
        """How many wait, as the role tells Prometheus."""
        beat = await Registry(self.hub.bus).find("backend")
        assert beat is not None
        _, page = await get(beat.health_port, "/metrics")
        return next(float(line.split()[-1]) for line in page.splitlines() if line.startswith("agenthub_approvals_w"))

    def written(self, path: str = "plan.md") -> bool:
        return (self.hub.folder / ".agenthub" / "workspaces" / "backend" / path).exists()

    def prompts(self) -> list[str]:
        """All texts that the model read."""
        journal = Journal(self.hub.folder / ".agenthub" / "journals" / "backend.db")
        with contextlib.closing(journal):
            blocks = [block for entry in journal.history() if entry.role == "user" for block in entry.content]
        return [str(block["text"]) for block in blocks if block["type"] == "text"]


@pytest.fixture
async def desk(hub: Hub) -> AsyncIterator[Desk]:
    await _organize(hub)
    async with start_rehearsal(speed=0) as endpoint:
        yield Desk(hub, endpoint)


async def _organize(hub: Hub, toml: str = "") -> None:
    for role in (hub.folder / "roles").iterdir():
        role.unlink()
    write_organization(hub.folder, toml, roles=ASKS)
    hub.organization = load_organization(hub.settings)
    await hub.provision()


async def test_what_must_be_asked_waits_for_a_yes_and_is_then_done(desk: Desk) -> None:
    async with desk.works():
        message_id = await desk.hub.send("backend", WRITE)
        (identity,) = await desk.waits()
        (asked,) = await desk.hub.waiting("you")
        assert (asked.type, asked.from_role, asked.correlation_id) == ("approval", "backend", identity)
        assert "ship it" in asked.payload.message
        assert not desk.written()
        assert await desk.counted() == 1
        seen, table = await in_hub(desk.hub, "ps", "--json"), await in_hub(desk.hub, "ps")
        assert {row["role"]: row["needs_you"] for row in seen.json} == {"backend": identity, "qa": ""}
        assert "◆ needs you" in table.out
        assert "1 waits for your decision: agenthub approvals" in table.err
        listed = (await in_hub(desk.hub, "approvals", "--json")).json
        assert [(item["id"], item["tool"], item["rule"]) for item in listed] == [(identity, "write_file", "write_file")]
        assert f"agenthub approvals {identity[:8]}" in (await in_hub(desk.hub, "approvals")).err
        whole = (await in_hub(desk.hub, "approvals", identity[:6])).out
        why = "`permissions.ask` of the role says `write_file`"
        for said in (f"backend wants to call write_file ({why})\n", "path: plan.md\ncontent: ship it\n"):
            assert said in whole
        assert whole.endswith(f'agenthub approve {identity[:8]}\nagenthub reject {identity[:8]} --reason "…"\n')
        assert (await in_hub(desk.hub, "approvals", "ffff")).code == 3
        between = await desk.hub.send("backend", "rehearse: say the role is free")  # other work goes on meanwhile
        assert (await desk.hub.completion("backend", between)).text == "the role is free"
        ran = await in_hub(desk.hub, "approve", identity[:8])
        assert (ran.code, ran.out) == (0, ""), ran
        done = await desk.hub.completion("backend", message_id)
        assert await desk.counted() == 0
    assert (done.outcome, done.text) == (Outcome.DONE, "written")
    assert desk.written()
    (decided,) = [prompt for prompt in desk.prompts() if "<hub:decision" in prompt]
    assert 'decision="approved"' in decided
    assert "Wrote 7 bytes to plan.md." in decided
    assert [message.type for message in await desk.hub.waiting("you")] == ["task_result", "task_result"]
    assert (await in_hub(desk.hub, "approve", identity[:8])).code == 3


async def test_a_whole_file_to_be_decided_about_is_named_in_the_table_of_roles_and_read_by_its_id(desk: Desk) -> None:
    lines = [f"line {number}, as long as lines of a file are" for number in range(60)]
    call = json.dumps({"path": "plan.md", "content": "\n".join(lines)})
    async with desk.works():
        await desk.hub.send("backend", f"rehearse: tool write_file {call}\nrehearse: say written")
        (identity,) = await desk.waits()
        for row in (await in_hub(desk.hub, "ps")).out.splitlines():
            assert len(row) < 240
        (_, row) = (await in_hub(desk.hub, "approvals")).out.splitlines()
        assert len(row) < 240 and row.endswith("…")
        (full,) = (await in_hub(desk.hub, "approvals", "--json")).json
        assert full["input"]["content"].endswith(lines[-1])
        whole = (await in_hub(desk.hub, "approvals", identity[:8])).out
    assert "content:\n  line 0, as long" in whole and "\n  line 59, as long as lines of a file are\n" in whole


async def test_a_no_is_said_with_its_reason_and_nothing_is_done(desk: Desk) -> None:
    async with desk.works():
        message_id = await desk.hub.send("backend", WRITE)
        (identity,) = await desk.waits()
        ran = await in_hub(desk.hub, "reject", identity[:8], "--reason", "not on a Friday")
        assert ran.code == 0, ran
        done = await desk.hub.completion("backend", message_id)
    assert (done.outcome, "not on a Friday" in done.text, desk.written()) == (Outcome.BLOCKED, True, False)


async def test_always_is_asked_once(desk: Desk) -> None:
    async with desk.works():
        first = await desk.hub.send("backend", WRITE)
        (identity,) = await desk.waits()
        assert (await in_hub(desk.hub, "approve", identity, "--always")).code == 0
        await desk.hub.completion("backend", first)
        second = await desk.hub.send("backend", WRITE.replace("plan.md", "two.md"))
        assert (await desk.hub.completion("backend", second)).outcome is Outcome.DONE
        assert desk.written("two.md")
        file = desk.hub.folder / ".agenthub" / "permissions" / "backend.toml"
        assert 'tool = "write_file"' in file.read_text()
        file.write_text("")  # a person took it back
        await desk.hub.send("backend", WRITE)
        await desk.waits()


async def test_a_deny_is_an_error_that_names_its_rule(desk: Desk) -> None:
    async with desk.works():
        message_id = await desk.hub.send("backend", WRITE.replace("plan.md", "notes/../secrets/key"))
        done = await desk.hub.completion("backend", message_id)
    assert "Write(secrets/**)" in done.text
    assert not desk.written("secrets/key")
    assert await desk.approvals.waiting() == []


async def test_nobody_decides_and_that_is_a_no(hub: Hub) -> None:
    await _organize(hub, "[defaults]\napproval_within_s = 0.5\n")
    async with start_rehearsal(speed=0) as endpoint:
        desk = Desk(hub, endpoint)
        async with desk.works():
            message_id = await hub.send("backend", WRITE)
            done = await hub.completion("backend", message_id)
    assert (done.outcome, "Nobody decided by" in done.text, desk.written()) == (Outcome.BLOCKED, True, False)


async def test_only_the_operator_decides(desk: Desk) -> None:
    async with desk.works():
        message_id = await desk.hub.send("backend", WRITE)
        (identity,) = await desk.waits()
        (asked,) = await until(lambda: desk.hub.waiting("you"))
        yes = {"correlation_id": identity, "causation_id": asked.id}
        await desk.hub.put("backend", _answer("decision", "you", **yes))  # by the public door: anybody
        await desk.hub.put("backend", _answer("reply", "you", **yes))
        for kind in ("decision", "reply"):
            forged = Message.model_validate(_answer(kind, "qa", **yes))
            await desk.hub.bus.publish(f"{_inbox()}.medium.qa", forged.encode(), message_id=forged.id)
        after = await desk.hub.send("backend", "rehearse: say still here")
        await desk.hub.completion("backend", after)
        assert await desk.waits() == [identity]
        assert not desk.written()
        assert (await in_hub(desk.hub, "approve", identity)).code == 0
        assert (await desk.hub.completion("backend", message_id)).outcome is Outcome.DONE


async def test_a_question_is_answered_by_one_of_its_choices(desk: Desk) -> None:
    ask = 'rehearse: tool ask_human {"question": "Red or blue?", "choices": ["red", "blue"]}\nrehearse: say thanks'
    async with desk.works():
        message_id = await desk.hub.send("backend", ask)
        (identity,) = await desk.waits()
        assert (await in_hub(desk.hub, "approve", identity)).code == 6
        assert "1: red, 2: blue" in (await in_hub(desk.hub, "reply", identity, "green")).err
        assert (await in_hub(desk.hub, "reply", identity, "2")).code == 0
        done = await desk.hub.completion("backend", message_id)
    assert done.text == "thanks"
    (answered,) = [prompt for prompt in desk.prompts() if 'decision="answered"' in prompt]
    assert "\nblue\n" in answered


async def test_it_survives_the_process_and_two_decisions_are_one(desk: Desk) -> None:
    async with desk.works():
        message_id = await desk.hub.send("backend", WRITE)
        (identity,) = await desk.waits()
    assert (await in_hub(desk.hub, "approve", identity)).code == 0
    assert (await in_hub(desk.hub, "reject", identity)).code == 6
    assert await desk.approvals.waiting() == []
    async with desk.works():
        assert (await desk.hub.completion("backend", message_id)).text == "written"


def _answer(kind: str, sender: str, **fields: str) -> dict[str, Any]:
    message = directive("yes", sender=sender, type=kind, **fields)
    message["payload"]["outcome"] = "done"
    return message


def _inbox() -> str:
    return "agent-hub.operators.operator-backend.inbox"


async def test_a_task_waits_for_one_decision_of_a_person_at_a_time_and_none_is_forgotten(desk: Desk) -> None:
    """Of two calls in one answer the second would be asked about beside the first, and forgotten when that is over."""
    hub = desk.hub
    events = Events(hub.bus, "backend")
    coordination = Coordination(
        hub.bus, hub.organization, "backend", ledger=Ledger(hub.bus), events=events, clock=now
    )  # fmt: skip
    task = Message.model_validate(directive("Two files"))
    first = await coordination.ask_person(Approval(tool="write_file"), about=task, key="t~1", within_s=60)
    assert (
        await coordination.ask_person(Approval(tool="write_file"), about=task, key="t~1", within_s=60)
    ).id == first.id
    with pytest.raises(RefusedError, match="waits for another decision already"):
        await coordination.ask_person(Approval(tool="write_file"), about=task, key="t~2", within_s=60)
    assert [ask.id for ask in await desk.approvals.waiting()] == [first.id]
    await desk.approvals.approve(first.id)
    (lane,) = await hub.bus.look(subjects.AGENTS, subjects.lane("backend", "medium", "you"), most=5)
    assert await coordination.collect(Message.decode(lane.data)) is not None
    assert coordination.approvals_waiting == 0
    second = await coordination.ask_person(Approval(tool="write_file"), about=task, key="t~r~1", within_s=60)
    await coordination.close_all(task)  # it ends all the same
    told = await hub.bus.history(subjects.EVENTS, subjects.event("withdrawn", "backend"))
    assert [second.id[:8] in Event.decode(one.data).text for one in told] == [True]
    with pytest.raises(NotFoundError, match="withdrawn when its task ends"):
        await desk.approvals.approve(second.id)
