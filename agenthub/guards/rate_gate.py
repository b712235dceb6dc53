"""How many messages one role may send another: so many within a window that slides along with the clock.

The sender keeps to it by itself (`RateGate`). The receiver looks as well (`Arrivals`): a sender that was taken over, or
is another program with the same key, keeps to nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
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


TOLERANCE = 2.0
"""So many times what a sender may send is taken in: one that is started again has forgotten what it sent before."""
_KEPT = 64
"""Windows of one sender that are remembered; of older ones nothing is known any more."""


class Arrivals:
    """What one role took in of each of the others, by when the broker stored it: however late it is looked at.

    In memory, and bounded: after a restart nothing is held against anybody.
    """

    def __init__(self, *, rate: float, window_s: float) -> None:
        self._rate, self._window_s = rate, window_s
        self._taken: dict[str, OrderedDict[int, set[int]]] = {}

    def takes(self, sender: str, place: int, *, stored_at_s: float, processes: int = 1) -> bool:
        """True if a message may be taken in; the same place again is answered as before.

        Args:
            place: Where it lies in its stream.
            processes: Of the sender; each keeps a window of its own.
        """
        most = self._rate * TOLERANCE * processes
        if most == math.inf:
            return True
        windows = self._taken.setdefault(sender, OrderedDict())
        taken = windows.setdefault(int(stored_at_s // self._window_s), set())
        if place not in taken and len(taken) >= most:
            return False
        taken.add(place)
        while len(windows) > _KEPT:
            windows.popitem(last=False)
        return True
