"""A role is killed at each named point of its work and started again: one end, nothing sent or paid twice.

The processes, the broker, the journal and the model's HTTP endpoint are real; who counts the model calls and the
stored messages is the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from agenthub import subjects
from agenthub.bus.buckets import Bucket, Holder
from agenthub.client import Client
from agenthub.client.approvals import Approvals
from agenthub.failpoints import Failpoint
from agenthub.messages import Message, Outcome
from agenthub.org.ledger import Ledger
from agenthub.org.registry import Registry
from agenthub.organization import load_organization
from agenthub.rehearsal.server import Endpoint, start_rehearsal
from agenthub.runtime import RolePlace, run_role, stop_on_signals
from agenthub.settings import Settings
from tests.commands import FORK
from tests.organization import QUICK_PROCESS, Hub, directive, until, write_organization
from tests.sessions.sessions import noted_requests
from tests.test_reassignment import died_with

PASSED_ONCE = {
    Failpoint.ASK_OPENED, Failpoint.ASK_SENT, Failpoint.ANSWER_COLLECTED, Failpoint.ASK_CLOSED,
    Failpoint.COMPLETION_PUBLISHED, Failpoint.REPLY_PUBLISHED,
}  # fmt: skip
"""Where the work below comes by once: it asks one other role, and goes on when that has answered."""
NOT_IN_A_TURN = {
    Failpoint.DELAYED, Failpoint.DEAD_END_PUBLISHED, Failpoint.DEAD_LETTER_STORED, Failpoint.REASSIGNMENT_RECORDED,
    Failpoint.REASSIGNED, Failpoint.HAND_OVER_WRITTEN, Failpoint.HAND_OVER_RECORDED,
    Failpoint.SCHEDULE_DUE, Failpoint.SCHEDULE_FIRED, Failpoint.MEETING_ASKED, Failpoint.MEETING_REPORTED,
    Failpoint.CHECK_RUN, Failpoint.CHECK_RECORDED, Failpoint.COPY_MADE, Failpoint.COPY_FETCHED,
    Failpoint.POLL_DECIDED, Failpoint.AWARD_SENT,
}  # fmt: skip
PAID_AGAIN = {Failpoint.MODEL_ANSWERED}
"""Where the call in flight is paid again: its answer had come, and nobody had written it down."""


def work(name: str, folder: str, nats_url: str, model_url: str) -> None:
    """A role process."""

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        settings = Settings.load(
            config=Path(folder) / "agenthub.toml", nats_url=nats_url, model_url=model_url, api_key="rehearsal",
            rehearse=True, ack_wait_s=60.0,
        )  # fmt: skip
        await run_role(RolePlace(settings, load_organization(settings), name), stop=stop)

    asyncio.run(run())


class Office:
    """A hub with a model's endpoint, whose roles are processes."""

    def __init__(self, hub: Hub, endpoint: Endpoint) -> None:
        self.hub, self.endpoint = hub, endpoint
        self.processes: dict[str, BaseProcess] = {}

    def start(self, name: str) -> BaseProcess:
        process = FORK.Process(
            target=work, args=(name, str(self.hub.folder), self.hub.server.url, self.endpoint.url), daemon=True
        )
        process.start()
        self.processes[name] = process
        return process

    def arm(self, name: str, point: Failpoint, passes: int = 0) -> None:
        file = self.hub.settings.state / "failpoints" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{point} {passes}")

    async def dies(self, name: str) -> None:
        process = self.processes[name]
        await until(lambda: not process.is_alive(), within_s=60)
        assert process.exitcode == -signal.SIGKILL

    def calls(self, name: str) -> Counter[str]:
        """How often the model was asked the same by a role."""
        return Counter(str(entry["prompt"]) for entry in self.endpoint.model.journal if entry["role"] == name)

    async def stored(self) -> Counter[tuple[str, str, str]]:
        """How often each message was stored in a lane: kind, sender, words. Moves by a sorter are not counted."""
        found: Counter[tuple[str, str, str]] = Counter()
        for received in await self.hub.bus.history(subjects.AUDIT, subjects.ALL_AUDIT):
            if subjects.DOOR not in received.headers:
                message = Message.read(received.data, default_id="x")
                found[(message.type, message.from_role, message.payload.message)] += 1
        return found

    async def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.join(10)


@pytest.fixture
async def office(hub: Hub) -> AsyncIterator[Office]:
    """A cto with one report, backend."""
    roles = {"cto": {"skills": "architecture"}, "backend": {"reports_to": "cto", "skills": "api, sql"}}
    for role in (hub.folder / "roles").iterdir():
        role.unlink()
    write_organization(hub.folder, roles=roles)
    hub.organization = load_organization(hub.settings)
    await hub.provision()
    async with start_rehearsal(speed=0) as endpoint:
        office = Office(hub, endpoint)
        try:
            yield office
        finally:
            await office.stop()


