"""Each view as it is drawn, wide and narrow, beside how it was drawn when a person last looked at it.

`pytest tests/tui/test_screens.py --update-screens` draws them anew: look at the difference before you commit it.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agenthub.tui.app import HubApp
from tests.organization import until
from tests.tui.drawn import drawn
from tests.tui.fixed import AT, FixedSource

SCREENS = Path(__file__).parent / "screens"
SIZES = {"168x42": (168, 42), "80x24": (80, 24)}
KEYS = {
    "org": ("1",), "org-tree": ("t",), "inbox": ("2",), "events": ("3",), "approvals": ("4",), "dead": ("5",),
    "learnings": ("6",), "schedules": ("7",), "cost": ("8",), "role": ("down", "enter"), "message": ("3", "T"),
    "help": ("question_mark",), "reject": ("4", "x"), "peek": ("5", "space"), "stop-all": ("E",),
    "filtered": ("slash", "q", "a", "enter"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def here_is_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", KEYS)
async def test_a_view_is_drawn_as_it_was(name: str, size: str, request: pytest.FixtureRequest) -> None:
    file = SCREENS / f"{name}-{size}.txt"
    is_new = request.config.getoption("--update-screens")
    wanted = file.read_text() if file.exists() else ""
    app = HubApp(FixedSource(), clock=lambda: AT)
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: app.picture is not None and app.store.events)
        await pilot.pause()
        for key in KEYS[name]:
            await pilot.press(key)
            await pilot.pause()
        if is_new:
            await pilot.pause(1.5)  # everything has been read
            SCREENS.mkdir(exist_ok=True)
            file.write_text(drawn(app))
            return
        try:
            await until(lambda: drawn(app) == wanted, within_s=10)
        except TimeoutError:
            found = drawn(app)
            difference = difflib.unified_diff(wanted.splitlines(), found.splitlines(), "as it was", "now", lineterm="")
            pytest.fail("\n".join(difference))
