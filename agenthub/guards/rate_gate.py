"""How many messages one role may send another: so many within a window that slides along with the clock."""

from __future__ import annotations

import math
from collections.abc import Sequence


def in_window(sent_at_s: Sequence[float], *, at_s: float, window_s: float) -> list[float]:
    """The moments that still count at `at_s`, oldest first. What lies ahead does not: somebody set the clock back."""
    return [moment for moment in sent_at_s if moment <= at_s < moment + window_s]


def wait_s(sent_at_s: Sequence[float], *, at_s: float, rate: float, window_s: float, more: int = 1) -> float:
    """Seconds until `more` messages may be sent: 0 for now, `math.inf` if so many never may at once.

    Args:
        sent_at_s: Moments of what was sent before, oldest first.
        rate: Messages that may be sent within any `window_s`; `math.inf` for unlimited.
    """
    if more > rate:
        return math.inf
    counted = in_window(sent_at_s, at_s=at_s, window_s=window_s)
    too_many = len(counted) + more - rate
    return 0.0 if too_many <= 0 else counted[int(too_many) - 1] + window_s - at_s


class RateGate:
    """What one role sent to each of the others lately. In memory: after a restart all windows are empty."""

    def __init__(self, *, rate: float, window_s: float) -> None:
        self._rate, self._window_s = rate, window_s
        self._sent: dict[str, list[float]] = {}

    def wait_s(self, to: str, *, at_s: float, more: int = 1) -> float:
        """Seconds until `more` messages may be sent to a role; 0 for now."""
        return wait_s(self._sent.get(to, ()), at_s=at_s, rate=self._rate, window_s=self._window_s, more=more)

    def pass_through(self, to: str, *, at_s: float) -> None:
        """Note that a message is sent."""
        if self._rate < math.inf:
            counted = in_window(self._sent.get(to, ()), at_s=at_s, window_s=self._window_s)
            self._sent[to] = [*counted, at_s]
