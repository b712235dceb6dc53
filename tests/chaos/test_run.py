"""Short runs under faults: real processes, the real server, everything counted. What is promised holds, and a
promise that is broken on purpose is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.plan import provoke
from chaos.report import complaints
from chaos.run import BREAKING, SHORT, run


@pytest.mark.timeout(180)
async def test_an_organization_under_faults_keeps_every_promise(tmp_path: Path) -> None:
    verdict = await run(SHORT, 7, tmp_path)
    assert verdict.is_clean, complaints(verdict)
    assert len(verdict.history.ended) >= SHORT.directives
    assert list(tmp_path.rglob("effects/*.log")), "the tool whose effects are counted was used"
    assert len(verdict.history.injected) >= len(SHORT.kinds)


@pytest.mark.timeout(360)
@pytest.mark.parametrize(
    ("rule", "seen_as"),
    [("ack-first", "lost"), ("random-ids", "effects repeated"), ("no-fence", "zombie effects")],
)
async def test_a_rule_that_is_broken_on_purpose_turns_the_run_red(tmp_path: Path, rule: str, seen_as: str) -> None:
    verdict = await run(BREAKING, 0, tmp_path, broken=rule, plan=provoke(rule))
    assert verdict.violations[seen_as]