DIRECTIVE = "Build the attachment API"


@pytest.mark.parametrize(
    ("point", "passes"),
    [
        (point, passes)
        for point in Failpoint
        if point not in NOT_IN_A_TURN
        for passes in ([0] if point in PASSED_ONCE else [0, 1])
    ],
)
async def test_killed_in_the_middle_of_delegated_work(office: Office, point: Failpoint, passes: int) -> None:
    office.arm("cto", point, passes)
    office.start("cto")
    office.start("backend")
    message_id = await office.hub.send("cto", DIRECTIVE, sender="you")
    await office.dies("cto")
    office.start("cto")
    done = await office.hub.completion("cto", message_id, within_s=60)
    (reply,) = await until(lambda: office.hub.waiting("you"))
    await until(lambda: _is_empty(office.hub))
    assert (done.outcome, reply.causation_id, reply.payload.message) == (Outcome.DONE, message_id, done.text)
    again = {prompt: count - 1 for prompt, count in office.calls("cto").items() if count > 1}
    assert sum(again.values()) == (1 if point in PAID_AGAIN else 0), again
    stored = await office.stored()
    assert {message: count for message, count in stored.items() if count > 1} == {}
    assert sorted(sender for kind, sender, _ in stored if kind == "task_assignment") == ["cto", "you"]


CALLS = {
    "call_vote": {"question": "Ship?\nrehearse: vote yes", "options": ["yes", "no"], "voters": ["backend"]},
    "auction": {"subject": "Build it", "message": "Build the attachment API", "bidders": ["backend"]},
}


@pytest.mark.parametrize(
    ("tool", "point", "passes"),
    [
        ("call_vote", Failpoint.ASK_OPENED, 0), ("call_vote", Failpoint.ASK_SENT, 0),
        ("call_vote", Failpoint.ANSWER_COLLECTED, 0), ("call_vote", Failpoint.POLL_DECIDED, 0),
        ("call_vote", Failpoint.TURN_RECORDED, 1), ("call_vote", Failpoint.ASK_CLOSED, 0),
        ("auction", Failpoint.ANSWER_COLLECTED, 0), ("auction", Failpoint.POLL_DECIDED, 0),
        ("auction", Failpoint.AWARD_SENT, 0), ("auction", Failpoint.BEFORE_ACK, 1),
        ("auction", Failpoint.ANSWER_COLLECTED, 1), ("auction", Failpoint.ASK_CLOSED, 0),
    ],
)  # fmt: skip
async def test_killed_while_it_has_others_decide(office: Office, tool: str, point: Failpoint, passes: int) -> None:
    office.arm("cto", point, passes)
    office.start("cto")
    office.start("backend")
    directive = f"rehearse: tool {tool} {json.dumps(CALLS[tool])}"
    message_id = await office.hub.send("cto", directive, sender="you")
    await office.dies("cto")
    office.start("cto")
    done = await office.hub.completion("cto", message_id, within_s=60)
    (reply,) = await until(lambda: office.hub.waiting("you"))
    await until(lambda: _is_empty(office.hub))
    assert (done.outcome, reply.payload.message) == (Outcome.DONE, done.text)
    assert ("yes; yes: 1, no: 0" if tool == "call_vote" else "it went to backend") in done.text
    assert not await Ledger(office.hub.bus).all()
    stored = await office.stored()
    assert {message: count for message, count in stored.items() if count > 1} == {}
    asked = sorted(kind for kind, sender, _ in stored if sender == "cto" and kind not in ("task_result", "reply"))
    assert asked == (["ballot"] if tool == "call_vote" else ["task_assignment", "tender"])
    assert max(office.calls("cto").values()) == 1


WHILE_IT_IS_ASKED = [
    (point, passes)
    for point in Failpoint
    if point not in NOT_IN_A_TURN
    for passes in ([0] if point in PASSED_ONCE else [0, 1])
]


