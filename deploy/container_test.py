"""`make container-test`: the image and the compose file on a real Docker engine, under load, kills and an upgrade.

Where no engine can be had it says so and ends with 0: nothing was tested then, and nothing is claimed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agenthub.client import Client, open_client
from agenthub.messages import Completion, Message, Outcome
from agenthub.organization import load_organization
from agenthub.settings import Settings

HERE = Path(__file__).resolve().parent.parent
TOOLS = HERE.parent / "shared" / "containers"
"""Brings an engine and stand-ins for the base images, on machines that have it."""
IMAGE, NEXT = "agenthub:container-test", "agenthub:container-test-next"
WITHIN_S = 540
ROLES = {
    "ceo": "  skills: [strategy]\n",
    "cto": "  reports_to: ceo\n",
    "backend": "  reports_to: cto\n  skills: [api]\n",
}
_STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - _STARTED:4.0f} s] {text}", flush=True)


def run(*words: str, check: bool = True, **variables: str) -> str:
    """Output of a program; what it said is shown if it fails."""
    done = subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, timeout=WITHIN_S)
    if check and done.returncode:
        raise SystemExit(f"FAILED: {' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout.strip()


_ours: list[str] = []
"""How to stop the engine, if it was started here."""


def has_engine() -> bool:
    """True if `docker` works, or could be made to work with what stands beside the project."""
    if shutil.which("docker") and subprocess.run(("docker", "info"), capture_output=True).returncode == 0:
        return True
    if os.geteuid() != 0 or not (TOOLS / "engine.sh").exists():
        return False
    started = subprocess.run((str(TOOLS / "engine.sh"), "start"), capture_output=True, text=True)
    if started.returncode:
        say(f"the engine did not start: {(started.stdout + started.stderr)[-500:]}")
        return False
    if "already up" not in started.stdout:
        _ours.append(str(TOOLS / "engine.sh"))
    for name, value in re.findall(r"(\w+)=(\S+)", run(str(TOOLS / "engine.sh"), "env")):
        os.environ[name] = value.replace("$PATH", os.environ["PATH"])
    images = subprocess.run((str(TOOLS / "base-images.sh"),), capture_output=True, text=True)
    if images.returncode:
        say(f"the base images cannot be had: {(images.stdout + images.stderr)[-500:]}")
    return images.returncode == 0


class Stack:
    """An organization of three roles in containers, below a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project = folder, f"agenthub-test-{os.getpid()}"
        self.ports = [_free_port() for _ in range(3)]
        self.image = IMAGE
        self.roles = dict(ROLES)
        (folder / "agenthub.toml").write_text('org = "harbour"\n')
        (folder / "roles").mkdir()
        self.write_roles()

    def write_roles(self, *, replicas: int = 1) -> None:
        """Write role files and the compose file that they ask for."""
        for name, ours in self.roles.items():
            more = f"  replicas: {replicas}\n" if name == "backend" else ""
            head = f"---\nname: {name}\ndescription: The {name}.\nagenthub:\n{ours}{more}---\n"
            (self.folder / "roles" / f"{name}.md").write_text(f"{head}You are the {name}.\n")
        written = run(sys.executable, "-m", "agenthub", "compose", "--config", str(self.folder / "agenthub.toml"))
        (self.folder / "compose.yaml").write_text(f"{written}\n")

    def compose(self, *words: str, check: bool = True) -> str:
        """`docker compose` on it."""
        ports = {f"AGENTHUB_NATS_{number}_PORT": str(port) for number, port in enumerate(self.ports, 1)}
        return run(
            "docker", "compose", "--project-name", self.project, "--project-directory", str(self.folder),
            "--env-file", str(HERE / "deploy" / "rehearsal.env"), *words, check=check,
            AGENTHUB_IMAGE=self.image, AGENTHUB_REHEARSAL_SPEED="20", **ports,
        )  # fmt: skip

    def fetch_key(self) -> None:
        """Bring the operator's key to the host, as docs/operations.md says."""
        keys = self.folder / "state" / "keys"
        keys.mkdir(parents=True, exist_ok=True)
        for name in ("operator.nk", "public.json"):
            text = self.compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "cat", "cli", f"/data/keys/{name}")
            (keys / name).touch(mode=0o600)
            (keys / name).write_text(text)

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def settings(self) -> Settings:
        urls = ",".join(f"nats://127.0.0.1:{port}" for port in self.ports)
        return Settings.load(config=self.folder / "agenthub.toml", state=self.folder / "state", nats_url=urls)


def inspect(container: str, form: str) -> Any:
    return json.loads(run("docker", "inspect", container, "--format", f"{{{{json {form}}}}}"))


async def until(what: str, condition: Callable[[], Awaitable[Any]], *, within_s: float = 90.0) -> Any:
    """What `condition` gives, as soon as it is true."""
    deadline = time.monotonic() + within_s
    while not (found := await condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"FAILED: waited {within_s:.0f} s for {what}")
        await asyncio.sleep(0.5)
    return found


