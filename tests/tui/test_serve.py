"""The terminal UI in a browser: who may not come in."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import psutil
import pytest
from aiohttp import ClientSession, CookieJar, WSServerHandshakeError

from agenthub.tui.serve import serve
from tests.organization import Hub, until


@contextlib.asynccontextmanager
async def served(*arguments: str) -> AsyncIterator[str]:
    """The address, with its token."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(arguments, host="127.0.0.1", port=0, title="acme", stop=stop, ready=address.set_result)
    )
    try:
        async with asyncio.timeout(30):
            yield await address
    finally:
        stop.set()
        await serving


async def test_nobody_comes_in_without_the_token_by_another_name_or_from_another_page() -> None:
    async with (
        served() as address,
        ClientSession() as stranger,
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as person,
    ):
        base, token = address.split("/?token=")
        there = f"{base}/?token={token}"
        refused = [
            (base, {}), (f"{base}/?token=x", {}), (f"{base}/static/js/textual.js", {}), (f"{base}/ws", {}),
            (there, {"Host": "evil.example"}), (there, {"Host": f"localhost:{base.rpartition(':')[2]}"}),
            (there, {"Origin": "https://evil.example"}), (there, {"Origin": "null"}),
            (there, {"Sec-Fetch-Site": "cross-site"}),
        ]  # fmt: skip
        for url, headers in refused:
            async with stranger.get(url, headers=headers, allow_redirects=False) as answer:
                assert (answer.status, token in await answer.text()) == (403, False), (url, headers)
        assert not list(stranger.cookie_jar)
        async with person.get(there) as page:
            assert (page.status, str(page.url)) == (200, f"{base}/")
            assert token not in await page.text()
        (cookie,) = list(person.cookie_jar)
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
        assert token not in cookie.value
        for origin in ("https://evil.example", None):  # a websocket of another page brings the cookie as well
            with pytest.raises(WSServerHandshakeError, match="403"):
                await person.ws_connect(f"{base}/ws", headers={} if origin is None else {"Origin": origin})


async def test_a_page_ends_when_who_serves_it_is_killed(hub: Hub) -> None:
    serving = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agenthub", "tui", "--serve", "127.0.0.1:0", "--nats", hub.server.url,
        cwd=hub.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert serving.stdout is not None
    pages: list[psutil.Process] = []
    try:
        async with asyncio.timeout(60), ClientSession(cookie_jar=CookieJar(unsafe=True)) as person:
            address = (await serving.stdout.readline()).decode().strip()
            base = address.partition("/?token=")[0]
            async with person.get(address) as page:
                assert page.status == 200
            async with person.ws_connect(f"{base}/ws?width=100&height=30", headers={"Origin": base}) as screen:
                await screen.receive()  # it shows something
                pages = await until(lambda: _children(serving.pid))
                serving.kill()
                await serving.wait()
                await until(lambda: _gone(pages), within_s=20)
    finally:
        for process in (serving.pid, *(page.pid for page in pages)):
            with contextlib.suppress(psutil.Error):
                psutil.Process(process).kill()


async def _children(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children(recursive=True) if "agenthub" in " ".join(child.cmdline())]


async def _gone(pages: list[psutil.Process]) -> bool:
    return not any(page.is_running() and page.status() != psutil.STATUS_ZOMBIE for page in pages)
