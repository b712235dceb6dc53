"""The live transcript: what a role says and does, told to who watches, and to nobody else."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from agenthub import live as rules
from agenthub import subjects
from agenthub.client import Client
from agenthub.live import Live
from agenthub.masking import mask_of_keys
from agenthub.messages import Outcome, Usage, now
from agenthub.sessions.session import (
    ModelCalled,
    Prompt,
    SessionEvent,
    TextDelta,
    ToolEnded,
    ToolStarted,
    TurnEnd,
    TurnResult,
)
from agenthub.transcript import ASKS_PAST, LiveBatch, LiveEvent
from tests.organization import Hub, ScriptedSession, says, until


class TalkingSession(ScriptedSession):
    """A session that says two words, waits until it may go on, calls a tool and is done."""

    def __init__(self) -> None:
        super().__init__(says("done").turn)  # type: ignore[arg-type]  # never called
        self.goes_on = asyncio.Event()

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent, None]:
        self.prompts.append(prompt)
        yield TextDelta("Let me ")
        yield TextDelta("see.\n")
        await self.goes_on.wait()
        yield ToolStarted("read_file", "api.md")
        yield ToolEnded("read_file", "12 lines", is_error=False, duration_s=0.25)
        yield ModelCalled(Usage(calls=1), "m", 0.5, "Let me see.")
        yield TurnResult(TurnEnd.FINISHED, Outcome.DONE, "read it")


class Watcher:
    """Somebody who watches a role and keeps what it hears."""

    def __init__(self, hub: Hub, role: str = "backend") -> None:
        self._client, self._role = Client(hub.bus, hub.organization), role
        self.heard: list[LiveEvent] = []

    async def __aenter__(self) -> Watcher:
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _listen(self) -> None:
        async with aclosing(self._client.live(self._role)) as events:
            async for _, event in events:
                self.heard.append(event)

    def has(self, kind: str, times: int = 1) -> bool:
        return sum(event.kind == kind for event in self.heard) >= times

    @property
    def words(self) -> str:
        return "".join(event.text for event in self.heard if event.kind == "text")


async def test_who_watches_reads_words_tools_and_the_end_each_once_and_in_order(hub: Hub) -> None:
    session = TalkingSession()
    async with hub.role("backend", session), Watcher(hub) as early:
        await until(lambda: early.has("started"))
        message = await hub.send("backend", "read the api")
        await until(lambda: early.words == "Let me see.\n")
        async with Watcher(hub) as late:  # comes in the middle of the turn, and knows its beginning all the same
            await until(lambda: late.words == "Let me see.\n")
            session.goes_on.set()
            await until(lambda: early.has("ended") and late.has("ended"))
    for watcher in (early, late):
        kinds = [event.kind for event in watcher.heard if event.kind != "text"]
        assert kinds == ["started", "turn", "tool", "tool_ended", "model", "ended"]
        assert watcher.words == "Let me see.\n"
        numbers = [event.number for event in watcher.heard]
        assert numbers == sorted(set(numbers))
        turn, end = watcher.heard[1], watcher.heard[-1]
        assert (turn.text, turn.from_role, turn.message_id) == ("read the api", "you", message)
        assert (end.outcome, end.text, end.message_id) == ("done", "read it", message)


async def test_half_a_character_ends_neither_the_role_nor_the_watching(hub: Hub) -> None:
    async with hub.role("backend", says("one \ud83d half, \ud83d\ude00 two")), Watcher(hub) as watcher:
        end = await hub.completion("backend", await hub.send("backend", "smile"))
        await until(lambda: watcher.has("ended"))
    assert (end.outcome, end.text) == (Outcome.DONE, "one \ufffd half, \U0001f600 two")
    assert watcher.heard[-1].text == end.text


async def test_nothing_is_published_while_nobody_watches(hub: Hub) -> None:
    session = TalkingSession()
    session.goes_on.set()
    async with hub.bus.listen(subjects.live("backend")) as heard:
        async with hub.role("backend", session):
            published = LiveBatch.decode((await anext(heard)).data)
            await hub.completion("backend", await hub.send("backend", "read the api"))
        await hub.bus.tell(subjects.live("backend"), b"the end")
        assert (await anext(heard)).data == b"the end"
    assert [event.kind for event in published.events] == ["started"]


async def test_a_watcher_finds_the_role_again_after_its_restart(hub: Hub) -> None:
    async with Watcher(hub) as watcher:
        for number in (1, 2):
            session = TalkingSession()
            session.goes_on.set()
            async with hub.role("backend", session):
                await hub.completion("backend", await hub.send("backend", "again"))
                await until(partial(watcher.has, "ended", number))
    assert [event.kind for event in watcher.heard].count("started") == 2


async def test_a_turn_that_breaks_off_is_told(hub: Hub) -> None:
    async with hub.role("backend", says(ValueError("a bug"), "done")), Watcher(hub) as watcher:
        await hub.send("backend", "try it")
        await until(lambda: watcher.has("ended", 2))
    ends = [(event.outcome, event.text) for event in watcher.heard if event.kind == "ended"]
    assert ends == [("broken_off", "a bug"), ("done", "done")]


async def test_what_is_kept_of_the_past_is_bounded(hub: Hub) -> None:
    live = Live(hub.bus, "backend", "backend", clock=now, mask=mask_of_keys)
    running = asyncio.create_task(live.run())
    try:
        async with hub.bus.listen(subjects.live("backend")) as heard:
            while LiveBatch.decode((await anext(heard)).data).events[-1].kind != "started":
                pass
            for number in range(3 * rules.MOST_EVENTS):
                live.hear(TextDelta("x" * 500))
                live.hear(ToolStarted("t", str(number)))
            await hub.bus.tell(subjects.watch("backend", "you"), ASKS_PAST)
            async for received in heard:
                events = LiveBatch.decode(received.data).events
                if events[-1].text == str(3 * rules.MOST_EVENTS - 1):
                    break
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert len(events) <= rules.MOST_EVENTS
    assert sum(len(event.text) for event in events) <= rules.MOST_CHARACTERS


async def test_bytes_that_are_no_batch_do_not_end_the_watching(hub: Hub) -> None:
    async with Watcher(hub) as watcher, hub.role("backend", says("done")):
        await until(lambda: watcher.has("started"))
        for junk in (b"", b"\xff", b'{"key": 1}', b'{"key":"backend","process":"x","events":[{"number":"y"}]}'):
            await hub.bus.tell(subjects.live("backend"), junk)
            await hub.bus.tell(subjects.watch("backend", "stranger"), junk)
        await hub.completion("backend", await hub.send("backend", "go on"))
        await until(lambda: watcher.has("ended"))


async def test_attach_shows_it_and_is_ended_by_ctrl_c_without_a_trace(hub: Hub) -> None:
    session = TalkingSession()
    async with hub.role("backend", session):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agenthub", "attach", "backend", "--json", "--nats", hub.server.url,
            cwd=hub.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        message = await hub.send("backend", "read the api")
        shown: list[dict[str, object]] = []
        async with asyncio.timeout(30):
            while not shown or shown[-1]["kind"] != "text":
                shown.append(json.loads(await process.stdout.readline()))
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        assert (process.returncode, err) == (130, b"")
        session.goes_on.set()
        assert (await hub.completion("backend", message)).outcome == "done"
    assert {"role": "backend", "kind": "turn", "text": "read the api"}.items() <= shown[1].items()
