"""A short run under faults: real processes, the real server behind a proxy, everything counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.report import complaints
from chaos.run import SHORT, run


@pytest.mark.timeout(180)
async def test_an_organization_under_faults_keeps_every_promise(tmp_path: Path) -> None:
    verdict = await run(SHORT, 7, tmp_path)
    assert verdict.is_clean, complaints(verdict)
    assert len(verdict.history.ended) >= SHORT.directives
    assert set(SHORT.kinds) - {"failpoint"} <= set(verdict.faults())
    assert any(kind.startswith("die at") for kind in verdict.faults())
