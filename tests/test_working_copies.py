"""A task of a role that works in a repository has a working copy of its own, and comes home as a branch."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agenthub import equipment, sandbox
from agenthub.errors import ConfigError, LeaseLostError, RefusedError
from agenthub.failpoints import Failpoint
from agenthub.messages import Message, Outcome, Payload
from agenthub.organization import load_organization
from agenthub.rehearsal.server import start_rehearsal
from agenthub.sandbox import Sandbox, isolation, own
from agenthub.sessions.session import Prompt, Tool, ToolCall, ToolOutcome, TurnEnd, TurnResult
from agenthub.settings import Settings
from agenthub.tools.edit import edit_tools
from agenthub.tools.shell import shell_tools
from agenthub.tools.working_copies import KEEP_S, WorkingCopies
from agenthub.tools.workspace import workspace_tools
from tests.organization import Hub, ScriptedSession, until, write_organization
from tests.test_breakers import at_work
from tests.test_fencing import late, takes_over

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="there is no git here")
walled = pytest.mark.skipif(bool(isolation().remedy), reason=isolation().found)
DONE = TurnResult(TurnEnd.FINISHED, Outcome.DONE, "done", ("plan.md",))


def git(at: Path, *words: str) -> str:
    name = ("-c", "user.name=person", "-c", "user.email=person@acme", "-c", "safe.directory=*")
    return subprocess.run(["git", *name, *words], cwd=at, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "app"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    (path / "README.md").write_text("one\n")
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", "begin")
    return path


def task(identity: str, subject: str = "Write the plan") -> Message:
    return Message(id=identity, from_role="cto", type="task_assignment", payload=Payload(subject=subject, message="x"))


class Role:
    """The tools of a role that works in a repository."""

    def __init__(self, folder: Path, repository: Path, *, has_shell: bool = False) -> None:
        self.sandbox = Sandbox(folder / "none", f"backend {folder}") if has_shell else None
        self.copies = WorkingCopies(repository, folder / "copies", role="backend", org="acme", sandbox=self.sandbox)
        tools = [*workspace_tools(self.copies), *edit_tools(self.copies)]
        if self.sandbox is not None:
            tools += shell_tools(self.sandbox, self.copies)
        self.tools: dict[str, Tool] = {tool.name: tool for tool in tools}

    async def call(self, name: str, at: str, **arguments: str) -> ToolOutcome:
        tool = self.tools[name]
        return await tool.run(tool.arguments.model_validate(arguments), ToolCall(f"{at}~1", task(at)))

    async def write(self, at: str, path: str, content: str) -> None:
        await self.call("write_file", at, path=path, content=content)

    async def run(self, at: str, command: str) -> str:
        return (await self.call("run_command", at, command=command)).content


async def test_tasks_do_not_see_each_other_and_the_repository_is_not_touched(tmp_path: Path, repository: Path) -> None:
    role = Role(tmp_path, repository)
    await asyncio.gather(role.write("t1", "plan.md", "first"), role.write("t2", "plan.md", "second"))
    assert (await role.call("read_file", "t1", path="plan.md")).content.endswith("first")
    assert (await role.call("read_file", "t2", path="README.md")).content.endswith("one\n")
    assert git(repository, "status", "--porcelain") == "" and git(repository, "branch", "--list", "agenthub/*") == ""


async def test_what_a_task_made_comes_home_as_a_branch_and_its_copy_is_gone(tmp_path: Path, repository: Path) -> None:
    role = Role(tmp_path, repository)
    await role.write("t1", "docs/plan.md", "the plan")
    ended = await role.copies.hand_in(task("t1"), DONE)
    said = "git branch agenthub/backend/t1: 1 commit, the last of what was left uncommitted"
    assert ended.evidence == ("plan.md", said)
    assert git(repository, "show", "agenthub/backend/t1:docs/plan.md") == "the plan"
    assert git(repository, "log", "-1", "--format=%an %ae %s", "agenthub/backend/t1") == (
        "backend backend@acme.agenthub Write the plan"
    )
    assert list((tmp_path / "copies").iterdir()) == []
    again = await role.copies.hand_in(task("t1"), DONE)
    assert again.evidence == ("plan.md", "git branch agenthub/backend/t1: 1 commit"), "a crash came before it was told"
    assert (
        git(repository, "status", "--porcelain") == ""
        and git(repository, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    )


async def test_a_task_that_changed_nothing_leaves_nothing(tmp_path: Path, repository: Path) -> None:
    role = Role(tmp_path, repository)
    await role.call("read_file", "t1", path="README.md")
    assert await role.copies.hand_in(task("t1"), DONE) == DONE
    assert await role.copies.hand_in(task("t2"), DONE) == DONE, "it used no tool"
    assert git(repository, "branch", "--list", "agenthub/*") == "" and list((tmp_path / "copies").iterdir()) == []


async def test_a_task_that_is_taken_up_again_goes_on_from_its_branch(tmp_path: Path, repository: Path) -> None:
    role = Role(tmp_path, repository)
    await role.write("t1", "plan.md", "one")
    await role.copies.hand_in(task("t1"), DONE)
    await role.call("edit_file", "t1", path="plan.md", old_text="one", new_text="two")
    ended = await role.copies.hand_in(task("t1"), DONE)
    assert "2 commits" in ended.evidence[-1] and git(repository, "show", "agenthub/backend/t1:plan.md") == "two"


@walled
async def test_commands_commit_in_the_copy_and_see_what_others_brought_home(tmp_path: Path, repository: Path) -> None:
    role = Role(tmp_path, repository, has_shell=True)
    said = await role.run(
        "t1", "echo plan > plan.md && git add -A && git commit -m 'Add the plan' && git log --oneline"
    )
    assert "Add the plan" in said and "begin" in said, said
    await role.write("t1", "left.md", "by a file tool")
    ended = await role.copies.hand_in(task("t1"), DONE)
    assert "2 commits" in ended.evidence[-1]
    assert git(repository, "show", "agenthub/backend/t1:left.md") == "by a file tool"
    assert "plan.md" in await role.run("t2", "git merge -q origin/agenthub/backend/t1 && ls")


@walled
async def test_what_a_role_writes_into_its_git_is_executed_by_nobody_else(tmp_path: Path, repository: Path) -> None:
    role = Role(tmp_path, repository, has_shell=True)
    marker = tmp_path / "escaped"
    trap = f"#!/bin/sh\\ntouch {marker}\\n"
    said = await role.run(
        "t1",
        f"printf '{trap}' > trap && chmod +x trap && git config core.fsmonitor /workspace/trap && "
        "for hook in pre-commit post-commit post-checkout reference-transaction; do cp trap .git/hooks/$hook 2>&1 || "
        "{ mkdir -p .git/hooks && cp trap .git/hooks/$hook; }; done; "
        "git config filter.evil.clean ./trap; echo '* filter=evil' > .gitattributes; "
        f"git config --file {repository}/.git/config core.fsmonitor evil; echo x > {repository}/x; "
        f"ls {repository}/.git",
    )
    assert "objects" in said and "HEAD" not in said, "of the repository a command sees the objects only"
    before = (repository / ".git" / "config").read_text()
    await role.copies.hand_in(task("t1"), DONE)
    assert git(repository, "status", "--porcelain") == ""
    assert not marker.exists() and (repository / ".git" / "config").read_text() == before
    assert not list((repository / ".git" / "hooks").glob("*[!e]")) and git(repository, "rev-parse", "main")


async def test_git_of_the_hub_reads_no_configuration_where_others_could_leave_one(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands have `/tmp` as their home, which is the sandbox's own there, and everybody's outside."""
    home, marker = tmp_path / "everybody's", tmp_path / "executed"
    home.mkdir()
    (home / ".gitconfig").write_text(f'[filter "evil"]\n\tsmudge = "touch {marker}; cat"\n')
    (repository / ".gitattributes").write_text("* filter=evil\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "attributes")
    monkeypatch.setitem(sandbox._ENVIRONMENT, "HOME", str(home))
    await Role(tmp_path, repository).write("t1", "plan.md", "the plan")
    assert (tmp_path / "copies" / "t1" / "README.md").read_text() == "one\n"
    assert not marker.exists()


ATTACKS = {
    "overwrite main": "git checkout -qB main; echo x > x; git add x; git commit -qm x; git push -q -f origin main",
    "send another branch": "git branch -f agenthub/ceo/t9; git push -q origin HEAD:agenthub/ceo/t9",
    "delete objects": "rm -rf REPOSITORY/.git/objects/* REPOSITORY/.git/refs",
    "leave a hook": "mkdir -p REPOSITORY/.git/hooks; echo x > REPOSITORY/.git/hooks/pre-commit",
    "link the bundle elsewhere": "echo y > y; ln -sf REPOSITORY/README.md .git/agenthub.bundle",
    "give evil the name of another": (
        "echo good > good; git add good; git commit -qm good; blob=$(git rev-parse HEAD:good); echo evil > evil; "
        "evil=$(git hash-object -w evil); cd .git/objects; chmod -R u+w .; cp ${evil:0:2}/${evil:2} "
        "${blob:0:2}/${blob:2}"
    ),
}


@walled
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=[name.replace(" ", "-") for name in ATTACKS])
async def test_a_task_changes_nothing_of_the_repository_but_its_own_branch(
    tmp_path: Path, repository: Path, attack: str
) -> None:
    role = Role(tmp_path, repository, has_shell=True)
    assert role.sandbox is not None
    own(repository, role.sandbox)  # else root's files would be safe from its commands whatever they see
    before = _whole(repository)
    await role.run("t1", attack.replace("REPOSITORY", str(repository)))
    await role.copies.hand_in(task("t1"), DONE)
    after = _whole(repository)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    its_own = (".git/refs/heads/agenthub/backend/t1", ".git/logs/refs/heads/agenthub/backend/t1", ".git/objects/")
    assert {name for name in changed if not name.startswith(its_own)} == set()
    assert not [name for name in before if name not in after]
    git(repository, "fsck", "--strict", "--no-dangling")


