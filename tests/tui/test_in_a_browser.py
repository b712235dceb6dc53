"""The served terminal UI in a real Chromium: it shows the organization, and its keys steer it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.organization import Hub, says, until
from tests.tui.browser import PROGRAM, chromium

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here: install `chromium`")


@contextlib.asynccontextmanager
async def served(hub: Hub) -> AsyncIterator[str]:
    """`agenthub tui --serve`: the address that it prints."""
    serving = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agenthub", "tui", "--serve", "127.0.0.1:0", "--nats", hub.server.url,
        cwd=hub.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert serving.stdout is not None
    try:
        async with asyncio.timeout(30):
            address = (await serving.stdout.readline()).decode().strip()
        yield address
    finally:
        serving.terminate()
        await serving.wait()


@contextlib.asynccontextmanager
async def foreign(page: str) -> AsyncIterator[str]:
    """The address of somebody else's page on this machine."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


async def test_it_shows_the_organization_and_its_keys_steer_it(hub: Hub, tmp_path: Path) -> None:
    async with hub.role("backend", says("ok")), served(hub) as address, chromium(address, tmp_path / "profile") as page:
        await until(lambda: "backend" in page.drawn and "idle" in page.drawn, within_s=40)
        assert await page.evaluate("location.href") == address.partition("?")[0]  # the token is out of the address
        assert await page.evaluate("document.cookie") == ""  # no script can read what opens the door
        assert page.complaints == []
        before = len(page.drawn)
        await page.evaluate("document.querySelector('textarea').focus()")
        await page.press("7")
        await until(lambda: "there is no schedule" in page.drawn[before:])
        await page.press("E")
        await until(lambda: "4 agents" in page.drawn[before:])
        await page.press("y")
        await until(lambda: _is_stopped(hub))


async def test_it_lies_in_no_frame_of_another_page_and_needs_its_token(hub: Hub, tmp_path: Path) -> None:
    async with served(hub) as address, chromium(address.partition("?")[0], tmp_path / "profile") as page:
        said = await until(lambda: page.evaluate("document.body && document.body.innerText"))
        assert "the token is missing" in said
        async with foreign(f"<iframe src='{address}'></iframe>") as elsewhere:
            await page.call("Page.navigate", url=elsewhere)
            await until(lambda: (address, 403) in page.statuses)


async def _is_stopped(hub: Hub) -> bool:
    from agenthub.client import Client

    standing = await Client(hub.bus, hub.organization).steering.standing()
    return all(found.stopped is not None for found in standing.values())
