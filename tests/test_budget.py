"""Hard limits on money, checked before each model call."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from agenthub.errors import BudgetExhaustedError
from agenthub.guards.budget import check_day
from agenthub.messages import Event
from agenthub.organization import load_organization
from agenthub.rehearsal import start_rehearsal
from agenthub.runtime import RolePlace, run_role
from tests.organization import Hub, until, write_organization

NOON = datetime(2026, 5, 17, 12, tzinfo=UTC)
NIGHT = datetime(2026, 5, 17, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spent_usd", "limit_usd", "at", "retry_after_s"),
    [
        (0, 5, NOON, None), (4.99, 5, NOON, None), (1e9, math.inf, NOON, None),
        (5, 5, NOON, 900), (9, 5, NOON, 900), (5, 5, NIGHT, 60),
    ],
)  # fmt: skip
def test_at_the_limit_nothing_more_is_spent_until_the_next_day(
    spent_usd: float, limit_usd: float, at: datetime, retry_after_s: float | None
) -> None:
    if retry_after_s is None:
        check_day("qa", spent_usd=spent_usd, limit_usd=limit_usd, at=at)
        return
    with pytest.raises(BudgetExhaustedError, match=r"`qa` has spent .* of 5\.00 USD") as raised:
        check_day("qa", spent_usd=spent_usd, limit_usd=limit_usd, at=at)
    assert raised.value.retry_after_s == retry_after_s


@pytest.mark.parametrize("whose", ["[defaults]\nbudget_usd_day = 0.001\n", "[budget]\nusd_day = 0.001\n"])
async def test_a_role_that_has_spent_its_day_waits_and_nothing_fails(hub: Hub, whose: str) -> None:
    write_organization(hub.folder, whose)
    hub.organization = load_organization(hub.settings)
    async with start_rehearsal(speed=0) as endpoint:
        real = {"model_url": endpoint.url, "api_key": SecretStr("rehearsal"), "rehearse": False}
        place = RolePlace(hub.settings.model_copy(update=real), hub.organization, "backend")
        stop = asyncio.Event()
        working = asyncio.create_task(run_role(place, stop=stop))
        async with hub.bus.listen("agent-hub.events.delayed.backend") as heard:
            message_id = await hub.send("backend", "Write the attachment API")
            async with asyncio.timeout(20):
                event = Event.decode((await anext(heard)).data)
        assert (event.message_id, "has spent" in event.text) == (message_id, True)
        assert len(endpoint.model.journal) == 1  # the call that spent it; none after it
        await until(lambda: _nothing_in_hand(hub))
        stop.set()
        await working
    assert await hub.bus.last("AGENTHUB_DONE", f"agent-hub.done.backend.{message_id}") is None


async def _nothing_in_hand(hub: Hub) -> bool:
    return not await hub.waiting("backend")
