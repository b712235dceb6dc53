"""Hard limits on money: reserved before each model call, settled after it, shared by all processes."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from agenthub.budgets import AccountName, Budgets
from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus
from agenthub.bus.identity import SYSTEM, Keyring
from agenthub.guards.budget import (
    Account,
    Amount,
    Grant,
    LimitSet,
    Reservation,
    effective,
    levels,
    opens_at,
    retry_after_s,
    rolled,
    settled,
    short_of,
    unchanged_until,
    untold,
    with_grant,
    with_reservation,
    with_told,
)
from agenthub.messages import Event, Usage, now
from agenthub.organization import load_organization
from agenthub.rehearsal import start_rehearsal
from agenthub.rehearsal.server import Endpoint
from agenthub.runtime import RolePlace, run_role
from tests.commands import FORK, Ran, agenthub
from tests.organization import Hub, until, write_organization

NOON = datetime(2026, 5, 17, 12, 20, tzinfo=UTC)
NIGHT = datetime(2026, 5, 17, 23, 59, tzinfo=UTC)
NEW_YEAR = datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC)


def call(usd: float = 0.1, *, number: int = 1, at: datetime = NOON, turns: float = 0, for_s: float = 60) -> Reservation:
    return Reservation(id=f"r{number}", usd=usd, tokens=1000, turns=turns, at=at, until=at + timedelta(seconds=for_s))


def spent(usd: float, *, turns: float = 0, at: datetime = NOON) -> Account:
    account = with_reservation(Account(), "qa", call(at=at))
    return settled(account, "qa", "r1", Amount(usd=usd, tokens=1000, turns=turns), at)


# ── the rules ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("limits", "account", "is_short"),
    [
        ({"usd_day": 5}, Account(), False),
        ({"usd_day": 5}, spent(4.99), False),
        ({"usd_day": 5}, spent(5), True),
        ({"usd_day": 0}, Account(), True),
        ({}, spent(1e9), False),
        ({"usd_day": 6, "usd_hour": 5}, spent(5), True),
        ({"tokens_month": 1000}, spent(0), True),
        ({"turns_day": 1}, spent(0, turns=1), False),  # a call within a turn that has begun
        ({"usd_day": 5}, spent(5, at=NOON - timedelta(days=1)), False),
        ({"usd_hour": 5}, spent(5, at=NOON - timedelta(hours=1)), False),
        ({"usd_month": 5}, spent(5, at=NOON - timedelta(days=1)), True),
        ({"usd_day": 5}, spent(5, at=NOON + timedelta(days=1)), True),  # another clock is ahead
    ],
)
def test_a_call_may_begin_while_something_is_left(
    limits: Mapping[str, float], account: Account, is_short: bool
) -> None:
    assert (short_of(account, limits, call(), NOON) is not None) == is_short


def test_what_others_set_aside_is_not_there_but_may_be_in_a_moment() -> None:
    held = with_reservation(spent(4), "other", call(1))
    short = short_of(held, {"usd_day": 5}, call(), NOON)
    assert short is not None
    assert (short.is_busy, retry_after_s(short, NOON)) == (True, 5.0)
    assert short_of(held, {"usd_day": 5}, call(), NOON, besides="other") is None
    assert short_of(held, {"usd_day": 5}, call(), NOON + timedelta(seconds=60)) is None  # its process has died


def test_what_ran_out_is_settled_all_the_same_but_once() -> None:
    account = with_reservation(Account(), "qa", call(1))
    late = NOON + timedelta(hours=5)
    once = settled(account, "qa", "r1", Amount(usd=0.5), late)
    assert once.spent["day"].usd == 0.5
    assert settled(once, "qa", "r1", Amount(usd=0.5), late) == once
    assert settled(account, "qa", "r0", Amount(usd=0.5), late) == account


@pytest.mark.parametrize(
    ("window", "at", "opens"),
    [
        ("hour", NOON, datetime(2026, 5, 17, 13, tzinfo=UTC)),
        ("day", NIGHT, datetime(2026, 5, 18, tzinfo=UTC)),
        ("month", NOON, datetime(2026, 6, 1, tzinfo=UTC)),
        ("month", NEW_YEAR, datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_windows_open_at_the_full_hour_midnight_and_the_first_of_the_month(
    window: str, at: datetime, opens: datetime
) -> None:
    assert opens_at(window, at) == opens
    account = spent(5, at=at)
    short = short_of(account, {f"usd_{window}": 5}, call(at=at), at)
    assert short is not None
    assert (short.opens_at, short_of(account, {f"usd_{window}": 5}, call(), opens)) == (opens, None)


@pytest.mark.parametrize(("at", "wait_s"), [(NOON, 900), (NIGHT, 60), (NEW_YEAR, 30)])
def test_what_waits_for_money_is_looked_at_when_its_window_opens(at: datetime, wait_s: float) -> None:
    short = short_of(spent(5, at=at), {"usd_day": 5}, call(at=at), at)
    assert short is not None
    assert retry_after_s(short, at) == wait_s


@given(
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from([0.5, 1, 3])), max_size=3), st.integers(0, 130),
    st.floats(0, 8), st.floats(0, 1, exclude_max=True), st.sampled_from([NOON, NIGHT, NEW_YEAR]),
)  # fmt: skip
def test_what_may_be_spent_now_may_be_spent_until_something_changes(
    grants: list[tuple[int, float]], reserved_min: int, usd: float, later: float, start: datetime
) -> None:
    account = with_reservation(spent(usd, at=start), "other", call(1, number=2, at=start, for_s=60 * reserved_min))
    for minutes, amount in grants:
        until_ = start + timedelta(minutes=minutes)
        account = with_grant(account, Grant(limit="usd_day", amount=amount, by="you", at=start, until=until_))
    limits, wanted = {"usd_day": 5.0, "usd_hour": 6.0}, Amount(usd=0.1)
    if short_of(account, limits, wanted, start) is None:
        end = unchanged_until(account, start)
        assert end > start
        assert short_of(account, limits, wanted, start + (end - start) * later) is None


def test_of_two_limits_the_one_that_lasts_longer_is_said() -> None:
    short = short_of(spent(5), {"usd_hour": 5, "usd_month": 4, "usd_day": 5}, call(), NOON)
    assert short is not None
    assert short.limit == "usd_month"


def test_what_a_person_set_and_granted_goes_before_the_files() -> None:
    ours = {"usd_day": 5.0}
    by_hand = LimitSet(amount=8, by="you", at=NOON)
    account = with_grant(Account(limits={"usd_day": by_hand}), grant(2))
    assert effective(account, ours, NOON) == {"usd_day": 10}
    assert effective(account, ours, NOON + timedelta(hours=2)) == {"usd_day": 8}
    unlimited = Account(limits={"usd_day": by_hand.model_copy(update={"amount": None})})
    assert effective(unlimited, ours, NOON) == {}


def grant(amount: float) -> Grant:
    return Grant(limit="usd_day", amount=amount, until=NOON + timedelta(hours=1), by="you", at=NOON)


@pytest.mark.parametrize(("usd", "share"), [(3.9, None), (4, 0.8), (4.99, 0.8), (5, 1.0), (7, 1.0)])
def test_a_person_is_told_once_in_a_window_and_anew_after_a_grant(usd: float, share: float | None) -> None:
    account, limits = spent(usd), {"usd_day": 5.0}
    assert [found for _, found in untold(account, limits, NOON)] == ([share] if share else [])
    if share is None:
        return
    told = with_told(account, "usd_day", share, account.spent["day"].since)
    assert untold(told, limits, NOON) == []
    assert (untold(with_grant(told, grant(1e-6)), limits, NOON) != []) == (usd != 4)
    assert untold(rolled(told, NOON + timedelta(days=1)), limits, NOON + timedelta(days=1)) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0, 1)), max_size=60))
def test_an_account_goes_over_by_one_call_at_the_most(steps: list[tuple[int, bool, float]]) -> None:
    """Whatever processes reserve, settle or leave open: what is spent is below the limit and one call of 1 USD."""
    account, limits = Account(), {"usd_day": 2.0}
    for number, (who, does_settle, usd) in enumerate(steps):
        key = str(who)
        held = account.reserved.get(key)
        if held is not None and does_settle:
            account = settled(account, key, held.id, Amount(usd=usd), NOON)
        elif held is None and short_of(account, limits, call(1), NOON, besides=key) is None:
            account = with_reservation(account, key, call(1, number=number))
    (level,) = levels(account, limits, NOON)
    assert level.spent + level.reserved < 2 + 1


SPENT, PRICE = AccountName("backend", is_rehearsal=False), 0.15


# ── on a server ────────────────────────────────────────────────────────────────────────────────────
@contextlib.asynccontextmanager
async def process(hub: Hub) -> AsyncIterator[Budgets]:
    """The accounts as a process of its own sees them."""
    async with connect(hub.server.url, name="test", identity=hub.bus.identity, patience_s=20) as bus:
        budgets = Budgets(bus)
        async with budgets.watched() as changes:
            following = asyncio.create_task(budgets.follow(changes))
            try:
                yield budgets
            finally:
                following.cancel()


async def test_replicas_that_spend_at_the_same_moment_begin_one_call_too_many_at_the_most(hub: Hub) -> None:
    """Twelve processes call as fast as they can; each call takes what was set aside for it."""

    async def work(key: str) -> int:
        async with process(hub) as budgets:
            return await spend(budgets, key)

    async with asyncio.timeout(60):
        counts = await asyncio.gather(*(work(f"backend.{number}") for number in range(12)))
    await _one_call_too_many(hub, counts)


async def spend(budgets: Budgets, key: str) -> int:
    """Call until there is no money; how many calls were begun."""
    count = 0
    for number in range(100):
        held = call(PRICE, number=number, at=now()).model_copy(update={"id": f"{key}.{number}"})
        short = await budgets.reserve(SPENT, {"usd_day": 5.0}, key, held, at=now())
        if short is not None and not short.is_busy:
            break
        if short is None:
            count += 1
            await asyncio.sleep(0)
            await budgets.settle(SPENT, key, held.id, Amount(usd=PRICE), at=now())
    return count


async def _one_call_too_many(hub: Hub, counts: Sequence[int]) -> None:
    account = (await Budgets(hub.bus).accounts())[SPENT.key]
    assert account.spent["day"].usd == pytest.approx(sum(counts) * PRICE)
    assert (account.reserved, sum(counts)) == ({}, 34), counts  # 33 are 4.95 USD: one more may begin
    assert sum(count > 0 for count in counts) > 1, counts


def spender(url: str, folder: str, key: str, begin: Any, began: Any) -> None:
    """A process of its own that calls until there is no money; tells how many calls it began."""

    async def run() -> int:
        identity = Keyring(Path(folder) / ".agenthub" / "keys").find(SYSTEM)
        async with connect(url, name=key, identity=identity) as bus:
            budgets = Budgets(bus)
            async with budgets.watched() as accounts:
                following = asyncio.create_task(budgets.follow(accounts))
                await asyncio.to_thread(begin.wait, 60)
                try:
                    return await spend(budgets, key)
                finally:
                    following.cancel()

    began.put(asyncio.run(run()))


async def test_processes_that_spend_at_the_same_moment_begin_one_call_too_many_at_the_most(hub: Hub) -> None:
    """The same with processes of their own, as replicas are."""
    begin, began = FORK.Barrier(6), FORK.Queue()
    processes = [
        FORK.Process(target=spender, args=(hub.server.url, str(hub.folder), f"backend.{number}", begin, began))
        for number in range(6)
    ]
    try:
        for one in processes:
            one.start()
        counts = [await asyncio.to_thread(began.get, True, 90) for _ in processes]
    finally:
        for one in processes:
            one.kill()
            one.join()
    await _one_call_too_many(hub, counts)


async def test_a_limit_that_another_process_reached_is_seen_without_asking(hub: Hub) -> None:
    name, limits = AccountName("backend", is_rehearsal=False), {"usd_day": 5.0}
    async with process(hub) as one, process(hub) as other:
        assert await other.short_of(name, limits, call(), at=now()) is None
        assert await one.reserve(name, limits, "backend", call(6, at=now()), at=now()) is None
        await one.settle(name, "backend", "r1", Amount(usd=6), at=now())
        await until(lambda: other.short_of(name, limits, call(), at=now()))


async def test_a_grant_that_has_run_out_is_missed_at_once(hub: Hub) -> None:
    name, limits, wanted = AccountName("backend", is_rehearsal=False), {"usd_day": 5.0}, Amount(usd=0.1)
    until_ = NOON + timedelta(minutes=10)
    async with process(hub) as budgets:
        await budgets.reserve(name, limits, "backend", call(5, at=NOON), at=NOON)
        await budgets.settle(name, "backend", "r1", Amount(usd=5), at=NOON)
        await budgets.allow(name, Grant(limit="usd_day", amount=1, by="you", at=NOON, until=until_))
        for _ in range(2):
            assert await budgets.short_of(name, limits, wanted, at=until_ - timedelta(seconds=1)) is None
        assert await budgets.short_of(name, limits, wanted, at=until_)


async def test_what_was_spent_outlives_the_server(hub: Hub) -> None:
    name = AccountName("", is_rehearsal=True)
    budgets = Budgets(hub.bus)
    await budgets.reserve(name, {}, "qa", call(at=now()), at=now())
    await budgets.settle(name, "qa", "r1", Amount(usd=3), at=now())
    await hub.server.kill()
    await hub.server.start()
    account = (await Budgets(hub.bus).accounts())[name.key]
    assert account.spent["month"].usd == 3


# ── a role at work ─────────────────────────────────────────────────────────────────────────────────
@contextlib.asynccontextmanager
async def paid_role(hub: Hub, role: str, endpoint: Endpoint, toml: str, **more: Any) -> AsyncIterator[None]:
    """A role that talks to the endpoint as if it were Claude, for real money."""
    write_organization(hub.folder, toml)
    hub.organization = load_organization(hub.settings)
    real = {"model_url": endpoint.url, "api_key": SecretStr("rehearsal"), "rehearse": False, **more}
    stop = asyncio.Event()
    place = RolePlace(hub.settings.model_copy(update=real), hub.organization, role)
    working = asyncio.create_task(run_role(place, stop=stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await working


async def delayed(hub: Hub, role: str, message: str) -> tuple[str, Event]:
    """Send a directive; the first event that says that it was put off."""
    async with hub.bus.listen(f"agent-hub.events.delayed.{role}") as heard:
        message_id = await hub.send(role, message)
        async with asyncio.timeout(30):
            return message_id, Event.decode((await anext(heard)).data)


@pytest.mark.parametrize(
    ("toml", "calls", "limit"),
    [
        ("[defaults]\nbudget_usd_day = 0.001\n", 1, "usd_day"),
        ("[defaults]\nbudget.usd_hour = 0.001\n", 1, "usd_hour"),
        ("[budget]\nusd_day = 0.001\n", 1, "usd_day"),
        ("[budget]\ntokens_day = 2\n", 1, "tokens_day"),
        ('[roles.backend]\nbudget = { usd_day = "unlimited", turns_month = 0 }\n', 0, "turns_month"),
        ("[roles.backend]\nbudget_usd_day = 0\n", 0, "usd_day"),
    ],
)
async def test_a_role_that_has_spent_its_window_waits_and_nothing_fails(
    hub: Hub, toml: str, calls: int, limit: str
) -> None:
    async with start_rehearsal(speed=0) as endpoint, paid_role(hub, "backend", endpoint, toml):
        message_id, event = await delayed(hub, "backend", "Write the attachment API")
        assert (event.message_id, "has spent" in event.text, limit in event.text) == (message_id, True, True)
        assert len(endpoint.model.journal) == calls  # the one that spent it; none after it
        await until(lambda: _nothing_in_hand(hub))
        told = await until(lambda: hub.waiting("you"))
        assert f"agenthub budget allow {'organization' if '[budget]' in toml else 'backend'} {limit}=" in str(told)
    assert await hub.bus.last("AGENTHUB_DONE", f"agent-hub.done.backend.{message_id}") is None


async def _nothing_in_hand(hub: Hub) -> bool:
    return not await hub.waiting("backend")


async def test_a_person_is_warned_while_something_is_left_and_the_role_works_on(hub: Hub, bus: Bus) -> None:
    name = AccountName("backend", is_rehearsal=False)
    await Budgets(bus).reserve(name, {}, "another", call(at=now()), at=now())
    await Budgets(bus).settle(name, "another", "r1", Amount(usd=4.5), at=now())
    toml = "[defaults]\nbudget_usd_day = 5\n"
    async with start_rehearsal(speed=0) as endpoint, paid_role(hub, "backend", endpoint, toml):
        for _ in range(2):
            await hub.completion("backend", await hub.send("backend", "rehearse: say Hello."))
        told = [message.payload.subject for message in await hub.waiting("you")]
    assert len([subject for subject in told if subject.startswith("Budget: backend has spent 4.5")]) == 1, told


async def test_a_rehearsal_keeps_accounts_and_is_stopped_by_written_limits_only(hub: Hub) -> None:
    hub.organization = load_organization(hub.settings)
    assert hub.organization.budget_of("qa", rehearse=True) == {}
    assert hub.organization.budget_of_all(rehearse=True) == {}
    async with start_rehearsal(speed=0) as endpoint:
        async with paid_role(hub, "backend", endpoint, "", rehearse=True):
            message_id = await hub.send("backend", "Write the attachment API")
            await hub.completion("backend", message_id)
        accounts = await Budgets(hub.bus).accounts()
        assert sorted(accounts) == ["rehearsal.all", "rehearsal.role.backend"]
        took = accounts["rehearsal.all"].spent["month"]
        assert (took.turns, took.tokens > 100, took.usd > 0, accounts["rehearsal.all"].reserved) == (1, True, True, {})
        async with paid_role(hub, "backend", endpoint, "[budget]\nturns_month = 1\n", rehearse=True):
            _, event = await delayed(hub, "backend", "And tests for it")
            assert "1 of 1 turns" in event.text


async def test_what_a_dead_process_left_open_is_settled_from_its_journal(hub: Hub, bus: Bus) -> None:
    name = AccountName("backend", is_rehearsal=False)
    held = call(1, at=now() - timedelta(seconds=5), turns=1)
    await Budgets(bus).reserve(name, {}, "backend", held, at=held.at)
    journal = RolePlace(hub.settings, hub.organization, "backend").journal()
    journal.record_usage("t", message_id="m", model="m", usage=Usage(calls=1, output_tokens=7, cost_usd=0.25))
    journal.close()
    async with start_rehearsal(speed=0) as endpoint, paid_role(hub, "backend", endpoint, ""):
        await until(lambda: _is_settled(bus, name))
    took = (await Budgets(bus).accounts())[name.key].spent["day"]
    assert (took.usd, took.tokens, took.turns) == (0.25, 7, 1)


async def _is_settled(bus: Bus, name: AccountName) -> bool:
    return not (await Budgets(bus).accounts())[name.key].reserved


# ── what a person decides ──────────────────────────────────────────────────────────────────────────
async def test_what_a_person_allows_lets_work_go_on_at_once_and_is_recorded(hub: Hub) -> None:
    async def budget(*words: str) -> Ran:
        return await agenthub("budget", *words, "--real", "--nats", hub.server.url, folder=hub.folder)

    async with start_rehearsal(speed=0) as endpoint:
        async with paid_role(hub, "backend", endpoint, "[defaults]\nbudget_usd_day = 0.0001\n"):
            message_id, _ = await delayed(hub, "backend", "Write the attachment API")
            refused = [
                await budget("allow", "bakcend", "usd_day=2"),
                await budget("allow", "backend", "usd_week=2"),
                await budget("set", "backend", "usd_day=much"),
                await budget("allow", "backend", "usd_month=2"),
            ]
            assert [ran.code for ran in refused] == [3, 2, 2, 3]
            allowed = await budget("allow", "backend", "usd_day=2", "--for", "2h")
            assert (allowed.code, "one message waited for money" in allowed.err) == (0, True), allowed
            await hub.completion("backend", message_id)
        listed = json.loads((await budget("ls", "--json")).out)
        (line,) = [line for line in listed if (line["account"], line["limit"]) == ("backend", "usd_day")]
        assert (line["amount"], line["spent"] > 0.0001) == (2.0001, True)
        assert (" by you until " in line["by"], line["logins"]) == (True, [getpass.getuser()])
        assert (await budget("set", "backend", "usd_day=0", "tokens_hour=500k")).code == 0
        listed = json.loads((await budget("ls", "--json=account,limit,amount,by")).out)
        mine = {line["limit"]: line["amount"] for line in listed if line["account"] == "backend"}
        assert (mine["tokens_hour"], mine["usd_day"]) == (500_000, 2)  # 0, and what was allowed
    told = await hub.bus.history("AGENTHUB_EVENTS", "agent-hub.events.budget.backend")
    assert any("allowed by you for backend: usd_day=2 more" in Event.decode(event.data).text for event in told)


async def test_what_waits_for_money_is_counted_and_listed_with_the_moment_until_which_it_waits(hub: Hub) -> None:
    toml = "[roles.backend]\nbudget_usd_day = 0\n"
    async with start_rehearsal(speed=0) as endpoint, paid_role(hub, "backend", endpoint, toml):
        message_id, _ = await delayed(hub, "backend", "Write the attachment API")
        await until(lambda: _nothing_in_hand(hub))
        listed = await agenthub("ps", "--json", "--nats", hub.server.url, folder=hub.folder)
        shown = await agenthub("ps", "--nats", hub.server.url, folder=hub.folder)
        inbox = await agenthub("inbox", "ls", "backend", "--json", "--nats", hub.server.url, folder=hub.folder)
        lines = await agenthub("inbox", "ls", "backend", "--nats", hub.server.url, folder=hub.folder)
    assert {role["role"]: role["delayed"] for role in listed.json} == {"ceo": 0, "cto": 0, "backend": 1, "qa": 0}
    assert "+1 put off" in shown.out
    assert "agenthub inbox ls backend" in shown.err
    [item] = inbox.json
    assert (item["id"], item["stored"]["put_off"]["waits_for"]) == (message_id, "money")
    assert now() < datetime.fromisoformat(item["stored"]["put_off"]["until"]) <= now() + timedelta(days=1, minutes=5)
    assert "waits for money until 2" in lines.out


async def test_lists_show_money_against_its_limit(hub: Hub) -> None:
    name = AccountName("qa", is_rehearsal=False)
    budgets = Budgets(hub.bus)
    for account in (name, AccountName("", is_rehearsal=False)):
        await budgets.reserve(account, {}, "qa", call(at=now()), at=now())
        await budgets.settle(account, "qa", "r1", Amount(usd=6), at=now())
    ran = await agenthub("ps", "--nats", hub.server.url, folder=hub.folder)
    assert "$6.00 of $20.00 today; used up: qa (usd_day)" in ran.err
