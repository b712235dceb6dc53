"""What Tab brings in a shell: in real shells at a terminal, and case by case from what they are told."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agenthub.cli import make_app
from agenthub.cli.arguments import arguments_of
from agenthub.cli.commands import COMMANDS
from tests.organization import until, write_organization

PROGRAM = str(Path(sys.executable).with_name("agenthub"))
BREAKS = " \t\n\"'@><=;|&(:"
"""COMP_WORDBREAKS as bash has it."""
SKILLS = ("api", "architecture", "sql", "strategy", "testing")
INTERACTIVE = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
WORK = ("nats", "agenthub.client", "agenthub.messages", "agenthub.settings", "pydantic", "rich", "asyncio")


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A ceo, a cto, a backend who can do sql, and a qa."""
    write_organization(tmp_path)
    return tmp_path


def complete(folder: Path, *typed: str, **environment: str) -> list[str]:
    """What a shell is told, without the explanations."""
    done = subprocess.run(
        [PROGRAM, "__complete", *typed], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env=dict(os.environ) | environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


def words(folder: Path, *typed: str, **environment: str) -> list[str]:
    return complete(folder, "zsh", *typed, **environment)


# ── what fits ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("typed", "brings"),
    [
        (["ask", ""], ["backend", "ceo", "cto", "qa"]),
        (["ask", "c"], ["ceo", "cto"]),
        (["ask", "qa", ""], []),
        (["inbox", "ls", "b"], ["backend"]),
        (["inbox", "move", "qa", "3f2a", "--to", "c"], ["ceo", "cto"]),
        (["inbox", "move", "qa", "3f2a", "--to=c"], ["--to=ceo", "--to=cto"]),
        (["inbox", "reprioritize", "qa", "3f2a", "c"], ["critical"]),
        (["tail", "--role", "q"], ["qa"]),
        (["learnings", "promote", "1b2c", "--role", "qa", "--role", "b"], ["backend"]),
        (["send", "@"], ["@all", "@ceo", "@cto"]),
        (["send", "qa", "Ship it", "-p", ""], ["critical", "high", "medium", "low"]),
        (["vote", "Ship?", "--voters", "qa,b"], ["qa,backend"]),
        (["vote", "Ship?", "--voters", "qa,q"], []),
        (["auction", "Ship it", "--bidders", "?skill=sq"], ["?skill=sql"]),
        (["meeting", "start", "p"], ["planning"]),
        (["meeting", "start", "planning", "x", "--members", "qa,c"], ["qa,ceo", "qa,cto"]),
        (["listen", ""], ["you"]),
        (["send", "qa", "Ship it", "--verify", "y"], ["you"]),
        (["budget", "set", "o"], ["organization"]),
        (["logs", "s"], ["supervisor"]),
        (["sen"], ["send"]),
        (["inbox", "mo"], ["move"]),
        (["send", "--sub"], ["--subject"]),
        (["send", "qa", "x", "--file", ""], ["\x1fpaths"]),
        (["no-such-command", ""], []),
    ],
)
def test_a_word_that_is_typed_brings_what_fits(office: Path, typed: list[str], brings: list[str]) -> None:
    assert sorted(words(office, *typed)) == sorted(brings)


