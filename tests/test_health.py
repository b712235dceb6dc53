"""/livez, /readyz and /metrics of a role, and the command that asks them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agenthub.bus.connection import Bus
from agenthub.cli.check import asked
from agenthub.health import Health, open_health
from agenthub.health_files import HealthFile
from agenthub.messages import Event, now
from agenthub.metrics import Metrics
from agenthub.org.registry import Registry
from agenthub.settings import Settings
from tests.organization import Hub, says, until


async def ask(port: int, head: str) -> tuple[int, str]:
    """Status and body of the answer to a request that begins with `head`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    async with asyncio.timeout(30):
        answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split(" ")[1]), answer.partition("\r\n\r\n")[2]


async def get(port: int, path: str, *headers: str) -> tuple[int, str]:
    return await ask(port, "\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers]))


@asynccontextmanager
async def door(folder: Path, **settings: object) -> AsyncIterator[Health]:
    (folder / "agenthub.toml").write_text("")
    loaded = Settings.load(config=folder / "agenthub.toml", **settings)
    async with open_health(loaded, "backend", Metrics("backend", org="acme")) as health:
        yield health


async def check(hub: Hub, *words: str) -> tuple[int, str]:
    """Exit status and output of `agenthub check`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agenthub", "check", "--config", str(hub.folder / "agenthub.toml"),
        "--nats", hub.server.url, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_a_role_at_work_is_live_and_ready_and_says_where(hub: Hub, bus: Bus) -> None:
    async with hub.role("backend", says("done")):
        beat = await until(lambda: Registry(bus).find("backend"))
        await until(lambda: _is_ready(beat.health_port))
        assert await get(beat.health_port, "/livez") == (200, "ok\n")
        assert HealthFile.all(hub.settings.state)["backend"].port == beat.health_port
        assert await check(hub, "--role", "backend", "--ready") == (0, "OK: 1 well\n")
    assert not HealthFile.all(hub.settings.state), "who ends says so"


async def test_without_a_broker_a_role_is_live_but_not_ready(hub: Hub, bus: Bus) -> None:
    hub.settings = hub.settings.model_copy(update={"lease_ttl_s": 60.0})  # that it loses the role is another matter
    async with hub.role("backend", says("done")):
        beat = await until(lambda: Registry(bus).find("backend"))
        await until(lambda: _is_ready(beat.health_port))
        await hub.server.kill()
        status, words = await until(lambda: _unready(beat.health_port))
        assert (status, "not connected" in words) == (503, True)
        assert await get(beat.health_port, "/livez") == (200, "ok\n")
        code, said = await check(hub, "--role", "backend")
        assert (code, "lives, but is not connected" in said) == (0, True)
        assert (await check(hub, "--role", "backend", "--ready"))[0] == 1
        await hub.server.start()
        await until(lambda: _is_ready(beat.health_port))


async def _is_ready(port: int) -> bool:
    return (await get(port, "/readyz"))[0] == 200


async def _unready(port: int) -> tuple[int, str] | None:
    found = await get(port, "/readyz")
    return found if found[0] != 200 else None


async def test_work_is_counted_for_prometheus(hub: Hub, bus: Bus) -> None:
    async with hub.role("backend", says("done")):
        await hub.completion("backend", await hub.send("backend", "Do it", priority="high"))
        await hub.send("backend", "x", type="direct_message", deadline="2020-01-01T00:00:00Z")
        beat = await until(lambda: Registry(bus).find("backend"))

        async def samples() -> dict[tuple[str, ...], float]:
            status, page = await get(beat.health_port, "/metrics")
            assert status == 200
            return {
                (sample.name, *(sample.labels[name] for name in sorted(sample.labels) if name != "role")): sample.value
                for family in text_string_to_metric_families(page)
                for sample in family.samples
            }

        async def counted() -> dict[tuple[str, ...], float] | None:
            found = await samples()
            return found if found[("agenthub_dead_letters_total",)] else None

        found = await until(counted)
    assert found[("agenthub_messages_total", "done", "high")] == 1
    assert found[("agenthub_dead_letters_total",)] == 1
    assert found[("agenthub_message_seconds_count", "done")] == 1
    assert found[("agenthub_message_wait_seconds_count",)] == 1
    assert found[("agenthub_inbox_messages", "low")] == 0
    assert found[("agenthub_circuit_state", "role")] == 0
    assert ("agenthub_budget_ratio", "backend", "usd_day") in found
    assert found[("process_open_fds",)] > 0
    assert found[("agenthub_approvals_waiting",)] == 0
    assert found[("agenthub_learnings", "hint")] == 0
    shown = {name.removesuffix("_created") for name, *_ in found}
    deploy = Path(__file__).parent.parent / "deploy"
    for name in ("grafana.json", "alerts.yaml"):
        wanted = set(re.findall(r"\bagenthub_\w+", (deploy / name).read_text()))
        # Of what has not happened yet there is no sample.
        missing = wanted - shown - {"agenthub_tokens_total", "agenthub_cost_usd_total"}
        assert wanted and not missing, f"deploy/{name} shows what no role tells: {missing}"


async def test_tokens_and_money_are_counted_by_model() -> None:
    metrics = Metrics("qa", org="acme")
    told = {"model": "haiku", "input_tokens": 5, "cache_read_tokens": 90, "output_tokens": 7, "cost_usd": 0.25}
    for _ in range(2):
        metrics.heard(Event(kind="model", role="qa", at=now(), data=told))
    page = (await metrics.page()).decode()
    assert 'agenthub_tokens_total{model="haiku",role="qa",type="cache_read"} 180.0' in page
    assert 'agenthub_cost_usd_total{model="haiku",role="qa"} 0.5' in page


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /livez HTTP/1.1\nHost: localhost:9464", 200),
        ("HEAD /livez HTTP/1.0", 200),
        ("GET /livez HTTP/1.1\nHost: [::1]:80", 200),
        ("GET /secrets HTTP/1.1\nHost: localhost", 404),
        ("POST /livez HTTP/1.1\nHost: localhost", 405),
        ("GET /metrics HTTP/1.1\nHost: evil.example", 403),
        ("GET /metrics HTTP/1.1\nHost: localhost\nOrigin: http://localhost", 403),
        ("rubbish", 400),
        ("GET " + "x" * 20_000, 400),
    ],
)
async def test_what_is_no_honest_question_gets_no_answer(tmp_path: Path, head: str, status: int) -> None:
    async with door(tmp_path) as health:
        assert (await ask(health.port, head))[0] == status
        assert (await get(health.port, "/livez"))[0] == 200


async def test_beyond_this_machine_metrics_need_a_token(tmp_path: Path) -> None:
    async with door(tmp_path, health_host="0.0.0.0") as health:
        assert (await get(health.port, "/livez", "Host: backend"))[0] == 200
        assert (await get(health.port, "/metrics"))[0] == 403
    async with door(tmp_path, health_host="0.0.0.0", health_token="open sesame") as health:
        assert (await get(health.port, "/metrics"))[0] == 401
        assert (await get(health.port, "/metrics", "Authorization: Bearer open"))[0] == 401
        assert (await get(health.port, "/metrics", "Authorization: Bearer open sesame"))[0] == 200


async def test_who_holds_connections_open_keeps_nobody_out_for_long(tmp_path: Path) -> None:
    async with door(tmp_path) as health:
        idle = [await asyncio.open_connection("127.0.0.1", health.port) for _ in range(40)]
        for _, writer in idle[16:]:  # those beyond the limit are let go at once
            writer.close()
        for _, writer in idle[:16]:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: _is_live(health.port))
        for _, writer in idle:
            writer.close()


async def _is_live(port: int) -> bool:
    try:
        return (await get(port, "/livez"))[0] == 200
    except (OSError, IndexError):
        return False


async def test_a_port_that_is_taken_does_not_keep_a_role_from_working(tmp_path: Path) -> None:
    async with door(tmp_path) as first, door(tmp_path, health_port=first.port) as second:
        assert second.port not in (0, first.port)
        assert (await get(second.port, "/livez"))[0] == 200


async def test_a_process_that_stands_still_is_told_from_one_that_is_gone(hub: Hub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, as a stuck process does
        file = HealthFile("127.0.0.1", silent.getsockname()[1], 1)
        found = asked("qa", file, ready=False, within_s=0.2)
        assert (found.ok, "event loop has not turned" in found.state) == (False, True)
    file.write(hub.settings.state, "qa")
    code, said = await check(hub, "--json")
    assert (code, json.loads(said)[0]["process"]) == (1, "qa")
    assert "is down" in said


async def test_where_no_process_runs_the_heartbeats_count(hub: Hub, tmp_path: Path) -> None:
    async with hub.role("backend", says("done")):
        shutil.copytree(hub.settings.keys, tmp_path / "elsewhere" / "keys")
        elsewhere = ("--state", str(tmp_path / "elsewhere"))
        await until(lambda: _beats(hub, *elsewhere))
        code, said = await check(hub, *elsewhere)
        assert (code, "qa gives no sign of life" in said, "backend" in said) == (1, True, False)
    assert (await check(hub, "--role", "nobody", *elsewhere))[0] == 3


async def _beats(hub: Hub, *words: str) -> bool:
    return (await check(hub, "--role", "backend", *words))[0] == 0
