"""`agenthub`, and `python -m agenthub`."""

from __future__ import annotations

import gc
from typing import NoReturn


def main() -> NoReturn:
    """Run a command.

    What is imported stays until the end: looking through it for garbage would cost each command a tenth of its start.
    Garbage is collected from when a command begins to work.
    """
    gc.disable()
    from agenthub.cli import main as run

    run()


if __name__ == "__main__":
    main()
