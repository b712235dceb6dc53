"""The file tools: they stay in the workspace, and a file is whole or not there."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from agenthub.errors import RefusedError
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome
from agenthub.tools.workplace import OneFolder
from agenthub.tools.workspace import MAX_FILE_BYTES, workspace_tools
from agenthub.whole_files import BESIDE
from tests.sessions.scripted import task


class Workspace:
    """A workspace with something beside it that must not be touched."""

    def __init__(self, folder: Path) -> None:
        self.path, self.outside = folder / "work", folder / "outside"
        self._tools: dict[str, Tool] = {tool.name: tool for tool in workspace_tools(OneFolder(self.path))}
        self.outside.mkdir()
        (self.outside / "secret.txt").write_text("secret")

    async def call(self, name: str, **arguments: Any) -> ToolOutcome:
        tool = self._tools[name]
        return await tool.run(tool.arguments.model_validate(arguments), ToolCall("k~1", task()))

    async def read(self, path: str, **more: Any) -> str:
        return (await self.call("read_file", path=path, **more)).content

    async def write(self, path: str, content: str) -> ToolOutcome:
        return await self.call("write_file", path=path, content=content)

    async def listed(self, path: str = ".") -> list[str]:
        return (await self.call("list_files", path=path)).content.splitlines()

    def all_files(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


# ── where paths may lead ───────────────────────────────────────────────────────────────────────────
ESCAPES = [
    "../outside/secret.txt",
    "..",
    "a/../../outside/secret.txt",
    "./../outside/secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "{outside}/secret.txt",
    "{work}/../outside/secret.txt",
    "{work}-beside/x",
    "link-to-file",
    "link-to-folder/secret.txt",
    "link-to-folder/new.txt",
    "deep/link-up/outside/secret.txt",
    "link-to-link",
    "dangling",
    "x\0y",
    "x\ny",
    "x\u202ey",
    "\ud800",
    "ring",
    "ring/x",
    "x" * 300,
    "x/" * 3000,
    "x" * 100_000,
]


@pytest.mark.parametrize("path", ESCAPES, ids=lambda path: ascii(path)[:40])
async def test_a_path_that_leads_out_or_nowhere_is_refused_by_every_tool(workspace: Workspace, path: str) -> None:
    (workspace.path / "deep").mkdir()
    links = {
        "link-to-file": workspace.outside / "secret.txt",
        "link-to-folder": workspace.outside,
        "deep/link-up": Path("../.."),
        "link-to-link": Path("link-to-file"),
        "dangling": workspace.outside / "not-yet",
        "ring": Path("ring"),
    }
    for name, target in links.items():
        (workspace.path / name).symlink_to(target)
    path = path.replace("{outside}", str(workspace.outside)).replace("{work}", str(workspace.path))
    for name, more in (("read_file", {}), ("write_file", {"content": "mine"}), ("list_files", {})):
        with pytest.raises(RefusedError) as raised:
            await workspace.call(name, path=path, **more)
        assert len(str(raised.value)) < 100_200
        if str(workspace.path) not in path:
            assert str(workspace.path) not in str(raised.value), "where the workspace lies is nobody's business"
    assert [file.name for file in workspace.outside.iterdir()] == ["secret.txt"]
    assert (workspace.outside / "secret.txt").read_text() == "secret"
    assert not (workspace.path.parent / "work-beside").exists()


async def test_links_and_dots_inside_are_followed(workspace: Workspace) -> None:
    await workspace.write("a/b.txt", "inside")
    (workspace.path / "link").symlink_to("a")
    assert await workspace.read("link/b.txt") == await workspace.read("./a/../a/b.txt") == "inside"
    assert await workspace.read(str(workspace.path / "a" / "b.txt")) == "inside"


async def test_a_workspace_behind_a_link_is_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "work").symlink_to("real")
    workspace = Workspace(tmp_path)
    await workspace.write("x", "here")
    assert (tmp_path / "real" / "x").read_text() == "here"


async def test_names_in_any_language_are_names(workspace: Workspace) -> None:
    await workspace.write("Überblick/план 計画.md", "ok")
    assert await workspace.listed() == ["Überblick/план 計画.md"]


# ── reading ────────────────────────────────────────────────────────────────────────────────────────
async def test_what_was_written_is_read(workspace: Workspace) -> None:
    outcome = await workspace.write("notes/plan.md", "one\ntwo\n")
    assert (outcome.content, outcome.summary) == ("Wrote 8 bytes to notes/plan.md.", "notes/plan.md, 2 lines")
    outcome = await workspace.call("read_file", path="notes/plan.md")
    assert (outcome.content, outcome.summary) == ("one\ntwo\n", "notes/plan.md, 2 lines")


async def test_an_empty_file_is_said_to_be_empty(workspace: Workspace) -> None:
    await workspace.write("x", "")
    assert await workspace.read("x") == "(empty)"


async def test_reading_may_begin_at_a_line(workspace: Workspace) -> None:
    await workspace.write("x", "one\ntwo\nthree")
    assert await workspace.read("x", from_line=2) == "two\nthree"
    assert await workspace.read("x", from_line=3) == "three"
    with pytest.raises(RefusedError, match="only 3 lines"):
        await workspace.read("x", from_line=4)


@pytest.mark.parametrize("path", ["missing", "folder", ".", "", "file/below"])
async def test_what_is_no_file_cannot_be_read(workspace: Workspace, path: str) -> None:
    await workspace.write("folder/x", "x")
    await workspace.write("file", "x")
    with pytest.raises(RefusedError, match=r"no file|Not a directory"):
        await workspace.read(path)


async def test_a_pipe_does_not_hang_the_role(workspace: Workspace) -> None:
    os.mkfifo(workspace.path / "pipe")
    with pytest.raises(RefusedError, match="no file"):
        await workspace.read("pipe")


async def test_a_file_may_be_as_large_as_that_and_no_larger(workspace: Workspace) -> None:
    await workspace.write("full", "x" * MAX_FILE_BYTES)
    assert len(await workspace.read("full")) == MAX_FILE_BYTES
    with pytest.raises(RefusedError, match=r"1,048,577 bytes.*1,048,576"):
        await workspace.write("more", "x" * (MAX_FILE_BYTES + 1))
    with pytest.raises(RefusedError, match="1,048,578 bytes"):
        await workspace.write("more", "é" * (MAX_FILE_BYTES // 2 + 1))
    assert workspace.all_files() == ["full"]
    with (workspace.path / "huge").open("wb") as file:
        file.truncate(100 * MAX_FILE_BYTES)
    with pytest.raises(RefusedError, match=r"more than 33,554,432 bytes.*search_files"):
        await workspace.read("huge")


async def test_what_is_no_text_is_said_to_be_none_and_odd_bytes_are_shown(workspace: Workspace) -> None:
    (workspace.path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(RefusedError, match=r"`image.png` is not a text file; it has 16 bytes"):
        await workspace.read("image.png")
    (workspace.path / "latin.txt").write_bytes("café\n".encode("latin-1"))
    assert await workspace.read("latin.txt") == "caf�\n"


# ── writing ────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("path", "said"), [("folder", "is a folder"), (".", "is a folder"), ("file/below", "Not a dir|exists")]
)
async def test_what_is_no_file_cannot_be_written(workspace: Workspace, path: str, said: str) -> None:
    await workspace.write("folder/x", "x")
    await workspace.write("file", "x")
    with pytest.raises(RefusedError, match=said) as raised:
        await workspace.write(path, "y")
    assert str(workspace.path) not in str(raised.value)
    assert workspace.all_files() == ["file", "folder/x"]


async def test_half_a_character_is_written_as_a_question_mark(workspace: Workspace) -> None:
    await workspace.write("x", "a\ud800b")
    assert await workspace.read("x") == "a?b"


@pytest.mark.parametrize("dies_in", ["fsync", "replace"])
async def test_a_write_that_is_cut_off_leaves_the_old_file_whole(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    await workspace.write("x", "old")

    class KilledError(BaseException): ...

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", killed) if dies_in == "fsync" else (Path, "replace", killed)))
        with pytest.raises(KilledError):
            await workspace.write("x", "new")
    assert await workspace.read("x") == "old"
    assert await workspace.listed() == ["x"]
    await workspace.write("x", "new")
    assert await workspace.read("x") == "new"
    assert workspace.all_files() == ["x"]


async def test_a_write_is_on_the_disk_before_it_is_reported(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        forced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    await workspace.write("a/x", "1")
    assert forced[0].startswith(".agenthub-new-")
    assert forced[1] == "a"


def _beside() -> str:
    """Name of the file that this process and thread write before it takes its place."""
    return f"{BESIDE}{socket.gethostname()}-{threading.get_native_id()}"


async def test_a_link_that_lies_where_the_new_file_is_made_is_not_followed(workspace: Workspace) -> None:
    secret = workspace.outside / "secret.txt"
    (workspace.path / _beside()).symlink_to(secret)
    await workspace.write("x", "mine")
    assert (secret.read_text(), await workspace.read("x")) == ("secret", "mine")


async def test_a_link_that_is_made_in_the_very_moment_is_not_followed_either(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = workspace.outside / "secret.txt"
    (workspace.path / _beside()).symlink_to(secret)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # as if it came right after this
    with pytest.raises(RefusedError, match="File exists"):
        await workspace.write("x", "mine")
    assert secret.read_text() == "secret"


async def test_a_name_may_be_as_long_as_the_disk_takes(workspace: Workspace) -> None:
    await workspace.write("n" * 255, "long")
    assert await workspace.read("n" * 255) == "long"


# ── listing ────────────────────────────────────────────────────────────────────────────────────────
async def test_files_are_listed_in_order_with_their_paths_and_without_git(workspace: Workspace) -> None:
    for path in ("b", "a/z", "a/b/c", ".hidden"):
        await workspace.write(path, "x")
    for folder in (".git", "a/.git"):  # as git makes it
        (workspace.path / folder).mkdir()
        (workspace.path / folder / "config").write_text("x")
    assert await workspace.listed() == [".hidden", "b", "a/z", "a/b/c"]
    assert await workspace.listed("a") == ["a/z", "a/b/c"]


async def test_an_empty_workspace_has_no_files(workspace: Workspace) -> None:
    assert await workspace.listed() == ["(no files)"]
    with pytest.raises(RefusedError, match="no folder `missing`"):
        await workspace.listed("missing")


async def test_a_list_ends_somewhere_and_says_so(workspace: Workspace) -> None:
    for n in range(520):
        (workspace.path / f"f{n:03}").touch()
    outcome = await workspace.call("list_files")
    names = outcome.content.splitlines()
    assert (len(names), names[499], outcome.summary) == (501, "f499", "500 files")
    assert names[-1].startswith("... and more")


async def test_what_a_link_to_the_outside_holds_is_not_listed(workspace: Workspace) -> None:
    (workspace.path / "link").symlink_to(workspace.outside)
    assert "link/secret.txt" not in await workspace.listed()
