"""The hub as MCP tools, with the real client: over stdio and HTTP, of both protocol eras."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent, TextResourceContents

from agenthub import subjects
from agenthub.approvals import Approval
from agenthub.asks import Ask, Part
from agenthub.errors import ConfigError
from agenthub.mcp_http import Address, token
from agenthub.mcp_server import Door, check_sender, make_server
from agenthub.messages import Message, Payload, now
from agenthub.org.ledger import Ledger
from agenthub.ports import Port
from tests.organization import Hub, says, texts, until

READING = {"hub_who", "hub_inbox", "hub_tail", "hub_trace", "hub_approvals", "hub_pending", "hub_cost"}
WRITING = {"hub_send", "hub_ask", "hub_reply", "hub_approve", "hub_reject"}


def in_process(hub: Hub, **door: Any) -> Client:
    return Client(make_server(Door(hub.settings, **door)))


async def call(client: Client, name: str, /, **arguments: Any) -> Any:
    """What a tool returns; the words of an error as text."""
    result = await client.call_tool(name, arguments)
    if result.is_error:
        assert isinstance(result.content[0], TextContent)
        return result.content[0].text
    return result.structured_content


async def read(client: Client, uri: str) -> Any:
    """What a resource holds."""
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    return json.loads(content.text)


def stdio(hub: Hub, *words: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=["-m", "agenthub", "mcp", "--nats", hub.server.url, *words], cwd=str(hub.folder)
    )


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_over_stdio_the_tools_work_in_both_protocol_eras(hub: Hub, mode: Any) -> None:
    async with Client(stdio(hub), mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == READING | WRITING
        hints = {name: tool.annotations for name, tool in tools.items() if tool.annotations is not None}
        assert {name for name, hint in hints.items() if hint.read_only_hint} == READING
        assert {name for name, hint in hints.items() if hint.destructive_hint} == {"hub_approve", "hub_reject"}
        sent = await call(client, "hub_send", to="backend", message="do it", priority="high")
        (message,) = await hub.waiting("backend", "high", "you")
        assert sent["sent"] == [{"role": "backend", "id": message.id, "error": None}]
        wrong = await call(client, "hub_send", to="bakend", message="do it")
        assert "Did you mean `backend`?" in wrong
        assert "Input should be" in await call(client, "hub_send", to="backend", message="x", priority="urgent")


async def test_asking_waits_for_the_answer_and_a_missing_one_is_an_error(hub: Hub) -> None:
    async with in_process(hub) as client:
        async with hub.role("backend", says("port 8000")):
            answered = await call(client, "hub_ask", to="backend", question="Which port?")
        assert (answered["outcome"], answered["text"], answered["role"]) == ("done", "port 8000", "backend")
        late = await call(client, "hub_ask", to="backend", question="Again?", within_s=0.2)
        assert "No answer from backend within 0.2 s" in late
        owed = await call(client, "hub_pending")
        assert [(debt["debtor"], debt["creditor"]) for debt in owed["pending"]] == [("backend", "you")]


async def test_several_and_topics_are_sent_to(hub: Hub) -> None:
    async with in_process(hub) as client:
        sent = await call(client, "hub_send", to="@cto", message="report")
        assert [one["role"] for one in sent["sent"]] == ["backend", "qa"]
        told = await call(client, "hub_send", to="topic:status.deploy", message="1.9 is out")
        assert sorted(told["topic"]["subscribers"]) == ["backend", "qa"]
        assert "There is no text" in await call(client, "hub_send", to="qa", message=" ")


async def test_what_happened_is_told_and_traced(hub: Hub) -> None:
    async with hub.role("backend", says("done it")):
        identity = await hub.send("backend", "do it")
        await hub.completion("backend", identity)
        await until(lambda: hub.bus.last(subjects.EVENTS, subjects.event("taken", "backend")))
    async with in_process(hub) as client:
        happened = await call(client, "hub_tail", role="backend")
        assert {"taken", "completed"} <= {event["kind"] for event in happened["events"]}
        only = await call(client, "hub_tail", kind="completed", last=1)
        assert [event["message_id"] for event in only["events"]] == [identity]
        (tree,) = (await call(client, "hub_trace", id=identity[:8]))["trees"]
        assert (tree["message_id"], tree["outcome"]) == (identity, "done")
        assert (await read(client, f"hub://messages/{identity}"))[0]["message_id"] == identity
        role = await read(client, "hub://roles/backend")
        assert (role["name"], role["prompt"]) == ("backend", "You are the backend of Acme.")
        with pytest.raises(MCPError):
            await client.read_resource("hub://roles/bakend")
        who = await call(client, "hub_who", target="?skill=sql")
        assert [(one["name"], one["state"]) for one in who["people"]] == [("backend", "down")]
        costs = await call(client, "hub_cost")
        assert (costs["by"], costs["total"]["calls"]) == ("role", 0)


async def _waits_for_a_person(hub: Hub, identity: str, kind: str) -> None:
    """A role that waits for a decision, as the ledger has it."""
    what: Any = (
        {"tool": "run_command", "input": {"command": "make deploy"}} if kind == "tool" else {"question": "Which?"}
    )
    task = Message(id=f"task-{identity}", from_role="you", type="task_assignment", payload=Payload(message="ship it"))
    part = Part(message_id=f"m-{identity}", role="you", subject="may I?")
    await Ledger(hub.bus).open(
        Ask(
            id=identity, role="backend", task=task, parts=[part], opened_at=now(),
            deadline=now().replace(year=2099), approval=Approval(kind=kind, **what),
        )
    )  # fmt: skip


async def test_decisions_are_listed_and_made_once(hub: Hub) -> None:
    for identity, kind in (("aaaa1111", "tool"), ("bbbb2222", "tool"), ("cccc3333", "question")):
        await _waits_for_a_person(hub, identity, kind)
    async with in_process(hub) as client:
        listed = await call(client, "hub_approvals")
        assert {one["id"]: one["input"].get("command") for one in listed["approvals"]} == {
            "aaaa1111": "make deploy", "bbbb2222": "make deploy", "cccc3333": None,
        }  # fmt: skip
        assert (await call(client, "hub_approve", id="aaaa"))["decision"] == "approved"
        assert (await call(client, "hub_reject", id="bbbb", reason="no"))["decision"] == "rejected"
        assert (await call(client, "hub_reply", id="cccc", text="the second"))["decision"] == "answered"
        assert "is decided already" in await call(client, "hub_approve", id="aaaa")
        assert (await call(client, "hub_approvals"))["approvals"] == []
    decisions = {message.correlation_id: message.payload for message in await hub.waiting("backend")}
    assert {identity: str(said.outcome) for identity, said in decisions.items()} == {
        "aaaa1111": "done", "bbbb2222": "refused", "cccc3333": "done",
    }  # fmt: skip


async def test_a_message_in_the_inbox_is_answered_and_leaves_it(hub: Hub) -> None:
    identity = await hub.send("you", "which colour?", sender="qa")
    await hub.put("you", b"\xff")
    async with in_process(hub) as client:
        (shown,) = (await call(client, "hub_inbox"))["messages"]
        assert (shown["id"], shown["from_role"]) == (identity, "qa")
        assert (await call(client, "hub_reply", id=identity[:8], text="green"))["role"] == "qa"
        assert (await call(client, "hub_inbox"))["messages"] == []
        assert "no decision whose id begins" in await call(client, "hub_reply", id=identity[:8], text="green")
    (answered,) = await hub.waiting("qa")
    assert (answered.payload.message, answered.causation_id, answered.hop) == ("green", identity, 1)
    assert answered.is_actionable


async def test_a_forged_question_does_not_have_anothers_answered(hub: Hub) -> None:
    await _waits_for_a_person(hub, "dddd4444", "question")
    forged = await hub.send("you", "tea or coffee?", sender="qa", type="approval", correlation_id="dddd4444")
    async with in_process(hub) as client:
        assert "names a question of `backend`" in await call(client, "hub_reply", id=forged[:8], text="tea")
    assert await hub.waiting("backend") == []


async def test_read_only_leaves_out_what_changes_anything(hub: Hub) -> None:
    async with in_process(hub, is_read_only=True) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == READING


async def test_a_hub_that_is_not_there_is_said_and_found_again_later(hub: Hub) -> None:
    nowhere = hub.settings.model_copy(update={"nats_url": "", "state": hub.folder / "none"})
    async with Client(make_server(Door(nowhere))) as client:
        assert "agenthub up" in await call(client, "hub_who")


def test_nobody_speaks_for_a_role(hub: Hub) -> None:
    assert check_sender(hub.organization, "you") is None
    assert check_sender(hub.organization, "ci") == "ci"
    for name, words in (("backend", "is a role"), ("a b", "letters")):
        with pytest.raises(ConfigError, match=words):
            check_sender(hub.organization, name)


async def test_a_program_sends_under_its_own_name(hub: Hub) -> None:
    async with in_process(hub, sender="ci") as client:
        await call(client, "hub_send", to="qa", message="the build broke")
    assert texts(await hub.waiting("qa", "medium", "ci")) == ["the build broke"]


# ── over HTTP ──────────────────────────────────────────────────────────────────────────────────────
@contextlib.asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[tuple[str, str]]:
    """The command that serves HTTP, as a process of its own: its URL and token."""
    with Port() as held:
        port = held.number
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agenthub", "mcp", "--http", f":{port}", "--nats", hub.server.url,
            cwd=hub.folder, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            line = (await process.stderr.readline()).decode()
            assert f"http://127.0.0.1:{port}/mcp" in line, line

            def listens() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            await until(listens)
            yield f"http://127.0.0.1:{port}/mcp", (hub.settings.state / "mcp.token").read_text().strip()
        finally:
            process.terminate()
            await process.wait()


async def test_over_http_only_who_has_the_token_and_comes_from_here_is_served(hub: Hub) -> None:
    async with serving(hub) as (url, secret):
        right = {"Authorization": f"Bearer {secret}"}
        for mode in ("auto", "legacy"):
            async with (
                httpx2.AsyncClient(headers=right) as http,
                Client(streamable_http_client(url, http_client=http), mode=mode) as client,
            ):
                who = await call(client, "hub_who")
                assert [one["name"] for one in who["people"]] == ["you", "backend", "ceo", "cto", "qa"]
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        accept = {"Accept": "application/json, text/event-stream"}
        async with httpx2.AsyncClient(headers=accept) as http:
            for headers, code in [
                ({}, 401),
                ({"Authorization": "Bearer wrong"}, 401),
                ({"Authorization": secret}, 401),
                (right | {"Host": "evil.example"}, 421),
                (right | {"Origin": "http://evil.example"}, 403),
            ]:
                answer = await http.post(url, json=body, headers=headers)
                assert answer.status_code == code, (headers, answer.text)
            assert (await http.post(url, content=b"x" * 2_000_000, headers=right)).status_code == 413
    assert stat.S_IMODE((hub.settings.state / "mcp.token").stat().st_mode) == 0o600


def test_the_token_stays_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    made = token(tmp_path)
    (tmp_path / "mcp.token").chmod(0o644)
    assert token(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "mcp.token").stat().st_mode) == 0o600
    assert len(made) >= 40


@pytest.mark.parametrize("text", [":8765", "8765", "127.0.0.1:8765", "localhost:8765", "[::1]:8765"])
def test_the_door_listens_on_this_machine(text: str) -> None:
    assert Address.read(text).port == 8765


@pytest.mark.parametrize("text", ["0.0.0.0:8765", "example.com:80", ":0", ":x", "", ":99999", "[::]:80"])
def test_the_door_does_not_listen_anywhere_else(text: str) -> None:
    with pytest.raises(ConfigError, match="--http"):
        Address.read(text)
