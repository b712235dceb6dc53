"""A role's notes: they outlive the process, a person may edit them, and they do not grow without end."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agenthub.errors import RefusedError
from agenthub.sessions.session import ToolCall
from agenthub.tools.notes import MAX_NOTES_BYTES, notes_tools
from tests.sessions.scripted import task


class Notes:
    """The notes of one role, by tools that know nothing but the file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "notes" / "qa.md"

    async def _call(self, name: str, **arguments: Any) -> str:
        tools = {t.name: t for t in notes_tools(self.file, "qa", clock=lambda: datetime(2026, 5, 17, tzinfo=UTC))}
        tool = tools[name]
        return (await tool.run(tool.arguments.model_validate(arguments), ToolCall("k~1", task()))).content

    async def remember(self, text: str, **more: Any) -> str:
        return await self._call("remember", text=text, **more)

    async def recall(self, words: str = "") -> list[str]:
        return (await self._call("recall_notes", words=words)).splitlines()


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


async def test_what_was_noted_is_found_by_its_words_or_as_the_latest(notes: Notes) -> None:
    assert await notes.recall() == ["(no notes)"]
    await notes.remember("The staging database is called `blue`.")
    await notes.remember("Deployments\nare on Tuesdays.")
    assert await notes.recall() == [
        "- 2026-05-17: Deployments", "  are on Tuesdays.", "- 2026-05-17: The staging database is called `blue`.",
    ]  # fmt: skip
    assert (await notes.recall("DATABASE name"))[0] == "- 2026-05-17: The staging database is called `blue`."
    assert (await notes.recall("deploy"))[0] == "- 2026-05-17: Deployments"
    assert await notes.recall("unicorn") == ["[0 of 2 notes]"]


async def test_a_call_that_is_repeated_notes_nothing_twice(notes: Notes) -> None:
    await notes.remember("One\nnote.")
    assert await notes.remember("One\nnote.") == "That is noted already."
    assert notes.file.read_text().count("note.") == 1


async def test_a_person_may_edit_the_file(notes: Notes) -> None:
    await notes.remember("Wrong.")
    notes.file.write_text("My words\n\n- Right, by hand\n  and more\n")
    await notes.remember("Mine.")
    assert await notes.recall() == ["- 2026-05-17: Mine.", "- Right, by hand", "  and more"]


async def test_a_note_replaces_the_one_it_names_and_no_other(notes: Notes) -> None:
    for text in ("Port is 80.", "Host is x."):
        await notes.remember(text)
    await notes.remember("Port is 81.", instead_of="port is")
    assert await notes.recall() == ["- 2026-05-17: Port is 81.", "- 2026-05-17: Host is x."]
    with pytest.raises(RefusedError, match="2 notes have the words"):
        await notes.remember("x", instead_of="is")
    with pytest.raises(RefusedError, match="0 notes have the words"):
        await notes.remember("x", instead_of="nowhere")


async def test_notes_do_not_grow_without_end(notes: Notes) -> None:
    with pytest.raises(RefusedError, match="64 KiB and are full"):
        for n in range(100):
            await notes.remember(f"{n} " + "x" * 1900)
    assert notes.file.stat().st_size <= MAX_NOTES_BYTES
    assert "Noted" in await notes.remember("short", instead_of=": 3 xxx")
