"""What a command sees and may do: its workspace, the system read-only, and nothing else of this machine.

The walls are Linux namespaces, put up by bubblewrap: own file tree, processes, network and host name, no
capabilities, no new privileges. The environment is written here, never inherited: bubblewrap itself stands in the
command's `/proc` as process 1.
"""

from __future__ import annotations

import functools
import math
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

INSIDE = "/workspace"
"""Where a command sees its workspace."""

_PROGRAMS = {"bwrap": "bubblewrap", "prlimit": "util-linux", "setpriv": "util-linux"}
"""What is needed, and the package that has it."""

_READ_ONLY = (
    "/usr", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
    "/etc/ssl", "/etc/ca-certificates", "/etc/pki", "/etc/mime.types", "/etc/protocols", "/etc/services",
)  # fmt: skip
_FOR_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf")
_TOP_FOLDERS = ("bin", "sbin", "lib", "lib64", "lib32")

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",  # noqa: S108 - the sandbox's own
    "TMPDIR": "/tmp",  # noqa: S108
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "PYTHONUNBUFFERED": "1",
}

_FIRST_UID, _UIDS = 61184, 4336
"""User ids that systemd sets aside for services without a user of their own."""

_INSIDE_UID = 1000
_SCRATCH_BYTES = 256 * 1024**2
_PROBE_WITHIN_S = 10.0


class CommandLimits(NamedTuple):
    """What one command may take."""

    timeout_s: float = 300.0
    memory_bytes: float = 2 * 1024**3
    """Of all its processes together, and the data of each. Infinite: unlimited, as is an infinite time."""
    processes: int = 256
    file_bytes: int = 256 * 1024**2
    """Of the largest file that it writes."""
    disk_bytes: int = 2 * 1024**3
    """By which it may shrink what is free on the disk of the workspace."""


class Sandbox(NamedTuple):
    """The place of one role's commands."""

    workspace: Path
    """The folder of the machine that they can change; it is theirs."""
    owner: str
    """Name of the role; as root its commands run as a user that derives from it."""
    has_network: bool = False
    reads: tuple[Path, ...] = ()
    """Folders and files that they may read besides, where they are."""
    limits: CommandLimits = CommandLimits()
    inside: str = INSIDE
    """Where they see the workspace."""
    writes: tuple[Path, ...] = ()
    """Folders that they can change besides, where they are; theirs, too."""
    shows: tuple[tuple[Path, str], ...] = ()
    """What they may read or connect to besides, and where they see it."""

    @property
    def uid(self) -> int | None:
        """The user as which commands run; None: our own, which is not root."""
        return _FIRST_UID + zlib.crc32(self.owner.encode()) % _UIDS if os.geteuid() == 0 else None

    def argv(self, command: Sequence[str], *, info_fd: int | None = None) -> list[str]:
        """The program and arguments that run `command` inside, for `environment()`.

        Args:
            info_fd: Where bubblewrap writes, as JSON, the `child-pid` with which everything inside ends.
        """
        parts = [
            _found("bwrap"), "--die-with-parent", "--new-session",
            "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox",
            "--cap-drop", "ALL",
        ]  # fmt: skip
        if not self.has_network:
            parts.append("--unshare-net")
        parts += self._identity() + self._tree()
        if info_fd is not None:
            parts += ["--info-fd", str(info_fd)]
        return [*parts, "--", *self._becoming(), *self._limited(), *command]

    def _identity(self) -> list[str]:
        if self.uid is None:
            uid = str(_INSIDE_UID)
            return ["--unshare-user", "--disable-userns", "--uid", uid, "--gid", uid]
        # Root's commands become another user below; root itself would pass every limit on processes.
        return [part for name in ("SETUID", "SETGID", "SETPCAP") for part in ("--cap-add", f"CAP_{name}")]

    def _tree(self) -> list[str]:
        parts = _enterable([Path("/etc")])
        for path in _READ_ONLY + (_FOR_NETWORK if self.has_network else ()):
            parts += ["--ro-bind-try", path, path]
        for name in _TOP_FOLDERS:
            top = Path("/", name)
            if top.is_symlink():
                parts += ["--symlink", str(top.readlink()), str(top)]
            else:
                parts += ["--ro-bind-try", str(top), str(top)]
        parts += ["--proc", "/proc", "--dev", "/dev"]
        for scratch in ("/tmp", "/dev/shm"):  # noqa: S108
            parts += ["--perms", "1777", "--size", str(_SCRATCH_BYTES), "--tmpfs", scratch]
        shown = [*((path, str(path)) for path in self.reads), *self.shows]
        owned = [*((path, str(path)) for path in self.writes), (self.workspace.resolve(), self.inside)]
        parts += _enterable({parent for _, at in (*shown, *owned) for parent in Path(at).parents} - {Path("/")})
        for folder, at in shown:
            parts += ["--ro-bind", str(folder), at]
        for folder, at in owned:
            parts += ["--bind", str(folder), at]
        parts += ["--chdir", self.inside if self.uid is None else "/"]  # without its rights, root may not enter it
        return [*parts, "--remount-ro", "/dev", "--remount-ro", "/"]

    def _becoming(self) -> list[str]:
        if self.uid is None:
            return []
        uid = str(self.uid)
        return [
            "setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--bounding-set", "-all", "--inh-caps", "-all",
            "--", "sh", "-c", 'cd "$0" && exec "$@"', self.inside,
        ]  # fmt: skip

    def _limited(self) -> list[str]:
        limits = self.limits
        parts = ["prlimit", f"--nproc={limits.processes}", f"--fsize={limits.file_bytes}", "--core=0", "--nofile=4096"]
        if not math.isinf(limits.memory_bytes):
            parts.append(f"--data={int(limits.memory_bytes)}")
        if not math.isinf(limits.timeout_s):
            parts.append(f"--cpu={int(limits.timeout_s) + 1}")
        return [*parts, "--"]


