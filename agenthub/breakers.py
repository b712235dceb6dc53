"""The circuit breakers of roles and of model accounts, kept by the broker for every process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.watched import WatchedBucket
from agenthub.errors import BreakerOpenError
from agenthub.guards import circuit_breaker
from agenthub.guards.circuit_breaker import Breaker, Rules
from agenthub.org.delayed import hasten, waits_for

PROBED_S = 5.0
"""How soon others look again while one tries."""


_ROLE = "role."


def role_key(role: str) -> str:
    return f"{_ROLE}{role}"


def account_key(account: str) -> str:
    return f"account.{account}"


class Breakers:
    """All breakers, as one process sees them. Looking at a closed one costs nothing."""

    def __init__(self, bus: Bus, *, rules: Rules, clock: Callable[[], datetime]) -> None:
        self._bus, self._rules, self._clock = bus, rules, clock
        self._kept = WatchedBucket(bus, subjects.BREAKERS, Breaker)
        self.watched, self.follow = self._kept.watched, self._kept.follow

    def check(self, key: str, by: str) -> None:
        """Return if `by` may make a call now.

        Raises:
            BreakerOpenError: Says when to look again.
        """
        known = self._kept.known(key)
        if known is not None and circuit_breaker.wait_s(known, by, self._clock()) is not None:
            raise self._open(key, known)

    async def enter(self, key: str, by: str) -> None:
        """Return if `by` may begin a turn, as the one probe if the breaker's time is over.

        Raises:
            BreakerOpenError: Says when to look again.
        """
        known = self._kept.known(key)
        if known is None or circuit_breaker.wait_s(known, by, self._clock()) is None:
            return
        at = self._clock()
        stored = await self._kept.change(key, lambda breaker: circuit_breaker.probing(breaker, by, at))
        if circuit_breaker.wait_s(stored, by, at) is not None:
            raise self._open(key, stored)

    async def leave(self, key: str, by: str) -> None:
        """Let another try, if `by` was the probe and nobody has noted how that went. Costs nothing else."""
        known = self._kept.known(key)
        if known is None or known.state != "half_open" or known.probe != by:
            return
        at = self._clock()
        await self._kept.change(key, lambda breaker: circuit_breaker.released(breaker, by, at))

    async def record(self, key: str, by: str, *, ok: bool, shown: str, reason: str = "") -> bool:
        """Note how something went; True if the breaker tripped by it. That all goes well costs nothing."""
        before = self._kept.known(key)
        if ok and (before is None or (before.state == "closed" and not before.results)):
            return False
        at = self._clock()

        def changed(breaker: Breaker) -> Breaker:
            named = breaker.model_copy(update={"shown": shown})
            return circuit_breaker.recorded(named, ok=ok, reason=reason, by=by, at=at, rules=self._rules)

        after = await self._kept.change(key, changed)
        return after.state == "open" and after.since == at

    async def trip(self, key: str, reason: str, *, shown: str, open_s: float | None = None) -> bool:
        """Open a breaker; True if it was not open before."""
        at = self._clock()

        def changed(breaker: Breaker) -> Breaker:
            named = breaker.model_copy(update={"shown": shown})
            return circuit_breaker.trip(named, reason, open_s=open_s or self._rules.open_s, at=at)

        return (await self._kept.change(key, changed)).since == at

    async def hold(self, key: str, reason: str, *, shown: str, for_s: float) -> bool:
        """Open a breaker for as long as a provider says, no longer; True if it was not open before."""
        at = self._clock()

        def changed(breaker: Breaker) -> Breaker:
            named = breaker.model_copy(update={"shown": shown, "trips": 0})
            return circuit_breaker.trip(named, reason, open_s=for_s, at=at)

        return (await self._kept.change(key, changed)).since == at

    async def reset(self, key: str) -> int:
        """Close a breaker by hand; how many messages waited and are looked at again now."""
        await self._kept.change(key, circuit_breaker.close)
        return await hasten(self._bus, waits_for("model"))

    async def all(self) -> Mapping[str, Breaker]:
        """All breakers, by key."""
        return await self._kept.items()

    def state(self, key: str) -> str:
        """`closed`, `open` or `half_open`, as far as this process has heard."""
        known = self._kept.known(key)
        return known.state if known is not None else "closed"

    def is_closed(self, key: str) -> bool:
        """True as far as this process has heard."""
        known = self._kept.known(key)
        return known is None or known.state == "closed"

    def _open(self, key: str, breaker: Breaker) -> BreakerOpenError:
        left_s = circuit_breaker.wait_s(breaker, "", self._clock()) or 0.0
        is_probed = breaker.state == "half_open"
        return BreakerOpenError(
            breaker.shown, breaker.reason, retry_after_s=PROBED_S if is_probed else max(1.0, left_s),
            whole_wait_s=None if is_probed else circuit_breaker.whole_wait_s(breaker),
            is_of_role=key.startswith(_ROLE),
        )  # fmt: skip
