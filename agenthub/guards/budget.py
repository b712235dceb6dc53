"""Money: a limit for each day, checked before each model call, on unless a file says `unlimited`."""

from __future__ import annotations

from datetime import datetime, timedelta

from agenthub.errors import BudgetExhaustedError

LOOK_AGAIN_S = 900.0
"""How often a message that waits for money is looked at again: a person may have raised the limit."""


def start_of_day(moment: datetime) -> datetime:
    """Midnight UTC before `moment`: when the window of a day began."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def check_day(account: str, *, spent_usd: float, limit_usd: float, at: datetime) -> None:
    """Raise if what was spent today has reached the limit.

    Args:
        spent_usd: At list prices, since `start_of_day`.
        limit_usd: `math.inf` for unlimited.

    Raises:
        BudgetExhaustedError: Says when to look again: at midnight UTC, or in a quarter of an hour.
    """
    if spent_usd >= limit_usd:
        until_midnight_s = (start_of_day(at) + timedelta(days=1) - at).total_seconds()
        raise BudgetExhaustedError(
            account, spent_usd=spent_usd, limit_usd=limit_usd, retry_after_s=min(LOOK_AGAIN_S, until_midnight_s)
        )
