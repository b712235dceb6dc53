"""The command line: parse, call the client, print. One file per group of commands, imported when it is used."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from agenthub import __version__
from agenthub.cli.commands import COMMANDS
from agenthub.errors import (
    AgenthubError,
    ConfigError,
    HubUnreachableError,
    MessageError,
    NotFoundError,
    RefusedError,
)

if TYPE_CHECKING:  # imported when it is used: `agenthub --help` needs none of it
    from cyclopts import App

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_UNREACHABLE, EXIT_TIMEOUT, EXIT_REFUSED = range(7)
EXIT_PARTIAL, EXIT_INTERRUPTED = 7, 130

HELP = """\
Run an organization of LLM agents, day and night.

$ agenthub up -d --wait                      start it
$ agenthub send ceo "Ship dark mode" --wait  give a directive, print the report
$ agenthub ps                                who does what, at what cost
$ agenthub tail -f                           watch what happens
$ agenthub down                              let each role finish, then stop

Lengths of time are written as 90s, 10m, 2h or 7d; a bare number is seconds.
"""

HELP_FLAGS = ("--help", "-h")
COMPLETE = "__complete"
"""The command by which a shell asks what may stand where somebody types; people have no use for it."""
GROUP_NAMES = ("Run", "Talk", "Steer", "See", "Fix", "Admin")
FAMILIES = {
    "inbox": "Look into inboxes, and rearrange what waits.",
    "roles": "The role files.",
    "audit": "The record of who did what: look at it, export it, see whether it is whole.",
    "grants": "What persons let roles do beyond their files, for a while.",
    "keys": "By which keys roles, people and programs come in at the broker.",
    "meeting": "Meetings of roles: convene one, read its minutes.",
    "schedule": "What is due when, by plain code: add, fire, pause, remove.",
    "dlq": "Dead letters: look at what was buried, give it another life, throw it away.",
    "breaker": "Who is left alone for a while, since it failed too often.",
    "budget": "What is spent of which limits, and more of it.",
    "traces": "What was parked, and what becomes of it.",
    "learnings": "What roles learned from each other, who trusts it, and your word about it.",
}


def make_app() -> App:
    """The application with all commands; none of their code is imported yet."""
    from cyclopts import App

    app = App(
        name="agenthub", help=HELP, help_format="plaintext", version=__version__, help_flags=HELP_FLAGS,
    )  # fmt: skip
    families: dict[str, App] = {}
    for command in COMMANDS:
        family, _, name = command.name.rpartition(" ")
        parent = app
        if family:
            if family not in families:
                families[family] = App(name=family, help=FAMILIES[family])
                app.command(families[family])
            parent = families[family]
        parent.command(f"agenthub.cli.{command.code}", name=name, help=command.text)
    return app


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with what it came to.

    Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 not found, 4 hub unreachable, 5 timed out
    waiting, 6 refused, 7 partial, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == [COMPLETE]:
        from agenthub.cli.completing import print_candidates

        sys.exit(print_candidates(*words[1:]))
    words = _with_fields(words)
    _heed_color(words)
    status: int
    try:
        page = _page(words)
        if page is None:
            status = _run(words)
        else:
            print(page, flush=True)
            status = EXIT_OK
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_OK
    except TimeoutError as error:
        status = _fail(EXIT_TIMEOUT, str(error) or "It took longer than it may.", words)
    except AgenthubError as error:
        status = _fail(_code(error), str(error), words)
    sys.exit(status)


def _page(words: Sequence[str]) -> str | None:
    """What these words ask for that needs no command to be run; None: one must be."""
    if words == ["--version"]:
        return __version__
    if words and words[0] not in FAMILIES and not {*HELP_FLAGS} & {*words}:
        return None  # no help, without importing what knows it
    from agenthub.cli.help_page import help_page
    from agenthub.cli.panels import terminal

    return help_page(words, terminal())


def _run(words: Sequence[str]) -> int:
    """What the command comes to that these words name."""
    from cyclopts import CycloptsError

    app = make_app()
    if not gc.isenabled():  # see `agenthub.__main__`
        gc.freeze()
        gc.enable()
    if "--fields" in words[:-1]:
        from agenthub.cli.schemas import check_fields  # needs every type that is printed: only when it is asked

        check_fields(words, words[words.index("--fields") + 1])
    try:
        result = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        from agenthub.cli.wrong_words import said_of

        return _fail(EXIT_USAGE, said_of(error, words), words, hint="agenthub --help")
    return result if isinstance(result, int) else EXIT_OK


def _code(error: AgenthubError) -> int:
    codes = {
        ConfigError: EXIT_USAGE,
        NotFoundError: EXIT_NOT_FOUND,
        HubUnreachableError: EXIT_UNREACHABLE,
        RefusedError: EXIT_REFUSED,
        MessageError: EXIT_USAGE,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), EXIT_FAILED)


def _fail(code: int, message: str, words: Sequence[str], *, hint: str = "") -> int:
    if "--json" in words:
        error = {"code": code, "message": message, "hint": hint}
        print(json.dumps({"error": {name: value for name, value in error.items() if value or name == "code"}}))
    else:
        print(f"agenthub: {message}", file=sys.stderr)
    return code


def _heed_color(words: Sequence[str]) -> None:
    """`--color` before anything is printed; rich heeds the variables."""
    said = next((word.partition("=")[2] for word in words if word.startswith("--color=")), "")
    if "--color" in words[:-1]:
        said = words[words.index("--color") + 1]
    if said == "never":
        os.environ["NO_COLOR"] = "1"
    if said in ("always", "never"):
        os.environ.pop("FORCE_COLOR", None)
    if said == "always":
        os.environ.pop("NO_COLOR", None)
        os.environ["FORCE_COLOR"] = "1"


def _with_fields(words: list[str]) -> list[str]:
    """`--json=id,role` is `--json --fields id,role`: a flag that may bring a value."""
    result: list[str] = []
    for word in words:
        if word.startswith("--json="):
            result += ["--json", "--fields", word.removeprefix("--json=")]
        else:
            result.append(word)
    return result
