"""Every command as a newcomer types it, against one hub that `init` wrote and `up --rehearse` runs.

Commands run in this process, the hub does not. What they print with `--json` is what `agenthub schema` says.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agenthub import subjects
from agenthub.approvals import Approval
from agenthub.asks import Ask, Part
from agenthub.cli import main
from agenthub.cli.commands import COMMANDS
from agenthub.cli.schemas import check_fields, schema_of
from agenthub.cli.shapes import NO_JSON, SHAPES, STREAMS
from agenthub.client import open_client
from agenthub.cradle import RUN_VARIABLE
from agenthub.learnings import Learning
from agenthub.messages import Message, Payload, now
from agenthub.org.ledger import Ledger
from agenthub.org.traces import Traces
from agenthub.organization import load_organization
from agenthub.run_file import RunFile
from agenthub.settings import Settings
from tests.commands import Ran, command
from tests.organization import until


class Shell:
    """A folder in which commands are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def program(self, *words: str) -> Ran:
        """A command as a process of its own."""
        return command(*words, folder=self.folder)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """An organization of a lead and a builder, as `init` writes it, at work on the rehearsal model."""
    shell = Shell(tmp_path_factory.mktemp("newcomer"))
    begun = shell.program("init", "--template", "pair", "--org", "acme")
    assert begun.code == 0, begun
    up = shell.program("up", "-d", "--wait", "--rehearse", "--speed", "50", "--json")
    try:
        assert up.code == 0, up
        _check("up", up.out)
        asyncio.run(_prepare(shell.folder))
        yield shell
    finally:
        down = shell.program("down", "--now", "--json")
    assert down.code == 0, down
    _check("down", down.out)


async def _prepare(folder: Path) -> None:
    """What commands need that decide about something: approvals, dead letters, a parked trace."""
    run = RunFile.read(folder / ".agenthub")
    assert run is not None
    settings = Settings.load(config=folder / "agenthub.toml", nats_url=run.nats_url)
    async with open_client(settings, load_organization(settings)) as client:
        bus = client.bus
        for identity, kind in (("aaaa1111", "tool"), ("bbbb2222", "tool"), ("cccc3333", "question")):
            task = Message(id=f"t-{identity}", from_role="you", type="task_assignment", payload=Payload(message="x"))
            approval = Approval(kind="tool", tool="run_command") if kind == "tool" else Approval(kind="question")
            part = Part(message_id=f"m-{identity}", role="you", subject="may I?")
            await Ledger(bus).open(
                Ask(
                    id=identity, role="lead", task=task, parts=[part], opened_at=now(),
                    deadline=now() + timedelta(days=1), approval=approval,
                )
            )  # fmt: skip
        learning = Learning.model_validate(
            {"trigger": "tests are slow", "domain": "tests", "approach": "run them in parallel", "outcome": "fast",
             "evidence": "aaaa1111", "confidence": 0.9}
        )  # fmt: skip
        said = learning.message("builder", org="acme")
        await bus.publish(subjects.learning("builder"), said.encode(), message_id=said.id)
        for number in range(3):
            await bus.publish(subjects.inbox("builder"), b"not a message", message_id=f"dead-{number}")
        traces = Traces(bus)
        for identity in ("1111parked", "2222parked"):
            await traces.park(identity, "it goes in a circle", role="lead", counts=await traces.counts(identity))

        async def are_buried() -> bool:
            return len(await bus.history(subjects.DEAD_LETTERS, subjects.dead_letter("builder"))) == 3

        await until(are_buried, within_s=60)


