"""Who may ask a role what: the org chart decides before its model is asked, and no door is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agenthub import subjects
from agenthub.auctions import TENDER, Bid
from agenthub.bus.connecting import connect
from agenthub.bus.signing import signature
from agenthub.errors import RefusedError
from agenthub.guards.assignments import check_assignment
from agenthub.messages import Completion, Message, Outcome, Payload, derived_id, now
from agenthub.organization import load_organization
from agenthub.reassignment import moved, record_move
from tests.organization import ROLES, Hub, directive, says, until, write_organization
from tests.test_identity import intruding, key_of
from tests.test_polls import Bidder, Caller, bid
from tests.test_signatures import letters

OFFICE = ROLES | {"sales": {"reports_to": "ceo"}, "seller": {"reports_to": "sales"}}


def staff(hub: Hub, tasks_from: str = "") -> None:
    """Add a second branch to the organization, with a rule of its own."""
    write_organization(hub.folder, f'[defaults]\ntasks_from = "{tasks_from}"\n' if tasks_from else "", OFFICE)
    hub.organization = load_organization(hub.settings)


@pytest.fixture
async def office(hub: Hub) -> Hub:
    """A hub with a second branch: a seller who works for sales."""
    staff(hub)
    await hub.provision()
    return hub


async def asks(hub: Hub, sender: str, to: str, *, headers: dict[str, str] | None = None, **fields: Any) -> str:
    """Have a role send a message by its own key; the message's id."""
    message = directive("do it", sender=sender) | fields
    lane = subjects.lane(to, "medium", sender)
    async with connect(hub.server.url, name=sender, identity=key_of(hub, sender), patience_s=5) as bus:
        await bus.publish(lane, json.dumps(message).encode(), headers=headers)
    return str(message["id"])


# ── the org chart ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("rule", "may"),
    [
        ("managers", {"cto", "ceo"}), ("colleagues", {"cto", "ceo", "qa"}),
        ("anyone", {"cto", "ceo", "qa", "sales", "seller"}),
    ],
)  # fmt: skip
async def test_who_may_give_a_role_tasks_is_said_by_the_org_chart(hub: Hub, rule: str, may: set[str]) -> None:
    staff(hub, rule)

    def takes(sender: str, role: str = "backend", kind: str = "task_assignment", **payload: Any) -> bool:
        message = Message(from_role=sender, type=kind, id="m", payload=Payload(message="x", **payload))
        try:
            check_assignment(message, role, hub.organization)
        except RefusedError as error:
            assert "Ask `cto`" in str(error) or role != "backend"
            return False
        return True

    assert {name for name in OFFICE if name != "backend" and takes(name)} == may
    assert all(takes(name) for name in ("you", "leader", "bridge", "github", "backend"))
    assert takes("seller", kind="direct_message") and takes("seller", verifies="t1")
    assert takes("backend", "cto") == (rule != "managers"), "one's own manager"
    assert not takes("backend", "ceo") or rule == "anyone", "not past one's manager"


async def test_a_task_from_across_the_chart_is_refused_before_the_model_is_asked(office: Hub) -> None:
    session = says("done")
    async with office.role("backend", session):
        refused = await office.completion("backend", await asks(office, "seller", "backend"))
        (told,) = await office.waiting("seller", sender="backend")
        taken = [await office.completion("backend", await asks(office, name, "backend")) for name in ("cto", "qa")]
        said = await office.completion("backend", await asks(office, "seller", "backend", type="direct_message"))
    assert (refused.outcome, told.payload.outcome, told.type) == (Outcome.REFUSED, Outcome.REFUSED, "task_result")
    assert told.payload.message == (
        "`backend` takes no tasks from `seller`, who is neither above it nor next to it in the org chart "
        "(`defaults.tasks_from` is `colleagues`). Ask `cto`, to whom `backend` reports, to have it done; "
        "tell `backend` by `send` what needs no answer."
    )
    assert [end.outcome for end in (*taken, said)] == [Outcome.DONE] * 3
    assert len(session.prompts) == 3


async def test_who_bid_for_a_task_gets_it_from_whoever_called_the_auction(office: Hub) -> None:
    task = {"subject": "Migrate the orders", "message": "Move them"}
    seller, backend = Caller(office, "seller", "auction", **task, bidders=["backend"]), Bidder(bid(1))
    async with office.role("seller", seller), office.role("backend", backend):
        done = await office.completion("seller", await office.send("seller", "have it done"))
        assert "did: Move them" in done.text
        tender = next(prompt.task.id for prompt in backend.prompts if prompt.task.type == TENDER)
        for other in (tender, "x"):  # nobody else's bid opens the door, nor one that was not made
            payload = {"message": "and this", "tender": other}
            sender = "sales" if other == tender else "seller"
            refused = await office.completion("backend", await asks(office, sender, "backend", payload=payload))
            assert refused.outcome is Outcome.REFUSED
    assert backend.kinds == [TENDER, "task_assignment"]


