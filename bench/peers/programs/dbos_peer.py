"""DBOS: one durable workflow for each directive, one after the other, each step recorded in the database.

The directives are at hand and need not be fetched; the workflow's stored result is the completion.
`python dbos_peer.py drain|paced <url> <number> <steps> [<rate>]` prints JSON: a rate, or latencies in milliseconds.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

from dbos import DBOS, SetWorkflowID

what, url, number, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
_WARM = 20
DBOS(
    config={
        "name": "bench", "system_database_url": url, "log_level": "ERROR", "run_admin_server": False,
        "application_version": "1", "executor_id": uuid.uuid4().hex,
    }
)  # fmt: skip


@DBOS.step()
def step(n: int) -> dict[str, str]:
    return {"content": "ok"}


@DBOS.workflow()
def work(directive: dict[str, Any]) -> dict[str, Any]:
    for n in range(steps):
        step(n)
    return {
        "message_id": directive["id"], "outcome": "done", "subject": directive["payload"]["subject"], "text": "done",
        "from_role": directive["from_role"], "started_at": directive["timestamp"], "usage": {"calls": 0},
    }  # fmt: skip


def run(identity: str) -> None:
    text = "Implement the attachment API: upload, download, limits by plan, virus scan. " * 2
    directive = {
        "from_operator": "operator-bench", "from_role": "bench", "timestamp": "2026-01-01T00:00:00.000Z",
        "type": "task_assignment", "id": identity,
        "payload": {"subject": "Attachments", "message": text, "priority": "medium"},
    }  # fmt: skip
    with SetWorkflowID(identity):
        work(directive)


DBOS.launch()
prefix = uuid.uuid4().hex
for n in range(_WARM):
    run(f"{prefix}-w{n}")
start_s = time.monotonic()
if what == "drain":
    run(f"{prefix}-first")
    start_s = time.monotonic()
    for n in range(number - 1):
        run(f"{prefix}-{n}")
    print(json.dumps({"rate": (number - 1) / (time.monotonic() - start_s)}))
else:
    rate, found = float(sys.argv[5]), []
    for n in range(number):
        time.sleep(max(0.0, start_s + n / rate - time.monotonic()))
        run(f"{prefix}-{n}")
        found.append(1000 * (time.monotonic() - start_s - n / rate))
    print(json.dumps({"ms": found}))
DBOS.destroy()
