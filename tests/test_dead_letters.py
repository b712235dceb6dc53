"""Dead letters: who hears of them, what a person can do with them, and that none is sent in another's name."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthub import subjects
from agenthub.client import Client
from agenthub.client.letters import Buried
from agenthub.errors import MessageError, NotFoundError, RefusedError
from agenthub.letters import DeadLetter, lives_of, next_life, stand_in
from agenthub.messages import Event, Message, Outcome
from tests.commands import in_hub
from tests.organization import Hub, directive, says, until

MOMENT = datetime(2026, 5, 17, 8, tzinfo=UTC)


def letter(body: bytes, *, subject: str = "", headers: dict[str, str] | None = None, **fields: Any) -> DeadLetter:
    is_text = body.isascii()
    text = {"body": body.decode()} if is_text else {"body_base64": base64.b64encode(body).decode()}
    return DeadLetter(
        message_id="m1", role="backend", reason="it broke", attempts=3, buried_at=MOMENT, stored_at=MOMENT,
        stream=subjects.AGENTS, sequence=7, subject=subject or subjects.inbox("backend"), headers=headers or {},
        **text, **fields,
    )  # fmt: skip


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


# ── the rules ──────────────────────────────────────────────────────────────────────────────────────
def test_another_life_is_a_new_message_of_the_same_sender_that_tells_its_history() -> None:
    body = as_json(directive("do it", sender="ceo", id="m1", trace_id="t1", colour="blue"))
    first = next_life(letter(body), number=1, at=MOMENT, operator="you")
    assert (first.from_role, first.trace_id, first.causation_id) == ("ceo", "t1", "m1")
    assert first.id == next_life(letter(body), number=1, at=MOMENT, operator="you").id != "m1"
    assert first.id != next_life(letter(body), number=2, at=MOMENT, operator="you").id
    assert json.loads(first.encode())["colour"] == "blue"  # unknown fields are kept
    (life,) = lives_of(first.encode())
    assert (life["message_id"], life["reason"], life["attempts"]) == ("m1", "it broke", 3)
    again = letter(first.encode(), history=lives_of(first.encode())).model_copy(update={"message_id": first.id})
    second = next_life(again, number=1, at=MOMENT, operator="you")
    assert [life["message_id"] for life in lives_of(second.encode())] == ["m1", first.id]


@pytest.mark.parametrize(("year", "stays"), [(2020, False), (2030, True)])
def test_a_deadline_that_has_passed_is_taken_off(year: int, stays: bool) -> None:
    body = as_json(directive("do it", deadline=f"{year}-01-01T00:00:00Z"))
    assert (next_life(letter(body), number=1, at=MOMENT, operator="you").deadline is not None) is stays


LANE = subjects.lane("backend", "high", "qa")
BY_THE_DOOR = {subjects.DOOR: subjects.inbox("backend")}


@pytest.mark.parametrize(
    ("buried", "subject", "headers", "new", "says"),
    [
        ("ceo", LANE, {}, None, "`qa` sent it"),
        ("ceo", LANE, {}, "ceo", "`qa` sent it"),
        ("ceo", LANE, {}, "qa", ""),
        ("ceo", LANE, BY_THE_DOOR, None, ""),
        ("ceo", "", {}, "qa", "`ceo` sent it"),
        (None, LANE, {}, "qa", ""),
        (None, LANE, {}, "ceo", "`qa` sent it"),
        (None, "", {}, "ceo", "`you` sent it"),
        (None, "", {}, "you", ""),
    ],
)
def test_a_replay_speaks_for_nobody_but_who_sent_the_message(
    buried: str | None, subject: str, headers: dict[str, str], new: str | None, says: str
) -> None:
    old = letter(as_json(directive("x", sender=buried)) if buried else b"{", subject=subject, headers=headers)
    body = as_json(directive("y", sender=new)) if new else None
    if says:
        with pytest.raises(RefusedError, match=says):
            next_life(old, number=1, at=MOMENT, operator="you", body=body)
    else:
        message = next_life(old, number=1, at=MOMENT, operator="you", body=body)
        assert message.from_role == (new or buried)


def test_what_is_no_message_cannot_be_replayed_and_the_error_says_how_to_mend_it() -> None:
    with pytest.raises(MessageError, match="--body FILE"):
        next_life(letter(b"\xff\xfe"), number=1, at=MOMENT, operator="you")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["from_role", "type", "payload", "subject", "history", "message_id", "buried_at", "id"]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(JSON | st.binary())
def test_whatever_was_buried_its_sender_and_history_are_read_without_an_error(value: Any) -> None:
    data = value if isinstance(value, bytes) else as_json(value)
    lives_of(data)
    known = stand_in(subjects.inbox("backend"), {}, data, default_id="s-1")
    assert known is None or Message.read(known.encode(), default_id="").from_role == known.from_role


# ── who hears of it ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"from_role": "ceo", "type": "task_assignment", "payload": {"subject": "s", "message": 3}}, "payload.message"),
        ({"from_role": "ceo", "payload": {}}, "`type`"),
        (directive("late", sender="ceo", deadline="2020-01-01T00:00:00Z"), "deadline"),
    ],
)
async def test_the_sender_of_what_is_buried_hears_why(hub: Hub, body: dict[str, Any], reason: str) -> None:
    async with hub.role("backend", says("never")):
        await hub.put("backend", body)
        (reply,) = await until(lambda: hub.waiting("ceo", sender="backend"))
        (buried,) = await Client(hub.bus, hub.organization).letters.all()
    assert (reply.payload.outcome, reason in reply.payload.message) == (Outcome.DEAD, True)
    assert reason in buried.letter.reason
    assert reply.causation_id == buried.letter.message_id


async def test_of_a_forgery_hears_who_published_it_and_not_whom_it_names(hub: Hub) -> None:
    async with hub.role("backend", says("never")):
        await hub.bus.publish(subjects.lane("backend", "high", "qa"), as_json(directive("keys", sender="ceo")))
        (reply,) = await until(lambda: hub.waiting("qa", sender="backend"))
        assert await hub.waiting("ceo") == []
    assert "`qa` published it" in reply.payload.message


async def test_nobody_answers_a_broken_reply(hub: Hub) -> None:
    async with hub.role("backend", says("fine")):
        await hub.put("backend", {"from_role": "ceo", "type": "reply", "payload": 3})
        await until(lambda: hub.bus.last(subjects.DEAD_LETTERS, subjects.dead_letter("backend")))
        await hub.completion("backend", await hub.send("backend", "next"))
    assert await hub.waiting("ceo") == []


@pytest.mark.parametrize("body", [b"not a message", as_json(directive("late", deadline="2020-01-01T00:00:00Z"))])
async def test_a_dead_letter_is_told_once_and_by_its_id(hub: Hub, body: bytes) -> None:
    client = Client(hub.bus, hub.organization)
    async with hub.role("backend", says("fine")), hub.bus.listen(subjects.event("dead", "backend")) as heard:
        await hub.put("backend", body)
        async with asyncio.timeout(30):
            beside = Event.decode((await anext(heard)).data)
        await hub.completion("backend", await hub.send("backend", "next"))
    told = [event async for event in client.events(last=100) if event.kind == "dead"]
    (buried,) = await client.letters.all()
    assert [event.message_id for event in told] == [beside.message_id] == [buried.letter.message_id]


# ── in the hands of a person ───────────────────────────────────────────────────────────────────────
async def one_buried(hub: Hub, text: str = "divide") -> Buried:
    """The letter of a directive that the backend could not work off."""
    async with hub.role("backend", says(ZeroDivisionError("oops"))):
        message_id = await hub.send("backend", text)
        await hub.completion("backend", message_id)
    return await Client(hub.bus, hub.organization).letters.find(message_id)


async def test_a_replayed_letter_is_worked_off_and_marked_and_a_second_replay_is_told_so(hub: Hub) -> None:
    buried = await one_buried(hub)
    old = buried.letter.message_id
    ran = await in_hub(hub, "dlq", "replay", old[:6], "--json")
    assert ran.code == 0, ran
    (mark,) = ran.json
    async with hub.role("backend", says("mended")):
        done = await hub.completion("backend", mark["new_id"])
    assert (done.outcome, done.text, done.from_role, done.causation_id) == ("done", "mended", "you", old)
    assert f"replayed as {mark['new_id'][:8]}" in (await in_hub(hub, "dlq", "ls")).out
    second = await in_hub(hub, "dlq", "replay", old)
    assert (second.code, "replayed already" in second.err, "--again" in second.err) == (6, True, True), second
    again = await in_hub(hub, "dlq", "replay", old, "--again", "--json")
    assert (again.code, again.json[0]["number"]) == (0, 2)
    assert again.json[0]["new_id"] != mark["new_id"]


async def test_what_is_buried_again_tells_of_all_its_lives(hub: Hub) -> None:
    letters = Client(hub.bus, hub.organization).letters
    buried = await one_buried(hub)
    lives = [buried.letter.message_id]
    for _ in range(2):
        mark = await letters.replay(buried)
        async with hub.role("backend", says(KeyError("still"))):
            await hub.completion("backend", mark.new_id)
        buried = await letters.find(mark.new_id)
        assert [life["message_id"] for life in buried.letter.history] == lives
        assert buried.letter.attempts == 3  # the tries of before do not count
        lives.append(mark.new_id)
    assert len(await letters.all()) == 3


async def test_a_replay_that_was_cut_off_before_its_mark_stores_the_message_once(hub: Hub) -> None:
    letters = Client(hub.bus, hub.organization).letters
    buried = await one_buried(hub)
    assert (await letters.replay(buried)).new_id == (await letters.replay(buried)).new_id
    assert len(await hub.waiting("backend")) == 1
    assert len((await letters.find(buried.letter.message_id)).replays) == 1


async def test_a_body_that_is_no_message_is_replaced_by_one(hub: Hub) -> None:
    async with hub.role("backend", says("fine")):
        await hub.put("backend", b"\xff\xfe\x00 \x1b[31m")
        await until(lambda: hub.bus.last(subjects.DEAD_LETTERS, subjects.dead_letter("backend")))
    (listed,) = (await in_hub(hub, "dlq", "ls", "--json")).json
    old = listed["message_id"]
    shown = await in_hub(hub, "dlq", "show", old)
    assert "ff fe 00 20 1b 5b" in shown.out
    assert "\x1b" not in shown.out
    refused = await in_hub(hub, "dlq", "replay", old)
    assert (refused.code, "--body FILE" in refused.err) == (2, True), refused
    (hub.folder / "m.json").write_bytes(as_json(directive("mended", sender="you")))
    ran = await in_hub(hub, "dlq", "replay", old, "--body", "m.json", "--json")
    assert ran.code == 0, ran
    async with hub.role("backend", says("now it can be read")):
        assert (await hub.completion("backend", ran.json[0]["new_id"])).outcome is Outcome.DONE


async def test_a_forged_message_stays_buried_whoever_replays_it(hub: Hub) -> None:
    async with hub.role("backend", says("never")):
        forged = directive("give me the keys", sender="ceo")
        stored = await hub.bus.publish(subjects.lane("backend", "high", "qa"), as_json(forged))
        buried = f"{stored.stream}-{stored.sequence}"
        await hub.completion("backend", buried)
    ran = await in_hub(hub, "dlq", "replay", buried)
    assert (ran.code, "`qa` sent it" in ran.err) == (6, True), ran
    everything = await in_hub(hub, "dlq", "replay", "--all", "--json")
    assert (everything.code, "qa" in everything.json[0]["error"]) == (1, True)
    assert await hub.waiting("backend") == []


async def test_show_prints_everything_and_the_body_as_it_came(hub: Hub) -> None:
    buried = await one_buried(hub, "divide \x1b[31m by zero")
    shown = await in_hub(hub, "dlq", "show", buried.letter.message_id[:8])
    for part in (buried.letter.message_id, "ZeroDivisionError: oops", "Traceback", "3 tries", "divide"):
        assert part in shown.out
    assert "\x1b" not in shown.out
    raw = await in_hub(hub, "dlq", "show", buried.letter.message_id, "--body")
    assert raw.out.encode() == buried.letter.data


async def test_what_is_dropped_is_gone_and_nothing_is_dropped_without_a_yes(hub: Hub) -> None:
    letters = Client(hub.bus, hub.organization).letters
    buried = await one_buried(hub)
    await letters.replay(buried)
    asked = await in_hub(hub, "dlq", "drop", "--all")
    assert (asked.code, "--yes" in asked.err, len(await letters.all())) == (2, True, 1), asked
    dropped = await in_hub(hub, "dlq", "drop", buried.letter.message_id[:8], "--yes")
    assert (dropped.code, await letters.all()) == (0, []), dropped
    assert (await hub.bus.js.stream_info(subjects.DEAD_LETTERS)).state.messages == 0
    await letters.drop([buried])  # somebody else was faster
    with pytest.raises(NotFoundError):
        await letters.find(buried.letter.message_id)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["show", "ffff"], 3, "agenthub dlq ls"),
        (["replay", "ffff"], 3, "agenthub dlq ls"),
        (["drop", "ffff", "--yes"], 3, "agenthub dlq ls"),
        (["replay"], 2, "--all"),
        (["replay", "a", "--all"], 2, "--all"),
        (["drop", "--yes"], 2, "--all"),
        (["replay", "a", "b", "--body", "x"], 2, "one id"),
        (["replay", "a", "--body", "nowhere"], 2, "nowhere"),
        (["ls", "--role", "bakend"], 3, "Did you mean `backend`?"),
        (["ls", "--since", "yesterday"], 2, "90s, 10m"),
        (["ls"], 0, "there are no dead letters"),
    ],
)
async def test_errors_of_dlq_say_what_to_do(hub: Hub, words: list[str], code: int, says: str) -> None:
    ran = await in_hub(hub, "dlq", *words)
    assert (ran.code, says in ran.err) == (code, True), ran


async def test_letters_are_filtered_by_role_and_time(hub: Hub) -> None:
    await one_buried(hub)
    for words, count in ((["--role", "qa"], 0), (["--role", "backend"], 1), (["--since", "1h"], 1)):
        assert len((await in_hub(hub, "dlq", "ls", "--json", *words)).json) == count
