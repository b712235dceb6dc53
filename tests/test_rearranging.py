"""What a person does with messages that wait: move, put back, make more urgent, cancel. Each is worked off once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from agenthub import subjects
from agenthub.client import Client
from agenthub.client.steering import Effect
from agenthub.control import new_control
from agenthub.errors import BudgetExhaustedError, NotFoundError, RefusedError
from agenthub.messages import Completion, Priority, new_id, now
from agenthub.organization import load_organization
from agenthub.sessions.session import Prompt
from tests.organization import Hub, ScriptedSession, says, texts, until, write_organization
from tests.test_steering import are_up, client, waits


class Recording(ScriptedSession):
    """A session that is done with everything, in the order in which it gets it; the first one waits for `goes_on`."""

    def __init__(self, *, holds: str = "") -> None:
        super().__init__(self._work)
        self.goes_on, self._holds = asyncio.Event(), holds

    async def _work(self, prompt: Prompt) -> str:
        if prompt.task.payload.message == self._holds:
            await self.goes_on.wait()
        return "done"

    @property
    def order(self) -> list[str]:
        return [prompt.task.payload.message for prompt in self.prompts]


async def send_all(hub: Hub, *words: str) -> list[str]:
    return [(await client(hub).send("backend", text)).id for text in words]


async def end_of(hub: Hub, role: str, message_id: str) -> Completion | None:
    found = await hub.bus.last(subjects.DONE, subjects.done(role, message_id))
    return None if found is None else Completion.decode(found)


@pytest.mark.parametrize("is_up", [True, False])
async def test_a_moved_message_is_done_once_by_the_other_role(hub: Hub, is_up: bool) -> None:
    here, there = Recording(holds="first"), Recording()
    if is_up:
        async with hub.role("backend", here), hub.role("qa", there):
            first, second = await send_all(hub, "first", "second")
            await until(lambda: here.prompts and waits(hub))
            effect = await client(hub).inboxes.move("backend", second[:8], "qa", "she knows it")
            assert effect.came == {"backend": "set aside"}
            end = await client(hub).completion("backend", second, timeout_s=20)
            here.goes_on.set()
            await hub.completion("backend", first)
            await hub.completion("backend", (await send_all(hub, "third"))[0])
    else:
        (second,) = await send_all(hub, "second")
        await client(hub).inboxes.move("backend", second[:8], "qa", "she knows it")
        async with hub.role("backend", here), hub.role("qa", there):
            end = await client(hub).completion("backend", second, timeout_s=20)
            await hub.completion("backend", (await send_all(hub, "third"))[0])
    assert (end.role, end.outcome) == ("qa", "done")
    moved = await end_of(hub, "backend", second)
    assert moved is not None and (moved.outcome, moved.reassigned_to) == ("reassigned", "qa")
    assert moved.text == "moved by you: she knows it; `qa` does it"
    assert "second" not in here.order and there.order == ["second"]
    assert (await hub.waiting("backend"), await hub.waiting("qa")) == ([], [])


async def test_a_move_that_a_crash_cut_off_is_carried_out_by_the_role(hub: Hub) -> None:
    (second,) = await send_all(hub, "second")
    control = new_control("move", "backend", "you", identity=new_id(), message_id=second, to="qa")
    for _ in range(2):
        await hub.bus.publish(subjects.control("backend", "move", "you"), control.encode(), message_id=control.id)
    here, there = Recording(), Recording()
    async with hub.role("backend", here), hub.role("qa", there):
        assert (await client(hub).completion("backend", second, timeout_s=20)).role == "qa"
    assert (here.order, there.order) == ([], ["second"])


async def test_what_is_worked_on_is_not_moved(hub: Hub) -> None:
    session = Recording(holds="first")
    async with hub.role("backend", session):
        (first,) = await send_all(hub, "first")
        await until(lambda: session.prompts)
        for change in (
            client(hub).inboxes.move("backend", first, "qa"),
            client(hub).inboxes.requeue("backend", first),
            client(hub).inboxes.reprioritize("backend", first, Priority.HIGH),
        ):
            with pytest.raises(RefusedError, match=f"works on {first[:8]} already"):
                await until(lambda: _beats_with(hub, first))
                await change
        session.goes_on.set()
        assert (await hub.completion("backend", first)).outcome == "done"


async def _beats_with(hub: Hub, message_id: str) -> bool:
    return any(s.heartbeat and s.heartbeat.message_id == message_id for s in await client(hub).roles())


@pytest.mark.parametrize(
    ("change", "order"),
    [
        ("requeue", ["first", "third", "second"]),
        ("high", ["first", "third", "second"]),
        ("low", ["first", "third", "second"]),
    ],
)
async def test_what_waits_goes_behind_the_others_or_before_them(hub: Hub, change: str, order: Sequence[str]) -> None:
    session = Recording(holds="first")
    async with hub.role("backend", session):
        first, second, third = await send_all(hub, "first", "second", "third")
        await until(lambda: session.prompts)
        inboxes = client(hub).inboxes
        effect = {
            "requeue": lambda: inboxes.requeue("backend", second),
            "high": lambda: inboxes.reprioritize("backend", third, Priority.HIGH),
            "low": lambda: inboxes.reprioritize("backend", second, Priority.LOW),
        }[change]
        await effect()
        session.goes_on.set()
        ends = [await hub.completion("backend", message) for message in (first, second, third)]
        assert [end.outcome for end in ends] == ["done"] * 3
        await until(lambda: _nothing_waits(hub))
    assert session.order == order


async def _nothing_waits(hub: Hub) -> bool:
    return not await hub.waiting("backend")


async def test_a_copy_that_was_left_behind_is_not_worked_off_again(hub: Hub) -> None:
    """The command was killed between putting the message into another lane and taking it out of the old one."""
    (message,) = await send_all(hub, "once")
    (waiting,) = await client(hub).waiting("backend")
    await client(hub).inboxes.reprioritize("backend", message, Priority.HIGH)
    await hub.bus.publish(subjects.lane("backend", "medium", "you"), waiting.data, message_id="left-behind")
    session = Recording()
    async with hub.role("backend", session):
        assert (await hub.completion("backend", message)).priority is Priority.HIGH
        await until(lambda: _nothing_waits(hub))
    assert session.order == ["once"]


@pytest.mark.parametrize("is_up", [True, False])
async def test_a_cancelled_message_ends_as_failed_and_its_sender_is_told(hub: Hub, is_up: bool) -> None:
    session = Recording(holds="first")
    effect: Effect | None = None
    if not is_up:
        (second,) = await send_all(hub, "second")
        effect = await client(hub).inboxes.cancel("backend", second, "not needed")
        assert effect.came == {}
    async with hub.role("backend", session):
        await are_up(hub, "backend")
        if is_up:
            (first,) = await send_all(hub, "first")
            await until(lambda: session.prompts)
            (second,) = await send_all(hub, "second")
            effect = await client(hub).inboxes.cancel("backend", second, "not needed")
            assert effect.came == {"backend": "ended"}
            assert texts(await hub.waiting("backend")) == ["first"]
            assert await end_of(hub, "backend", second) is not None  # while it still works on the first one
            session.goes_on.set()
            await hub.completion("backend", first)
        end = await hub.completion("backend", second)
        await until(lambda: _nothing_waits(hub))
    assert (end.outcome, end.text) == ("failed", "cancelled by you: not needed")
    assert "second" not in session.order
    assert "failed" in [message.payload.outcome for message in await hub.waiting("you")]
    assert not await hub.bus.history(subjects.DEAD_LETTERS, subjects.late("backend"))


async def test_what_does_not_wait_is_not_found(hub: Hub) -> None:
    await send_all(hub, "one", "two")
    inboxes = client(hub).inboxes
    with pytest.raises(NotFoundError, match="No message waits for `backend`"):
        await inboxes.requeue("backend", "ffffffffffff")
    with pytest.raises(NotFoundError, match="No message waits"):
        await inboxes.cancel("backend", "")
    (message,) = await send_all(hub, "three")
    with pytest.raises(NotFoundError, match="qaa"):
        await inboxes.move("backend", message, "qaa")
    with pytest.raises(RefusedError, match="has it already"):
        await inboxes.move("backend", message, "backend")
    assert isinstance(client(hub), Client)


# ── what is put off ────────────────────────────────────────────────────────────────────────────────
NO_MONEY = BudgetExhaustedError("backend", "usd_day", spent="1 USD", opens="tomorrow", retry_after_s=3600)


@contextlib.asynccontextmanager
async def without_money(hub: Hub, session: ScriptedSession) -> AsyncIterator[str]:
    """A role that may spend nothing: what it was sent is put off before anything of it was begun; its id."""
    write_organization(hub.folder, "[roles.backend]\nbudget_usd_day = 0\n")
    hub.organization = load_organization(hub.settings)
    hub.settings = hub.settings.model_copy(update={"rehearse": False})
    async with hub.role("backend", session):
        yield await put_off(hub)


async def put_off(hub: Hub) -> str:
    """Send a message to a role that puts it off; its id."""
    (message_id,) = await send_all(hub, "dear")
    await until(lambda: client(hub).put_off("backend"))
    return message_id


@pytest.mark.parametrize("is_up", [True, False])
async def test_what_is_put_off_is_cancelled_without_being_begun(hub: Hub, is_up: bool) -> None:
    session = says("done")
    async with without_money(hub, session) as message_id:
        if is_up:
            effect = await client(hub).inboxes.cancel("backend", message_id[:8], "not needed")
            assert effect.came == {"backend": "ended"}
            assert not await client(hub).put_off("backend")
    if not is_up:
        effect = await client(hub).inboxes.cancel("backend", message_id[:8], "not needed")
        assert effect.came == {}
        async with hub.role("backend", session):
            await hub.completion("backend", message_id)
    end = await hub.completion("backend", message_id)
    assert (end.outcome, end.text) == ("failed", "cancelled by you: not needed")
    assert session.prompts == []


async def test_what_was_put_off_in_its_middle_is_cancelled_when_it_is_looked_at_now(hub: Hub) -> None:
    session = says(NO_MONEY, "done")
    async with hub.role("backend", session):
        message_id = await put_off(hub)
        effect = await client(hub).inboxes.cancel("backend", message_id[:8], "not needed")
        assert effect.came == {"backend": "it ends when it comes up"}
        end = await hub.completion("backend", message_id)
    assert (end.outcome, end.text, len(session.prompts)) == ("failed", "cancelled by you: not needed", 1)


async def test_what_is_just_being_put_off_counts_as_put_off_and_not_as_waiting(hub: Hub) -> None:
    (message_id,) = await send_all(hub, "dear")
    (lies,) = await client(hub).waiting("backend")
    await hub.bus.publish_at(  # and before it is acknowledged where it lies, a person comes
        now() + timedelta(hours=1), subjects.schedule("backend", f"{subjects.AGENTS}-{lies.sequence}"),
        subjects.due("backend"), lies.data, message_id="later", headers={subjects.ATTEMPTS: "0"},
    )  # fmt: skip
    with pytest.raises(RefusedError, match="put off"):
        await client(hub).inboxes.reprioritize("backend", message_id, Priority.HIGH)
    await client(hub).inboxes.cancel("backend", message_id[:8], "not needed")
    await until(lambda: hub.bus.counts(subjects.SCHEDULES, subjects.due("backend")))  # and not in an hour
    session = says("done")
    async with hub.role("backend", session):
        end = await hub.completion("backend", message_id)
    assert (end.outcome, end.text, session.prompts) == ("failed", "cancelled by you: not needed", [])


async def test_what_is_put_off_is_moved_and_done_once_by_the_other_role(hub: Hub) -> None:
    here, there = says("done"), says("done there")
    async with without_money(hub, here) as message_id, hub.role("qa", there):
        effect = await client(hub).inboxes.move("backend", message_id[:8], "qa")
        assert effect.came == {"backend": "set aside"}
        end = await client(hub).completion("backend", message_id, timeout_s=20)
        assert not await client(hub).put_off("backend")
    assert (end.role, end.outcome, end.text) == ("qa", "done", "done there")
    assert (here.prompts, len(there.prompts)) == ([], 1)


async def test_what_was_put_off_in_its_middle_is_not_moved_but_looked_at_now(hub: Hub) -> None:
    session = says(NO_MONEY, "done")
    async with hub.role("backend", session):
        message_id = await put_off(hub)
        with pytest.raises(RefusedError, match=f"agenthub inbox cancel backend {message_id[:8]}"):
            await client(hub).inboxes.move("backend", message_id, "qa")
        with pytest.raises(RefusedError, match=f"agenthub inbox requeue backend {message_id[:8]}"):
            await client(hub).inboxes.reprioritize("backend", message_id, Priority.HIGH)
        effect = await client(hub).inboxes.requeue("backend", message_id)
        assert effect.came == {"backend": "is looked at now"}
        assert (await hub.completion("backend", message_id)).text == "done"
    assert len(session.prompts) == 2
