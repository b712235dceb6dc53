"""A working copy of a git repository for each task, on a branch of its own, brought home when the task ends.

The copy is a clone that borrows the repository's objects, not a linked worktree: such a one shares hooks and
configuration with the repository, and what a role wrote there a person's next git command would execute. What a
role made comes home as a bundle, which is data, made where its commands run.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agenthub.errors import ConfigError, RefusedError
from agenthub.failpoints import Failpoint, reach
from agenthub.messages import Message
from agenthub.sandbox import Sandbox, environment, own
from agenthub.sessions.session import TurnResult
from agenthub.tools.commands import Finished, run
from agenthub.tools.workspace import resolve

logger = logging.getLogger(__name__)

KEEP_S = 14 * 86400
"""So long the copy of a task stays that never came to its end; then what is in it is brought home."""
_GIT_WITHIN_S = 300.0
_BUNDLE = ".git/agenthub.bundle"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "safe.directory=*")
_ITS_CONFIGURATION = {
    # A file: what `-c` says does not reach the process that a clone starts in the other repository.
    "GIT_CONFIG_GLOBAL": str(Path(__file__).with_name("hub.gitconfig")), "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip
# What was not committed is, so that nothing is lost; then whatever the repository does not have goes into a bundle.
_PACK = f"""
set -e
git {" ".join(_SAFE[:4])} add -A
git diff --cached --quiet || {{ git {" ".join(_SAFE[:4])} commit -q --no-verify -m "$1"; echo left; }}
count=$(git rev-list --count HEAD --not --remotes)
echo "$count"
rm -f {_BUNDLE}
[ "$count" = 0 ] || git bundle create -q {_BUNDLE} HEAD --not --remotes
"""


class WorkingCopies:
    """The working copies of one role."""

    def __init__(self, repository: Path, folder: Path, *, role: str, org: str, sandbox: Sandbox | None) -> None:
        """
        Args:
            repository: Where it lies; its hooks and configuration are never touched.
            folder: Where the copies are kept.
            sandbox: Where the role's commands run; None: it has no shell, and only its file tools write there.

        Raises:
            ConfigError: If there is no git repository, or no git.
        """
        if not shutil.which("git"):
            raise ConfigError(f"`{role}` works in a repository, and there is no git on this machine. Install git.")
        if not (objects := _objects(repository)):
            raise ConfigError(
                f"`{role}` shall work in {repository} (`agenthub.repository`), which is no git repository. Run "
                "`git init` there, or leave the key out: then it has a folder of its own."
            )
        self._repository, self._copies, self._role, self._org = repository, folder, role, org
        self._sandbox = sandbox
        self._making: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.reads: tuple[Path, ...] = (objects,)

    def branch(self, task: Message) -> str:
        """The branch on which the work of a task comes home."""
        return f"agenthub/{self._role}/{_name(task.id)}"

    async def folder(self, task: Message) -> Path:
        """The working copy of a task: made from what is checked out in the repository, or from the task's own branch.

        Raises:
            RefusedError: If git cannot make it.
        """
        copy = self._copies / _name(task.id)
        async with self._making[copy.name]:
            if not copy.exists():
                await self._make(copy, self.branch(task))
                reach(Failpoint.COPY_MADE)
        return copy

    async def _make(self, copy: Path, branch: str) -> None:
        beside = copy.with_name(f".new-{copy.name}")
        shutil.rmtree(beside, ignore_errors=True)  # what a crash left there
        beside.parent.mkdir(parents=True, exist_ok=True)
        try:
            await _git("clone", "--quiet", "--shared", "--template=", str(self._repository), str(beside))
            begun = await _ask("rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{branch}", at=beside)
            start = [f"refs/remotes/origin/{branch}"] if begun else []
            await _git("checkout", "--quiet", "--no-track", "-b", branch, *start, at=beside)
            for key, value in {
                "user.name": self._role, "user.email": f"{self._role}@{self._org}.agenthub", "gc.auto": "0",
            }.items():  # fmt: skip
                await _git("config", key, value, at=beside)
        except _GitError as error:
            shutil.rmtree(beside, ignore_errors=True)
            raise RefusedError(f"No working copy of {self._repository} can be made: {error}") from error
        if self._sandbox is not None:
            own(beside, self._sandbox)
        beside.rename(copy)

    async def hand_in(self, task: Message, result: TurnResult) -> TurnResult:
        """Bring home what a task that is over made, remove its copy, and name the branch among the evidence.

        Again after a crash it comes to the same. Whatever goes wrong is said there, and the copy stays.
        """
        copy, branch = self._copies / _name(task.id), self.branch(task)
        try:
            left = await self._bring_home(copy, branch, task.title) if copy.exists() else False
            count = await self._count(branch)
        except (_GitError, RefusedError, OSError) as error:
            logger.warning("what %s made stays in %s: %s", task.id, copy, error)
            return replace(result, evidence=(*result.evidence, f"the work lies in {copy}: {error}"))
        if not count:
            return result
        what = f"git branch {branch}: {count} commit{'s' * (count > 1)}"
        said = f"{what}, the last of what was left uncommitted" if left else what
        return replace(result, evidence=(*result.evidence, said))

    async def sweep(self, *, still_open: Sequence[str]) -> None:
        """Bring home what is old and whose task never came to its end: it was cancelled, buried, or given away."""
        open_names = {_name(task_id) for task_id in still_open}
        for copy in self._copies.iterdir() if self._copies.is_dir() else ():
            is_old = time.time() - copy.stat().st_mtime > KEEP_S
            if is_old and copy.name not in open_names and not copy.name.startswith("."):
                try:
                    await self._bring_home(copy, f"agenthub/{self._role}/{copy.name}", "what was left")
                except (_GitError, RefusedError, OSError) as error:
                    logger.warning("%s cannot be brought home: %s", copy, error)

    async def _bring_home(self, copy: Path, branch: str, title: str) -> bool:
        """Fetch what a copy has into the repository and remove it; True if it had something that was not committed."""
        packed = await self._inside(copy, ["sh", "-c", _PACK, "sh", title[:200] or branch])
        if packed.exit_code or packed.stopped:
            raise _GitError(packed.stopped or packed.output.strip()[-500:] or f"exit code {packed.exit_code}")
        words = packed.output.split()
        if words[-1] != "0":
            bundle = resolve(copy, _BUNDLE)
            fetched = f"+HEAD:refs/heads/{branch}"
            await _git(
                "-c", "fetch.fsckObjects=true", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(bundle),
                fetched, at=self._repository,
            )  # fmt: skip
            reach(Failpoint.COPY_FETCHED)
        await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)
        return "left" in words

    async def _inside(self, copy: Path, command: Sequence[str]) -> Finished:
        """Run git where the role's own commands run: it may have written its configuration."""
        if self._sandbox is None:  # it has file tools only, and these do not touch `.git`
            return await _run(*command, at=copy)
        return await run(command, self._sandbox._replace(workspace=copy, reads=self.reads, has_network=False))

    async def _count(self, branch: str) -> int:
        """How many commits a branch has that are on no other; 0 if there is none."""
        exclude, ref = f"--exclude={branch}", f"refs/heads/{branch}"
        if not await _ask("rev-parse", "--verify", "--quiet", ref, at=self._repository):
            return 0
        return int(await _git("rev-list", "--count", ref, "--not", exclude, "--branches", at=self._repository) or 0)


