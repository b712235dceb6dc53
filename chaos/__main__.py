"""`python -m chaos [--seed N] [--short] [--json] [--break RULE]`: run under faults, check, print one table."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from chaos.hook import BROKEN
from chaos.plan import provoke
from chaos.report import Verdict, complaints, table
from chaos.run import BREAKING, SCENES, SHORT, run


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description="Run an organization under faults and check what was promised."
    )
    parser.add_argument("--seed", type=int, help="what happens; without one it is drawn and printed")
    parser.add_argument("--scene", action="append", choices=[scene.name for scene in (*SCENES, SHORT)])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--keep", action="store_true", help="keep the folder also if all is well")
    parser.add_argument("--break", dest="broken", default="", choices=[*BROKEN], help="see that the checker sees it")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    if options.broken:
        return _see_red(options.broken)
    scenes = [scene for scene in (*SCENES, SHORT) if scene.name in (options.scene or [s.name for s in SCENES])]
    folder = Path(tempfile.mkdtemp(prefix="agenthub-chaos-"))
    say(f"seed {seed}, in {folder}")
    for noisy in ("asyncio", "agenthub.rehearsal"):  # clients that were killed are meant, on both sides
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    verdicts: list[Verdict] = []
    try:
        for scene in scenes:
            place = folder / scene.name.replace(" ", "-")
            place.mkdir()
            verdicts.append(asyncio.run(_stoppable(run(scene, seed, place, say=say))))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted; everything that was started has been stopped")
        return 130
    is_clean = all(verdict.is_clean for verdict in verdicts)
    print(json.dumps([verdict.to_json() for verdict in verdicts], indent=2) if options.json else table(verdicts))
    if is_clean and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    if not is_clean:
        for verdict in verdicts:
            if found := complaints(verdict):
                say(found)
        say(f"kept in {folder}; the same plan again: make chaos SEED={seed}")
    return 0 if is_clean else 1


async def _stoppable(running: Coroutine[Any, Any, Verdict]) -> Verdict:
    """A run that SIGTERM ends as Ctrl-C does: everything that was started is stopped."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await running


def _see_red(rule: str) -> int:
    """Run with a rule broken in the role processes; 1, as for any run that found something, if the checker saw it."""
    say(f"broken on purpose: {BROKEN[rule]}")
    with tempfile.TemporaryDirectory(prefix="agenthub-chaos-") as folder:
        verdict = asyncio.run(_stoppable(run(BREAKING, 0, Path(folder), broken=rule, plan=provoke(rule), say=say)))
    print(table([verdict]))
    say(complaints(verdict) or "the checker saw NOTHING")
    return 0 if verdict.is_clean else 1


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
