"""A file is the old one or the new one, whoever else writes beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agenthub.whole_files import BESIDE, write_whole

WRITER = """
import sys
from pathlib import Path
from agenthub.whole_files import write_whole
print("begun", flush=True)
sys.stdin.readline()
for number in range(400):
    write_whole(Path(sys.argv[1]) / f"{sys.argv[2]}-{number}", sys.argv[2] * 1000, is_durable=True)
"""


def test_it_takes_the_place_of_what_is_there_with_the_rights_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    write_whole(path, "neu ☃", mode=0o600)
    assert path.read_text() == "neu ☃" and path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")

    def fail(_: Path) -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        write_whole(path, "new", before=fail)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_place_of_what_is_not_complete_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("not yours")
    seen: list[Path] = []
    (tmp_path / "work").mkdir()
    write_whole(tmp_path / "work" / "file", "x", before=seen.append)
    seen[0].symlink_to(other)
    write_whole(tmp_path / "work" / "file", "y")
    assert other.read_text() == "not yours" and (tmp_path / "work" / "file").read_text() == "y"


def test_replicas_in_containers_that_have_the_same_process_number_do_not_meet(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rpfu", "hostname", "x"], capture_output=True).returncode:
        pytest.skip("no containers can be made here")
    writers = [
        subprocess.Popen(
            [unshare, "-rpfu", "sh", "-c", 'hostname "$3" && exec "$0" -c "$1" "$2" "$3"',
             sys.executable, WRITER, str(tmp_path), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    try:
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline() == "begun\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            _, err = writer.communicate(timeout=60)
            assert writer.returncode == 0, err
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{name}-{number}" for name in ("one", "two") for number in range(400)}
    assert not any(name.startswith(BESIDE) for name in names)
