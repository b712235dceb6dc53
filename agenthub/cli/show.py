"""The demo: a hub of its own, a directive, a line for each event, the report, what it took, everything stopped."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import datetime

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule

from agenthub.cli import EXIT_FAILED, EXIT_OK
from agenthub.cli.lines import as_markup, who_width
from agenthub.cli.options import Options
from agenthub.cli.output import console, counted, dollars, escaped, print_json, tokens
from agenthub.cli.run import supervise
from agenthub.client import Client, completions, open_client
from agenthub.cradle import Nursery
from agenthub.errors import HubError
from agenthub.messages import Completion, Event, Message, Usage, now
from agenthub.organization import Organization
from agenthub.run_file import RunFile, is_locked, processes_of
from agenthub.settings import Settings
from agenthub.starting import typed

WITHIN_S = 180.0
_WIDEST = 150
_HELD_S = 0.3
_ENDING = ("finish", "delegate", "call_vote", "auction")
_QUIET = {"ready", "stopped", "noted", "model"}


async def run_demo(
    settings: Settings, organization: Organization, nursery: Nursery, directive: str, options: Options
) -> int:
    """Run the demo; 0 if the directive was done and nothing is left running."""
    show = _Show(organization, options)
    if not is_locked(settings.state):
        shutil.rmtree(settings.state, ignore_errors=True)  # each demo begins with empty journals
    stop, is_up = asyncio.Event(), asyncio.get_running_loop().create_future()
    started = time.monotonic()
    running = asyncio.create_task(
        supervise(settings, organization, nursery, ready=is_up.set_result, say=show.say, stop=stop)
    )
    try:
        await asyncio.wait([running, is_up], return_when=asyncio.FIRST_COMPLETED)
        if not is_up.done():
            await running  # raises what kept it from starting, or a person stopped it
            return EXIT_FAILED
        run: RunFile = is_up.result()
        show.is_up(run, time.monotonic() - started)
        settings = settings.at(run.nats_url)
        async with open_client(settings, organization) as client:
            done = await _until_done(client, show, _head(organization), directive, stop)
    finally:
        stop.set()
        await asyncio.wait([running])
    running.result()
    if done is None:
        return EXIT_FAILED
    left = processes_of(run.run_id)
    show.ends(done, left=len(left))
    return EXIT_OK if done.outcome == "done" and not left else EXIT_FAILED


async def _until_done(client: Client, show: _Show, head: str, directive: str, stop: asyncio.Event) -> Completion | None:
    """Send the directive and show what happens until it has ended; None if a person stopped it before."""

    began_at = now()

    async def watch() -> None:
        async for event in in_order(client.events(since=began_at, follow=True), within_s=_HELD_S):
            await show.event(event)

    watching = asyncio.create_task(watch())
    stopping = asyncio.create_task(stop.wait())
    try:
        message = await client.send(head, directive)
        show.sent(head, message)
        ending = asyncio.create_task(client.completion(head, message.id, timeout_s=WITHIN_S))
        await asyncio.wait([ending, stopping, watching], return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
            raise HubError("The event stream ended.")
        if not ending.done():
            ending.cancel()
            return None
        done = ending.result()
        async with asyncio.timeout(5):  # the last events are on their way
            await show.saw(done)
        return done
    finally:
        watching.cancel()
        stopping.cancel()


async def in_order(events: AsyncGenerator[Event], *, within_s: float) -> AsyncGenerator[Event]:
    """The events in the order of their times: each is held for a moment, as one may be told before an earlier one."""
    held: list[tuple[float, Event]] = []  # when it came, in the order of coming
    coming: asyncio.Future[Event] = asyncio.ensure_future(anext(events))
    try:
        while True:
            wait_s = held[0][0] + within_s - time.monotonic() if held else None
            await asyncio.wait([coming], timeout=None if wait_s is None else max(0.0, wait_s))
            at_s, has_ended = time.monotonic(), False
            if coming.done():
                try:
                    held.append((at_s, coming.result()))
                    coming = asyncio.ensure_future(anext(events))
                except StopAsyncIteration:
                    has_ended = True
            long_here = [event.at for came_s, event in held if has_ended or came_s + within_s <= at_s]
            due = [event for _, event in held if long_here and event.at <= max(long_here)]
            held = [one for one in held if one[1] not in due]
            for event in sorted(due, key=lambda event: event.at):
                yield event
            if has_ended:
                return
    finally:
        coming.cancel()


class _Show:
    """What the demo prints."""

    def __init__(self, organization: Organization, options: Options) -> None:
        self._organization, self._options = organization, options
        self._out: Console = console()
        self._out.width = min(self._out.width, _WIDEST)
        self._who_width = who_width(list(organization.roles))
        self._started_at: datetime = now()
        self._events: list[Event] = []
        self._changed = asyncio.Condition()

    def say(self, text: str) -> None:
        if not self._options.json:
            self._out.print(f"[yellow]{escaped(text)}[/]")

    def is_up(self, run: RunFile, took_s: float) -> None:
        if self._options.json:
            return
        organization = self._organization
        self._out.print(
            f"[bold]agenthub[/] runs [bold]{organization.org}[/]: {len(organization.roles)} roles, one process each, on"
            f" their own nats-server and {run.model}; ready in {took_s:.1f} s"
        )

    def sent(self, head: str, message: Message) -> None:
        self._started_at = now()
        if not self._options.json:
            self._out.print()
            self._out.print(
                f"[bold]{self._organization.operator} → {head}[/]  [italic]{escaped(message.payload.message)}[/]"
            )
            self._out.print()

    async def event(self, event: Event) -> None:
        self._events.append(event)
        async with self._changed:
            self._changed.notify_all()
        if self._options.json:
            print_json(event, self._options)
            return
        is_reply = event.kind == "sent" and event.data.get("type") in ("reply", "task_result")
        is_ending = event.kind == "step" and event.data.get("tool") in _ENDING
        if event.kind in _QUIET or is_reply or is_ending:
            return  # the line of the completion says it
        seconds = (event.at - self._started_at).total_seconds()
        self._out.print(
            as_markup(event, width=self._out.width, at=f"{max(0.0, seconds):5.1f}s", who_width=self._who_width)
        )

    async def saw(self, done: Completion) -> None:
        """Return when the completion was shown."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: any(e.message_id == done.message_id and e.role == done.role for e in completions(self._events))
            )

    def ends(self, done: Completion, *, left: int) -> None:
        ended = completions(self._events)
        usage = sum((completion.usage for completion in ended), Usage())
        outcomes = Counter(str(completion.outcome) for completion in ended if completion.outcome != "noted")
        messages = sum(1 for event in self._events if event.kind == "sent") + 1
        turns = sum(completion.turns for completion in ended)
        roles = len({completion.role for completion in ended})
        took_s = (done.ended_at - self._started_at).total_seconds()
        if self._options.json:
            data = {
                "report": done,
                "messages": messages,
                "turns": turns,
                "usage": usage,
                "seconds": took_s,
                "left": left,
            }
            print_json(data)
            return
        out = self._out
        out.print()
        out.print(Rule(f"report of {done.role}: {done.outcome}", style="green" if done.outcome == "done" else "yellow"))
        out.print(Padding(escaped_lines(done.text), (1, 2)), soft_wrap=False)
        if done.evidence:
            files = f"[dim]evidence[/]  {escaped(', '.join(done.evidence))}"
            out.print(Padding(files, (0, 2, 1, 2)), soft_wrap=False)
        whole = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        cached = usage.cache_read_tokens / whole if whole else 0
        ends = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        work = f"{counted(messages, 'message')}, {counted(turns, 'turn')}"
        calls = counted(usage.calls, "model call")
        facts = {
            "it took": f"{took_s:.1f} s, {roles} roles at work, {work}; tasks: {ends}",
            "tokens": f"{tokens(usage.tokens)} in {calls}, {cached:.0%} of the input from the cache",
            "cost": f"nothing: it was a rehearsal. With Claude it would have been {dollars(usage.cost_usd)}",
            "left behind": "no process" if not left else f"[bold red]{left} processes[/]",
        }
        out.print(Rule(style="dim"))
        for name, text in facts.items():
            out.print(f"  [dim]{name:<12}[/]{text}")
        out.print()
        program = escaped(typed())
        order = f'[bold]{program} send {done.role} "…" --wait[/]'
        out.print(f"  [dim]next        [/][bold]{program} up -d --wait[/], then {order}")


def escaped_lines(text: str) -> str:
    """Text of several lines, each safe to print."""
    return "\n".join(escaped(line) for line in text.strip().splitlines())


def _head(organization: Organization) -> str:
    """Who gets the directive: the one who reports to the operator and has most people below."""

    def size(name: str) -> int:
        return 1 + sum(size(report) for report in organization.reports(name))

    return max(organization.reports(organization.operator), key=size)