def _whole(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@walled
async def test_keys_in_the_configuration_and_objects_of_others_are_not_reached(
    tmp_path: Path, repository: Path
) -> None:
    git(repository, "config", "remote.up.url", "https://ghp-canary-4711@example.invalid/x")
    other = tmp_path / "private"
    shutil.copytree(repository, other)
    (other / "secret.md").write_text("secret")
    git(other, "add", "-A")
    git(other, "commit", "-q", "-m", "secret")
    tip = git(other, "rev-parse", "HEAD")
    role = Role(tmp_path, repository, has_shell=True)
    said = await role.run("t1", f"git config --list; grep -r ghp- . {repository}")
    assert "user.name=backend" in said
    assert "ghp-canary" not in said
    await role.run(
        "t1", f"echo {other}/.git/objects >> .git/objects/info/alternates; echo {tip} > .git/refs/heads/stolen; "
        "git symbolic-ref HEAD refs/heads/stolen",
    )  # fmt: skip
    await role.copies.hand_in(task("t1"), DONE)
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "cat-file", "-e", tip)


async def test_file_tools_do_not_write_what_git_executes(tmp_path: Path, repository: Path) -> None:
    role = Role(tmp_path, repository)
    for path in (".git/hooks/pre-commit", ".git/config", "docs/../.git/config"):
        with pytest.raises(RefusedError, match="git's own"):
            await role.write("t1", path, "[core]\nfsmonitor = evil\n")


