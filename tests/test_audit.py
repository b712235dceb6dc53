"""The record of who did what only grows, names who the broker let do it, and shows where something is missing."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.js.errors import APIError

from agenthub import subjects
from agenthub.audit import Entry, verify_export
from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus
from agenthub.bus.identity import OPERATOR, Keyring
from agenthub.bus.provisioning import provision
from agenthub.bus.topology import topology
from agenthub.client.audit import entries, export, verify, verify_file
from agenthub.errors import ConfigError
from agenthub.organization import load_organization
from tests.commands import in_hub
from tests.organization import Hub, directive, says, until
from tests.test_identity import intruding, key_of


async def recorded(hub: Hub, count: int = 1, **fields: str) -> list[Entry]:
    """The entries with these fields, as soon as there are `count`: what the broker copies is there a moment later."""

    async def found() -> list[Entry]:
        everything = [entry async for entry in entries(hub.bus)]
        those = [one for one in everything if all(getattr(one, name) == value for name, value in fields.items())]
        return those if len(those) >= count else []

    those: list[Entry] = await until(found)
    return those


async def work(hub: Hub, count: int = 3) -> list[str]:
    """Directives that are done, and recorded."""
    async with hub.role("backend", says("done")):
        sent = [await hub.send("backend", f"Do {number}") for number in range(count)]
        for message_id in sent:
            await hub.completion("backend", message_id)
    for message_id in sent:
        await recorded(hub, 2, message_id=message_id)
    await recorded(hub, count, who="backend", what="task_result")
    return sent


async def test_it_says_who_did_what_to_whom_in_the_order_in_which_it_was_stored(hub: Hub) -> None:
    sent = await work(hub)
    found = [entry async for entry in entries(hub.bus)]
    asked = [entry for entry in found if entry.message_id == sent[0] and entry.source]
    assert [(one.who, one.to) for one in asked] == [("(a stranger)", "backend"), ("backend", "backend")]
    assert {("backend", "task_result", "you")} <= {(one.who, one.what, one.to) for one in found}
    assert [one.sequence for one in found] == list(range(1, len(found) + 1))
    listed = (await in_hub(hub, "audit", "ls", "--who", "backend", "--what", "task_result", "--json")).json
    assert {(one["who"], one["what"]) for one in listed} == {("backend", "task_result")} and len(listed) == 3


async def test_what_came_to_a_role_on_a_topic_says_in_whose_name_it_came(hub: Hub) -> None:
    (hub.folder / "roles" / "qa.md").write_text(
        "---\nname: qa\nagenthub: {subscribe: [topics.status.deploy]}\n---\nYou are QA."
    )
    hub.organization = load_organization(hub.settings)
    await hub.provision()
    async with hub.role("qa", says("read")):
        said = (await in_hub(hub, "publish", "status.deploy", "1.9 is out", "--json")).json
        await hub.completion("qa", said["id"])
    (taken_in,) = await recorded(hub, message_id=said["id"])
    assert (taken_in.who, taken_in.to, taken_in.title) == ("qa", "qa", "1.9 is out (it says: from you)")


async def test_nobody_takes_anything_out_or_puts_a_copy_in(hub: Hub, bus: Bus) -> None:
    await work(hub, 1)
    with pytest.raises(APIError):
        await bus.js.delete_msg(subjects.AUDIT, 1)  # the system itself
    with pytest.raises(APIError):
        await bus.js.purge_stream(subjects.AUDIT)
    copy = f"agent-hub.audit.{subjects.inbox('qa')}.high.backend"
    for name in (OPERATOR, "backend"):
        async with intruding(hub, key_of(hub, name)) as intruder:
            assert not await intruder.publish(copy), name
            assert not await intruder.publish("agent-hub.audit.guards.budget.qa") or name == OPERATOR
    assert (await verify(bus)).gaps == ()


async def test_a_record_from_which_something_was_taken_shows_it(bus: Bus, hub: Hub) -> None:
    await bus.js.delete_stream(subjects.AUDIT)  # what only who holds the server's files could do
    wanted = topology([])
    config = next(stream for stream in wanted.streams if stream.name == subjects.AUDIT)
    config.deny_delete = config.deny_purge = False
    await bus.js.add_stream(config)
    await work(hub)
    whole = await verify(bus)
    assert whole.gaps == () and whole.looked_at > 6
    await bus.js.delete_msg(subjects.AUDIT, 3)
    await bus.js.delete_msg(subjects.AUDIT, 4)
    (entry, *_) = found = (await verify(bus)).gaps
    assert str(entry) == "entry 5: 2 entries from 3 on are missing", found
    ran = await in_hub(hub, "audit", "verify")
    assert ran.code == 1 and "from 3 on are missing" in ran.out


async def test_an_export_goes_on_where_it_ended_and_is_whole(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    await work(hub, 1)
    first = await export(hub.bus, file, org="acme")
    await work(hub, 2)
    second = await export(hub.bus, file, org="acme")
    found = verify_file(file)
    assert found.gaps == () and found.looked_at == first.added + second.added == second.last_sequence
    assert found.last_hash == second.last_hash
    with pytest.raises(ConfigError, match="of the organization `acme`, not of `other`"):
        await export(hub.bus, file, org="other")
    ran = await in_hub(hub, "audit", "verify", str(file), "--ends-with", second.last_hash)
    assert ran.code == 0, ran
    ran = await in_hub(hub, "audit", "verify", str(file), "--ends-with", first.last_hash)
    assert ran.code == 1 and "not " + first.last_hash in ran.out


CHANGES: list[tuple[str, Callable[[list[str]], list[str]], str]] = [
    ("a word is changed", lambda lines: [lines[0], lines[1].replace("stranger", "operator"), *lines[2:]], "line 2"),
    ("a line is taken out", lambda lines: [*lines[:3], *lines[4:]], "missing"),
    ("two lines change places", lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "stands behind"),
    ("a line is put in twice", lambda lines: [*lines[:3], lines[2], *lines[3:]], "stands behind"),
    ("the head is gone", lambda lines: lines[1:], "line 1"),
    ("it is no JSON", lambda lines: [*lines[:2], "}", *lines[3:]], "cannot be read"),
    ("everything is gone", lambda lines: [], "there is none"),
]


@pytest.mark.parametrize(("what", "change", "said"), CHANGES, ids=[what for what, *_ in CHANGES])
async def test_an_export_that_was_changed_shows_it(
    hub: Hub, tmp_path: Path, what: str, change: Callable[[list[str]], list[str]], said: str
) -> None:
    file = tmp_path / "audit.jsonl"
    await work(hub, 2)
    await export(hub.bus, file, org="acme")
    lines = file.read_text().splitlines()
    assert verify_export(lines).gaps == ()
    changed = change(lines)
    assert changed != lines
    gaps = verify_export(changed).gaps
    assert gaps and said in " ".join(map(str, gaps)), (what, gaps)
    if changed:
        file.write_text("\n".join(changed) + "\n")
        with pytest.raises(ConfigError, match="is not whole"):
            await export(hub.bus, file, org="acme")


async def test_a_message_without_an_id_is_called_alike_by_all_who_list_it(hub: Hub) -> None:
    words = directive("Do it")
    del words["id"]
    await hub.put("backend", words)
    async with hub.role("backend", says("done")):
        await hub.completion("backend", f"{subjects.AGENTS}-1")
    await recorded(hub, message_id=f"{subjects.AGENTS}-1")
    (first, *_) = (await in_hub(hub, "audit", "ls", "--json")).json
    assert first["message_id"] == f"{subjects.AGENTS}-1"
    _, row, *_ = (await in_hub(hub, "audit", "ls")).out.splitlines()
    assert f"  {subjects.AGENTS}-1  " in row


async def test_garbage_is_recorded_as_what_it_is(hub: Hub, tmp_path: Path) -> None:
    await hub.put("backend", b"\xff\x00 not JSON")
    await hub.put("backend", directive("Do it"))
    assert [(one.who, one.what, one.to) for one in await recorded(hub, 2)] == [
        ("(a stranger)", "garbage", "backend"), ("(a stranger)", "task_assignment", "backend"),
    ]  # fmt: skip
    await export(hub.bus, tmp_path / "a", org="acme")
    assert verify_file(tmp_path / "a").gaps == ()
    assert "base64" in json.loads((tmp_path / "a").read_text().splitlines()[1])["data"]


async def test_provisioning_makes_an_older_record_one_that_only_grows(bus: Bus, hub: Hub) -> None:
    await bus.js.delete_stream(subjects.AUDIT)
    older = next(stream for stream in topology([]).streams if stream.name == subjects.AUDIT)
    older.deny_delete = older.deny_purge = False
    await bus.js.add_stream(older)
    await provision(bus, topology([]))
    info = await bus.js.stream_info(subjects.AUDIT)
    assert info.config.deny_delete and info.config.deny_purge
    async with connect(hub.server.url, name="t", identity=Keyring(hub.settings.keys).find(OPERATOR)) as person:
        assert (await verify(person)).gaps == ()


async def test_what_a_person_decides_is_theirs_in_the_record_and_names_whom_it_is_about(hub: Hub) -> None:
    async with hub.role("backend", says("done")):
        assert (await in_hub(hub, "pause", "backend", "--reason", "lunch")).code == 0
        assert (await in_hub(hub, "budget", "set", "backend", "usd_day=3")).code == 0
        assert (await in_hub(hub, "grants", "add", "backend", "memory", "qa")).code == 0
    await recorded(hub, 3, who="you")
    mine = (await in_hub(hub, "audit", "ls", "--who", "you", "--json")).json
    assert [(one["what"], one["to"]) for one in mine] == [
        ("pause", "backend"), ("budget", "backend"), ("granted", "backend")
    ]  # fmt: skip
    assert "lunch" in mine[0]["title"]
    assert ["by you" in one["title"] for one in mine[1:]] == [True, True]
    (grant,) = (await in_hub(hub, "grants", "ls", "--json")).json
    assert (grant["by"], grant["login"]) == ("you", getpass.getuser())
    _, row = (await in_hub(hub, "grants", "ls")).out.splitlines()
    assert row.endswith("  you")
    assert (await in_hub(hub, "grants", "revoke", grant["id"])).code == 0
    assert "revoked by you" in (await in_hub(hub, "grants", "ls", "--all")).out
