"""What one role process has done since it started, as a page for Prometheus.

Counted in plain numbers, so that a role whom nobody asks never imports the library. Names follow
https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from agenthub import __version__
from agenthub.errors import HubError
from agenthub.messages import Completion, Event

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_BUCKETS_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
_TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")

Labels = tuple[str, ...]
CIRCUIT_STATES = {"closed": 0.0, "half_open": 1.0, "open": 2.0}


class _Gauge(NamedTuple):
    name: str
    text: str
    labels: Labels
    read: Callable[[], Awaitable[Mapping[Labels, float]]]


class Metrics:
    """Counters and gauges of one role process. What an answer costs is paid when somebody asks for it."""

    def __init__(self, role: str, *, org: str) -> None:
        self._role, self._org = role, org
        self._ended: Counter[Labels] = Counter()
        self._lasted: dict[Labels, _Histogram] = {}
        self._waited = _Histogram()
        self._redelivered = self._dead = 0
        self._tokens: Counter[Labels] = Counter()
        self._cost: Counter[Labels] = Counter()
        self._gauges: list[_Gauge] = []

    def heard(self, event: Event) -> None:
        """Count what an event tells of."""
        data = event.data
        if event.kind == "taken":
            if data.get("attempt", 1) > 1:
                self._redelivered += 1
            else:
                self._waited.add(float(data.get("waited_s", 0.0)))
        elif event.kind == "dead":
            self._dead += 1
        elif event.kind == "model":
            model = str(data.get("model", ""))
            for name in _TOKENS:
                self._tokens[model, name.removesuffix("_tokens")] += int(data.get(name, 0))
            self._cost[model,] += data.get("cost_usd", 0.0)

    def ended(self, completion: Completion) -> None:
        """Count a message that has come to its end."""
        outcome = str(completion.outcome)
        self._ended[str(completion.priority), outcome] += 1
        took_s = (completion.ended_at - completion.started_at).total_seconds()
        self._lasted.setdefault((outcome,), _Histogram()).add(took_s)

    def gauge(
        self, name: str, text: str, read: Callable[[], Mapping[Labels, float] | float], labels: Labels = ()
    ) -> None:
        """Show a value that is read when somebody asks.

        Args:
            name: Begins with `agenthub_`, ends in the unit.
            read: Gives the value; of several by what `labels` name.
        """

        async def reading() -> Mapping[Labels, float]:
            value = read()
            return value if isinstance(value, Mapping) else {(): value}

        self.asked_gauge(name, text, reading, labels)

    def asked_gauge(
        self, name: str, text: str, read: Callable[[], Awaitable[Mapping[Labels, float]]], labels: Labels = ()
    ) -> None:
        """Show values that the broker is asked for; left out of the page if it does not answer."""
        self._gauges.append(_Gauge(name, text, labels, read))

    async def page(self) -> bytes:
        """All of it in the text format of Prometheus."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        found = list(self._counted())
        for gauge in self._gauges:
            try:
                values = await gauge.read()
            except (HubError, TimeoutError):
                continue
            found.append(self._family("gauge", gauge.name, gauge.text, gauge.labels, values))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Page(found))
        ProcessCollector(registry=registry)
        return generate_latest(registry)

    def _counted(self) -> Iterable[Metric]:
        from prometheus_client.core import HistogramMetricFamily

        one: Labels = ()
        yield self._family("gauge", "agenthub_build_info", "What runs", ("version", "org"),
                           {(__version__, self._org): 1.0})  # fmt: skip
        yield self._family("counter", "agenthub_messages", "Messages that ended", ("priority", "outcome"), self._ended)
        yield self._family("counter", "agenthub_redeliveries", "Deliveries of what was begun before", (),
                           {one: self._redelivered})  # fmt: skip
        yield self._family("counter", "agenthub_dead_letters", "Messages that were buried", (), {one: self._dead})
        yield self._family("counter", "agenthub_tokens", "Tokens of answered calls", ("model", "type"), self._tokens)
        yield self._family("counter", "agenthub_cost_usd", "List price of answered calls", ("model",), self._cost)
        waited = HistogramMetricFamily(
            "agenthub_message_wait_seconds", "From sending to being taken", labels=("role",)
        )  # fmt: skip
        waited.add_metric((self._role,), self._waited.buckets(), sum_value=self._waited.total)
        yield waited
        lasted = HistogramMetricFamily(
            "agenthub_message_seconds", "From being taken to its end", labels=("role", "outcome")
        )  # fmt: skip
        for outcome, histogram in self._lasted.items():
            lasted.add_metric((self._role, *outcome), histogram.buckets(), sum_value=histogram.total)
        yield lasted

    def _family(
        self, kind: str, name: str, text: str, labels: Labels, values: Mapping[Labels, float]
    ) -> Metric:  # fmt: skip
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
        metric = family(name, text, labels=("role", *labels))
        for found, value in values.items():
            metric.add_metric((self._role, *found), value)
        return metric


class _Histogram:
    """How often something took how long."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_S) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        seconds = max(0.0, seconds)  # clocks of others
        self._counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds and how many were at or below each."""
        bounds = [*map(str, _BUCKETS_S), "+Inf"]
        return list(zip(bounds, map(float, itertools.accumulate(self._counts)), strict=True))


class _Page:
    """What a registry asks for its metrics."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found
