"""What must be in order before a turn and before each model call: money, the role's breaker, its account's breaker.

A breaker that is open costs nothing: the message goes back before a turn is opened, and none counts as failed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from agenthub.breakers import Breakers, account_key, role_key
from agenthub.errors import BreakerOpenError, FrozenError, ModelUnavailableError
from agenthub.guards.circuit_breaker import Action, Cost, Rules, no_progress, spent_within
from agenthub.messages import Usage, new_id
from agenthub.notices import Notices
from agenthub.org.events import Events
from agenthub.spending import Spending


class TurnGate:
    """Lets the turns of one role process pass, or not; the `Meter` of its session."""

    def __init__(
        self, role: str, key: str, account: str, *, spending: Spending, breakers: Breakers, rules: Rules,
        notices: Notices, events: Events, clock: Callable[[], datetime], may_step: Callable[[], None],
    ) -> None:  # fmt: skip
        """The gate of the process `key`; `may_step` raises if a person has stopped the role. It costs no round trip."""
        self._role, self._key, self._spending, self._breakers = role, key, spending, breakers
        self._rules, self._notices, self._events = rules, notices, events
        self._of_role, self._of_account = role_key(role), account_key(account)
        self._account = f"model account {account[:8]}"
        self._clock, self._may_step = clock, may_step
        self._actions: list[Action] = []
        """Tool calls of the turn; no more than a rule looks at."""
        self._costs: list[Cost] = []
        """Of this process within the window: replicas count for themselves."""

    async def enter(self) -> None:
        """Return if a turn may be opened.

        Raises:
            BudgetExhaustedError: If there is no money.
            BreakerOpenError: If a breaker is open.
            FrozenError: If a person has stopped the role, or everything.
        """
        self._may_step()
        await self._spending.check()
        await self._breakers.enter(self._of_account, self._key)
        await self._breakers.enter(self._of_role, self._key)
        self._actions.clear()

    async def leave(self) -> None:
        """Note that what was let in has gone, whatever came of it: nobody waits for a probe that told nothing."""
        await self._breakers.leave(self._of_account, self._key)
        await self._breakers.leave(self._of_role, self._key)

    async def check(self) -> None:
        """Return if a turn that runs may go on: there is money, no breaker has opened, and nobody has stopped it."""
        self._may_step()
        self._breakers.check(self._of_account, self._key)
        self._breakers.check(self._of_role, self._key)
        await self._spending.check()

    async def reserve(self, turn_id: str, *, input_tokens: int) -> None:
        """Return if a call may be made, with its price set aside."""
        self._may_step()
        await self._check_cost_rate()
        self._breakers.check(self._of_account, self._key)
        self._breakers.check(self._of_role, self._key)
        await self._spending.reserve(turn_id, input_tokens=input_tokens)
        try:
            self._may_step()  # the last moment before the call
        except FrozenError:
            self._spending.settle(Usage())
            raise

    def settle(self, usage: Usage | None) -> None:
        """Note what a call took."""
        self._spending.settle(usage)
        if usage is not None and usage.cost_usd:
            self._costs.append(Cost(self._clock(), usage.cost_usd))

    async def answered(self) -> None:
        """Note that the model answered."""
        await self._breakers.record(self._of_account, self._key, ok=True, shown=self._account)

    async def acted(self, action: str, *, is_error: bool) -> None:
        """Note a tool call; when the same fail again and again that is no progress."""
        self._actions = [*self._actions, Action(action, is_error)][-2 * self._rules.repeats :]
        if reason := no_progress(self._actions, repeats=self._rules.repeats):
            self._actions.clear()
            await self._trip(f"no progress: {reason}")

    async def _check_cost_rate(self) -> None:
        self._costs = spent_within(self._costs, self._clock(), window_s=self._rules.window_s)
        spent_usd = sum(cost.usd for cost in self._costs)
        if spent_usd > self._rules.usd:
            self._costs.clear()
            within = f"{self._rules.window_s / 60:.0f} minutes"
            limit = f"of {self._rules.usd:g} (`defaults.breaker_usd`)"
            await self._trip(f"it spent {spent_usd:.2f} USD in {within} {limit}")

    async def _trip(self, reason: str) -> None:
        if await self._breakers.trip(self._of_role, reason, shown=self._role):
            await self._tell(self._role, reason)

    async def ended(self, *, ok: bool, reason: str = "") -> None:
        """Note how a turn ended."""
        if await self._breakers.record(self._of_role, self._key, ok=ok, shown=self._role, reason=reason):
            await self._tell(self._role, reason)

    async def unavailable(self, error: ModelUnavailableError) -> None:
        """Have everybody on this account wait for as long as its provider asks."""
        if isinstance(error, BreakerOpenError):
            return
        if await self._breakers.hold(
            self._of_account, str(error), shown=self._account, for_s=error.retry_after_s
        ):  # fmt: skip
            await self._events.tell("breaker", f"{self._account} is open: {error}")

    async def _tell(self, who: str, reason: str) -> None:
        await self._events.tell("breaker", f"{who} is open: {reason}")
        text = (
            f"The circuit breaker of `{who}` is open: {reason}\nIts messages wait; nothing is spent meanwhile. "
            f"One of them is tried in a while by itself, and if that goes well the others follow. Or you decide:\n\n"
            f"agenthub breaker reset {who}   # let it work again now\nagenthub breaker ls\nagenthub logs {who}"
        )
        await self._notices.tell(new_id(), f"{who} is left alone for a while", text, is_question=False)
