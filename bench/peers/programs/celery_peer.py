"""Celery on Redis: a worker that takes one task at a time and adds its completion to a Redis stream.

`python celery_peer.py drain|paced <url> <number> [<rate>]` prints JSON: a rate, or latencies in milliseconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import redis
from celery import Celery

_WORKER = ["worker", "-P", "solo", "-c", "1", "-l", "ERROR", "--without-gossip", "--without-mingle"]
_DONE, _WARM, _LEAD_S = "done", 20, 0.5

app = Celery("celery_peer")
app.conf.update(
    broker_url=sys.argv[2] if sys.argv[1] in ("drain", "paced") else None,
    task_acks_late=True, worker_prefetch_multiplier=1, task_ignore_result=True, worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)  # fmt: skip


@app.task(name="work")
def work(directive: dict[str, Any]) -> None:
    completion = {
        "message_id": directive["id"], "outcome": "done", "subject": directive["payload"]["subject"], "text": "done",
        "from_role": directive["from_role"], "started_at": directive["timestamp"], "usage": {"calls": 0},
    }  # fmt: skip
    _redis().xadd(_DONE, {"completion": json.dumps(completion)})


_connection: Any = None


def _redis() -> Any:
    global _connection
    _connection = _connection or redis.Redis.from_url(app.conf.broker_url)
    return _connection


def main() -> None:
    what, url, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    _redis().flushall()
    if what == "drain":
        for n in range(number):
            work.delay(_directive(n))
    words = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "celery_peer", "-b", url, *_WORKER]
    worker = subprocess.Popen(words, cwd=Path(__file__).parent, stdout=subprocess.DEVNULL)
    try:
        found = {"rate": _drained(number)} if what == "drain" else {"ms": _paced(number, float(sys.argv[4]))}
        print(json.dumps(found))
    finally:
        worker.terminate()
        worker.wait(20)


def _drained(number: int) -> float:
    """Completions a second, from the first to the last, by the server's clock."""
    _until(number)
    stored = [int(key.split(b"-")[0]) for key, _ in _redis().xrange(_DONE)]
    return 1000 * (number - 1) / (stored[-1] - stored[0])


def _paced(number: int, rate: float) -> list[float]:
    for n in range(_WARM):
        work.delay(_directive(-1 - n))
    _until(_WARM)
    seen: dict[str, float] = {}
    reading = threading.Thread(target=_collect, args=(seen, number), daemon=True)
    reading.start()
    start_s = time.monotonic() + _LEAD_S
    for n in range(number):
        time.sleep(max(0.0, start_s + n / rate - time.monotonic()))
        work.delay(_directive(n))
    reading.join(60)
    return [1000 * (seen[str(n)] - start_s - n / rate) for n in range(number)]


def _collect(seen: dict[str, float], number: int) -> None:
    connection, last = redis.Redis.from_url(app.conf.broker_url), b"$"
    while len(seen) < number:
        for _, entries in connection.xread({_DONE: last}, block=1000):
            for key, fields in entries:
                last = key
                seen.setdefault(json.loads(fields[b"completion"])["message_id"], time.monotonic())


def _until(number: int) -> None:
    deadline = time.monotonic() + 60
    while _redis().xlen(_DONE) < number:
        if time.monotonic() > deadline:
            sys.exit("the worker did not finish")
        time.sleep(0.1)


def _directive(n: int) -> dict[str, Any]:
    text = "Implement the attachment API: upload, download, limits by plan, virus scan. " * 2
    return {
        "from_operator": "operator-bench", "from_role": "bench", "timestamp": "2026-01-01T00:00:00.000Z",
        "type": "task_assignment", "id": str(n),
        "payload": {"subject": "Attachments", "message": text, "priority": "medium"},
    }  # fmt: skip


if __name__ == "__main__":
    main()