def test_roles_are_said_with_what_they_are_for_wherever_their_files_are(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "agenthub.toml").write_text(
        'operator = "boss"\nrole_files = ["team/*.md"]\n[roles.lead]\nskills = ["plans"]\n'
    )
    for place, text in {
        "team/a.md": "---\nname: lead\ndescription: Leads.\n---\nLead.",
        "team/README.md": "No role.",
        "team/broken.md": "---\nname: broken\n",
        "team/no role.md": "Has no name that a role can have.",
        "team/b.md": "---\nagenthub: {reports_to: lead}\n---\nBuild.",
        "roles/other.md": "Not looked for.",
        "deep/er/x": "",
    }.items():
        (tmp_path / place).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / place).write_text(text)
    done = subprocess.run(
        [PROGRAM, "__complete", "fish", "ask", ""], cwd=tmp_path / "deep" / "er", capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "lead\tLeads.\nb\n"
    assert words(tmp_path, "send", "@") == ["@all", "@lead"]
    assert words(tmp_path, "send", "?") == ["?skill=plans"]
    assert words(tmp_path, "send", "lead", "x", "-p", "c") == ["critical"]  # a role that is called as a command is
    assert words(tmp_path, "listen", "") == ["boss"]
    elsewhere = tmp_path / "deep" / "agenthub.toml"
    elsewhere.write_text('role_files = ["*.md"]')
    (tmp_path / "deep" / "alone.md").write_text("Work.")
    assert words(tmp_path, "ask", "--config", str(elsewhere), "") == ["alone"]
    assert words(tmp_path, "ask", "", AGENTHUB_CONFIG=str(elsewhere)) == ["alone"]


def test_contexts_are_those_of_the_nats_command(office: Path) -> None:
    contexts = office / "xdg" / "nats" / "context"
    contexts.mkdir(parents=True)
    (contexts / "staging.json").write_text("{}")
    assert words(office, "ps", "--context", "", XDG_CONFIG_HOME=str(office / "xdg")) == ["staging"]


@pytest.mark.parametrize("text", ["role_files = 3", "not toml at all", 'role_files = ["/etc/*"]', "operator = 3"])
def test_what_is_wrong_is_silent(office: Path, text: str) -> None:
    (office / "agenthub.toml").write_text(text)
    assert complete(office, "zsh", "ask", "") in ([], ["backend", "ceo", "cto", "qa"])
    assert complete(office, "zsh", "ask", "--config", "nowhere", "") == []
    assert complete(office, "bash") == complete(office, "zsh", "no-such", "x") == []


def test_it_imports_neither_the_client_nor_anything_that_takes_long(office: Path) -> None:
    code = f"import sys; from agenthub.cli.completing import candidates; print(candidates(['send', 'b'])[0][0].word); \
print([name for name in {WORK!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=office, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["backend", "['asyncio']"]  # talk.py waits


def test_every_argument_that_is_a_role_is_completed() -> None:
    names = {"ROLE", "TO", "TARGET", "--role", "--to", "--voters", "--bidders", "--members", "--chair", "--verify"}
    names |= {"--who", "--news-of", "--reports-to", "ACCOUNT", "--context"}
    missing = []
    for command in COMMANDS:
        app = make_app()
        for word in command.name.split():
            app = app[word]
        taken = {name.lower(): one for one in app.assemble_argument_collection() for name in one.names}
        for argument in arguments_of(app):
            if names & {*argument.names} and argument.value != "PATH":
                one = next(taken[key] for key in (argument.names[0].lower(), argument.names[0]) if key in taken)
                if one.parameter.completer is None:
                    missing.append(f"{command.name} {argument.names[0]}")
    assert missing == []


# ── bash ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("agenthub ask b", ["backend"]),
        ("agenthub send @c", ["@ceo", "@cto"]),  # bash keeps the @ with what follows
        ("agenthub send qa,@c", ["@ceo", "@cto"]),
        ("agenthub tail --role=q", ["qa"]),  # and begins anew behind =
        ("agenthub send ?skill=sq", ["sql"]),
        (r"agenthub send \?skill=sq", ["sql"]),
        ("agenthub send '?skill=sq", ["?skill=sql"]),
        ("agenthub send ?skill", [rf"\?skill={skill}" for skill in SKILLS]),
        ('agenthub send qa,"?skill=sq', ["?skill=sql"]),
        ("agenthub send qa 'Ship it' -p c", ["critical"]),
        (r"agenthub send qa Ship\ it -p c", ["critical"]),
        ("agenthub   ask   ", ["backend", "ceo", "cto", "qa"]),
        ("./agenthub ask qa ", []),
    ],
)
def test_bash_gets_what_it_puts_behind_what_it_leaves(office: Path, line: str, replies: list[str]) -> None:
    assert complete(office, "bash", line, BREAKS) == replies


