"""Services beside each other: they end, also those that did not hear that they should."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from agenthub import together
from agenthub.leader import lead
from agenthub.together import let_go, run_together
from tests.organization import Hub, until


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "CANCELLED_AGAIN_S", 0.05)


async def test_a_task_that_fails_in_the_moment_in_which_it_is_cancelled_is_cancelled_again() -> None:
    missed: list[int] = []
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def looks_at_two_things() -> None:
        try:
            await asyncio.gather(failing, asyncio.Event().wait())
        except OSError:
            missed.append(task.cancelling())
        await asyncio.Event().wait()

    task = asyncio.create_task(looks_at_two_things())
    await asyncio.sleep(0)
    failing.set_exception(OSError("the stream is gone"))
    await let_go([task])
    assert (missed, task.cancelled()) == ([1], True)


class HardOfHearing:
    """A service that does not hear the first cancellation, as with a `gather` that fails in that moment."""

    def __init__(self) -> None:
        self.has_begun = False

    async def run(self) -> None:
        self.has_begun = True
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()


async def _ends(task: asyncio.Task[None]) -> bool:
    _, left = await asyncio.wait([task], timeout=10)
    return not left


async def test_services_end_together_though_one_did_not_hear_that_all_are_cancelled() -> None:
    service = HardOfHearing()
    task = asyncio.create_task(run_together([("hard of hearing", service.run()), ("other", asyncio.sleep(3600))]))
    await until(lambda: service.has_begun)
    task.cancel()
    assert await _ends(task) and task.cancelled()


async def test_services_end_together_when_one_fails() -> None:
    service = HardOfHearing()

    async def fails() -> None:
        await until(lambda: service.has_begun)
        raise OSError("it broke")

    with pytest.raises(ExceptionGroup) as group:
        await run_together([("fails", fails()), ("hard of hearing", service.run())])
    assert [str(error) for error in group.value.exceptions] == ["it broke"]


async def test_who_leads_ends_though_a_duty_did_not_hear_that_it_should(hub: Hub) -> None:
    service = HardOfHearing()
    task = asyncio.create_task(
        lead(hub.bus, lambda: contextlib.nullcontext(hub.bus), lambda _: [service.run], ttl_s=3.0, clock=time.monotonic)
    )
    await until(lambda: service.has_begun)
    task.cancel()
    assert await _ends(task), "it would keep its process from ending"
