"""Tables as people read them: whole in a pipe, and on a terminal only free text gives way."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.text import Text

from agenthub.cli.lines import as_markup
from agenthub.cli.output import counted
from agenthub.messages import Event
from tests.organization import write_organization
from tests.tui.fixed import statuses

LONG = "a long subject " * 40
PROGRAM = f"""
from agenthub.cli.output import table
rows = [["1b2c3d4e", "high", "backend", {LONG!r}], ["5f6a7b8c", "low", "qa", "two\\nlines"]]
table(["ID", "PRIORITY", "FROM", "SUBJECT"], rows, free=["SUBJECT"])
"""


def on_a_terminal(program: str, *, columns: int) -> list[str]:
    """What the program prints on a terminal of that width, line by line."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"NO_COLOR": "1", "TERM": "dumb"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=its, stdout=its, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(its)
        said = b""
        try:
            while read := os.read(ours, 65536):
                said += read
        except OSError:  # Linux says so when nobody holds the other end any more
            pass
        finally:
            os.close(ours)
        assert process.wait(30) == 0, process.stderr and process.stderr.read().decode()
    return said.decode().splitlines()


def in_a_pipe(program: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60,
        env=dict(os.environ) | environment,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "80"}])
def test_in_a_pipe_every_cell_is_whole_and_every_row_is_one_line(environment: dict[str, str]) -> None:
    header, first, second = in_a_pipe(PROGRAM, **environment)
    assert header.split() == ["ID", "PRIORITY", "FROM", "SUBJECT"]
    assert first == f"1b2c3d4e  high      backend  {LONG.rstrip()}"
    assert second == "5f6a7b8c  low       qa       two lines"


@pytest.mark.parametrize(("number", "says"), [(0, "0 entries"), (1, "1 entry"), (1200, "1,200 entries")])
def test_one_of_something_is_not_called_as_many_are(number: int, says: str) -> None:
    assert counted(number, "entry", "entries") == says


def test_on_a_terminal_only_free_text_is_cut() -> None:
    header, first, second = on_a_terminal(PROGRAM, columns=80)
    assert header.split() == ["ID", "PRIORITY", "FROM", "SUBJECT"]
    assert first.startswith("1b2c3d4e  high      backend  a long subject")
    assert (len(first), first[-1]) == (80, "…")
    assert second == "5f6a7b8c  low       qa       two lines"


def test_the_table_of_roles_fits_into_80_columns_also_when_a_role_needs_a_person() -> None:
    program = """
from agenthub.cli.output import put
from agenthub.cli.ps import _grid, _Row
from agenthub.client.states import asks_by_role, state_and_doing
from tests.tui.fixed import decisions, statuses
asks = asks_by_role(decisions())
rows = [(one, asks.get(one.role)) for one in statuses()]
put(_grid([_Row(one, *state_and_doing(one, ask, None), ask, None) for one, ask in rows]))
"""
    lines = on_a_terminal(program, columns=80)
    assert any("◆ needs you  a" in line for line in lines)
    assert [line for line in lines if len(line) > 80] == []
    assert len(lines) == len(statuses()) + 1


def test_the_org_chart_is_cut_at_the_edge_of_a_terminal(tmp_path: Path) -> None:
    write_organization(tmp_path)
    file = tmp_path / "roles" / "backend.md"
    file.write_text(file.read_text().replace("The backend of Acme.", LONG))
    program = f"import os; os.chdir({str(tmp_path)!r}); from agenthub.cli import main; main(['roles', 'ls'])"
    lines = on_a_terminal(program, columns=80)
    (backend,) = [line for line in lines if "─ backend" in line]
    assert (len(lines), len(backend), backend[-1]) == (5, 80, "…")
    (whole,) = [line for line in in_a_pipe(program) if "─ backend" in line]
    assert whole.endswith(LONG.rstrip())


def test_what_a_role_has_done_fits_into_80_columns() -> None:
    usage = {"input_tokens": 29_900, "output_tokens": 0, "cost_usd": 0.01}
    data = {"outcome": "done", "from_role": "ceo", "usage": usage}
    event = Event(kind="completed", role="architect", at=datetime.now(UTC), text=LONG, data=data)
    assert len(Text.from_markup(as_markup(event, width=80))) <= 80


def test_on_a_narrow_terminal_ids_and_names_are_still_whole() -> None:
    said = "".join(on_a_terminal(PROGRAM, columns=30))
    assert "1b2c3d4e  high      backend  a long subject" in said