class _GitError(Exception):
    """What git said."""


def _name(task_id: str) -> str:
    return task_id if _NAME.fullmatch(task_id) else hashlib.sha256(task_id.encode(errors="replace")).hexdigest()[:24]


def _objects(repository: Path) -> Path | None:
    """Where a repository keeps its objects; None if it is none. A linked worktree names the folder in a file."""
    git = repository / ".git" if (repository / ".git").exists() else repository
    if git.is_file():
        git = (repository / git.read_text().removeprefix("gitdir:").strip()).resolve()
    if (git / "commondir").exists():
        git = git / (git / "commondir").read_text().strip()
    objects = (git / "objects").resolve()
    return objects if objects.is_dir() and (git / "HEAD").exists() else None


async def _run(*command: str, at: Path) -> Finished:
    began_at_s = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, cwd=at, env={**environment(), **_ITS_CONFIGURATION},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_GIT_WITHIN_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return Finished(1, "", time.monotonic() - began_at_s, f"it took longer than {_GIT_WITHIN_S:g} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Finished(process.returncode or 0, output.decode(errors="replace"), time.monotonic() - began_at_s, "")


async def _git(*words: str, at: Path = Path("/")) -> str:
    ended = await _run("git", *_SAFE, *words, at=at)
    if ended.exit_code or ended.stopped:
        raise _GitError(ended.stopped or ended.output.strip()[-500:] or f"git {words[0]}: exit code {ended.exit_code}")
    return ended.output.strip()


async def _ask(*words: str, at: Path) -> str:
    """What git answers; empty if it says no."""
    try:
        return await _git(*words, at=at)
    except _GitError:
        return ""