def test_the_script_of_bash_fills_what_bash_reads(office: Path) -> None:
    script = subprocess.run(
        [PROGRAM, "completion", "bash"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    driven = """
COMP_WORDS=(agenthub ask c) COMP_CWORD=2 COMP_LINE='agenthub ask c --timeout 5m' COMP_POINT=14
_agenthub; printf '%s\\n' "${COMPREPLY[@]}"; complete -p agenthub
"""
    place = f"{Path(PROGRAM).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script + driven], cwd=office, capture_output=True, text=True, timeout=60, check=True,
        env=dict(os.environ) | {"PATH": place},
    )  # fmt: skip
    assert (done.stdout.splitlines(), done.stderr) == (["ceo", "cto", "complete -F _agenthub agenthub"], "")


# ── at a terminal ──────────────────────────────────────────────────────────────────────────────────
LINES = [
    ("agenthub ask ba", "agenthub ask backend"),
    ("agenthub send @a", "agenthub send @all"),
    ("agenthub tail --role=ba", "agenthub tail --role=backend"),
    ("agenthub vote x --voters qa,ba", "agenthub vote x --voters qa,backend"),
    ("agenthub send '?skill=sq", "agenthub send '?skill=sql'"),
    ("agenthub send qa x --file=road", "agenthub send qa x --file=roadmap.txt"),
    ("agenthub send qa x --file road", "agenthub send qa x --file roadmap.txt"),
    ("agenthub send qa x -p crit", "agenthub send qa x -p critical"),
    ("agenthub inbox reprio", "agenthub inbox reprioritize"),
]
"""What is typed, and what it becomes by Tab."""


@pytest.mark.parametrize(("typed", "becomes"), LINES)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
async def test_tab_completes_in_the_shell_itself(office: Path, shell: str, typed: str, becomes: str) -> None:
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    (office / "roadmap.txt").write_text("")
    shown = bytearray()
    ours, its = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(office)}
    process = await asyncio.create_subprocess_exec(
        program, *INTERACTIVE[shell], cwd=office, stdin=its, stdout=its, stderr=its, env=environment,
        start_new_session=True,
    )  # fmt: skip

    def has_said(text: str) -> bool:
        while select.select([ours], [], [], 0)[0]:
            shown.extend(os.read(ours, 65536))
        return text in _plain(shown)

    try:
        os.write(ours, f"eval \"$(agenthub completion {shell})\"; echo is re''ady\n".encode())
        await until(lambda: has_said("is ready"))
        os.write(ours, f"{typed}\t".encode())
        await until(lambda: has_said(becomes), within_s=15)
    finally:
        process.kill()
        await process.wait()
        os.close(ours)
        os.close(its)


def _plain(shown: bytearray) -> str:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07", "", shown.decode(errors="replace"))


@pytest.mark.parametrize(("typed", "becomes"), LINES)
def test_fish_brings_it_too(office: Path, typed: str, becomes: str) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    (office / "roadmap.txt").write_text("")
    environment = dict(os.environ) | {"HOME": str(office), "PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"}
    asks = f'agenthub completion fish | source; complete -C "{typed}"'
    said = subprocess.check_output(
        ["fish", "--no-config", "-c", asks], cwd=office, env=environment, text=True, timeout=60
    )
    assert [line.partition("\t")[0] for line in said.splitlines()] == [becomes.split()[-1].strip("'")]


def test_json_has_the_script(office: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [PROGRAM, "completion", shell, "--json"], capture_output=True, text=True, check=True, timeout=60
        )
        assert "__complete" in json.loads(done.stdout)["script"]
