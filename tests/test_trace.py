"""The trace of a message: the rules that put it together, whatever is missing, and the whole over a real hub."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from agenthub import subjects
from agenthub.causation import Copy, Node, Waits, assemble
from agenthub.cli.trace import lines
from agenthub.client import Client
from agenthub.messages import Completion, Event, Message, Outcome, Payload, Usage
from agenthub.sessions.session import ModelCalled, Prompt, ToolEnded, ToolStarted, TurnEnd, TurnResult
from tests.commands import in_hub
from tests.organization import Hub, ScriptedSession, directive, says, until

BEGIN = datetime(2026, 5, 17, 8, tzinfo=UTC)
ROLES = ("ceo", "cto", "qa")


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def copy(
    identity: str, role: str, *, sender: str = "you", cause: str = "", seconds: float = 0, kind: str = "x"
) -> Copy:
    payload = Payload(subject=f"about {identity}")
    message = Message(
        id=identity, from_role=sender, type=kind, payload=payload, causation_id=cause, trace_id="m0", timestamp=BEGIN
    )
    return Copy(message, role, at(seconds))


def event(kind: str, role: str, identity: str, seconds: float, **data: object) -> Event:
    return Event(kind=kind, role=role, at=at(seconds), message_id=identity, trace_id="m0", data=dict(data))


def completion(
    identity: str, role: str, seconds: float, *, cause: str = "", cost_usd: float = 0, **more: object
) -> Completion:
    return Completion(
        message_id=identity, role=role, outcome=Outcome.DONE, causation_id=cause, trace_id="m0", started_at=at(0),
        ended_at=at(seconds), usage=Usage(calls=1, cost_usd=cost_usd), **more,
    )  # fmt: skip


COPIES = [
    copy("m0", "ceo"),
    copy("m1", "cto", sender="ceo", cause="m0", seconds=2),
    copy("m2", "qa", sender="cto", cause="m1", seconds=4),
    copy("r2", "cto", sender="qa", cause="m2", seconds=6, kind="task_result"),
    copy("r1", "ceo", sender="cto", cause="m1", seconds=8, kind="task_result"),
]
EVENTS = [
    event("taken", "ceo", "m0", 1, attempt=1, from_role="you"),
    event("model", "ceo", "m0", 1.5, calls=1, cost_usd=0.5, duration_s=0.4),
    event("sent", "ceo", "m1", 2, to="cto", type="task_assignment", causation_id="m0"),
    event("step", "ceo", "m0", 2.1, tool="delegate", duration_s=0.1),
    event("parked", "ceo", "m0", 2.2),
    event("taken", "cto", "m1", 3, attempt=2, from_role="ceo"),
    event("sent", "cto", "m2", 4, to="qa", type="task_assignment", causation_id="m1"),
    event("resumed", "ceo", "m0", 9),
]
ENDS = [
    completion("m0", "ceo", 10, cost_usd=1),
    completion("m1", "cto", 8, cause="m0", cost_usd=2, from_role="ceo"),
    completion("m2", "qa", 6, cause="m1", cost_usd=4, from_role="cto"),
]


def test_a_tree_has_every_stage_and_what_each_message_cost_alone_and_with_what_it_caused() -> None:
    (root,) = assemble("m0", copies=COPIES, events=EVENTS, completions=ENDS)
    assert [stage.kind for stage in root.stages] == [
        "stored", "taken", "model", "step", "parked", "resumed", "settled"
    ]  # fmt: skip
    (cto,) = root.children
    (qa,) = cto.children
    assert [(node.role, node.usage.cost_usd, node.usage_in_all.cost_usd) for node in root.walk()] == [
        ("ceo", 1, 7), ("cto", 2, 6), ("qa", 4, 4)
    ]  # fmt: skip
    assert (root.stages[1].duration_s, root.stages[-1].duration_s, cto.attempts) == (1, 10, 2)
    assert [stage.data["to"] for stage in qa.stages if stage.kind == "replied"] == ["cto"]


def test_a_tree_is_printed_in_the_order_of_its_times_and_says_whose_a_row_is_where_that_changes() -> None:
    (root,) = assemble("m0", copies=COPIES, events=EVENTS, completions=ENDS)
    shown = [Text.from_markup(line).plain.rstrip() for line in lines(root, width=None)]
    moments = [float(line.split()[0].removesuffix("s").removesuffix("m")) for line in shown]
    assert moments == sorted(moments)
    words = [" ".join(line.split()[1:3]) for line in shown]
    assert [words[at] for at in (4, 6, 7)] == ["├─ cto", "│ step", "│ parked"], (
        "what the sender still did comes before its report's work"
    )
    assert any("resumed   ceo: goes on" in line for line in shown)
    assert shown[-1].split()[1:3] == ["└─", "done"]


def test_what_is_not_settled_says_where_it_is_and_counts_its_model_calls() -> None:
    (root,) = assemble("m0", copies=COPIES, events=EVENTS[:5])
    assert (root.state, root.usage.cost_usd, root.is_settled) == ("parked", 0.5, False)
    (waiting,) = assemble("m1", copies=COPIES, waits={("cto", "m1"): Waits(2, 5, "high")})
    assert [(stage.kind, stage.data.get("position")) for stage in waiting.stages[:2]] == [
        ("stored", None),
        ("waits", 2),
    ]


def test_a_replay_is_below_the_message_that_was_buried() -> None:
    (root,) = assemble("m0", copies=[copy("m0", "ceo"), copy("n", "ceo", cause="m0", seconds=5)])
    assert [child.message_id for child in root.children] == ["n"]


def test_a_message_of_a_topic_has_a_tree_for_each_role() -> None:
    found = assemble("m0", copies=[copy("m0", "ceo"), copy("m0", "qa"), copy("m1", "cto", sender="qa", cause="m0")])
    assert [(tree.role, len(tree.children)) for tree in found] == [("ceo", 0), ("qa", 1)]


@settings(deadline=None)
@given(st.data())
def test_what_was_lost_breaks_no_tree_and_what_is_known_stays_in_it(data: st.DataObject) -> None:
    copies = data.draw(st.lists(st.sampled_from(COPIES), unique_by=id))
    events = data.draw(st.lists(st.sampled_from(EVENTS), unique_by=id))
    ends = data.draw(st.lists(st.sampled_from(ENDS), unique_by=id))
    trees = assemble("m0", copies=copies, events=events, completions=ends)
    for tree in trees:
        list(lines(tree, width=data.draw(st.none() | st.integers(20, 200))))
        nodes = list(tree.walk())
        assert len({(node.role, node.message_id) for node in nodes}) == len(nodes)
        assert tree.usage_in_all == sum((node.usage for node in nodes), Usage())
        assert Node.model_validate_json(tree.model_dump_json()) == tree
    known = {c.message.id for c in copies if c.message.type == "x"}
    if {"m0", "m1"} <= known:
        assert known <= {node.message_id for tree in trees for node in tree.walk()}
    told = {e.message_id for e in events} | {e.message_id for e in ends}
    assert bool(trees) == ("m0" in known | told)


names = st.sampled_from([f"m{number}" for number in range(5)])
facts = st.builds(
    copy, names, st.sampled_from(ROLES), sender=st.sampled_from(ROLES), cause=names, seconds=st.integers(0, 9)
)
rubbish = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | names
KEYS = st.sampled_from(["to", "type", "causation_id", "attempt", "duration_s", "calls", "cost_usd"])
told = st.builds(
    lambda kind, role, identity, seconds, data: event(kind, role, identity, seconds, **data),
    st.sampled_from(["sent", "taken", "model", "step", "parked", "dead", "new kind"]), st.sampled_from(ROLES), names,
    st.integers(0, 9),
    st.dictionaries(KEYS, rubbish),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(facts, max_size=8), st.lists(told, max_size=8))
def test_circles_and_rubbish_end_in_a_tree_with_each_place_once(copies: list[Copy], events: list[Event]) -> None:
    trees = assemble("m0", copies=copies, events=events)
    places = [(node.role, node.message_id) for tree in trees for node in tree.walk()]
    assert len(places) == len(set(places))
    assert {role for role, identity in places if identity == "m0"} >= {c.role for c in copies if c.message.id == "m0"}
    for tree in trees:
        assert list(lines(tree, width=80))


# ── over a real hub ────────────────────────────────────────────────────────────────────────────────
class Working(ScriptedSession):
    """A session that calls the model and a tool before it ends."""

    async def turn(self, prompt: Prompt, *, turn_id: str):
        yield ModelCalled(Usage(calls=1, input_tokens=40, output_tokens=2, cost_usd=0.25), "m-1", 0.5, "I look")
        yield ToolStarted("look", "around")
        yield ToolEnded("look", "around", is_error=False, duration_s=0.125)
        yield TurnResult(TurnEnd.FINISHED, Outcome.DONE, "seen")


async def nothing(prompt: Prompt) -> str:
    return ""


async def test_trace_shows_every_stage_of_a_finished_message(hub: Hub) -> None:
    async with hub.role("backend", Working(nothing)):
        message_id = await hub.send("backend", "look", priority="high", sender="ceo")
        await hub.completion("backend", message_id)
        await until(lambda: hub.waiting("ceo"))
        await until(lambda: hub.bus.last(subjects.EVENTS, subjects.event("step", "backend")))
    ran = await in_hub(hub, "trace", message_id[:6], "--json")
    assert ran.code == 0, ran
    stages = {stage["kind"]: stage for stage in ran.json["stages"]}
    assert set(stages) == {"stored", "taken", "model", "step", "replied", "settled"}
    assert (stages["model"]["data"]["model"], stages["model"]["duration_s"], stages["model"]["text"]) == (
        "m-1", 0.5, "I look"
    )  # fmt: skip
    assert (stages["step"]["duration_s"], stages["replied"]["data"]["to"]) == (0.125, "ceo")
    assert (ran.json["state"], ran.json["priority"], ran.json["children"]) == ("done", "high", [])
    assert ran.json["stages"][0]["at_s"] == 0
    shown = await in_hub(hub, "trace", message_id)
    for part in ("backend ← ceo", "42 tokens", "$0.2500", "→ ceo", "done"):
        assert part in shown.out


async def test_trace_says_where_an_untaken_message_waits(hub: Hub) -> None:
    client = Client(hub.bus, hub.organization)
    sent = [await client.send("backend", text) for text in ("one", "two", "three")]
    (tree,) = await client.tracing.trace(sent[1].id)
    waits = next(stage for stage in tree.stages if stage.kind == "waits")
    assert (tree.state, waits.data) == ("waits", {"position": 2, "of": 3, "lane": "medium"})
    shown = await in_hub(hub, "trace", sent[1].id[:8])
    assert "number 2 of 3 in lane medium" in shown.out


async def test_trace_follows_a_message_into_its_other_life(hub: Hub) -> None:
    client = Client(hub.bus, hub.organization)
    late = directive("late", sender="ceo", deadline="2020-01-01T00:00:00Z")
    async with hub.role("backend", says("in time")):
        await hub.put("backend", late)
        await hub.completion("backend", str(late["id"]))
        mark = await client.letters.replay(await until_buried(client, str(late["id"])))
        await hub.completion("backend", mark.new_id)
    (tree,) = await client.tracing.trace(str(late["id"]))
    assert (tree.state, [(child.message_id, child.state) for child in tree.children]) == (
        "dead",
        [(mark.new_id, "done")],
    )


async def until_buried(client: Client, message_id: str):
    async def found():
        return next((b for b in await client.letters.all() if b.letter.message_id == message_id), None)

    return await until(found)


async def test_what_a_lost_event_stream_leaves_is_still_a_tree(hub: Hub) -> None:
    async with hub.role("backend", Working(nothing)):
        message_id = await hub.send("backend", "look")
        await hub.completion("backend", message_id)
    for stream in (subjects.EVENTS, subjects.AUDIT):
        await hub.bus.js.delete_stream(stream)
    await hub.provision()
    (tree,) = await Client(hub.bus, hub.organization).tracing.trace(message_id[:8])
    assert (tree.state, tree.from_role, [stage.kind for stage in tree.stages]) == ("done", "you", ["settled"])


async def test_a_follower_sees_the_message_end(hub: Hub) -> None:
    client = Client(hub.bus, hub.organization)
    message = await client.send("backend", "soon")
    states: list[str] = []

    async def follow() -> None:
        async for (tree,) in client.tracing.follow(message.id):
            states.append(tree.state)

    following = asyncio.create_task(follow())
    await until(lambda: states)
    async with hub.role("backend", says("now")):
        await asyncio.wait_for(following, 30)
    assert (states[0], states[-1]) == ("waits", "done")


async def test_tail_is_calm_about_model_calls_unless_it_is_asked(hub: Hub) -> None:
    async with hub.role("backend", Working(nothing)):
        await hub.completion("backend", await hub.send("backend", "look"))
    assert '"model"' not in (await in_hub(hub, "tail", "--json=kind")).out
    for words in (["--all"], ["--kind", "model"]):
        assert '"model"' in (await in_hub(hub, "tail", "--json=kind", *words)).out


@pytest.mark.parametrize(("prefix", "code", "says"), [("abc", 2, "at least 4"), ("abcdef", 3, "dlq ls")])
async def test_an_unknown_message_is_an_error_that_says_where_ids_are(
    hub: Hub, prefix: str, code: int, says: str
) -> None:
    ran = await in_hub(hub, "trace", prefix)
    assert (ran.code, says in ran.err) == (code, True), ran