@pytest.fixture
def typed(shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Type a command into the shell."""
    monkeypatch.chdir(shell.folder)
    for name in ("ANTHROPIC_API_KEY", RUN_VARIABLE, "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.setenv(name, "")  # so that it is as it was behind the test, whatever the command does to it
        monkeypatch.delenv(name)

    def type_(*words: str) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        return Ran(int(ended.value.code or 0), said.out, said.err)

    return type_


def _check(name: str, out: str) -> None:
    """What a command printed is what its schema says."""
    schema = schema_of("config-output" if name == "config" else name)
    documents = [json.loads(line) for line in out.splitlines()]
    assert documents, f"{name} printed nothing"
    assert name in STREAMS or len(documents) == 1
    for document in documents:
        jsonschema.validate(document, schema)
        for one in document if isinstance(document, list) else [document]:
            if isinstance(one, dict) and one:
                check_fields(name.split(), ",".join(one))


def _until(condition: Callable[[], object]) -> None:
    ends_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends_s, "it did not come"
        time.sleep(0.05)


# In this order: what is sent first is there to be looked at.
NEWCOMER: list[tuple[str, list[str]]] = [
    ("send", ["lead", "Introduce yourself", "--wait", "--timeout", "90s"]),
    ("send", ["lead", "Say hello"]),
    ("send", ["@all", "Say hello"]),
    ("send", ["topic:status.deploy", "1.9 is out"]),
    ("send", ["builder", "Say hello", "--expect-reply", "--within", "2h"]),
    ("ask", ["builder", "Which port?", "--timeout", "90s"]),
    ("broadcast", ["We close at noon"]),
    ("publish", ["decisions.api", "JSON it is"]),
    ("vote", ["Ship it?\nrehearse: vote yes", "--quorum", "1", "--within", "90s"]),
    ("auction", ["Write the guide", "--bidders", "lead,builder", "--close", "90s"]),
    ("listen", ["you", "--once", "--for", "60s"]),
    ("ping", ["builder"]),
    ("pending", []),
    ("approvals", []),
    ("approve", ["aaaa1111"]),
    ("reject", ["bbbb2222", "--reason", "no"]),
    ("reply", ["cccc3333", "the second"]),
    ("ps", []),
    ("watch", ["--times", "2", "--every", "0.2s"]),
    ("who", []),
    ("cost", []),
    ("tail", ["--all", "-n", "20"]),
    ("inbox ls", ["you"]),
    ("inbox peek", ["you"]),
    ("logs", ["lead", "-n", "3"]),
    ("dlq ls", []),
    ("dlq show", ["LETTER"]),
    ("dlq drop", ["LETTER", "--yes"]),
    ("doctor", []),
    ("learnings ls", []),
    ("learnings roles", []),
    ("schedule add", ["sweep", "--to", "builder", "--cron", "@yearly", "--text", "Sweep the floor"]),
    ("schedule ls", []),
    ("schedule run", ["sweep"]),
    ("schedule pause", ["sweep"]),
    ("schedule resume", ["sweep"]),
    ("schedule rm", ["sweep"]),
    ("meeting start", ["retrospective", "Sprint 14", "--within", "10s"]),
    ("meeting ls", []),
    ("pause", ["builder"]),
    ("resume", ["builder"]),
    ("estop", []),
    ("thaw", []),
    ("restart", ["lead"]),
    ("check", []),
    ("dlq late", []),
    ("budget ls", []),
    ("budget set", ["lead", "usd_day=8"]),
    ("budget allow", ["lead", "usd_day=2"]),
    ("breaker trip", ["lead", "--for", "1s"]),
    ("breaker ls", []),
    ("breaker reset", ["lead"]),
    ("traces ls", []),
    ("traces release", ["1111"]),
    ("traces end", ["2222"]),
    ("audit ls", ["-n", "5"]),
    ("audit export", ["audit.jsonl"]),
    ("audit verify", ["audit.jsonl"]),
    ("grants add", ["builder", "topic", "decisions.api", "--for", "8h"]),
    ("grants ls", []),
    ("keys ls", []),
    ("keys deal", ["dealt", "--auth", "dealt.conf"]),
    ("init", ["--dry-run"]),
    ("roles check", []),
    ("roles ls", []),
    ("roles show", ["lead"]),
    ("roles new", ["helper", "--dry-run"]),
    ("roles import", ["roles", "--dry-run"]),
    ("roles export", ["--dry-run"]),
    ("compose", []),
    ("compose", ["--check", "compose.yaml"]),
    ("provision", ["--dry-run"]),
    ("config", []),
    ("schema", ["ps"]),
    ("completion", ["fish"]),
    ("cheat", []),
    ("version", []),
]


def test_what_every_command_prints_with_json_is_what_its_schema_says(typed: Any) -> None:
    """One test for all of them, since each finds what those before it left."""
    for name, words in NEWCOMER:
        if "LETTER" in words:
            (letter, *_) = json.loads(typed("dlq", "ls", "--json=message_id").out)
            words = [word.replace("LETTER", letter["message_id"]) for word in words]
        ran = typed(*name.split(), *words, "--json")
        if name == "check":  # the role that was restarted may not have ended yet, or be on its way
            ends_s = time.monotonic() + 60
            while ran.code != 0 and time.monotonic() < ends_s:
                ran = typed("check", "--json")
        assert ran.code == 0 or name == "doctor", (name, words, ran)
        _check(name, ran.out)
    identity = json.loads(typed("send", "lead", "Trace me", "--json").out)["id"]
    _check("trace", typed("trace", identity, "--json").out)
    (letter, *_) = json.loads(typed("dlq", "ls", "--json").out)
    as_it_should_be = Path("mended.json")
    as_it_should_be.write_text(
        Message(from_role="you", type="question", payload=Payload(message="x")).model_dump_json()
    )
    _check("dlq replay", typed("dlq", "replay", letter["message_id"], "--body", "mended.json", "--json").out)


def test_what_commands_print_that_need_the_id_of_something_is_what_their_schemas_say(typed: Any) -> None:
    def found(name: str, *words: str) -> Any:
        ran = typed(*name.split(), *words, "--json")
        assert ran.code == 0, (name, words, ran)
        _check(name, ran.out)
        return json.loads(ran.out.splitlines()[0])

    meeting = found("meeting start", "planning", "Sprint 15", "--within", "10s")["id"]
    found("meeting show", meeting)
    said = {"trigger": "the build is slow", "domain": "build", "approach": "cache the wheels", "outcome": "it is fast",
            "evidence": "aaaa1111"}  # fmt: skip
    words = [word for name, value in said.items() for word in (f"--{name}", value)]
    learning = found("learnings share", *words)["id"]
    assert typed("learnings", "confirm", learning).code == 6  # nobody is a witness of their own words
    (other,) = [one["id"] for one in found("learnings ls") if one["authors"] == ["builder"]]
    for verdict in ("confirm", "refute"):
        found(f"learnings {verdict}", other, "--role", "lead", "--evidence", "bbbb2222", "--reason", "seen")
    for verdict in ("promote", "demote", "quarantine", "release"):
        found(f"learnings {verdict}", learning, "--reason", "seen")
    found("learnings show", learning)

    for words in (["memory", "lead"], ["tool", "Bash(git push:*)"], ["spend", "usd_day=2"]):
        grant = found("grants add", "builder", *words)
        if words[0] != "spend":
            found("grants revoke", grant["id"])

    found("pause", "builder")
    waiting = [found("send", "builder", f"rehearse: say {number}")["id"] for number in range(3)]
    found("inbox requeue", "builder", waiting[0])
    found("inbox reprioritize", "builder", waiting[0], "high")
    found("inbox move", "builder", waiting[1], "--to", "lead")
    found("inbox cancel", "builder", waiting[2], "--yes")
    found("resume", "builder")

    for words in (["nudge", "builder", "hurry"], ["cancel", "builder", "--yes"]):
        at_work = found("send", "builder", "rehearse: slow 30")["id"]
        _until(lambda id_=at_work: any(row["message_id"] == id_ for row in found("ps")))  # type: ignore[misc]
        found(*words)
        if words[0] == "nudge":
            found("cancel", "builder", "--requeue")
            found("inbox cancel", "builder", at_work, "--yes")

    found("attachment", found("send", "lead", "Look", "--attach", "agenthub.toml")["payload"]["attachments"][0]["key"])


def test_what_is_watched_prints_lines_that_are_what_their_schemas_say(shell: Shell) -> None:
    demo = shell.program("demo", "Ship it", "--speed", "50", "--json")
    assert demo.code == 0, demo
    _check("demo", demo.out)
    words = [sys.executable, "-m", "agenthub", "attach", "lead", "--json"]
    with subprocess.Popen(words, cwd=shell.folder, stdout=subprocess.PIPE, text=True) as attach:
        try:
            assert attach.stdout is not None
            _check("attach", attach.stdout.readline())
        finally:
            attach.terminate()


def test_no_command_is_left_out_of_these_tests() -> None:
    here = Path(__file__).read_text()
    assert [name for name in SHAPES if f'"{name}"' not in here and f'f"{name.partition(" ")[0]} {{' not in here] == []


def test_people_read_no_json_and_no_colours_in_a_pipe(typed: Any) -> None:
    for words in (
        ["ps"],
        ["who"],
        ["cost"],
        ["roles", "ls"],
        ["roles", "show", "lead"],
        ["config"],
        ["cheat"],
        ["dlq", "ls"],
    ):
        ran = typed(*words)
        assert (ran.code, "\x1b" in ran.out, ran.out.startswith(("{", "["))) == (0, False, False), ran
    assert "50000000" in typed("roles", "show", "lead").out, "no 5e+07"
    assert "\x1b[" in typed("who", "--color", "always").out
    assert "\x1b[" not in typed("who", "--color", "never").out


def test_fields_choose_what_is_printed(typed: Any) -> None:
    assert {tuple(one) for one in json.loads(typed("who", "--json=name,state").out)} == {("name", "state")}


def test_send_prints_to_whom(typed: Any) -> None:
    assert json.loads(typed("send", "lead", "Say hello", "--json=to,type").out) == {
        "to": "lead", "type": "task_assignment"
    }  # fmt: skip
    assert {one["to"] for one in json.loads(typed("send", "@all", "Say hello", "--json=to").out)} == {"lead", "builder"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["who", "--json=name,stat"], "Did you mean `state`? There are: description, "),
        (["inbox", "ls", "you", "--json=colour"], "no such field `colour`. There are: "),
        (["cost", "--json=id"], "`agenthub cost --json` has no such field `id`"),
    ],
)
def test_a_field_that_there_is_not_is_an_error_and_no_null(typed: Any, words: Sequence[str], says: str) -> None:
    ran = typed(*words)
    assert (ran.code, says in json.loads(ran.out)["error"]["message"]) == (2, True), ran


def test_the_compose_file_of_init_is_known_as_the_small_one(typed: Any, tmp_path: Path) -> None:
    assert typed("compose", "--check", "compose.yaml").code == 0
    for words, flag in ((["compose", "--small"], " --small"), (["compose"], "")):
        file = tmp_path / "compose.yaml"
        file.write_text(typed(*words).out)
        assert typed("compose", "--check", str(file)).code == 0
        file.write_text(file.read_text() + "# changed\n")
        ran = typed("compose", "--check", str(file))
        assert (ran.code, f"agenthub compose{flag} > {file}" in ran.err) == (1, True), ran


def test_a_schedule_that_was_run_by_hand_says_when(typed: Any) -> None:
    assert typed("schedule", "add", "yearly", "--to", "builder", "--cron", "@yearly", "--text", "x").code == 0
    assert typed("schedule", "add", "often", "--to", "builder", "--every", "40s", "--text", "rehearse: say x").code == 0
    try:
        sent = json.loads(typed("schedule", "run", "yearly", "--json").out)["message_id"]
        listed = {one["id"]: one for one in json.loads(typed("schedule", "ls", "--json").out)}
        assert listed["you.yearly"]["last"]["message_id"] == sent
        assert listed["you.yearly"]["last"]["fired_at"]
        shown = next(line for line in typed("schedule", "ls").out.splitlines() if "you.often" in line)
        assert re.search(r"\d\d:\d\d:[024]0, \d\d:\d\d:[024]0", shown), shown
    finally:
        for name in ("yearly", "often"):
            typed("schedule", "rm", name)


def test_words_that_choose_nothing_say_what_there_is(typed: Any) -> None:
    assert typed("send", "lead", "Introduce yourself", "--wait", "--timeout", "90").code == 0  # seconds
    ran = typed("tail", "--kind", "foo", "--since", "600")
    assert (ran.code, ran.out, ran.err.startswith("no event of that kind; there are ")) == (0, "", True), ran
    assert "completed" in ran.err
    assert typed("tail", "--kind", "completed", "--since", "1h").err == ""
    ran = typed("audit", "ls", "--who", "buildr")
    assert "nothing is recorded with --who buildr; there are: " in ran.err
    assert "lead" in ran.err
    assert "task_assignment" in typed("audit", "ls", "--what", "tasks", "--json").err


def test_several_are_named_with_commas_between_them(typed: Any) -> None:
    sent = json.loads(typed("send", "lead,builder,lead", "Say hello", "--json").out)
    assert [one["to"] for one in sent] == ["lead", "builder"]
    assert {one["name"] for one in json.loads(typed("who", "lead,builder", "--json=name").out)} == {"lead", "builder"}


def test_how_to_take_a_grant_back_is_said_only_where_it_can_be(typed: Any) -> None:
    assert "grants revoke" in typed("grants", "add", "builder", "topic", "decisions.web").err
    assert "revoke" not in typed("grants", "add", "builder", "spend", "usd_day=1").err


def test_lists_have_a_header_also_without_anything_in_them(typed: Any) -> None:
    assert typed("keys", "ls").out.split("\n")[0].split() == ["NAME", "PUBLIC", "KEY", "SEED"]
    assert typed("dlq", "ls", "--role", "lead").out.split() == [
        "ID",
        "ROLE",
        "AGE",
        "TRIES",
        "FROM",
        "SUBJECT",
        "REASON",
    ]


def test_moments_in_json_are_written_as_on_the_wire(typed: Any) -> None:
    said = {
        "trigger": "tests are slow",
        "domain": "tests",
        "approach": "run two",
        "outcome": "fast",
        "evidence": "cccc3333",
    }
    typed("learnings", "share", *(word for name, value in said.items() for word in (f"--{name}", value)))
    for words in (["audit", "ls"], ["learnings", "ls"], ["schedule", "ls"], ["inbox", "ls", "you"], ["budget", "ls"]):
        out = typed(*words, "--json").out
        assert not re.search(r"\d\d:\d\d:\d\d(\.\d+)?\+00:00", out), out
    assert json.loads(typed("audit", "ls", "--json").out)[0]["at"].endswith("Z")
    assert json.loads(typed("learnings", "ls", "--json").out)[0]["shared_at"].endswith("Z")


def test_examples_ask_for_fields_that_there_are() -> None:
    texts = [*(command.text for command in COMMANDS), *(path.read_text() for path in _documents())]
    example = re.compile(r"agenthub ([a-z][^|\n`]*?) --json=([a-z_]+(?:,[a-z_]+)*)")
    asked = [found for text in texts for found in example.findall(text)]
    assert len(asked) > 10
    for words, fields in asked:
        check_fields(words.split(), fields)


def _documents() -> list[Path]:
    root = Path(__file__).parent.parent
    return [root / "README.md", *(root / "docs").glob("*.md")]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["send", "buildr", "x"], 3, "Did you mean `builder`?"),
        (["send", "@leed", "x"], 3, "Did you mean `@lead`?"),
        (["send", "lead", "@none.md"], 2, "There is no file none.md"),
        (["ask", "builder", "x", "--timeout", "soon"], 2, "90s, 10m, 2h or 7d"),
        (["publish", "stauts.deploy", "x"], 3, "Did you mean `status`?"),
        (["vote", "Ship?", "--voters", "buildr"], 3, "Did you mean `builder`?"),
        (["vote", "Ship?", "--voters", "you"], 6, "is a person"),
        (["vote", "Ship?", "--quorum", "3/2"], 2, "above 0 and up to 1"),
        (["vote", "Ship?", "--options", "yes"], 2, "at least two options"),
        (["grants", "add", "builder", "memory", "lead", "--for", "400d"], 2, "at most 90d"),
        (["config", "get", "budget"], 2, "`agenthub config` does not take `get budget`. See `agenthub config --help`."),
        (["attach"], 2, "ROLE is missing. See `agenthub attach --help`."),
        (["trace"], 2, "ID is missing. See `agenthub trace --help`."),
        (["schedule", "add", "x"], 2, "--to is missing."),
        (["tail", "-n", "x"], 2, "-n takes a whole number; found"),
        (["--config", "X", "ps"], 2, "Options stand behind the command"),
        (["ps", "--state", "/nope"], 4, "No hub runs in /nope."),
        (["auction", "x", "--bidders", "?skill=tesing"], 3, "Did you mean `testing`?"),
        (["auction", "x", "--close", "soon"], 2, "90s, 10m, 2h or 7d"),
        (["listen", "builder"], 6, "is a role"),
        (["listen", "topic:status.x", "--once", "--for", "0.1s"], 5, "No message came"),
        (["ping", "buildr"], 3, "Did you mean `builder`?"),
        (["who", "?skill=tesing"], 3, "Did you mean `testing`?"),
        (["cost", "--by", "colour"], 2, "colour"),
        (["approve", "ffff"], 3, "no decision"),
        (["grants", "revoke", "ffff"], 3, "no grant"),
        (["grants", "add", "buildr", "memory", "lead"], 3, "Did you mean `builder`?"),
        (["grants", "add", "builder", "memory", "leed"], 3, "Did you mean `lead`?"),
        (["grants", "add", "builder", "topic", "decisions"], 2, "a topic is such as"),
        (["grants", "add", "builder", "topic", "$SYS.>"], 2, "a topic is such as"),
        (["grants", "add", "builder", "tool", "*"], 2, "a rule names a tool"),
        (["grants", "add", "builder", "spend", "usd_day=lots"], 2, "must be a number"),
        (["grants", "add", "builder", "spend", "usd_hour=1"], 3, "has no limit"),
        (["grants", "add", "builder", "memory", "lead", "--for", "1y"], 2, "--for"),
        (["schedule", "add", "x", "--to", "lead", "--at", "2020-01-01 10:00"], 2, "is in the past"),
        (["schedule", "add", "a b", "--to", "lead", "--every", "1h"], 2, "is no name of a schedule"),
        (["schedule", "add", "x", "--to", "lead", "--cron", "0 0 30 2 *"], 2, "no such day"),
        (["tail", "-n", "0"], 2, "--last is at least 1"),
        (["inbox", "ls", "you", "-n", "-3"], 2, "--last is at least 1"),
        (["audit", "ls", "-n", "0"], 2, "--last is at least 1"),
        (["send", "lead", "x", "--attach", "/nope"], 2, "there is no file /nope"),
        (["send", "lead,buildr", "x"], 3, "Did you mean `builder`?"),
        (["send", ",", "x"], 3, "stands for nobody"),
        (["trace", "ffffffff"], 3, "no message"),
        (["roles", "show", "buildr"], 3, "Did you mean `builder`?"),
        (["roles", "new", "a b"], 2, "cannot be a role's name"),
        (["roles", "new", "lead"], 6, "kept"),
        (["roles", "import", "nowhere"], 2, "There is no folder nowhere"),
        (["init", "--template", "bank"], 3, "startup, pair"),
        (["schema", "pss"], 3, "Did you mean `ps`?"),
        (["completion", "cmd"], 2, "bash"),
        (["mcp", "--as", "lead"], 2, "is a role"),
        (["mcp", "--http", "0.0.0.0:80"], 2, "this machine only"),
        (["ps", "--nats", "nats://127.0.0.1:1"], 4, "No NATS server answers"),
        (["pss"], 2, "Did you mean"),
    ],
)
def test_exit_codes_and_what_an_error_says(typed: Any, words: Sequence[str], code: int, says: str) -> None:
    ran = typed(*words)
    assert (ran.code, says in ran.out + ran.err) == (code, True), ran
    as_json = typed(*words, "--json")
    if says != "kept":
        jsonschema.validate(json.loads(as_json.out), schema_of("error"))
        assert json.loads(as_json.out)["error"]["code"] == as_json.code == code


# ── without a hub ──────────────────────────────────────────────────────────────────────────────────
def test_every_command_has_a_schema_or_prints_no_json() -> None:
    known = {command.name for command in COMMANDS}
    assert known - NO_JSON == known & set(SHAPES), "say in cli/shapes.py what the command prints with --json"


def test_docs_are_what_the_table_of_commands_says() -> None:
    program = Path(__file__).parent.parent / "docs" / "make_cli.py"
    done = subprocess.run([sys.executable, program, "--check"], check=False)
    assert done.returncode == 0, "docs/cli.md is old: run `python docs/make_cli.py`"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_help_begins_with_a_sentence_and_shows_an_example(command: Any) -> None:
    first = command.text.splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 120
    if command.name not in ("version", "cheat"):
        assert f"$ agenthub {command.name}" in command.text or "| agenthub" in command.text or "mcp" in command.text


def test_schemas_of_files_take_what_the_readers_take() -> None:
    import tomllib

    import yaml

    root = Path(__file__).parent.parent
    jsonschema.validate(tomllib.loads((root / "config/agenthub.toml").read_text()), schema_of("config"))
    said = '[budget]\nusd_day = "unlimited"\n[defaults]\nmax_trace_usd = "unlimited"\nbudget.tokens_day = "2M"\n'
    jsonschema.validate(tomllib.loads(said), schema_of("config"))
    for path in (root / "roles").glob("*.md"):
        front = yaml.safe_load(path.read_text().split("---")[1])
        jsonschema.validate(front, schema_of("role"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"agenthub": {"reprots_to": "x"}}, schema_of("role"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"budget": {"usd_day": "much"}}, schema_of("config"))