@pytest.mark.parametrize(("point", "passes"), WHILE_IT_IS_ASKED)
async def test_killed_while_a_person_decides_about_a_call(office: Office, point: Failpoint, passes: int) -> None:
    hub = office.hub
    roles = {"backend": {"permissions": "{ask: [send]}"}, "cto": {}}
    write_organization(hub.folder, roles=roles)
    hub.organization = load_organization(hub.settings)
    approvals = Approvals(Client(hub.bus, hub.organization))
    office.arm("backend", point, passes)
    office.start("backend")
    call = 'rehearse: tool send {"to": "cto", "message": "the approved words"}\nrehearse: say done'
    message_id = await hub.send("backend", call, sender="you")
    decided: list[str] = []

    async def decides() -> None:
        (ask,) = await until(approvals.waiting, within_s=60)
        decided.append((await approvals.approve(ask.id)).id)

    async with asyncio.TaskGroup() as group:
        group.create_task(decides())
        await office.dies("backend")
        office.start("backend")
        done = await hub.completion("backend", message_id, within_s=60)
    assert (done.outcome, done.text, len(decided)) == (Outcome.DONE, "done", 1)
    await until(lambda: _has_nothing(hub, "backend"))
    again = {prompt: count - 1 for prompt, count in office.calls("backend").items() if count > 1}
    assert sum(again.values()) == (1 if point in PAID_AGAIN else 0), again
    stored = await office.stored()
    assert {message: count for message, count in stored.items() if count > 1} == {}
    assert stored[("direct_message", "backend", "the approved words")] == 1
    assert [kind for kind, sender, _ in stored if sender == "backend"].count("approval") == 1
    assert await approvals.waiting() == []


@pytest.mark.parametrize(
    ("point", "passes", "times"),
    [
        (Failpoint.TOOL_FINISHED, 0, 1),  # it was asked about, and nobody wrote that down
        (Failpoint.ANSWER_COLLECTED, 0, 1),
        (Failpoint.TOOL_STARTED, 1, 0),  # begun, and nobody knows how far it came
        (Failpoint.TOOL_FINISHED, 1, 1),  # done, and nobody wrote that down
        (Failpoint.TOOL_RECORDED, 1, 1),
        (Failpoint.MODEL_ANSWERED, 1, 1),
        (Failpoint.TURN_RECORDED, 1, 1),
    ],
)
async def test_what_a_person_approves_and_must_not_be_repeated_is_not(
    office: Office, point: Failpoint, passes: int, times: int
) -> None:
    hub = office.hub
    server = {"command": sys.executable, "args": [str(Path(__file__).parent / "mcp_server.py")]}
    (hub.folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"test": server}}))
    asks = {"mcp_servers": "test", "permissions": "{ask: [mcp__test__note]}"}
    write_organization(hub.folder, roles={"backend": asks})
    hub.organization = load_organization(hub.settings)
    approvals = Approvals(Client(hub.bus, hub.organization))
    noted = hub.folder / "noted"
    office.arm("backend", point, passes)
    office.start("backend")
    call = json.dumps({"path": str(noted), "text": "once"})
    message_id = await hub.send("backend", f"rehearse: tool mcp__test__note {call}\nrehearse: say done", sender="you")

    async def decides() -> None:
        (ask,) = await until(approvals.waiting, within_s=60)
        await approvals.approve(ask.id)

    async with asyncio.TaskGroup() as group:
        group.create_task(decides())
        await until(lambda: psutil.Process(office.processes["backend"].pid).children(), within_s=60)
        servers = psutil.Process(office.processes["backend"].pid).children(recursive=True)
        await office.dies("backend")
        office.start("backend")
        done = await hub.completion("backend", message_id, within_s=60)
    assert (done.outcome, done.text) == (Outcome.DONE, "done")
    assert (noted.read_text().splitlines() if noted.exists() else []) == ["once"] * times
    await until(lambda: all(map(_has_ended, servers)))


def _has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("point", [Failpoint.DEAD_END_PUBLISHED, Failpoint.DEAD_LETTER_STORED, Failpoint.BEFORE_ACK])
async def test_killed_while_it_buries(office: Office, point: Failpoint) -> None:
    office.arm("backend", point)
    office.start("backend")
    overdue = {"deadline": "2020-01-01T00:00:00Z"}
    message_id = await office.hub.send("backend", "too late", sender="cto", **overdue)
    await office.dies("backend")
    office.start("backend")
    done = await office.hub.completion("backend", message_id, within_s=60)
    (reply,) = await until(lambda: office.hub.waiting("cto"), within_s=60)
    letters = await office.hub.bus.history(subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS)
    assert (done.outcome, reply.payload.outcome, len(letters)) == (Outcome.DEAD, Outcome.DEAD, 1)
    assert office.calls("backend").total() == 0


async def test_killed_while_it_puts_off(office: Office) -> None:
    office.endpoint.model.faults.add(b'{"faults": [{"status": 529, "times": 9, "role": "backend"}]}')
    office.arm("backend", Failpoint.DELAYED)
    office.start("backend")
    message_id = await office.hub.send("backend", "rehearse: say hello", sender="you")
    with contextlib.suppress(TimeoutError):
        await office.dies("backend")
    office.start("backend")
    done = await office.hub.completion("backend", message_id, within_s=60)
    assert (done.outcome, done.text) == (Outcome.DONE, "hello")
    assert len(await until(lambda: office.hub.waiting("you"))) == 1


