"""What CI does with a test that failed: the project's own Makefile, on a suite of two tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent
SUITE = """
from pathlib import Path

def test_passes_the_second_time():
    ran = Path(__file__).with_name("ran")
    was_there = ran.exists()
    ran.touch()
    assert was_there

def test_always_passes():
    pass
"""


def test_what_failed_once_is_named_and_run_once_more(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_suite.py").write_text(SUITE)
    assert make("test", tmp_path).returncode != 0
    again = make("test-again", tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "test_suite.py::test_passes_the_second_time" in again.stdout
    assert "test_always_passes" not in again.stdout


def make(target: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a target; pytest would tidy up where the suite around it works, which takes it a minute."""
    command = ["make", "-f", str(PROJECT / "Makefile"), "--old-file=install", target]
    command.append(f"BIN={Path(sys.executable).parent}")
    variables = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(folder)}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=100, check=False)
