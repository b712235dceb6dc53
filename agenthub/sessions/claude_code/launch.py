"""Becomes Claude Code in its walls: with an environment of what it needs and no more, and never without the role.

Run by the SDK as its program. The SDK passes on the whole environment of the role's process, so whatever is not named
as needed is dropped here, before the walls are put up: what stands in them as process 1 shows its environment too.
Imports nothing of agenthub; it starts once for each process of Claude Code.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

KEEP_VARIABLE = "_AGENTHUB_KEEP"
"""Names that stay, with commas between them."""
_OF_THE_SDK = ("CLAUDE_AGENT_SDK_", "CLAUDE_CODE_SDK_")


def main(program: str, *arguments: str) -> None:
    """Replace this process by `program`."""
    keep = set(os.environ.get(KEEP_VARIABLE, "").split(","))
    environment = {name: value for name, value in os.environ.items() if name in keep or name.startswith(_OF_THE_SDK)}
    if sys.platform == "linux":
        parent = os.getppid()
        # Killed, not asked: the role's next process resumes the same conversation at once.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent or parent == 1:
            sys.exit("the role's process is gone")
    os.execve(program, [program, *arguments], environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
