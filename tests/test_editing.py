"""Editing a part of a file, reading a long one in parts, and searching: useful when right, helpful when wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agenthub.errors import RefusedError
from agenthub.roles import Role
from agenthub.sessions.session import Repeat, Tool, ToolCall, ToolOutcome
from agenthub.tools import search
from agenthub.tools.offer import role_tools
from agenthub.tools.search_program import glob_expression
from agenthub.tools.workplace import OneFolder
from tests.sessions.scripted import task


class Desk:
    """All file tools of a role, and its workspace."""

    def __init__(self, folder: Path) -> None:
        self.tools: dict[str, Tool] = {
            tool.name: tool
            for tool in role_tools(
                Role(name="qa", prompt="x", path=Path("qa.md")), OneFolder(folder / "workspaces" / "qa"), state=folder
            )
        }
        self.path, self.outside = folder / "workspaces" / "qa", folder / "outside"
        self.outside.mkdir()
        (self.outside / "secret.txt").write_text("secret")

    async def call(self, name: str, **arguments: Any) -> ToolOutcome:
        tool = self.tools[name]
        return await tool.run(tool.arguments.model_validate(arguments), ToolCall("k~1", task()))

    async def edit(self, old: str, new: str, **more: Any) -> str:
        return (await self.call("edit_file", path="f.txt", old_text=old, new_text=new, **more)).content

    async def search(self, pattern: str = "", **more: Any) -> list[str]:
        return (await self.call("search_files", pattern=pattern, **more)).content.splitlines()

    def file(self, path: str, text: str) -> Path:
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())
        return target


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# ── editing ────────────────────────────────────────────────────────────────────────────────────────
async def test_an_edit_replaces_one_place_and_shows_the_lines_around_it(desk: Desk) -> None:
    file = desk.file("f.txt", "".join(f"line {n}\n" for n in range(1, 21)))
    assert (await desk.edit("line 10\n", "ten\nand more\n")).splitlines() == [
        "Replaced once in f.txt:", "     7  line 7", "     8  line 8", "     9  line 9", "    10  ten",
        "    11  and more", "    12  line 11", "    13  line 12", "    14  line 13",
    ]  # fmt: skip
    assert file.read_text().splitlines()[8:11] == ["line 9", "ten", "and more"]
    assert desk.tools["edit_file"].repeat is Repeat.UNSAFE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("x = 1", "x = 2", r"is 2 times in `f.txt`, at lines 1, 3\. .*replace_all"),
        ("x=  2", "y", r"not in `f.txt`"),
        ("  y   =  3", "y", r"Line 2 differs only in its spaces: 'y = 3'"),
        ("y = 3\nz", "y", r"Line 2 is as its first line, but what follows differs"),
        ("def compute_totals(a):", "y", r"Most like its first line is line 4: 'def compute_total\(a\):'"),
        ("", "y", "is empty"),
        ("y = 3", "y = 3", "are the same"),
    ],
)
async def test_an_edit_that_cannot_be_made_changes_nothing_and_says_where_to_look(
    desk: Desk, old: str, new: str, said: str
) -> None:
    text = "x = 1\ny = 3\nx = 1\ndef compute_total(a):\n"
    file = desk.file("f.txt", text)
    with pytest.raises(RefusedError, match=said):
        await desk.edit(old, new)
    assert file.read_text() == text


async def test_each_place_is_replaced_if_asked_for_and_ends_of_lines_and_rights_stay(desk: Desk) -> None:
    file = desk.file("f.txt", "a\r\nb\r\na\r\nb\r\n")
    file.chmod(0o755)
    assert "2 times" in await desk.edit("a\nb", "c\nd", replace_all=True)
    assert file.read_bytes() == b"c\r\nd\r\nc\r\nd\r\n"
    assert file.stat().st_mode & 0o777 == 0o755
    with pytest.raises(RefusedError, match="not UTF-8"):
        desk.file("f.txt", "").write_bytes(b"caf\xe9")
        await desk.edit("a", "b")


@pytest.mark.parametrize("path", ["../outside/secret.txt", "link", "linked/secret.txt"])
async def test_an_edit_and_a_search_stay_in_the_workspace(desk: Desk, path: str) -> None:
    (desk.path / "link").symlink_to(desk.outside / "secret.txt")
    (desk.path / "linked").symlink_to(desk.outside)
    with pytest.raises(RefusedError, match="outside of your workspace"):
        await desk.call("edit_file", path=path, old_text="secret", new_text="x")
    with pytest.raises(RefusedError, match="outside of your workspace"):
        await desk.search("secret", path=path)
    assert await desk.search("secret") == ["(nothing found)"]
    assert (desk.outside / "secret.txt").read_text() == "secret"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
async def test_what_root_writes_belongs_to_whom_the_workspace_belongs_to(desk: Desk) -> None:
    os.chown(desk.path, 61200, 61200)
    await desk.call("write_file", path="a/b/f.txt", content="x")
    await desk.call("edit_file", path="a/b/f.txt", old_text="x", new_text="y")
    assert {path.stat().st_uid for path in (desk.path / "a", desk.path / "a/b", desk.path / "a/b/f.txt")} == {61200}


# ── long files ─────────────────────────────────────────────────────────────────────────────────────
async def test_a_long_file_is_read_in_parts_that_say_where_to_go_on(desk: Desk) -> None:
    desk.file("f.txt", "".join(f"line {n:05}\n" for n in range(1, 300_001)))
    first = (await desk.call("read_file", path="f.txt")).content
    assert first.endswith("[lines 1-2545 of 300,000; go on with `from_line` 2546]")
    part = (await desk.call("read_file", path="f.txt", from_line=2546, lines=2)).content
    assert part.splitlines()[:2] == ["line 02546", "line 02547"]
    assert (await desk.call("read_file", path="f.txt", from_line=300_000)).content == "line 300000\n"


# ── searching ──────────────────────────────────────────────────────────────────────────────────────
async def test_a_search_finds_lines_and_files(desk: Desk) -> None:
    desk.file("src/a.py", "import os\nprint('Hello')\n")
    desk.file("src/deep/b.py", "hello = 1\n")
    desk.file("notes.md", "Hello\n")
    desk.file("image", "Hello\0")
    desk.file("node_modules/x.py", "Hello\n")
    assert await desk.search("Hello") == ["notes.md:1: Hello", "src/a.py:2: print('Hello')"]
    assert await desk.search("^hello", ignore_case=True) == ["notes.md:1: Hello", "src/deep/b.py:1: hello = 1"]
    assert await desk.search("hello", path="src/deep") == ["src/deep/b.py:1: hello = 1"]
    assert await desk.search(glob="*.py") == ["src/a.py", "src/deep/b.py"]
    assert (await desk.search(".", most=1))[-1].startswith("[only the first 1;")


async def test_a_search_without_sense_or_end_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, said in (({"pattern": "("}, "no regular expression"), ({}, "`pattern` for lines or a `glob`")):
        with pytest.raises(RefusedError, match=said):
            await desk.call("search_files", **arguments)
    monkeypatch.setattr(search, "SEARCH_WITHIN_S", 1.0)
    desk.file("f.txt", "a" * 64)
    with pytest.raises(RefusedError, match=r"longer than 1 s.*nested repetitions"):
        await desk.search("(a+)+b")


@pytest.mark.parametrize(
    ("glob", "path", "is_meant"),
    [
        ("*.py", "a/b/c.py", True), ("*.py", "a.pyc", False), ("src/*.py", "src/a/b.py", False),
        ("src/**/*.py", "src/a.py", True), ("src/**/*.py", "src/a/b/c.py", True), ("src/**", "src/a/b", True),
        ("[ab].md", "b.md", True), ("[a-c].md", "b.md", True), ("[!a].md", "a.md", False), ("a?c", "abc", True),
        ("a.c", "abc", False),
    ],
)  # fmt: skip
def test_what_a_glob_means(glob: str, path: str, is_meant: bool) -> None:
    assert bool(glob_expression(glob).fullmatch(path)) == is_meant