@walled
async def test_a_copy_that_a_role_has_ruined_stays_where_a_person_finds_it(tmp_path: Path, repository: Path) -> None:
    role = Role(tmp_path, repository, has_shell=True)
    await role.run("t1", "echo plan > plan.md; rm -rf .git/refs .git/HEAD")
    ended = await role.copies.hand_in(task("t1"), DONE)
    assert ended.outcome is Outcome.DONE and f"the work lies in {tmp_path / 'copies' / 't1'}" in ended.evidence[-1]
    assert (tmp_path / "copies" / "t1" / "plan.md").exists()


async def test_every_id_that_a_stranger_may_choose_has_a_folder_and_a_branch(tmp_path: Path, repository: Path) -> None:
    role = Role(tmp_path, repository)
    for identity in ("-rf", "a~1", "x" * 160, "_", "a"):
        await role.write(identity, "plan.md", identity[:5])
        ended = await role.copies.hand_in(task(identity), DONE)
        assert ended.evidence[-1].startswith("git branch agenthub/backend/"), ended
    assert {path.name for path in tmp_path.iterdir()} == {"app", "copies"}
    assert len(git(repository, "branch", "--list", "agenthub/*").splitlines()) == 5


async def test_what_never_came_to_its_end_is_brought_home_after_a_while(tmp_path: Path, repository: Path) -> None:
    role = Role(tmp_path, repository)
    for identity in ("gone", "parked", "young"):
        await role.write(identity, "plan.md", identity)
    old = time.time() - KEEP_S - 60
    for identity in ("gone", "parked"):
        os.utime(tmp_path / "copies" / identity, (old, old))
    await role.copies.sweep(still_open=["parked"])
    assert {path.name for path in (tmp_path / "copies").iterdir()} == {"parked", "young"}
    assert git(repository, "show", "agenthub/backend/gone:plan.md") == "gone"


