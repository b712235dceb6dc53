"""The program Claude Code, as the SDK runs it for a role: one process of it at a time, in its walls."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from agenthub.errors import ModelUnavailableError
from agenthub.overuse import Overuse
from agenthub.sandbox import isolation, own
from agenthub.sessions.claude_code import place as places
from agenthub.sessions.claude_code import walls
from agenthub.sessions.claude_code.answers import priced
from agenthub.sessions.claude_code.gate import Gate
from agenthub.sessions.claude_code.place import Place
from agenthub.sessions.claude_code.relay import Relay
from agenthub.sessions.claude_code.server import Called, mcp_server
from agenthub.sessions.claude_code.tally import Answered

logger = logging.getLogger(__name__)

_LOGGED_LINES = 200
"""Of what one process of Claude Code writes to stderr; the rest is dropped."""
_HOOK_TIMEOUT_S = 600.0
_LOOK_EVERY_S, _LOOKS_AT_REST = 1.0, 15
_SETTINGS = {"cleanupPeriodDays": 36500, "attribution": {"commit": "", "pr": ""}}

Hook = Callable[[Any, str | None, object], Awaitable[dict[str, Any]]]
"""What is asked before or after a call of a tool, as the SDK has it."""


class Program:
    """Started by `connect` if none runs. `client` is the SDK's."""

    def __init__(
        self,
        place: Place,
        *,
        definitions: Sequence[dict[str, Any]],
        called: Called,
        before_tool: Hook,
        after_tool: Hook,
        gate: Gate,
        is_at_work: Callable[[], bool],
    ) -> None:
        """
        Args:
            definitions: Of our tools.
            called: What calls of them come to.
            gate: Asked before its model is.
            is_at_work: Whether a turn runs: what was left behind is looked at less often.
        """
        self._place, self._definitions, self._called = place, definitions, called
        self._before_tool, self._after_tool = before_tool, after_tool
        self._is_at_work = is_at_work
        self.client: Any = None
        self.refused: Mapping[str, str] = MappingProxyType({})
        """Its own tools that are not used here, and why."""
        self._argv: list[str] = []
        self._environment: dict[str, str] = {}
        self._relay = Relay(
            place.home.with_name(f"{place.home.name}.model"), base_url=place.base_url, api_key=place.api_key, gate=gate,
            price=lambda answered: priced(answered.model, answered.usage, place.prices),
        )  # fmt: skip
        self._leaving: asyncio.Task[None] | None = None
        """The end of a process that was killed."""
        self._watching: asyncio.Task[None] | None = None
        self.ended_for = ""
        """Why a process was ended that took more than it may; empty: none was, since this was last emptied."""

    async def start(self) -> None:
        """Find Claude Code and what can wall it in, and end what an earlier process of the role left behind.

        Raises:
            ConfigError: If the extra is not installed.
        """
        place, program = self._place, places.find_program()
        place.workspace.mkdir(parents=True, exist_ok=True)
        place.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        await asyncio.to_thread(places.end_leftovers, place.home)
        can = await asyncio.to_thread(isolation)
        self.refused = walls.refused(place, can)
        if can.remedy:
            logger.warning("Claude Code runs without walls and without most of its own tools: %s", can.found)
            await self._relay.open(uid=None)
            self._argv, variables = [program], walls.variables_without(self._relay.reachable_path())
        else:
            sandbox = walls.around(place, program, self._relay.path)
            await self._relay.open(uid=sandbox.uid)
            for folder in (place.workspace, place.home):
                await asyncio.to_thread(own, folder, sandbox)
            self._argv, variables = sandbox.argv([walls.name_of(program)]), walls.variables(program)
        self._environment = places.environment(place, self._relay.url, variables)

    def take_answered(self) -> list[Answered]:
        """What its model has answered since this was called last, whoever in its walls had asked."""
        return self._relay.take_answered()

    async def connect(self, session_id: str, *, is_new: bool) -> None:
        """Start a process that goes on with a conversation, if none runs.

        Raises:
            ModelUnavailableError: If it does not start.
        """
        await self.left()
        if self.client is not None and self.client.options.session_id != session_id != self.client.options.resume:
            self.kill()
            await self.left()
        if self.client is not None:
            return
        import claude_agent_sdk as sdk  # imported late: it is an extra

        place = self._place
        allowed = [rule for rule in place.rules if not {*places.names([rule])} & self.refused.keys()]
        client = sdk.ClaudeSDKClient(
            sdk.ClaudeAgentOptions(
                model=place.model,
                system_prompt=place.system,
                cwd=place.workspace,
                cli_path=places.write_launcher(place.home, self._argv),
                env=self._environment,
                resume=None if is_new else session_id,
                session_id=session_id if is_new else None,
                setting_sources=[],
                settings=json.dumps(_SETTINGS),
                strict_mcp_config=True,
                verbatim_prompts=True,  # else `@/etc/passwd` in a letter would put that file into the prompt
                tools=places.names(place.rules),
                allowed_tools=[f"{places.PREFIX}*", *allowed],
                permission_mode="dontAsk",
                mcp_servers={places.SERVER: mcp_server(self._definitions, self._called)},
                hooks={
                    "PreToolUse": [sdk.HookMatcher(hooks=[self._before_tool], timeout=_HOOK_TIMEOUT_S)],
                    "PostToolUse": [sdk.HookMatcher(hooks=[self._after_tool], timeout=_HOOK_TIMEOUT_S)],
                    "PostToolUseFailure": [sdk.HookMatcher(hooks=[self._after_tool], timeout=_HOOK_TIMEOUT_S)],
                },
                max_turns=place.max_steps,
                max_budget_usd=place.max_usd,
                include_partial_messages=True,
                max_buffer_size=32 * 1024 * 1024,
                stderr=Log(),
            )
        )
        self.client = client
        try:
            await client.connect()
        except asyncio.CancelledError:
            self.kill()
            raise
        except Exception as error:
            self.kill()
            raise ModelUnavailableError(f"Claude Code does not start: {error}", retry_after_s=5.0) from error
        self._watching = asyncio.create_task(self._watch(), name="watch claude code")

    async def _watch(self) -> None:
        """End the process when all that runs below it takes more than it may."""
        pid = await asyncio.to_thread(places.running, self._place.home)
        if pid is None:
            return
        overuse, looks = Overuse(pid, walls.watched(self._place)), 0
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            looks += 1
            if (self._is_at_work() or looks % _LOOKS_AT_REST == 0) and (why := await overuse.look()):
                logger.warning("Claude Code is ended: %s", why)
                self.ended_for = why
                self._watching = None
                self.kill()
                return

    def kill(self) -> None:
        """End the process and all that it started; the next turn goes on with another one."""
        client, self.client = self.client, None
        self._watch_no_more()
        places.kill_all(self._place.home)
        if client is not None:
            self._leaving = asyncio.create_task(_disconnect(client), name="claude code ends")

    def _watch_no_more(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def left(self) -> None:
        """Come back when a process that was killed is gone."""
        if self._leaving is not None:
            await self._leaving
            self._leaving = None

    async def close(self) -> None:
        """Have it end."""
        self._watch_no_more()
        await self.left()
        try:
            if self.client is not None:
                client, self.client = self.client, None
                await client.disconnect()
        finally:
            await self._relay.close()


class Log:
    """Takes what Claude Code writes to stderr into the role's log, up to a limit."""

    def __init__(self) -> None:
        self._left = _LOGGED_LINES

    def __call__(self, line: str) -> None:
        if self._left > 0:
            logger.info("claude code: %s", line[:500])
        elif self._left == 0:
            logger.info("claude code: more is not logged")
        self._left -= 1


async def _disconnect(client: Any) -> None:
    try:
        await client.disconnect()
    except Exception:
        logger.debug("an ended process of Claude Code could not be left cleanly", exc_info=True)