def check_hardening(stack: Stack) -> None:
    """Who runs in a role's container, and what it may."""
    for service in (*ROLES, "leader", "rehearsal"):
        (container,) = stack.containers(service)
        status = run("docker", "exec", container, "cat", "/proc/1/status")
        facts = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
        assert facts["Uid"].split()[0] == "10001", facts["Uid"]
        assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0, facts["CapEff"]
        assert facts["NoNewPrivs"] == "1"
        write = subprocess.run(
            ("docker", "exec", container, "touch", "/opt/agenthub/x"), capture_output=True, text=True
        )
        assert "Read-only file system" in write.stderr, write.stderr
        assert inspect(container, ".State.Health.Status") == "healthy"
        assert "OK: 1 well" in run("docker", "exec", container, "agenthub", "check", "--ready")
        assert run("docker", "exec", container, "cat", "/proc/1/comm") == "docker-init"
    say("every container: uid 10001, no capabilities, no new privileges, read-only, an init, healthy")


INTRUDER = """
import asyncio, sys, nats
from agenthub.bus.identity import Keyring
from pathlib import Path

async def main():
    refused = []
    async def failed(error): refused.append(str(error))
    urls = sys.argv[1].split(",")
    try:
        await nats.connect(urls, error_cb=failed, allow_reconnect=False, connect_timeout=3)
    except Exception as error:
        print("without a key:", error)
    own = Keyring(Path("/data/keys")).find("backend", is_role=True)
    nc = await nats.connect(urls, nkeys_seed_str=own.seed, inbox_prefix=own.inbox_prefix, error_cb=failed)
    await nc.publish("agent-hub.operators.operator-cto.inbox.high.ceo", b"{}")
    await nc.subscribe("agent-hub.operators.>")
    for _ in range(2):
        await nc.flush()
    print("as another:", "; ".join(refused))

asyncio.run(main())
"""


def check_keys(stack: Stack) -> None:
    """A container has its own key and no other, and cannot come in as anybody else."""
    held = {name: [f"role.{name}.nk"] for name in ROLES} | {"leader": ["leader.nk"]}
    for service, keys in held.items():
        (container,) = stack.containers(service)
        found = run("docker", "exec", container, "find", "/data/keys", "-name", "*.nk", "-printf", "%f %m %u\n")
        assert found.split() == [keys[0], "600", "10001"], found
    (backend,) = stack.containers("backend")
    urls = ",".join(f"nats://nats-{number}:4222" for number in (1, 2, 3))
    said = run("docker", "exec", backend, "python", "-c", INTRUDER, urls).lower()
    assert "without a key: nats: 'authorization violation'" in said, said
    assert 'violation for publish to "agent-hub.operators.operator-cto.inbox.high.ceo"' in said, said
    assert 'violation for subscription to "agent-hub.operators.>"' in said, said
    say("a container has its own key only; without one nobody comes in, and with one nobody is another")


async def check_new_role(stack: Stack) -> None:
    """A role that is added gets its key, and the servers learn of it without a restart."""
    others = ("nats-1", "nats-2", "nats-3", "ceo", "cto")
    since = {name: inspect(stack.containers(name)[0], ".State.StartedAt") for name in others}
    stack.roles["qa"] = "  reports_to: cto\n  skills: [testing]\n"
    stack.write_roles()
    await asyncio.to_thread(stack.compose, "up", "-d", "--wait")
    stack.fetch_key()  # the list of public keys has grown
    async with open_client(stack.settings(), load_organization(stack.settings())) as client:
        message = await client.send("qa", "Test the new quay")
        assert (await client.completion("qa", message.id, timeout_s=60)).outcome is Outcome.DONE
    again = [name for name in others if inspect(stack.containers(name)[0], ".State.StartedAt") != since[name]]
    assert not again, f"started again for a new role: {again}"
    say("a role was added with a key of its own; no NATS server and no other role was started again for it")


async def send(client: Client, count: int, *, every_s: float = 0.0) -> list[Message]:
    sent = []
    for number in range(count):
        sent.append(await client.send("backend", f"Write down port number {number} of the harbour"))
        await asyncio.sleep(every_s)
    return sent


async def all_done(client: Client, sent: list[Message], *, within_s: float = 120.0) -> None:
    ends: list[Completion] = await asyncio.gather(
        *(client.completion("backend", message.id, timeout_s=within_s) for message in sent)
    )
    others = [
        (end.message_id, end.outcome, end.turns, end.text[:300]) for end in ends if end.outcome is not Outcome.DONE
    ]
    assert not others, others


def kill_process(container: str) -> None:
    """Kill what runs in a container, as the kernel would: `docker kill` does not trigger the restart policy."""
    os.kill(inspect(container, ".State.Pid"), signal.SIGKILL)