async def test_a_bid_that_the_broker_was_made_to_store_opens_no_door(office: Hub) -> None:
    moment = now()
    end = Completion(
        message_id="t1", role="backend", outcome=Outcome.DONE, type=TENDER, from_role="seller", started_at=moment,
        ended_at=moment, bid=Bid(cost_usd=1, eta_minutes=1, confidence=1),
    )  # fmt: skip
    key = subjects.key_value(subjects.LEDGER, "seller.words")
    async with intruding(office, key_of(office, "seller")) as intruder:
        await intruder.nc.request(key, end.encode(), timeout=5)
        reply = subjects.done("backend", "t1")
        assert await intruder.publish(f"$JS.API.DIRECT.GET.KV_{subjects.LEDGER}.{key}", b"", reply=reply)
        await until(lambda: office.bus.last(subjects.DONE, reply))
    async with office.role("backend", says("done")):
        sent = await asks(office, "seller", "backend", payload={"message": "x", "tender": "t1"})
        assert (await office.completion("backend", sent)).outcome is Outcome.REFUSED


# ── other doors ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("door", [subjects.inbox("backend"), subjects.due("backend"), subjects.dead_letter("backend")])
async def test_a_role_that_says_that_its_message_came_by_another_door_is_not_believed(hub: Hub, door: str) -> None:
    """With that header the lane's own name was no proof any more of whom the message is from."""
    session = says("done")
    async with hub.role("backend", session):
        await asks(hub, "qa", "backend", headers={subjects.DOOR: door}, from_role="ceo", from_operator="operator-ceo")
        (reason,) = await until(lambda: letters(hub))
        await hub.completion("backend", await hub.send("backend", "go on"))
    assert "`qa` put it here as if it had come by another door" in reason
    assert [prompt.task.payload.message for prompt in session.prompts] == ["go on"]


@pytest.mark.parametrize("door", [subjects.due("backend"), subjects.lane("backend", "high", "ceo")])
async def test_a_stranger_that_says_by_which_door_it_came_stays_a_stranger(hub: Hub, door: str) -> None:
    session = says("done")
    message = directive("do it", sender="ceo")
    async with hub.role("backend", session), intruding(hub, None) as intruder:
        await intruder.nc.publish(
            subjects.inbox("backend"), json.dumps(message).encode(), headers={subjects.DOOR: door}
        )
        await hub.completion("backend", str(message["id"]))
    (prompt,) = session.prompts
    assert 'verified="no"' in prompt.text.splitlines()[0]
    assert prompt.task.at_door is True


async def test_what_a_role_had_is_taken_over_by_its_stand_in_alone_and_as_it_was(hub: Hub) -> None:
    """Whoever was asked says so in the end that it gives, which nobody else can sign."""
    task = Message.read(json.dumps(directive("ship it", sender="ceo")).encode(), default_id="")
    going = moved(task, "cto", "backend")
    session, lane = says("done"), subjects.lane("backend", "medium", "cto")
    qa, cto = key_of(hub, "qa"), key_of(hub, "cto")
    assert qa is not None and cto is not None
    async with hub.role("backend", session), connect(hub.server.url, name="x", identity=cto, patience_s=5) as bus:
        headers = {subjects.DOOR: subjects.inbox("cto")}
        await bus.publish(lane, going.encode(), headers=headers)  # before it is recorded: nobody has moved it
        await until(lambda: letters(hub))
        await record_move(bus, task, "cto", "backend", why="left alone", at=now())
        stolen = lane.removesuffix("cto") + "qa"
        async with intruding(hub, qa) as intruder:
            said = signature(qa, stolen, going.encode(), headers)
            await intruder.nc.publish(stolen, going.encode(), headers={**headers, subjects.SIGNATURE: said})
            await intruder.nc.flush()
        await until(lambda: _so_many(hub, 2))
        await bus.publish(lane, going.encode(), headers=headers)
        assert (await hub.completion("backend", going.id)).outcome is Outcome.DONE
    assert [prompt.task.id for prompt in session.prompts] == [derived_id("cto", task.id, "reassigned", "backend")]


async def _so_many(hub: Hub, count: int) -> bool:
    return len(await letters(hub)) == count
