"""Each line of the permission table attacked, with the key of that line and a plain NATS client.

The proof is the server's own refusal, named for each subject, and that nothing is stored, taken or changed by it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from nats.errors import NoRespondersError

from agenthub import subjects
from agenthub.bus.identity import SYSTEM
from agenthub.bus.permissions import STRANGER, Member, rights_of
from tests.attack_table import DOCUMENTED, EVERYTHING, MAY, Attempt, attempts, refusal
from tests.organization import ROLES, Hub, until
from tests.test_identity import Intruder, intruding, key_of

MANAGERS = {"ceo", "cto"}
WHO = [*(name for name in MAY if not name.startswith("a ")), *ROLES]


def line_of(who: str) -> str:
    """The line of the table that an identity belongs to."""
    return ("a manager" if who in MANAGERS else "a role") if who in ROLES else who


async def try_all(intruder: Intruder, tried: dict[str, Attempt], *, reply: str) -> set[str]:
    """The names of what the server refuses, by its own words."""
    for attempt in tried.values():
        if attempt.hears:
            await intruder.nc.subscribe(attempt.subject)
        else:
            await intruder.nc.publish(attempt.subject, attempt.data, reply=reply)
    for _ in range(2):  # nats-py's first PING overtakes what it has not written yet
        await intruder.nc.flush(timeout=10)
    said = "\n".join(intruder.refusals).lower()
    return {name for name, attempt in tried.items() if refusal(attempt) in said}


async def everything_that_is_kept(hub: Hub) -> dict[str, object]:
    """What the broker holds, and how far it was read."""
    found: dict[str, object] = {}
    for stream in await hub.bus.js.streams_info():
        found[str(stream.config.name)] = stream.config, stream.state.last_seq, stream.state.messages
        for one in await hub.bus.js.consumers_info(str(stream.config.name)):
            delivered = one.delivered.stream_seq if one.delivered else 0
            found[f"{one.stream_name}/{one.name}"] = one.config, delivered, one.num_ack_pending
    return found


@pytest.mark.parametrize("who", WHO)
async def test_the_server_refuses_all_that_an_identity_may_not_and_nothing_else(hub: Hub, who: str) -> None:
    victim, other = [name for name in ("backend", "cto", "qa") if name != who][:2]
    await hub.bus.publish(subjects.lane(victim, "high", other), b"secret")
    await until(lambda: hub.bus.newest(subjects.AUDIT))  # its copy comes behind it
    tried, may = attempts(victim, other), MAY[line_of(who)]
    attacks = {name: attempt for name, attempt in tried.items() if name not in may}
    identity = None if who == STRANGER else key_of(hub, who)
    assert identity or who == STRANGER
    reply = f"{identity.inbox_prefix}.x" if identity else "_INBOX.x"
    before = await everything_that_is_kept(hub)
    async with intruding(hub, identity) as intruder:
        assert set(attacks) - await try_all(intruder, attacks, reply=reply) == set(), "not refused"
        assert await everything_that_is_kept(hub) == before
        # The counterpart: a server that refuses everything would pass the other half.
        assert await try_all(intruder, {name: tried[name] for name in may}, reply=reply) == set(), "refused"


async def test_not_even_the_system_takes_anything_out_of_the_record_or_gives_orders_to_the_server(hub: Hub) -> None:
    """It may do everything where everybody works; the stream itself refuses, and orders are another account's."""
    await hub.bus.publish(subjects.inbox("backend"), b"{}")
    await until(lambda: hub.bus.newest(subjects.AUDIT))
    config = (await hub.bus.js.stream_info(subjects.AUDIT)).config
    loosened = json.dumps(config.as_dict() | {"deny_delete": False, "deny_purge": False}).encode()
    async with intruding(hub, key_of(hub, SYSTEM)) as system:
        for verb, data, said in (
            ("MSG.DELETE", b'{"seq":1}', "message delete not permitted"),
            ("PURGE", b"{}", "stream purge not permitted"),
            ("UPDATE", loosened, "stream configuration update can not cancel deny"),
        ):
            answer = await system.ask(f"$JS.API.STREAM.{verb}.{subjects.AUDIT}", data)
            assert answer is not None and said in json.loads(answer)["error"]["description"]
        with pytest.raises(NoRespondersError):
            await system.nc.request("$SYS.REQ.SERVER.PING", timeout=5)
    assert (await hub.bus.js.stream_info(subjects.AUDIT)).state.first_seq == 1


def test_every_identity_and_every_documented_line_is_in_the_table() -> None:
    rights = rights_of([Member(name, is_manager=name in MANAGERS) for name in ROLES])
    assert {line_of(name.removeprefix("role.")) for name in rights} == set(MAY)
    assert {name.removeprefix("role.") for name in rights} == set(WHO)
    assert all(may <= EVERYTHING for may in MAY.values())
    text = (Path(__file__).parent.parent / "docs" / "security.md").read_text()
    table = text.partition("| who | publishes | reads |")[2].partition("\n\n")[0]
    lines = re.findall(r"^\| ([^|]*?)(?: \([^|]*\))? \|", table, re.MULTILINE)
    assert {line for line in lines if line and not line.startswith("---")} == set(DOCUMENTED)
    assert {name for names in DOCUMENTED.values() for name in names} == set(MAY)