async def test_killed_between_a_failure_and_the_success_it_is_asked_what_it_learned(office: Office) -> None:
    read, write = json.dumps({"path": "a.md"}), json.dumps({"path": "a.md", "content": "x"})
    work = f"tool read_file {read}\nrehearse: tool write_file {write}\nrehearse: tool read_file {read}"
    requests = noted_requests(office.endpoint)
    office.arm("backend", Failpoint.MODEL_ASKED, 2)  # the first call has failed, the second is made
    office.start("backend")
    message_id = await office.hub.send("backend", f"rehearse: stubborn\nrehearse: {work}\nrehearse: say done")
    await office.dies("backend")
    office.start("backend")
    await office.hub.completion("backend", message_id, within_s=60)
    assert "<hub:candidate" not in json.dumps(requests)
    for _ in range(2):
        await office.hub.completion("backend", await office.hub.send("backend", "rehearse: say more"), within_s=60)
    told = json.dumps(requests[-1])
    assert told.count(f'<hub:candidate task=\\"{message_id}\\">') == 1  # with the next task, and not again
    assert "failed and then worked after `write_file a.md" in told


async def _is_empty(hub: Hub) -> bool:
    return not await hub.waiting("cto") and not await hub.waiting("backend")


@pytest.mark.parametrize("point", [Failpoint.REASSIGNMENT_RECORDED, Failpoint.REASSIGNED])
async def test_killed_while_it_leads_and_gives_a_dead_role_s_message_to_the_fallback(
    office: Office, point: Failpoint
) -> None:
    hub = office.hub
    quick = f"{QUICK_PROCESS}[defaults]\nreassign_after_s = 0.01\n"
    roles = {"cto": {}, "backend": {"reports_to": "cto", "fallback": "qa"}, "qa": {"reports_to": "cto"}}
    write_organization(hub.folder, quick, roles=roles)
    hub.organization = load_organization(hub.settings)
    await hub.provision()
    office.arm("cto", point)
    office.start("cto")
    await until(lambda: Bucket(hub.bus, subjects.LEASES, Holder).get(subjects.LEADER), within_s=60)
    message = directive("rehearse: say done by qa")
    lane = subjects.lane("backend", "medium", "you")
    await hub.bus.publish(lane, json.dumps(message).encode(), message_id=str(message["id"]))
    async with died_with(hub, str(message["id"])):
        office.start("qa")
        await office.dies("cto")
        done = await Client(hub.bus, hub.organization).completion("backend", str(message["id"]), timeout_s=60)
    (reply,) = await until(lambda: hub.waiting("you"))
    assert (done.role, done.text, reply.on_behalf_of) == ("qa", "done by qa", "backend")
    await until(lambda: _has_nothing(hub, "backend"))
    assert await _has_nothing(hub, "qa")
    assert [count for prompt, count in office.calls("qa").items()] == [1]


async def _has_nothing(hub: Hub, role: str) -> bool:
    return not await hub.waiting(role)


@pytest.mark.parametrize("point", [Failpoint.HAND_OVER_WRITTEN, Failpoint.HAND_OVER_RECORDED])
async def test_killed_while_it_hands_a_long_conversation_over(office: Office, point: Failpoint) -> None:
    (office.hub.folder / "agenthub.toml").write_text('org = "acme"\n[defaults]\ncompact_at_tokens = 4000\n')
    office.arm("backend", point)
    office.start("backend")
    ids = [await office.hub.send("backend", f"Build part {n}") for n in range(6)]
    await office.dies("backend")
    office.start("backend")
    for message_id in ids:
        assert (await office.hub.completion("backend", message_id, within_s=60)).outcome == "done"
    asked_twice = [times for times in office.calls("backend").values() if times > 1]
    # Before it was recorded the hand-over is written, and paid, once more; nothing else is.
    assert asked_twice == ([2] if point is Failpoint.HAND_OVER_WRITTEN else [])


async def test_a_role_that_was_killed_still_knows_how_long_its_conversation_is(office: Office) -> None:
    registry = Registry(office.hub.bus)

    async def known(pid: int | None) -> bool:
        beat = (await registry.all()).get("backend")
        return beat is not None and beat.pid == pid and beat.context_tokens > 0 and beat.context_window == 1_000_000

    first = office.start("backend")
    message_id = await office.hub.send("backend", "Build part 1")
    await office.hub.completion("backend", message_id)
    first.kill()
    first.join()
    second = office.start("backend")
    await until(lambda: known(second.pid), within_s=60)
    assert (office.hub.settings.state / "models" / "claude-sonnet-5-5.json").exists()
