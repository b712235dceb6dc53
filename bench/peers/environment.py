"""The peers' own virtual environment, from a lock with hashes, in the user's cache."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
from pathlib import Path

_LOCK = Path(__file__).with_name("requirements.lock")
PROGRAMS = Path(__file__).with_name("programs")
"""What runs in that environment: one program for each peer. They import nothing of ours."""


async def installed() -> Path:
    """The Python of the peers' environment; installs it if this lock has none yet.

    Raises:
        RuntimeError: If it cannot be installed; says why.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "agenthub-bench" / hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        await _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        await _uv(
            "pip", "sync", "--quiet", "--compile-bytecode", "--require-hashes", "--python", str(python), str(_LOCK)
        )
        (folder / "complete").touch()
    return python


def versions() -> dict[str, str]:
    """Version of each distribution, as it is locked."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", _LOCK.read_text(), re.MULTILINE))


def site_packages(python: Path) -> Path:
    """Where the distributions are."""
    return next((python.parent.parent / "lib").glob("python*")) / "site-packages"


async def _uv(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uv", *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"The peers cannot be installed: uv {arguments[0]}: {err.decode().strip()}")
