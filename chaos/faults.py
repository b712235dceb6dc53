"""Carries out what a plan says. Each kind is one method; what cannot be done at the moment is left out and counted."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import time
from typing import Any

import psutil
from nats.errors import Error as NatsError

from agenthub import subjects
from chaos.history import Injected
from chaos.hook import effects_of, stand_still
from chaos.hub import Hub, stopped
from chaos.peer import Peer
from chaos.plan import Fault
from chaos.sending import Door

ZOMBIE_WITHIN_S = 25.0
_ZOMBIE_WORKS_S = 1.5


class Injector:
    """Spoils one organization."""

    def __init__(self, hub: Hub, peer: Peer, door: Door) -> None:
        self._hub, self._peer, self._door = hub, peer, door
        self.injected: list[Injected] = []
        self._is_over = False
        self._filling = asyncio.Lock()
        self.missed: list[Fault] = []
        """What could not be done: the target was not there."""
        self._kinds = {
            "kill role": self._kill_role, "failpoint": self._failpoint, "kill server": self._kill_server,
            "pause": self._pause, "pause server": self._pause, "zombie": self._zombie, "model": self._model,
            "garbage": self._garbage, "full": self._full, "cut": self._cut, "delay": self._delay,
            "half-open": self._half_open, "kill leader": self._kill_leader, "kill follower": self._kill_leader,
            "pause leader": self._pause_leader, "kill supervisor": self._kill_supervisor,
            "kill nursery": self._kill_nursery, "zombie amid a turn": self._zombie_amid_a_turn,
        }  # fmt: skip

    async def inject(self, fault: Fault) -> None:
        """Carry out a fault; returns when it is over."""
        try:
            if not await self._kinds[fault.kind](fault):
                self.missed.append(fault)
        except (psutil.Error, NatsError, OSError, TimeoutError):
            self.missed.append(fault)

    async def heal(self) -> None:
        """Undo what lasts."""
        self._is_over = True
        if self._hub.proxy is not None:
            self._hub.proxy.heal()
        self._peer.heal()
        for process in self._hub.processes().values():
            with contextlib.suppress(psutil.Error):
                process.resume()
        for file in (self._hub.state / "failpoints").glob("*"):
            file.unlink(missing_ok=True)

    def _note(self, fault: Fault, *, is_crash: bool = False) -> None:
        self.injected.append(Injected(fault.kind, fault.target, time.time(), is_crash))

    # ── processes ──────────────────────────────────────────────────────────────────────────────────
    async def _kill_role(self, fault: Fault) -> bool:
        process = self._hub.process(fault.target)
        if process is None:
            return False
        process.kill()
        self._note(fault, is_crash=True)
        return True

    async def _failpoint(self, fault: Fault) -> bool:
        """Have the role die at a place; it reads which when it starts, and `watch` sees when it did."""
        folder = self._hub.state / "failpoints"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / fault.target
        file.write_text(str(fault.value))
        while file.exists():  # noqa: ASYNC110  # the one who dies tells nobody
            await asyncio.sleep(0.02)
        if self._is_over:
            return False
        self.injected.append(
            Injected(f"die at {str(fault.value).split()[0]}", fault.target, time.time(), is_crash=True)
        )
        return True

    async def _kill_server(self, fault: Fault) -> bool:
        self._note(fault)
        return await self._hub.kill_server()

    async def _kill_leader(self, fault: Fault) -> bool:
        """Kill the server that leads the inboxes, or one that does not."""
        leader, followers = await self._members()
        self._note(fault)
        return await self._hub.kill_server(leader if fault.kind == "kill leader" else followers[0])

    async def _pause_leader(self, fault: Fault) -> bool:
        leader, _ = await self._members()
        return await self._pause(fault._replace(target=leader))

    async def _members(self) -> tuple[str, list[str]]:
        found = await self._door.request(f"$JS.API.STREAM.INFO.{subjects.AGENTS}", {})
        cluster = found.get("cluster", {})
        if "leader" not in cluster:
            raise TimeoutError("nobody leads at this moment")
        return cluster["leader"], [replica["name"] for replica in cluster["replicas"]]

    async def _pause(self, fault: Fault) -> bool:
        process = self._hub.process(fault.target)
        if process is None:
            return False
        self._note(fault)
        with stopped(process):
            await asyncio.sleep(fault.value)
        return True

    async def _zombie(self, fault: Fault) -> bool:
        """Stop a role until another process has taken over and works, then let it go on.

        The nursery is stopped as well, as in a machine that is suspended: else the supervisor would kill what does
        not beat, and there were no zombie.
        """
        process, nursery = self._hub.process(fault.target), self._hub.process("nursery")
        if process is None or nursery is None:
            return False
        self._note(fault)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(stopped(nursery))
            with stopped(process):
                replacement = await stack.enter_async_context(self._hub.replacement(fault.target))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ZOMBIE_WITHIN_S):
                        while replacement.returncode is None and await self._beating(fault.target) != replacement.pid:  # noqa: ASYNC110
                            await asyncio.sleep(0.1)
                await asyncio.sleep(_ZOMBIE_WORKS_S)
            await asyncio.sleep(_ZOMBIE_WORKS_S)
        return True

    async def _zombie_amid_a_turn(self, fault: Fault) -> bool:
        """The same, with both processes behind the same effect of the same turn, which has a line `hook.STILL`.

        What the first one does when it goes on, the other one cannot have done before.
        """
        process, nursery = self._hub.process(fault.target), self._hub.process("nursery")
        if process is None or nursery is None:
            return False
        await self._stands_still(process, fault.target)
        self._note(fault)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(stopped(nursery))
            with stopped(process):
                replacement = await stack.enter_async_context(self._hub.replacement(fault.target))
                other = psutil.Process(replacement.pid)
                stack.callback(other.resume)
                await self._stands_still(other, fault.target)
            await self._acts(process, fault.target)
        return True

    async def _stands_still(self, process: psutil.Process, role: str) -> None:
        """Have a role stop itself between two effects of one turn; returns when it has."""
        stand_still(self._hub.folder, role).touch()
        async with asyncio.timeout(ZOMBIE_WITHIN_S):
            while process.status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.02)

    async def _acts(self, process: psutil.Process, role: str) -> None:
        """Wait for an effect of a process."""
        log = effects_of(self._hub.folder, role)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ZOMBIE_WITHIN_S):
                while log.read_text().splitlines()[-1].split()[1] != str(process.pid):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def _beating(self, role: str) -> int:
        """Process id in the role's newest heartbeat; 0 if there is none."""
        with contextlib.suppress(NatsError, OSError, TimeoutError, KeyError, ValueError):
            place = {"last_by_subj": f"$KV.{subjects.REGISTRY}.{role}"}
            found = await self._door.request(f"$JS.API.STREAM.MSG.GET.KV_{subjects.REGISTRY}", place)
            return int(json.loads(base64.b64decode(found["message"]["data"]))["pid"])
        return 0

    async def _kill_supervisor(self, fault: Fault) -> bool:
        supervisor = self._hub.supervisor
        if supervisor is None:
            return False
        os.kill(supervisor, signal.SIGKILL)
        self._note(fault)
        return True

    async def _kill_nursery(self, fault: Fault) -> bool:
        process = self._hub.process("nursery")
        if process is None:
            return False
        process.kill()
        self._note(fault)
        return True

    # ── the network ────────────────────────────────────────────────────────────────────────────────
    async def _cut(self, fault: Fault) -> bool:
        assert self._hub.proxy is not None
        self._note(fault)
        self._hub.proxy.cut(fault.target)
        return True

    async def _delay(self, fault: Fault) -> bool:
        assert self._hub.proxy is not None
        self._note(fault)
        await self._hub.proxy.slow(fault.target, **fault.value)
        return True

    async def _half_open(self, fault: Fault) -> bool:
        assert self._hub.proxy is not None
        self._note(fault)
        await self._hub.proxy.half_open(fault.target, seconds=fault.value)
        return True

    # ── what comes in, and what it costs ───────────────────────────────────────────────────────────
    async def _model(self, fault: Fault) -> bool:
        self._note(fault)
        self._peer.spoil(fault.value)
        return True

    async def _garbage(self, fault: Fault) -> bool:
        self._note(fault)
        await self._door.send_garbage(fault.value)
        return True

    async def _full(self, fault: Fault) -> bool:
        """Have the inboxes refuse everything for a while."""
        async with self._filling:  # one after the other, or the second would take the limit of the first for the real
            found = await self._door.request(f"$JS.API.STREAM.INFO.{subjects.AGENTS}", {})
            config: dict[str, Any] = found["config"]
            self._note(fault)
            update = f"$JS.API.STREAM.UPDATE.{subjects.AGENTS}"
            try:
                await self._door.request(update, config | {"max_msgs": max(1, found["state"]["messages"])})
                await asyncio.sleep(fault.value)
            finally:
                await self.widen(config)
        return True

    async def widen(self, config: dict[str, Any]) -> None:
        """Bring the inboxes' limit back, however long the server takes to be there."""
        update = f"$JS.API.STREAM.UPDATE.{subjects.AGENTS}"
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(NatsError, OSError, TimeoutError):
                    if "error" not in await self._door.request(update, config):
                        return
                await asyncio.sleep(0.2)
