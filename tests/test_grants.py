"""What a person lets a role do for a while: asked for, given, enforced by the broker and the host, over in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agenthub import subjects
from agenthub.budgets import AccountName, Budgets
from agenthub.bus.connecting import connect
from agenthub.bus.identity import OPERATOR, Keyring
from agenthub.client import Client
from agenthub.client.approvals import Approvals
from agenthub.client.grants import Granting
from agenthub.errors import HubError, NotFoundError, RefusedError
from agenthub.granting import keep_granted
from agenthub.grants import Grant, RoleGrants, Wanted, covers_topic, topics_of
from agenthub.messages import Message, Outcome, now
from agenthub.org.grants import Grants
from agenthub.rehearsal.server import start_rehearsal
from agenthub.tools.notes import RecallNotes, notes_tools
from tests.commands import agenthub, in_hub
from tests.organization import Hub, until
from tests.test_approvals import WRITE, Desk, _organize

AT = datetime(2026, 5, 17, 17, tzinfo=UTC)
TOPIC = "agent-hub.topics.decisions.api"


def grant(**fields: Any) -> Grant:
    base = {"id": "g1", "role": "backend", "kind": "topic", "what": TOPIC, "at": AT, "until": AT + timedelta(hours=1)}
    return Grant.model_validate({**base, "by": "ann", **fields})


# ── rules ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("topic", "decisions"), ("topic", ">"), ("topic", "agent-hub.>"), ("topic", "operators.operator-qa.inbox"),
        ("topic", "decisions.*.x"), ("topic", "$SYS.REQ"), ("topic", "decisions..x"), ("tool", "*"), ("tool", "**"),
        ("tool", "Bash(x"), ("memory", "a b"), ("memory", "../ceo"), ("spend", "2"), ("spend", "usd_day="),
        ("topic", ""), ("nonsense", "x"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_a_person_sees_it(kind: str, what: str) -> None:
    with pytest.raises(ValidationError):
        Wanted.model_validate({"kind": kind, "what": what, "for_s": 60})


def test_a_grant_holds_from_when_it_was_given_until_its_end_or_until_it_is_taken_back() -> None:
    one = grant()
    assert [one.holds(AT + timedelta(minutes=minutes)) for minutes in (-1, 0, 59, 60)] == [False, True, True, False]
    assert not one.model_copy(update={"revoked_at": AT}).holds(AT)
    assert topics_of([one, grant(id="g2", role="qa", kind="tool", what="Bash")], AT) == {"backend": (TOPIC,)}
    assert covers_topic([grant(what="agent-hub.topics.decisions.>")], TOPIC)
    assert not covers_topic([grant(what="agent-hub.topics.decisions.api")], f"{TOPIC}.x")


@given(st.permutations([grant(id=f"g{number}", why=str(number)) for number in range(4)]))
def test_the_same_grant_again_changes_nothing_in_whatever_order_they_come(given_: list[Grant]) -> None:
    held = RoleGrants()
    for one in [*given_, *given_]:
        held = held.with_grant(one, at=AT)
    assert sorted(held.grants, key=lambda one: one.id) == sorted(given_, key=lambda one: one.id)


def test_what_has_been_over_for_long_is_forgotten() -> None:
    held = RoleGrants().with_grant(grant(), at=AT).with_grant(grant(id="g2", until=AT + timedelta(days=2)), at=AT)
    assert len(held.grants) == 2
    assert [one.id for one in held.with_grant(grant(id="g3"), at=AT + timedelta(days=31)).grants] == ["g2", "g3"]


# ── the broker ─────────────────────────────────────────────────────────────────────────────────────
@contextlib.asynccontextmanager
async def operator(hub: Hub) -> AsyncIterator[Client]:
    """A client as the person at the top has it."""
    keyring = Keyring(hub.settings.keys)
    async with connect(hub.server.url, name="ann", identity=keyring.find(OPERATOR), patience_s=5) as bus:
        yield Client(bus, hub.organization, keyring=keyring)


@contextlib.asynccontextmanager
async def kept(hub: Hub) -> AsyncIterator[None]:
    """The broker is kept in step with grants, as `agenthub up` does it."""
    keeping = asyncio.create_task(keep_granted(hub.bus, lambda: hub.organization, hub.settings, hub.server.admit))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def test_the_broker_lets_a_role_publish_on_a_granted_topic_and_no_longer_than_that(hub: Hub) -> None:
    backend = Keyring(hub.settings.keys).find("backend", is_role=True)
    async with (
        operator(hub) as client,
        kept(hub),
        connect(hub.server.url, name="backend", identity=backend, patience_s=0.5) as bus,
    ):
        granting = Granting(client)

        async def may_publish() -> bool:
            try:
                await bus.publish(TOPIC, b"{}", message_id=f"{now()}")
            except HubError:
                return False
            return True

        async def may_not() -> bool:
            return not await may_publish()

        assert not await may_publish()
        given_ = await granting.give("backend", Wanted(kind="topic", what="decisions.api", for_s=3600), by="ann")
        await until(may_publish)
        assert not await _published(bus, f"{TOPIC}.other")
        await granting.revoke(given_.id[:6], by="ann")
        await until(may_not)
        await granting.give("backend", Wanted(kind="topic", what="decisions.api", for_s=4), by="ann")
        await until(may_publish)
        await until(may_not)  # by itself
        assert {one.holds(now()) for one in await granting.all()} == {False}
        with pytest.raises(RefusedError, match="over already"):
            await granting.revoke(given_.id, by="ann")
        with pytest.raises(NotFoundError):
            await granting.revoke("ffff", by="ann")


async def _published(bus: Any, subject: str) -> bool:
    try:
        await bus.publish(subject, b"{}", message_id=f"{now()}")
    except HubError:
        return False
    return True


async def test_a_role_can_neither_write_a_grant_nor_have_the_broker_store_one_that_counts(hub: Hub) -> None:
    keyring = Keyring(hub.settings.keys)
    backend = keyring.find("backend", is_role=True)
    assert backend is not None
    wished = grant(kind="tool", what="Bash(git push:*)", at=now(), until=now() + timedelta(days=9))
    key = subjects.key_value(subjects.GRANTS, "backend")
    async with connect(hub.server.url, name="backend", identity=backend, patience_s=0.5) as bus:
        assert not await _published(bus, key)
    grants = Grants(hub.bus, keyring, hub.organization.org)
    for signed_by in (None, backend):  # as if the broker's answer to something had been sent there
        await grants.give(wished, as_=signed_by, at=now())
        assert await grants.all() == []
    async with operator(hub) as client:
        mine = await Granting(client).give("qa", Wanted(kind="tool", what="Bash(git push:*)", for_s=60), by="ann")
    (true,) = await grants.all()
    assert true.id == mine.id
    await hub.bus.publish(key, RoleGrants(grants=[true]).model_dump_json().encode(), message_id="")  # of another role
    assert [one.role for one in await grants.all()] == ["qa"]
    longer = true.model_copy(update={"until": true.until + timedelta(days=9)})
    await hub.bus.publish(
        subjects.key_value(subjects.GRANTS, "qa"), RoleGrants(grants=[longer]).model_dump_json().encode(), message_id=""
    )
    assert await grants.all() == []


# ── the host ───────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
async def desk(hub: Hub) -> AsyncIterator[Desk]:
    await _organize(hub)
    async with start_rehearsal(speed=0) as endpoint:
        yield Desk(hub, endpoint)


async def test_a_role_asks_for_a_grant_a_person_gives_it_and_the_call_is_made_without_a_question(desk: Desk) -> None:
    wish = '{"kind": "tool", "what": "write_file", "why": "I write all day", "hours": 2}'
    async with desk.works(), operator(desk.hub) as client:
        asked = await desk.hub.send("backend", f"rehearse: tool request_grant {wish}\nrehearse: say thanks")
        (identity,) = await desk.waits()
        (listed,) = (await in_hub(desk.hub, "approvals", "--json")).json
        assert (listed["kind"], listed["wanted"]["what"]) == ("grant", "write_file")
        with pytest.raises(RefusedError, match="has an end"):
            await Approvals(client).approve(identity, always=True)
        ran = await in_hub(desk.hub, "approve", identity[:8])
        assert ran.code == 0, ran
        assert (await desk.hub.completion("backend", asked)).text == "thanks"
        assert any("You may call write_file until" in prompt for prompt in desk.prompts())
        (one,) = (await in_hub(desk.hub, "grants", "ls", "--json")).json
        assert (one["role"], one["what"], one["why"], one["holds"]) == (
            "backend",
            "write_file",
            "I write all day",
            True,
        )
        done = await desk.hub.completion("backend", await desk.hub.send("backend", WRITE))
        assert (done.outcome, desk.written()) == (Outcome.DONE, True)
        secret = 'rehearse: tool write_file {"path": "secrets/a", "content": "x"}\nrehearse: say tried'
        await desk.hub.completion("backend", await desk.hub.send("backend", secret))
        assert not desk.written("secrets/a")  # what is denied stays denied
        assert (await in_hub(desk.hub, "grants", "revoke", one["id"][:8])).code == 0
        await desk.hub.send("backend", WRITE)
        await desk.waits()  # it is asked about again

        async def audited() -> bool:  # the broker copies it there
            listed = (await in_hub(desk.hub, "audit", "ls", "--json")).json
            return {"granted", "revoked"} <= {entry["what"] for entry in listed}

        await until(audited)


async def test_a_no_to_a_grant_is_read_by_the_role_and_gives_nothing(desk: Desk) -> None:
    wish = '{"kind": "spend", "what": "usd_day=50", "why": "more", "hours": 2}'
    async with desk.works():
        asked = await desk.hub.send("backend", f"rehearse: tool request_grant {wish}\nrehearse: say well")
        (identity,) = await desk.waits()
        assert (await in_hub(desk.hub, "reject", identity[:8], "--reason", "not today")).code == 0
        await desk.hub.completion("backend", asked)
        assert any("not today" in prompt for prompt in desk.prompts())
        assert (await in_hub(desk.hub, "grants", "ls", "--json")).json == []


async def test_a_role_publishes_a_decision_only_while_it_may(desk: Desk) -> None:
    say = 'rehearse: tool publish {"topic": "decisions.api", "text": "JSON it is"}\nrehearse: say said'
    async with desk.works(), operator(desk.hub) as client, kept(desk.hub):
        topics = subjects.TOPICS
        before = await desk.hub.bus.newest(topics)
        await desk.hub.completion("backend", await desk.hub.send("backend", say))
        assert await desk.hub.bus.newest(topics) == before
        await Granting(client).give("backend", Wanted(kind="topic", what="decisions.>", for_s=600), by="ann")

        async def is_published() -> bool:
            await desk.hub.completion("backend", await desk.hub.send("backend", say))
            return await desk.hub.bus.newest(topics) > before

        await until(is_published)
        (one, *_) = await desk.hub.bus.look(topics, TOPIC, most=1, after=before)
        said = Message.decode(one.data)
        assert (said.from_role, said.type, said.payload.message) == ("backend", "direct_message", "JSON it is")


async def test_money_is_granted_on_top_of_a_limit_until_its_window_ends(hub: Hub) -> None:
    await _organize(hub, "[roles.backend]\nbudget_usd_day = 5\n")
    async with operator(hub) as client:
        wanted = Wanted(kind="spend", what="usd_day=2", for_s=30 * 86_400, is_rehearsal=True)
        given_ = await Granting(client).give("backend", wanted, by="ann", identity="once")
        again = await Granting(client).give("backend", wanted, by="ann", identity="once")
        assert (again.id, again.what) == (given_.id, given_.what)
        account = (await Budgets(client.bus).accounts())[AccountName("backend", True).key]
        assert [(one.limit, one.amount, one.by) for one in account.grants] == [("usd_day", 2.0, "ann")]
        assert given_.until <= now() + timedelta(days=1)


async def test_notes_of_another_role_are_read_only_while_a_person_lets_one(tmp_path: Any) -> None:
    (tmp_path / "qa.md").write_text("- 2026-05-17: staging is green\n")
    readable: list[str] = []
    _, recall = notes_tools(tmp_path / "backend.md", "backend", clock=lambda: AT, readable=lambda: readable)
    with pytest.raises(RefusedError, match="are its own"):
        await recall.run(RecallNotes(of="qa"), None)  # type: ignore[arg-type]
    readable.append("qa")
    assert "staging is green" in (await recall.run(RecallNotes(of="qa"), None)).content  # type: ignore[arg-type]


async def test_a_server_that_has_nothing_yet_is_provisioned_and_one_with_grants_keeps_them(hub: Hub) -> None:
    for name in await hub.bus.js.streams_info():
        await hub.bus.js.delete_stream(str(name.config.name))
    first = await in_hub(hub, "provision", "--json")
    assert (first.code, len(first.json) > 10) == (0, True), first
    async with operator(hub) as client:
        await Granting(client).give("backend", Wanted(kind="topic", what="decisions.api", for_s=600), by="ann")
    printed = await in_hub(hub, "provision", "--print-auth")
    assert (printed.code, printed.out.count(f'"{TOPIC}"')) == (0, 1)
    listed = (await in_hub(hub, "grants", "ls", "--json")).out
    dealt = await agenthub(
        "keys", "deal", "dealt", "--auth", "auth.conf", "--granted=-", folder=hub.folder, stdin=listed.encode()
    )
    assert dealt.code == 0, dealt
    assert (dealt.code, (hub.folder / "auth.conf").read_text().count(f'"{TOPIC}"')) == (0, 1)
    wrong = await agenthub("keys", "deal", "dealt", "--granted=-", folder=hub.folder, stdin=b"[1]")
    assert (wrong.code, "grants ls --json" in wrong.err) == (2, True)
