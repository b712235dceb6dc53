"""`--help`: complete, as wide as the terminal, in colours where there are some, whatever stands around it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any, get_args

import pytest

from agenthub import grants, minutes, role_settings
from agenthub.cli import FAMILIES, choices, make_app
from agenthub.cli.arguments import arguments_of
from agenthub.cli.commands import COMMANDS
from agenthub.cli.help_page import help_page
from agenthub.cli.panels import Piece, Row, Terminal, panel
from agenthub.cli.shapes import NO_JSON, SHAPES
from agenthub.client import costs
from agenthub.messages import Priority
from tests.commands import agenthub, started

PAGES = ["", *FAMILIES, *(command.name for command in COMMANDS), "pending drop"]
WORK = (
    *("nats", "agenthub.bus", "agenthub.client", "agenthub.messages", "agenthub.organization", "agenthub.settings"),
    *("anthropic", "textual", "mcp", "rich", "pydantic", "psutil", "aiohttp", "httpx", "yaml", "sqlite3"),
)
"""What a command imports when it works."""


def page_of(*words: str, width: int = 80, has_colors: bool = False) -> str:
    page = help_page([*words, "--help"], Terminal(width=width, has_colors=has_colors))
    assert page is not None
    return page


def command_of(name: str) -> Any:
    command: Any = make_app()
    for word in name.split():
        command = command[word]
    return command


def without_colors(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


# ── complete ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_help_tells_what_a_command_is_for_and_all_that_it_takes(name: str) -> None:
    command = command_of(name)
    page = page_of(*name.split(), width=400)
    for line in command.help.split("\n\n")[0].splitlines():
        assert line in page
    arguments = arguments_of(command)
    assert len(arguments) >= 5  # what every command takes
    for argument in arguments:
        assert argument.text, f"{argument.names} of {name} says nothing"
        assert f" {argument.label} " in page
        assert argument.text in page
    names = [name for argument in arguments for name in argument.names]
    assert len(names) == len(set(names)), "two of its options have the same name"


@pytest.mark.parametrize("name", [*(command.name for command in COMMANDS), "pending drop"])
def test_arguments_say_what_the_parser_reads_of_them_too(name: str) -> None:
    command = command_of(name)
    read = [one for one in command.assemble_argument_collection(parse_docstring=True) if one.show]
    said = arguments_of(command)
    assert [set(one.names) for one in said] == [{name.rstrip("_") for name in one.names} for one in read]
    assert [one.text.split() for one in said] == [(one.parameter.help or "").split() for one in read]
    assert [one.is_required for one in said] == [one.required for one in read]


def test_the_list_has_every_command_once_in_its_group() -> None:
    page = page_of(width=120)
    listed = re.findall(r"^│ ([a-z]+) ", page, re.MULTILINE)
    assert sorted(listed) == sorted({command.name.split()[0] for command in COMMANDS})
    assert re.findall(r"^╭─ (\w+)", page, re.MULTILINE) == ["Commands", "Run", "Talk", "Steer", "See", "Fix", "Admin"]
    inbox = re.findall(r"^│ ([a-z]+) ", page_of("inbox", width=120), re.MULTILINE)
    assert inbox == ["cancel", "ls", "move", "peek", "reprioritize", "requeue"]


def test_usage_names_what_must_be_there_and_what_may() -> None:
    def usage(*words: str) -> str:
        return page_of(*words, width=200).partition("\n")[0]

    assert usage("send") == "Usage: agenthub send [OPTIONS] TO [TEXT]"
    assert usage("schedule", "add") == "Usage: agenthub schedule add --to STR [OPTIONS] NAME"
    assert usage("dlq", "drop") == "Usage: agenthub dlq drop [OPTIONS] [IDS...]"
    assert usage("pending") == "Usage: agenthub pending COMMAND [OPTIONS]"
    assert "--priority -p CHOICE" in page_of("send")
    assert "[choices: critical, high, medium, low] [default: medium]" in page_of("send", width=200)


# ── what it costs ──────────────────────────────────────────────────────────────────────────────────
def test_no_help_imports_what_only_the_work_needs() -> None:
    assert {*SHAPES, *NO_JSON} <= {*PAGES}
    asks_for_every_page = f"""
import sys
from agenthub.cli import main
before, found = set(), []
for name in {PAGES!r}:
    try:
        main([*name.split(), "--help"])
    except SystemExit as ended:
        assert ended.code == 0, name
    now = {{module for module in {WORK!r} if module in sys.modules}}
    if now - before:
        found.append(f"agenthub {{name}} --help imports {{', '.join(sorted(now - before))}}")
    before |= now