def _enterable(folders: Iterable[Path]) -> list[str]:
    """What makes folders on the way to what is bound below: those that bubblewrap makes by itself are root's alone."""
    return [part for folder in sorted(folders) for part in ("--perms", "0755", "--dir", str(folder))]


def environment() -> dict[str, str]:
    """All that a command finds in its environment."""
    return dict(_ENVIRONMENT)


def shell() -> str:
    """The shell that reads commands."""
    return "bash" if shutil.which("bash", path=_ENVIRONMENT["PATH"]) else "sh"


class Isolation(NamedTuple):
    """Whether commands can be walled in on this machine."""

    found: str
    """For people: what keeps them in, or why nothing does."""
    remedy: str = ""
    """What to do; empty: they can."""


@functools.cache
def isolation() -> Isolation:
    """What this machine has to wall commands in; tried out once."""
    for program, package in _PROGRAMS.items():
        if not _found(program):
            return Isolation(f"commands cannot be walled in: there is no `{program}`", f"install {package}")
    with tempfile.TemporaryDirectory(prefix="agenthub-") as folder:
        sandbox = Sandbox(Path(folder), owner="probe")
        own(Path(folder), sandbox)
        try:
            tried = subprocess.run(
                sandbox.argv(["sh", "-c", "touch probe"]), env=environment(), stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=_PROBE_WITHIN_S, check=False,
            )  # fmt: skip
            said = ""
            if tried.returncode:
                said = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
    if said:
        return Isolation(
            f"commands cannot be walled in: {said}",
            "use bubblewrap 0.8 or newer, and allow user namespaces (in a container: its security options)",
        )
    who = f"as a user of each role's own from {_FIRST_UID}" if os.geteuid() == 0 else "as this user without rights"
    return Isolation(f"bubblewrap: workspace only, no network unless a role has it, {who}")


def own(folder: Path, sandbox: Sandbox) -> None:
    """Hand a folder of ours, with all in it, to the user as which commands run. Links are not followed."""
    if sandbox.uid is None:
        return
    os.chown(folder, sandbox.uid, sandbox.uid, follow_symlinks=False)
    for where, folders, files, at in os.fwalk(folder, follow_symlinks=False):
        del where
        for name in folders + files:
            if os.stat(name, dir_fd=at, follow_symlinks=False).st_uid != sandbox.uid:
                os.chown(name, sandbox.uid, sandbox.uid, dir_fd=at, follow_symlinks=False)


def _found(program: str) -> str:
    return shutil.which(program, path=_ENVIRONMENT["PATH"]) or ""
