"""`make soak`: a role works off a thousand messages, and whatever must stay flat is shown to be flat.

A real role process, a real server, the real session; the model is the rehearsal model. After every few messages
memory, open files and the size of the journal are looked at; slopes are least squares over what comes after the
first fifth. Exits 1 if a bound is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psutil

from agenthub import subjects
from agenthub.organization import Organization
from agenthub.rehearsal import start_rehearsal
from agenthub.runtime import RolePlace, run_role
from agenthub.settings import Settings
from bench import children
from bench.children import Job
from bench.hub import Hub, empty_folder, open_hub

MESSAGES = 1000
_BATCH = 20
_ROLE = "backend"
_WITHIN_S = 300.0
"""For one batch."""


class Sample(NamedTuple):
    """What a look at the process showed."""

    messages: int
    memory_mib: float
    files: int
    journal_mib: float


class Spent(NamedTuple):
    """What one message took."""

    cost_usd: float
    input_tokens: int
    cached_tokens: int


class Bound(NamedTuple):
    """Something that was promised of the run."""

    what: str
    value: float
    unit: str
    limit: float
    is_at_least: bool = False

    @property
    def is_kept(self) -> bool:
        return self.value >= self.limit if self.is_at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign, verdict = "≥" if self.is_at_least else "≤", "ok" if self.is_kept else "BROKEN"
        return f"{self.what:<44} {self.value:>10.3g} {self.unit:<22} {sign} {self.limit:<8g} {verdict}"


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Growth per thousand messages, by least squares; 0 for fewer than two samples."""
    return 1000 * statistics.linear_regression(*zip(*samples, strict=True)).slope if len(samples) > 1 else 0.0


def bounds(samples: Sequence[Sample], spent: Sequence[Spent]) -> list[Bound]:
    """What the run must keep."""
    warm = [sample for sample in samples if sample.messages > samples[-1].messages / 5]
    tenth = max(1, len(spent) // 10)
    early = statistics.mean(one.cost_usd for one in spent[tenth : 2 * tenth])
    late = statistics.mean(one.cost_usd for one in spent[-tenth:])
    share = sum(one.cached_tokens for one in spent) / max(1, sum(one.input_tokens for one in spent))
    memory = slope([(sample.messages, sample.memory_mib) for sample in warm])
    files = slope([(sample.messages, sample.files) for sample in warm])
    return [
        Bound("growth of memory", memory, "MiB / 1000 messages", 8.0),
        Bound("growth of open files", files, "/ 1000 messages", 2.0),
        Bound("largest journal with its log", max(sample.journal_mib for sample in samples), "MiB", 24.0),
        Bound("cost of the last tenth by the second", late / early if early else 0.0, "times", 1.5),
        Bound("input that came from the cache", share, "of all", 0.9, is_at_least=True),
    ]


async def work(stop: asyncio.Event, settings: Settings, organization: Organization) -> None:
    """The role, as `agenthub role` runs it."""
    await run_role(RolePlace(settings, organization, _ROLE), stop=stop)


async def soak(messages: int) -> list[Bound]:
    """Run it and say what was seen."""
    with empty_folder() as folder:
        async with start_rehearsal(speed=0) as endpoint, open_hub(folder, [_ROLE], durable=False, has_keys=True) as hub:
            settings = Settings.load(
                config=folder / "agenthub.toml", nats_url=hub.server.url, model_url=endpoint.url, api_key="rehearsal",
                rehearse=True,
            )  # fmt: skip
            journal = settings.state / "journals" / f"{_ROLE}.db"
            async with children.running(Job(work, (settings, hub.organization))) as [pid]:
                samples = await _samples(hub, psutil.Process(pid), journal, messages)
            return bounds(samples, _spent(journal))


async def _samples(hub: Hub, process: psutil.Process, journal: Path, messages: int) -> list[Sample]:
    samples: list[Sample] = []
    done = await hub.last_sequence(subjects.DONE)
    began_s = time.monotonic()
    for first in range(0, messages, _BATCH):
        number = min(_BATCH, messages - first)
        await hub.fill(subjects.inbox(_ROLE), f"soak{first}", number)
        done += number
        await hub.until_stored(subjects.DONE, done, within_s=_WITHIN_S)
        samples.append(_look(process, journal, first + number))
        if len(samples) % 5 == 0:
            one = samples[-1]
            print(
                f"{one.messages:>6} messages {time.monotonic() - began_s:>6.0f} s  {one.memory_mib:>6.1f} MiB  "
                f"{one.files:>3} files  journal {one.journal_mib:>5.1f} MiB", flush=True,
            )  # fmt: skip
    return samples


def _look(process: psutil.Process, journal: Path, messages: int) -> Sample:
    size = sum(file.stat().st_size for file in journal.parent.glob(f"{journal.name}*"))
    memory = process.memory_full_info().uss
    return Sample(messages, memory / 2**20, process.num_fds(), size / 2**20)


def _spent(journal: Path) -> list[Spent]:
    """What each message took, in the order in which they were begun."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT sum(cost_usd), sum(input + cache_read + cache_write), sum(cache_read) FROM usage"
            " GROUP BY message_id ORDER BY min(rowid)"
        )
        return [Spent(*row) for row in rows]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="A long run through one role.")
    parser.add_argument("--messages", type=int, default=MESSAGES)
    options = parser.parse_args()
    children.preload()
    found = asyncio.run(soak(options.messages))
    print(*found, sep="\n")
    broken = [bound.what for bound in found if not bound.is_kept]
    print(f"broken: {', '.join(broken)}" if broken else f"all bounds held over {options.messages} messages")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
