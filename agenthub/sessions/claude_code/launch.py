"""Becomes Claude Code: with an environment of what it needs and no more, and never without the role's process.

Run by the SDK as its program. The SDK passes on the whole environment of the role, so whatever is not named as
needed is dropped here, and the key goes through a pipe: what Claude Code starts can find it in no environment.
Imports nothing of agenthub; it starts once for each process of Claude Code.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

KEEP_VARIABLE = "_AGENTHUB_KEEP"
"""Names that stay, with commas between them."""
KEY_VARIABLE = "ANTHROPIC_API_KEY"
_KEY_PIPE_VARIABLE = "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR"
_OF_THE_SDK = ("CLAUDE_AGENT_SDK_", "CLAUDE_CODE_SDK_")


def main(program: str, *arguments: str) -> None:
    """Replace this process by `program`."""
    keep = set(os.environ.get(KEEP_VARIABLE, "").split(","))
    environment = {name: value for name, value in os.environ.items() if name in keep or name.startswith(_OF_THE_SDK)}
    key = os.environ.get(KEY_VARIABLE, "")
    if key:
        reading, writing = os.pipe()
        os.write(writing, key.encode())
        os.close(writing)
        os.set_inheritable(reading, True)
        environment[_KEY_PIPE_VARIABLE] = str(reading)
    if sys.platform == "linux":
        parent = os.getppid()
        # Killed, not asked: the role's next process resumes the same conversation at once.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent or parent == 1:
            sys.exit("the role's process is gone")
    os.execve(program, [program, *arguments], environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