DIES = """
import asyncio, sys
from pathlib import Path
from agenthub import failpoints
from tests.test_working_copies import DONE, Role, task
failpoints.arm(Path(sys.argv[2]) / "armed")
async def main():
    role = Role(Path(sys.argv[2]), Path(sys.argv[1]))
    await role.write("t1", "plan.md", "mine")
    await role.copies.hand_in(task("t1"), DONE)
asyncio.run(main())
"""


@pytest.mark.parametrize("point", [Failpoint.COPY_MADE, Failpoint.COPY_FETCHED])
async def test_killed_in_between_it_comes_to_one_branch(tmp_path: Path, repository: Path, point: Failpoint) -> None:
    (tmp_path / "armed").write_text(point.value)
    dies = await asyncio.create_subprocess_exec(sys.executable, "-c", DIES, str(repository), str(tmp_path))
    assert await dies.wait() == -9
    (tmp_path / "armed").unlink(missing_ok=True)
    role = Role(tmp_path, repository)
    await role.write("t1", "plan.md", "mine")
    ended = await role.copies.hand_in(task("t1"), DONE)
    assert "git branch agenthub/backend/t1: 1 commit" in ended.evidence[-1]
    assert git(repository, "show", "agenthub/backend/t1:plan.md") == "mine"
    assert list((tmp_path / "copies").iterdir()) == []


def test_what_is_no_repository_is_said_before_anything_is_done(tmp_path: Path) -> None:
    roles = {"backend": {"repository": "nowhere"}, "qa": {"repository": ".", "session": "claude-code"}}
    write_organization(tmp_path, roles=roles)
    (tmp_path / ".git").mkdir()
    settings = Settings.load(config=tmp_path / "agenthub.toml")
    with pytest.raises(ConfigError, match=r"roles/backend.md, line 5: `agenthub.repository`: .*no git repository"):
        load_organization(settings)
    organization = load_organization(settings, strict=False)
    with pytest.raises(ConfigError, match=r"no git repository.*\n*.*git init"):
        equipment.workplace_of(settings, organization, "backend")
    with pytest.raises(ConfigError, match="Claude Code"):
        equipment.workplace_of(settings, organization, "qa")


@walled
async def test_a_task_is_worked_on_checked_and_brought_home(hub: Hub, repository: Path) -> None:
    for role in (hub.folder / "roles").iterdir():
        role.unlink()
    write_organization(hub.folder, roles={"backend": {"repository": "app"}})
    file = hub.folder / "roles" / "backend.md"
    file.write_text(file.read_text().replace("agenthub:", "tools: Read, Edit, Bash\nagenthub:", 1))
    hub.organization = load_organization(hub.settings)
    await hub.provision()
    write = 'rehearse: tool write_file {"path": "plan.md", "content": "ship it"}\nrehearse: say written'
    async with start_rehearsal(speed=0) as endpoint, at_work(hub, endpoint, "backend"):
        first = await hub.send("backend", write)
        second = await hub.send("backend", write.replace("ship it", "wait"))
        ends = [await hub.completion("backend", identity) for identity in (first, second)]
    for identity, end, text in zip((first, second), ends, ("ship it", "wait"), strict=True):
        assert end.outcome == "done" and f"agenthub/backend/{identity}: 1 commit" in " ".join(end.evidence), end
        assert git(repository, "show", f"agenthub/backend/{identity}:plan.md") == text
    assert git(repository, "status", "--porcelain") == ""


async def test_a_zombie_leaves_the_copy_in_which_its_successor_works(hub: Hub, repository: Path) -> None:
    write_organization(hub.folder, roles={"backend": {"repository": "app"}})
    hub.organization = load_organization(hub.settings)
    place = equipment.workplace_of(hub.settings, hub.organization, "backend")

    async def script(prompt: Prompt) -> TurnResult:
        copy = await place.folder(prompt.task)
        (copy / "plan.md").write_text("half of it")
        await takes_over(hub)
        time.sleep(hub.settings.lease_ttl_s + 0.2)  # noqa: ASYNC251 - the whole process stands still
        return DONE

    message_id = await hub.send("backend", "do it")
    with pytest.RaisesGroup(LeaseLostError, flatten_subgroups=True):
        async with hub.role("backend", ScriptedSession(script)):
            await until(lambda: late(hub))
    assert (hub.settings.state / "working-copies" / "backend" / message_id / "plan.md").exists()
    assert git(repository, "branch", "--list", "agenthub/*") == ""
