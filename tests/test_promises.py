"""What the documents say a test shows: that test is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
_NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?")
DOCUMENTS = sorted((PROJECT / "docs").glob("*.md"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_is_there(document: Path) -> None:
    missing = [
        found[0]
        for found in _NAMED.finditer(document.read_text("utf-8"))
        if not (PROJECT / found[1]).is_file()
        or (found[2] and f"def {found[2]}(" not in (PROJECT / found[1]).read_text("utf-8"))
    ]
    assert missing == []