print("\\n".join(found), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", asks_for_every_page], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout.count("Usage: agenthub ") == len(PAGES)


def test_the_words_that_options_take_are_those_of_the_types_they_stand_for() -> None:
    assert get_args(choices.PriorityWord) == tuple(Priority)
    for ours, theirs in (
        (choices.MeetingKind, minutes.Kind), (choices.GrantKind, grants.Kind), (choices.CostBy, costs.By),
        (choices.Misfire, role_settings.Misfire), (choices.WhileBusy, role_settings.WhileBusy),
    ):  # fmt: skip
        assert get_args(ours) == get_args(theirs)


# ── where it is asked for ──────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("words", "page"),
    [
        ([], ""),
        (["-h"], ""),
        (["--version", "--help"], ""),
        (["--json", "send", "--help"], ""),  # options stand behind a command
        (["inbox"], "inbox"),
        (["inbox", "-h"], "inbox"),
        (["inbox", "--help", "ls"], "inbox ls"),
        (["--help", "send"], "send"),
        (["send", "ceo", "Ship it", "-s", "-h"], "send"),
        (["send", "--help", "--help"], "send"),
        (["pending", "drop", "--help"], "pending drop"),
        (["sned", "--help"], None),
        (["inbox", "bogus", "--help"], None),
        (["inbox", "--json"], None),
        (["", "--help"], None),
        (["send", "ceo", "--", "--help"], None),
        (["--", "--help"], None),
        (["send", "ceo", "Ship it"], None),
        (["--version"], None),
    ],
)
def test_help_is_found_wherever_it_stands(words: list[str], page: str | None) -> None:
    assert help_page(words, Terminal()) == (None if page is None else page_of(*page.split()))


async def test_help_of_what_is_no_command_says_what_was_meant(tmp_path: Path) -> None:
    ran = await agenthub("sned", "--help", folder=tmp_path)
    assert (ran.code, 'Did you mean "send"?' in ran.err) == (2, True)


# ── how it looks ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_as_wide_as_the_terminal(name: str, width: int) -> None:
    colored = page_of(*name.split(), width=width, has_colors=True)
    assert without_colors(colored) == page_of(*name.split(), width=width)
    for line in without_colors(colored).splitlines():
        if line.startswith(("╭", "│", "╰")):
            assert len(line) == width
        else:
            assert len(line) <= width or line.startswith(("$", "    ")), "only examples may be longer"


def test_colors_tell_names_from_texts() -> None:
    lines = panel("Arguments", [Row("TO", [Piece("Role."), Piece("[required]", "required")], True)], Terminal(40, True))
    assert lines[1] == "│ \x1b[1;31m*\x1b[0m  \x1b[36mTO\x1b[0m  Role. \x1b[31m[required]\x1b[0m              │"


def test_what_is_too_long_is_folded_or_cut() -> None:
    rows = [Row("--a-long-option -a PATH", [Piece("x" * 50)]), Row("--b", [])]
    assert panel("Parameters", rows, Terminal(width=50)) == [
        "╭─ Parameters ───────────────────────────────────╮",
        "│ --a-long-option  xxxxxxxxxxxxxxxxxxxxxxxxxxxxx │",
        "│   -a PATH        xxxxxxxxxxxxxxxxxxxxx         │",
        "│ --b                                            │",
        "╰────────────────────────────────────────────────╯",
    ]


def test_where_there_are_no_frames_they_are_ascii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ran = started("send", "--help", folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert "+- Arguments ---" in ran.out


@pytest.mark.parametrize(
    ("variables", "is_colored"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False),
    ],
)
def test_a_pipe_has_colors_if_it_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_colored: bool
) -> None:
    for name, value in {"NO_COLOR": "", "FORCE_COLOR": "", "TERM": "xterm", "COLUMNS": "100", **variables}.items():
        monkeypatch.setenv(name, value)
    ran = started("ping", "--help", folder=tmp_path)
    assert ("\x1b[" in ran.out) is is_colored
    assert max(map(len, without_colors(ran.out).splitlines())) == 100
    told = started("ping", "--help", "--color=never", folder=tmp_path)
    assert "\x1b[" not in told.out


@pytest.mark.parametrize(("options", "is_colored"), [((), True), (("--color=never",), False)])
async def test_on_a_terminal_it_has_the_width_and_the_colors_of_that(
    options: tuple[str, ...], is_colored: bool
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 97, 0, 0))
    hidden = ("COLUMNS", "NO_COLOR", "FORCE_COLOR")
    variables = {name: value for name, value in os.environ.items() if name not in hidden} | {"TERM": "xterm-256color"}
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agenthub", "--help", *options, stdin=theirs, stdout=theirs, env=variables
        )
        os.close(theirs)
        shown = b""
        async with asyncio.timeout(60):
            while part := await asyncio.to_thread(_read, ours):
                shown += part
            assert await process.wait() == 0
    finally:
        os.close(ours)
    assert (b"\x1b[36msend" in shown) is is_colored
    assert max(map(len, without_colors(shown.decode()).splitlines())) == 97


def _read(terminal: int) -> bytes:
    """What is printed next; empty if the other end is closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
