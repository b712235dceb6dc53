"""One role process: built by hand on one screen, one TaskGroup, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from agenthub import equipment, failpoints, gauges, subjects
from agenthub.breakers import Breakers, account_key, role_key
from agenthub.budgets import Budgets
from agenthub.bus.buckets import hold_lease
from agenthub.bus.connecting import connect
from agenthub.bus.connection import Bus
from agenthub.bus.identity import Identity, Keyring
from agenthub.bus.lanes import open_lanes
from agenthub.bus.sorter import open_sorter
from agenthub.coordination import Coordination
from agenthub.errors import ConfigError, HubError, RestartAskedError
from agenthub.guards.circuit_breaker import Rules, account_of
from agenthub.guards.repeats import Memory
from agenthub.guards.senders import Senders
from agenthub.health import open_health
from agenthub.inbox import Inbox
from agenthub.intake import Intake
from agenthub.ladder import Ladder
from agenthub.leading import lead_if_free
from agenthub.learning.lessons import TaughtSession
from agenthub.live import Live, LiveSession
from agenthub.long_texts import LongTexts
from agenthub.loop import Loop, LoopLimits
from agenthub.masking import Mask
from agenthub.messages import Message, now
from agenthub.metrics import Metrics
from agenthub.notices import Notices
from agenthub.org.activity import Activity
from agenthub.org.calendar import Calendar
from agenthub.org.events import Events
from agenthub.org.grants import Grants
from agenthub.org.ledger import Ledger
from agenthub.org.registry import Pulse, Registry
from agenthub.org.steering import Steering
from agenthub.org.traces import Traces
from agenthub.organization import Organization
from agenthub.pings import answer_pings
from agenthub.polls import Polls
from agenthub.preemption import Preemption
from agenthub.presence import Absence
from agenthub.sessions.journal import Journal
from agenthub.sessions.session import Session
from agenthub.settings import Settings
from agenthub.settling import Settling
from agenthub.spending import Spending
from agenthub.standing_in import stand_in_for
from agenthub.steered import Steered
from agenthub.together import let_go
from agenthub.trace_guard import TraceGuard, TraceLimits
from agenthub.triage import Triage
from agenthub.turn_gate import TurnGate

logger = logging.getLogger(__name__)

LEASE_WITHIN_S = 15.0
"""How long a starting role waits for the lease of a holder of whom it cannot know whether it lives."""

STOP_PATIENCE_S = 2.0
"""How long a stopping role waits for a broker that does not answer; the journal has what is not published."""


class RolePlace(NamedTuple):
    """Which role this process plays, and where its things are."""

    settings: Settings
    organization: Organization
    role: str
    replica: int = 0

    @property
    def key(self) -> str:
        """Its name in the registry and the leases."""
        return self.role if self.replica == 0 else f"{self.role}.{self.replica}"

    @property
    def keyring(self) -> Keyring:
        """The keys of the organization, as far as they are here."""
        return Keyring(self.settings.keys)

    def identity(self) -> Identity | None:
        """As whom it works; None if this hub has no keys.

        Raises:
            ConfigError: If the hub has keys, but not the one of this role.
        """
        identity = self.keyring.find(self.role, is_role=True)
        if identity is None and self.keyring.is_there:
            path = self.keyring.path(self.role, is_role=True)
            raise ConfigError(
                f"There is no key for `{self.role}` at {path}. Run `agenthub provision`, or bring it here."
            )
        return identity

    def alive(self) -> Path:
        """File that is touched as long as what the process holds is kept alive at the broker."""
        return self.settings.state / "journals" / f"{self.key}.alive"

    def journal(self) -> Journal:
        return Journal(self.settings.state / "journals" / f"{self.key}.db")

    def long_texts(self) -> LongTexts:
        return LongTexts(self.settings.state / "messages" / self.role)

    def memory(self) -> Memory:
        return Memory(self.settings.state / "journals" / f"{self.key}.heard.db")


async def run_role(place: RolePlace, *, stop: asyncio.Event, session: Session | None = None) -> None:
    """Work as a role until `stop` is set.

    Args:
        session: Instead of the one that the role's settings ask for; in tests.

    Raises:
        HubUnreachableError: If no server answers, or none stores while it starts or stops.
        LeaseLostError: If another process works as the role.
        RestartAskedError: If a person wants the process to end, so that whoever started it starts it again.
    """
    settings, organization, name = place.settings, place.organization, place.role
    failpoints.arm(settings.state / "failpoints" / place.key)
    has_topics = bool(organization.role(name).settings.subscribe)
    journal, memory = place.journal(), place.memory()
    mask = Mask(equipment.secrets_of(settings, organization, name))
    texts = place.long_texts()
    texts.let_go()
    senders = Senders(place.keyring, operator=organization.operator)
    metrics = Metrics(name, org=organization.org)
    async with (
        open_health(settings, place.key, metrics) as health,
        equipment.mcp_tools_of(settings, organization, name, place.key) as mcp_tools,
        connect(settings.transport, name=f"agenthub {place.key}", identity=place.identity()) as bus,
        _hurried(bus, stop),
        hold_lease(
            bus,
            place.key,
            ttl_s=settings.lease_ttl_s,
            within_s=LEASE_WITHIN_S,
            clock=time.monotonic,
            entered=senders.entered,
        ) as lease,
    ):
        activity = Activity(
            place.key, model=organization.terms(name).model, clock=now, usage_of_day=journal.usage_since
        )
        activity.health_port = health.port
        events = Events(bus, name, mask=mask, heard=metrics.heard)
        ledger = Ledger(bus, entered=senders.entered)
        coordination = Coordination(bus, organization, name, ledger=ledger, events=events, clock=now)
        record = equipment.track_record_of(organization, bus)
        polls = Polls(name, coordination=coordination, ledger=ledger, record=record, events=events, clock=now)
        await coordination.start()
        activity.parked = lambda: coordination.parked
        budgets = Budgets(bus)
        notices = Notices(name, operator=organization.operator, org=organization.org, bus=bus, events=events)
        spending = Spending(
            name, place.key, organization, budgets, is_rehearsal=settings.rehearse, notices=notices, events=events,
            clock=now,
        )  # fmt: skip
        rules = Rules(
            least=organization.defaults.breaker_failures, open_s=organization.defaults.breaker_open_s,
            usd=organization.breaker_usd(rehearse=settings.rehearse),
        )  # fmt: skip
        breakers = Breakers(bus, rules=rules, clock=now)
        key = settings.api_key.get_secret_value() if settings.api_key else ""
        account = account_of(settings.model_url, key)
        steering = Steering(
            bus, name, operator=organization.operator, managers=organization.managers_chain(name),
            has_signed=senders.has_signed,
        )  # fmt: skip
        gate = TurnGate(
            name, place.key, account, spending=spending, breakers=breakers, rules=rules,
            notices=notices, events=events, clock=now, may_step=steering.check,
        )  # fmt: skip
        await spending.recover(journal.usage_since)
        learner = equipment.learner_of(settings, organization, name, bus=bus, events=events, notices=notices)
        workplace = equipment.workplace_of(settings, organization, name)
        grants = Grants(bus, place.keyring, organization.org)
        await workplace.sweep(still_open=coordination.parked_tasks)
        acceptance = equipment.acceptance_of(
            settings, organization, name, bus, journal, coordination, mask, learner, workplace, grants
        )
        session = session or equipment.session_for(
            settings, organization, name, place.key, bus, journal, coordination, polls, lease, gate, mcp_tools, mask,
            texts, record, learner, acceptance, workplace, grants,
            is_urgent=lambda: inbox.has_critical,
        )  # fmt: skip
        live = Live(bus, name, place.key, clock=now, mask=mask)
        session = LiveSession(TaughtSession(session, learner, equipment.watch_of(settings, name)), live)
        await session.start()
        activity.context = await session.context()
        pulse = Pulse(Registry(bus), place.key, every_s=settings.heartbeat_s, look=activity.beat)
        activity.changed = pulse.changed
        traces = Traces(bus)
        guard = TraceGuard(
            name, operator=organization.operator, org=organization.org, bus=bus, traces=traces, memory=memory,
            events=events, limits=_trace_limits(organization),
        )  # fmt: skip
        keep_s = settings.keep_alive_s
        is_shared = organization.role(name).settings.replicas > 1
        settling = Settling(
            name, bus=bus, journal=journal, coordination=coordination, events=events, clock=now,
            before_effect=lease.ensure, spent=guard.spent, reassign_after_s=organization.defaults.reassign_after_s,
            stand_in=partial(stand_in_for, name, organization, breakers, Registry(bus)), ended=metrics.ended,
        )  # fmt: skip
        async with (
            traces.watched() as decisions,
            budgets.watched() as accounts,
            breakers.watched() as trips,
            steering.watched() as decided,
            grants.watched() as given,
            open_lanes(
                bus, name, keep_alive_s=keep_s, is_shared=is_shared, owns=lambda: lease.is_held, alive=place.alive()
            ) as lanes,
            open_sorter(
                bus,
                name,
                has_topics=has_topics,
                keep_alive_s=keep_s,
                owns=lambda: lease.is_held,
                bury=settling.bury,
                came_due=senders.came_due,
            ) as sorter,
        ):
            activity.holds = lambda: lanes.holding
            inbox = Inbox(
                lanes, ageing_s=organization.defaults.ageing_s, clock=now, is_paused=lambda: steering.is_paused,
                is_stopped=lambda: steering.is_stopped,
                is_superseded=partial(Calendar(bus, organization).is_superseded, by=(subjects.LEADER, name)),
            )  # fmt: skip
            steered = Steered(
                place.key, steering, session=session, settling=settling, inbox=inbox, events=events,
                operator=organization.operator, has_begun=lambda message_id: journal.turns_of(message_id) > 0,
            )  # fmt: skip
            for delivery in await lanes.left_open(journal.open_deliveries(), within_s=_redelivered_after_s(settings)):
                inbox.keep(delivery)
            triage = Triage(
                name, journal=journal, coordination=coordination, settling=settling, polls=polls, traces=guard,
                senders=senders, clock=now,
                intake=Intake(name, organization, bus, senders=senders, events=events),
                max_hops=organization.defaults.max_hops,
            )  # fmt: skip
            loop = Loop(
                name, inbox=inbox, session=session, journal=journal, triage=triage, settling=settling,
                preemption=Preemption(inbox, session, events, grace_s=organization.defaults.critical_grace_s),
                traces=guard, events=events, activity=activity, clock=now, before_effect=lease.ensure,
                gate=gate, take_in=partial(_taken_in, mask, texts), acceptance=acceptance, steered=steered,
                hand_in=workplace.hand_in,
                limits=LoopLimits(
                    max_tries=organization.defaults.max_tries,
                    turn_timeout_s=organization.terms(name).turn_timeout_s,
                ),
            )  # fmt: skip
            await pulse.beat()
            health.ready = lambda: {
                "connected": bus.is_connected, "holding the lease": lease.is_held, "at work": not stop.is_set(),
            }  # fmt: skip
            health.note = lambda: steering.standing.words
            gauges.show(
                metrics, activity=activity, pulse=pulse, lanes=lanes, spending=spending, breakers=breakers,
                coordination=coordination, learner=learner, circuits=(role_key(name), account_key(account)),
            )  # fmt: skip
            if not stop.is_set():
                bus.patience_s = math.inf  # a broker that is away or does not store is waited for; the log says so
            await events.tell("ready", f"pid {activity.beat().pid}")
            async with asyncio.TaskGroup() as group:
                services = [
                    group.create_task(lanes.keep_alive(), name="keep lanes"),
                    group.create_task(lanes.probe(), name="probe lanes"),
                    group.create_task(sorter.keep_alive(), name="keep sorter"),
                    group.create_task(sorter.run(), name="sorter"),
                    group.create_task(pulse.run(), name="pulse"),
                    group.create_task(live.run(), name="live"),
                    group.create_task(answer_pings(bus, name, place.key, activity.beat), name="pings"),
                    group.create_task(steering.follow(decided), name="steering"),
                    group.create_task(traces.follow(decisions), name="traces"),
                    group.create_task(budgets.follow(accounts), name="budgets"),
                    group.create_task(spending.run(), name="spending"),
                    group.create_task(breakers.follow(trips), name="breakers"),
                    group.create_task(grants.follow(given), name="grants"),
                    group.create_task(lease.keep(), name="lease"),
                    group.create_task(learner.run(), name="learner"),
                    group.create_task(lead_if_free(bus, settings, organization, process=place.key), name="leader"),
                ]
                if checks := equipment.checks_of(settings, organization, place.key, bus):
                    services.append(group.create_task(checks.run(), name="checks"))
                stall_s = organization.defaults.stall_s
                ladder = Ladder(activity, session, events, stall_s=stall_s, clock=time.monotonic)
                services.append(group.create_task(ladder.run(), name="ladder"))
                working = group.create_task(loop.run(), name="loop")
                await steered.until_end(stop, working)
                activity.stops()
                inbox.close()  # 1. start nothing new
                grace_s = 0.0 if steered.restart_at_once.is_set() else settings.grace_s
                await asyncio.wait([working], timeout=grace_s)  # 2. finish the message in hand
                await let_go([working, *services])  # 3. let go of the rest: leaving the blocks gives it back
        await session.close()
        await _sign_off(bus, place, spending, events)
    journal.close()
    memory.close()
    if steered.restart_asked.is_set() and not stop.is_set():
        raise RestartAskedError(f"`{place.key}` ends since a person asked for its restart.")


@contextlib.asynccontextmanager
async def _hurried(bus: Bus, stop: asyncio.Event) -> AsyncIterator[None]:
    """Have the bus wait for nobody for long from the moment that `stop` is set, also while the role starts."""

    async def hurry() -> None:
        await stop.wait()
        bus.patience_s = min(bus.patience_s, STOP_PATIENCE_S)

    hurrying = asyncio.create_task(hurry(), name="hurry")
    try:
        yield
    finally:
        hurrying.cancel()


def _taken_in(mask: Mask, texts: LongTexts, message: Message) -> Message:
    """The message without secrets; what is too long to be shown at once can be read in parts."""
    message = message.masked(mask)
    texts.keep(message)
    return message


def _redelivered_after_s(settings: Settings) -> float:
    """How long what a dead process held is surely nobody else's: then the broker, or the watchdog, hands it on."""
    return min(settings.ack_wait_s, 3 * settings.heartbeat_s) / 2


def _trace_limits(organization: Organization) -> TraceLimits:
    limits = organization.defaults
    return TraceLimits(limits.max_trace_messages, limits.max_trace_usd, limits.max_repeats)


async def _sign_off(bus: Bus, place: RolePlace, spending: Spending, events: Events) -> None:
    """Say that this process has stopped, so that nobody misses it: an upgrade may take longer than its last beat.

    Of a broker that is away nothing fails: what the last calls took is settled from the journal at the next start, the
    heartbeat runs out by itself, and a role that nobody heard stop is missed for a while.
    """
    registry = Registry(bus)
    gone = Absence(role=place.role, since=now(), reason="stopped", was_stopped=True, is_told=True)
    try:
        await spending.flush()
        await registry.note_absence(place.key, gone)
        await registry.remove(place.key)
    except HubError as error:
        logger.warning("`%s` stops, and could not say so: %s", place.key, error)
    await events.tell("stopped")


def stop_on_signals(stop: asyncio.Event) -> None:
    """Have SIGTERM set `stop`; SIGINT too, which the terminal sends to every process of the group."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