async def check_kills(stack: Stack, client: Client) -> None:
    """Kill a role and a NATS server while messages are worked on."""
    sent = await send(client, 6)
    (backend,) = stack.containers("backend")
    kill_process(backend)
    (server,) = stack.containers("nats-2")
    kill_process(server)
    sent += await send(client, 6, every_s=0.2)
    await all_done(client, sent)
    assert inspect(backend, ".RestartCount") >= 1 and inspect(server, ".RestartCount") >= 1
    say(f"{len(sent)} messages done, each once, with a role and a NATS server killed among them")


async def check_scale(stack: Stack, client: Client) -> None:
    """Three copies of a role share its inbox."""
    stack.write_roles(replicas=3)
    stack.compose("up", "-d", "--force-recreate", "--no-deps", "provision")
    stack.compose("up", "-d", "--wait", "backend")

    async def three() -> bool:
        beats = {status.role for status in await client.roles() if status.heartbeat}
        return {"backend", "backend.1", "backend.2"} <= beats

    await until("three copies of backend", three)
    assert len(stack.containers("backend")) == 3
    await all_done(client, await send(client, 9))
    say("backend is three containers, each with a number of its own")


async def check_upgrade(stack: Stack, client: Client) -> None:
    """Replace the image role by role while messages arrive."""
    run("docker", "build", "-q", "-t", NEXT, "--build-arg", "VERSION=0.2.0-test", str(HERE))
    since = time.monotonic()
    upgrading = asyncio.Event()

    async def load() -> list[Message]:
        sent = []
        while not upgrading.is_set():
            sent += await send(client, 1, every_s=1.5)
        return sent

    loading = asyncio.create_task(load())
    stack.image = NEXT
    await asyncio.to_thread(stack.compose, "up", "--no-deps", "keys", "provision")
    for role in (*ROLES, "leader"):
        await asyncio.to_thread(stack.compose, "up", "-d", "--no-deps", "--wait", role)
    upgrading.set()
    sent = await loading
    await all_done(client, sent)
    for role in (*ROLES, "leader"):
        for container in stack.containers(role):
            label = inspect(container, ".Config.Labels")["org.opencontainers.image.version"]
            assert label == "0.2.0-test", label
    heard = [event async for event in client.events(last=2000)]
    alarms = [event for event in heard if event.kind in ("unhealthy", "dead", "reassigned") and event.role == "backend"]
    recent = [event for event in alarms if event.at.timestamp() > time.time() - (time.monotonic() - since)]
    assert not recent, f"a role that stopped for its upgrade was missed: {recent}"
    say(f"roles and leader upgraded one by one, {len(sent)} messages meanwhile, all done, and nobody was missed")


async def check_everything(stack: Stack) -> None:
    organization = load_organization(stack.settings())
    sent = await asyncio.to_thread(
        run, sys.executable, "-m", "agenthub", "send", "ceo", "Open the new quay", "--wait", "--config",
        str(stack.folder / "agenthub.toml"), "--nats", f"nats://127.0.0.1:{stack.ports[0]}",
        "--state", str(stack.folder / "state"),
    )  # fmt: skip
    assert "harbour" in sent or "quay" in sent, sent
    say(f"a directive from the host is done: {sent.splitlines()[0]}")
    inside = stack.compose("run", "--rm", "-T", "cli", "ps", "--json")
    assert {role["role"] for role in json.loads(inside.splitlines()[-1])} == set(ROLES)
    async with open_client(stack.settings(), organization) as client:
        await check_kills(stack, client)
        await check_new_role(stack)
        await check_scale(stack, client)
        await check_upgrade(stack, client)


def main() -> int:
    try:
        if has_engine():
            return test()
        say("SKIPPED: there is no Docker engine here and none can be started; the image was not tested")
        return 0
    finally:
        for engine in _ours:
            run(engine, "stop", check=False)


def test() -> int:
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(WITHIN_S)
    run("docker", "build", "-q", "-t", IMAGE, str(HERE))
    say(f"{IMAGE} is built: {inspect(IMAGE, '.Size') / 1e6:.0f} MB")
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        try:
            stack.compose("up", "-d", "--wait")
            say("three NATS servers and three roles are up")
            check_hardening(stack)
            check_keys(stack)
            stack.fetch_key()
            asyncio.run(check_everything(stack))
        except BaseException:
            for service in ("keys", "provision", "nats-1", "leader", *ROLES):
                print(stack.compose("logs", "--no-color", "--tail", "12", service, check=False), file=sys.stderr)
            raise
        finally:
            signal.alarm(0)
            stack.compose("--profile", "*", "down", "--volumes", "--timeout", "20", check=False)
    left = run("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={stack.project}")
    assert not left, left
    say("PASSED, and nothing is left")
    return 0


def _too_late(*_: object) -> None:
    raise SystemExit(f"FAILED: not done within {WITHIN_S} s")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
